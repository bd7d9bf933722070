"""Imaging workflow: orders of FHIR as modalities see them, and what modalities did, back to FHIR."""
