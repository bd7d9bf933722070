"""DIMSE services (PS3.4, PS3.7) over pynetdicom: one service, one file."""
