"""FHIR XML bytes ↔ the same plain values that FHIR JSON has (R4/xml.html, R4/json.html).

`parse` gives what json_format.parse gives of the same resource, `encode` takes it. So everything
behind the door knows one form only.
"""

from __future__ import annotations

from fhir_server.model.xml_reading import parse
from fhir_server.model.xml_writing import Unwritable, encode

__all__ = ["Unwritable", "encode", "parse"]
