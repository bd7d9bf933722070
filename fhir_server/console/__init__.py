"""The web console: read-mostly pages for a person, through the same interactions as every program."""
