"""A second opinion on search: slow, plain, and written without a look at fhir_server.search."""
