"""A DICOM node beside the FHIR server: takes studies, serves them, announces them."""
