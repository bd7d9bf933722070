"""The FHIR door: HTTP in, values to `interactions`, HTTP out (R4/http.html). Nothing here knows SQL."""
