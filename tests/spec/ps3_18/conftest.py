"""The DICOM node for the tests of this folder."""

from tests.support.dicom_fixtures import node, web

__all__ = ["node", "web"]
