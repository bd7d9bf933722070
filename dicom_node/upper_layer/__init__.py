"""The DICOM upper layer of our own (PS3.8): PDUs, negotiation, associations over TCP and TLS."""
