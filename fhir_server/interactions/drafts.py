"""From a resource that a client sent to a Draft that storage can write."""

from __future__ import annotations

import re
import uuid
from typing import NamedTuple

from fhir_server.interactions import claims, parameters
from fhir_server.interactions.context import Context, Resource
from fhir_server.outcome import Invalid, Issue
from fhir_server.storage.writer import Draft
from fhir_server.validation.validator import validate

ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")
"""R4/datatypes.html#id."""


def new_id() -> str:
    """Return an id for a resource that comes without one."""
    return str(uuid.uuid4())


def check_type(resource: Resource, type_name: str) -> None:
    """Raise Invalid (400) unless the body is of the type that the address names."""
    got = resource.get("resourceType")
    if got != type_name:
        raise Invalid(
            f"the address is for {type_name}, but the body's resourceType is {got!r}; "
            f"send a {type_name} or use another address",
            expression="resourceType",
        )


class Checked(NamedTuple):
    """What the writer of a resource that may be stored should know.

    `outcome` is the part of it that tells which claimed profiles are not kept; it is stored beside
    the version (`Draft.issues`).
    """

    issues: tuple[Issue, ...]
    outcome: tuple[Issue, ...] = ()


def check(resource: Resource) -> tuple[Issue, ...]:
    """Raise Invalid (400) with every problem of the resource that breaks a rule of R4.

    Returns what its writer should know although it may be stored: warnings.
    """
    issues = tuple(validate(resource))
    if any(issue.severity in ("error", "fatal") for issue in issues):
        raise Invalid(issues=issues)
    return issues


def judge(context: Context, resource: Resource) -> Checked:
    """Return what is to be said of a resource that may be stored.

    Raises what `check` raises, and Unprocessable (422) for a search parameter that cannot be indexed,
    and with the problems that break a claimed profile where the policy is to reject.
    """
    issues = check(resource)
    parameters.admit(resource)
    if claims.possible(resource):
        # without knowledge every Questionnaire is unknown: the second look tells
        issues = tuple(issue for issue in issues if not claims.is_about_an_unknown_claim(issue))
        outcome = claims.check(context, resource, issues)
        return Checked(issues + outcome, outcome)
    return Checked(issues)


def draft(context: Context, resource: Resource, id_: str, method: str, **conditions: object) -> Draft:
    """Return the draft of a valid resource under `id_`; `conditions` are those of Draft."""
    type_name: str = resource["resourceType"]
    rows = context.indexer().index(type_name, resource, id_)
    made = Draft(type_name, id_, method, resource, rows)
    for name, value in conditions.items():
        setattr(made, name, value)
    return made
