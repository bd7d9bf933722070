"""X-Provenance: where a resource comes from, sent with the write of it (R4/provenance.html#header).

The header holds a Provenance as JSON. It is stored in the same transaction as what it tells of, with the
version that was written as its target. A write that changes nothing makes none: there is nothing to tell of.
"""

from __future__ import annotations

from dataclasses import replace

from fhir_server.interactions.context import Context, Resource, Result
from fhir_server.interactions.create import create
from fhir_server.model import json_format
from fhir_server.outcome import FhirError, Invalid, Issue, NotSupported

HEADER = "X-Provenance"


def read(text: str | None, max_depth: int) -> Resource | None:
    """Return the Provenance of a header, None without one.

    Raises Invalid (400) for what is no JSON, or another resource.

    >>> read('{"resourceType": "Provenance"}', 8), read(None, 8)
    ({'resourceType': 'Provenance'}, None)
    """
    if text is None:
        return None
    try:
        value = json_format.parse(text.encode(), max_depth=max_depth)
    except FhirError as error:
        raise Invalid(
            f"the header {HEADER} is no Provenance as JSON: {error}", expression="Provenance"
        ) from None
    if not isinstance(value, dict) or value.get("resourceType") != "Provenance":
        raise Invalid(
            f'the header {HEADER} holds a Provenance as JSON: {{"resourceType": "Provenance", "recorded": …, '
            '"agent": […]}; its target is filled in',
            expression="Provenance",
        )
    return value


def attach(context: Context, result: Result, provenance: Resource | None) -> Result:
    """Store the Provenance of a write, and return the result of the write, which tells of it.

    What the Provenance names as target already stays. Raises what `create` raises, about the header.
    """
    version = result.version
    if provenance is None or version is None or not result.changes:
        return result
    own = {"reference": f"{version.address}/_history/{version.version}"}
    targets = provenance.get("target", [])
    if not isinstance(targets, list):
        raise Invalid(f"target in the header {HEADER} is no array", expression="Provenance.target")
    try:
        made = create(context, "Provenance", {**provenance, "target": [own, *targets]})
    except FhirError as error:
        issues = [replace(each, diagnostics=f"{HEADER}: {each.diagnostics}") for each in error.issues]
        raise type(error)(issues=issues) from None
    address = made.version.address if made.version is not None else ""
    told = Issue("information", "informational", f"{address} tells where it comes from")
    return replace(result, issues=(*result.issues, told), changes=result.changes + made.changes)


def refuse(text: str | None, what: str) -> None:
    """Raise NotSupported (400) where a header came that would be lost."""
    if text is not None:
        raise NotSupported(
            f"{HEADER} goes with a create, an update or a patch, not with {what}; send a transaction with "
            "the Provenance as an entry of its own"
        )
