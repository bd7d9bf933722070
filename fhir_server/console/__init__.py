"""The web console: read-mostly pages for a person, under the same grants as the API."""
