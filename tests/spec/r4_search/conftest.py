"""The same FHIR door over a real database as the chapter on HTTP has."""

from tests.spec.r4_http.conftest import client, door, stored

__all__ = ["client", "door", "stored"]
