"""Prefetch: templates, what the client gave, what has to be fetched, what cannot be had.

CDS Hooks 2.0, "Prefetch Template". Four cases are told apart: a value (used), null (the client
looked and there is nothing; not fetched again), a missing key (the client declined; fetched where
we may), an OperationOutcome (the client failed; treated as missing). A Bundle with a next page is
no complete answer and counts as missing too, unless the template asked for a page by `_count`; so does
one that holds an OperationOutcome of an error. Keys that no template of ours has are passed over.
What is needed and cannot be had makes 412.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from cds_hooks.hooks.hook import Hook
from cds_hooks.request import HookRequest
from fhir_server.outcome import Invalid, PreconditionFailed

Resource = dict[str, Any]
_TOKEN = re.compile(r"\{\{\s*([A-Za-z.]+)\s*\}\}")
_USER = {
    "userPractitionerId": "Practitioner",
    "userPractitionerRoleId": "PractitionerRole",
    "userPatientId": "Patient",
    "userRelatedPersonId": "RelatedPerson",
}


class CannotBeHad(Exception):
    """The data of a key cannot be had, and why: that makes 412."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"prefetch.{key}: {why}")
        self.key = key
        self.why = why


class SourceFailed(Exception):
    """Where data should come from broke, or was too slow: that makes no cards. The text names no data."""


class Source(Protocol):
    """Where missing data may be fetched: queries in, the resources of each query out."""

    def fetch(self, queries: Mapping[str, str]) -> dict[str, list[Resource]]:
        """Run each query (`Patient/7`, `Condition?patient=7`) and return its resources by key.

        Raises CannotBeHad and SourceFailed.
        """


@dataclass(frozen=True, slots=True)
class Gathered:
    """All resources of a call, and where each key came from: given, empty or fetched."""

    resources: tuple[Resource, ...]
    origin: Mapping[str, str]


def gather(templates: Mapping[str, str], request: HookRequest, hook: Hook, source: Source | None) -> Gathered:
    """Return the resources of all keys.

    Raises Invalid (400) for a prefetch value that is no resource, PreconditionFailed (412) naming
    the keys that are missing and cannot be fetched.
    """
    found: dict[str, list[Resource]] = {}
    origin: dict[str, str] = {}
    for key in templates:
        given = _given(key, request.prefetch, counted="_count=" in templates[key])
        if given is not None:
            found[key] = given
            origin[key] = "given" if given else "empty"
    missing = {key: fill(template, request, hook) for key, template in templates.items() if key not in found}
    if missing and source is None:
        raise PreconditionFailed(
            f"the prefetch keys {', '.join(sorted(missing))} are missing or failed, and this service may not"
            " fetch them: give them (null where there is nothing), or fhirServer and fhirAuthorization of a"
            " server that is registered for this client",
            code="required",
            expression=f"prefetch.{min(missing)}",
        )
    if missing and source is not None:
        try:
            found |= source.fetch(missing)
        except CannotBeHad as error:
            raise PreconditionFailed(
                f"the prefetch key {error.key} is missing or failed, and it cannot be fetched: {error.why}",
                code="required",
                expression=f"prefetch.{error.key}",
            ) from error
        origin |= dict.fromkeys(missing, "fetched")
    resources = tuple(resource for key in templates for resource in found[key])
    return Gathered(resources, {key: origin[key] for key in templates})


def _given(key: str, prefetch: Mapping[str, Any], *, counted: bool) -> list[Resource] | None:
    """Return the resources that came under a key; None when it counts as missing."""
    if key not in prefetch:
        return None
    value = prefetch[key]
    if value is None:
        return []
    if not isinstance(value, dict) or not isinstance(value.get("resourceType"), str):
        raise Invalid(f"prefetch.{key} has to be a resource, a Bundle or null", expression=f"prefetch.{key}")
    if value["resourceType"] == "OperationOutcome":
        return None
    if value["resourceType"] != "Bundle":
        return [value]
    links = value.get("link", [])
    more = any(isinstance(link, dict) and link.get("relation") == "next" for link in _list(links))
    if more and not counted:
        return None
    found = list(_entries(key, value))
    outcomes = [each for each in found if each["resourceType"] == "OperationOutcome"]
    if not outcomes:
        return found
    if any(map(says_error, outcomes)):
        return None
    return [each for each in found if each["resourceType"] != "OperationOutcome"]


def _entries(key: str, bundle: Resource) -> Iterator[Resource]:
    for number, entry in enumerate(_list(bundle.get("entry", []))):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            place = f"prefetch.{key}.entry[{number}].resource"
            raise Invalid(f"{place} has to be a resource", expression=place)
        yield resource


def says_error(outcome: Mapping[str, Any]) -> bool:
    """Whether an OperationOutcome tells more than warnings.

    >>> says_error({"issue": [{"severity": "warning"}]}), says_error({"issue": [{"severity": "error"}]})
    (False, True)
    """
    return any(
        isinstance(issue, dict) and issue.get("severity") in ("error", "fatal")
        for issue in _list(outcome.get("issue", []))
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def fill(template: str, request: HookRequest, hook: Hook) -> str:
    """Return the query of a template, its tokens replaced from the context.

    Raises PreconditionFailed (412) when the context lacks a field that a token names.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        text: Any = None
        if name.startswith("context.") and name[8:] in hook.tokens:
            text = request.context.get(name[8:])
        elif name in _USER and request.user is not None:
            kind, _, identifier = request.user.partition("/")
            text = identifier if kind == _USER[name] else None
        if not isinstance(text, str):
            raise PreconditionFailed(f"{{{{{name}}}}} has no value in this call", expression=name)
        return quote(text, safe="")

    return _TOKEN.sub(value, template)


def check_template(template: str, hook: Hook) -> None:
    """Raise ValueError when a template holds a token that the specification does not allow.

    Only root-level fields with a primitive value are eligible, never draftOrders or selections.
    """
    for name in _TOKEN.findall(template):
        if name not in _USER and name not in {f"context.{token}" for token in hook.tokens}:
            raise ValueError(f"{{{{{name}}}}} is no prefetch token of {hook.name}")
    if "{{" in _TOKEN.sub("", template):
        raise ValueError(f"{template!r} has a token that cannot be read")
