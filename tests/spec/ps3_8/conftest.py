"""The DICOM node for the tests of this folder."""

from tests.support.dicom_fixtures import dimse_port, node

__all__ = ["dimse_port", "node"]
