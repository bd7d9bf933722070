"""The RESTful interactions (R4/http.html) as plain functions: every caller enters here with a Grant."""
