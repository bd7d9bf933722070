"""FHIR JSON as data: formats, paths, dates, references."""
