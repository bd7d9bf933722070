"""Binary whose data stand in pieces beside the resource (R4/binary.html)."""

from __future__ import annotations

from fhir_server.database.contents import Content
from fhir_server.interactions.context import Context, Result, Version
from fhir_server.storage import binaries
from fhir_server.storage.binaries import EXTENSION as EXTENSION
from fhir_server.storage.binaries import described as described


def linked(context: Context, result: Result, content: Content | None) -> Result:
    """Return the result of a write, once the version that it made has its content."""
    version = result.version
    if content is not None and version is not None and result.changes:
        binaries.link(context.unit, version.pk, version.version, content)
    return result


def content_of(context: Context, version: Version) -> Content | None:
    """Return what a version of a Binary has in pieces; None where its data stand in it, or there are none."""
    if version.type_name != "Binary" or EXTENSION not in (version.content or ""):
        return None
    return binaries.of(context.unit, version.pk, version.version)
