"""Small valid resources for tests."""

from __future__ import annotations

from typing import Any


def patient(family: str = "Chalmers", **more: Any) -> dict[str, Any]:
    """Return a Patient named `family`."""
    return {"resourceType": "Patient", "name": [{"family": family, "given": ["Ann"]}], **more}


def identified(value: str, family: str = "Chalmers", system: str = "urn:test:mrn") -> dict[str, Any]:
    """Return a Patient with one identifier."""
    return patient(family, identifier=[{"system": system, "value": value}])


def observation(subject: str, code: str = "8867-4", value: str = "72", **more: Any) -> dict[str, Any]:
    """Return a final Observation of `subject` with a quantity per minute."""
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": subject},
        "valueString": value,
        **more,
    }


def bundle(kind: str, *entries: dict[str, Any]) -> dict[str, Any]:
    """Return a Bundle of `entries`."""
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def post(
    resource: dict[str, Any], full_url: str | None = None, if_none_exist: str | None = None
) -> dict[str, Any]:
    """Return an entry that creates `resource`."""
    request = {"method": "POST", "url": resource["resourceType"]}
    if if_none_exist is not None:
        request["ifNoneExist"] = if_none_exist
    return {**({"fullUrl": full_url} if full_url else {}), "resource": resource, "request": request}


def put(resource: dict[str, Any], url: str, **request: str) -> dict[str, Any]:
    """Return an entry that updates `resource` at `url`."""
    return {"resource": resource, "request": {"method": "PUT", "url": url, **request}}
