"""HTTP for FHIR R4 (R4/http.html): nothing here knows SQL."""
