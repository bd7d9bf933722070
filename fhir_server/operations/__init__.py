"""FHIR operations: one file per OperationDefinition (R4/operations.html)."""
