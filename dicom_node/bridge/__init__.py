"""From DICOM to FHIR, through the front door of fhir_server."""
