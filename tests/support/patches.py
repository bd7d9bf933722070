"""Patches in their three forms, and how a client sends them (R4/http.html#patch)."""

from __future__ import annotations

import base64
from typing import Any

from fhir_server.model import json_format
from tests.support.http import FhirClient, Reply

JSON_PATCH, XML_PATCH = "application/json-patch+json", "application/xml-patch+xml"
FORMATS = [JSON_PATCH, XML_PATCH, "application/fhir+json", "application/fhir+xml"]


def patched(client: FhirClient, path: str, *operations: dict[str, Any], **headers: str) -> Reply:
    sent = {"Content-Type": JSON_PATCH} | {name.replace("_", "-"): text for name, text in headers.items()}
    return client.send("PATCH", path, json_format.encode(list(operations)), sent)


def change(kind: str, path: str, **parts: Any) -> dict[str, Any]:
    """Return one operation of a FHIRPath Patch; a part is named and valued by value_valueDate="1970"."""
    made = [{"name": "type", "valueCode": kind}, {"name": "path", "valueString": path}]
    for name, value in parts.items():
        part, _, key = name.partition("_")
        made.append({"name": part, key or "part": value})
    return {"name": "operation", "part": made}


def parameters(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Parameters", **({"parameter": list(operations)} if operations else {})}


def fhirpath(client: FhirClient, path: str, *operations: dict[str, Any], **headers: str) -> Reply:
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    return client.send("PATCH", path, parameters(*operations), sent)


def binary(*operations: dict[str, Any], content_type: str = JSON_PATCH) -> dict[str, Any]:
    data = base64.b64encode(json_format.encode(list(operations))).decode()
    return {"resourceType": "Binary", "contentType": content_type, "data": data}


def entry(resource: dict[str, Any], url: str, **request: str) -> dict[str, Any]:
    return {"resource": resource, "request": {"method": "PATCH", "url": url, **request}}
