"""What a resource claims to be, held against the definitions that are installed, as the policy has it.

A claim is a canonical in `meta.profile` (R4/resource.html#Meta), of the resource itself, of a contained
one or of an entry of a Bundle, or the `questionnaire` of a QuestionnaireResponse. A claim that is not
known here says nothing about the resource: it is told as information and never kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from fhir_server.definitions.conformance import Conformance
from fhir_server.interactions.context import Context, Resource
from fhir_server.interactions.policy import endpoint_of
from fhir_server.observability import events
from fhir_server.outcome import Issue, Unprocessable
from fhir_server.validation.knowledge import Task
from fhir_server.validation.validator import validate_claims

MOST_CLAIMS = 1000
"""Claims of one resource that are looked up; a Bundle may have as many as it has entries."""

LONGEST = 200
"""Signs of a canonical that are repeated to its sender."""

_BASE = "http://hl7.org/fhir/StructureDefinition/"


def possible(resource: Resource) -> bool:
    """Say quickly whether there may be a claim; false for nearly every resource without profile.

    >>> possible({"resourceType": "Patient", "meta": {"profile": ["urn:p"]}})
    True
    >>> possible({"resourceType": "Patient", "meta": {"tag": []}})
    False
    """
    meta = resource.get("meta")
    return (
        (meta is not None and "profile" in meta)
        or "contained" in resource
        or resource["resourceType"] == "Bundle"
        or "questionnaire" in resource
    )


def claimed(resource: Resource, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Give (type of definition, canonical, FHIRPath) of each claim of a valid resource.

    >>> response = {"resourceType": "QuestionnaireResponse", "questionnaire": "urn:q|2"}
    >>> list(claimed(response))
    [('Questionnaire', 'urn:q|2', 'QuestionnaireResponse.questionnaire')]
    """
    type_name = resource["resourceType"]
    path = path or type_name
    for number, canonical in enumerate(resource.get("meta", {}).get("profile", ())):
        # null stands where only an extension is; the base type is what was checked already
        if canonical is not None and canonical.partition("|")[0] != f"{_BASE}{type_name}":
            yield "StructureDefinition", canonical, f"{path}.meta.profile[{number}]"
    asked = resource.get("questionnaire") if type_name == "QuestionnaireResponse" else None
    if isinstance(asked, str) and not asked.startswith("#"):  # a contained one is always there to look at
        yield "Questionnaire", asked, f"{path}.questionnaire"
    for number, inner in enumerate(resource.get("contained", ())):
        yield from claimed(inner, f"{path}.contained[{number}]")
    if type_name == "Bundle":
        for number, entry in enumerate(resource.get("entry", ())):
            if "resource" in entry:
                yield from claimed(entry["resource"], f"{path}.entry[{number}].resource")


def check(context: Context, resource: Resource, already: Sequence[Issue]) -> tuple[Issue, ...]:
    """Return what the resource does not keep of its claims, beside what is known of it `already`.

    Raises Unprocessable (422) where the policy is to reject and one of them is an error.
    """
    action = context.settings.policy.action(endpoint_of(context.grant), resource["resourceType"])
    if action == "off":
        return ()
    claims = list(islice(claimed(resource), MOST_CLAIMS))
    if not claims:
        return ()
    issues = unknown(claims, context.conformance())
    if len(issues) < len(claims):
        known = set(already)
        for issue in validate_claims(resource, Task(context.knowledge(), claims=True)):
            if issue not in known and not is_about_an_unknown_claim(issue):
                issues.append(issue)
    if any(issue.severity in ("error", "fatal") for issue in issues):
        if action == "reject":
            context.settings.registry.confirm(context.unit)
        events.emit(events.ProfileBroken(resource["resourceType"], action))
        if action == "reject":
            raise Unprocessable(issues=issues)
    return tuple(issues)


def unknown(claims: Iterable[tuple[str, str, str]], conformance: Conformance) -> list[Issue]:
    """Return an issue for each claim whose definition nobody knows here."""
    return [
        Issue(
            "information",
            "not-found",
            f"{what} {canonical[:LONGEST]} is not known here, so the resource was not held against it; "
            "install the package that defines it",
            path,
            "profile-known" if what == "StructureDefinition" else "response-questionnaire",
        )
        for what, canonical, path in claims
        if conformance.find(what, canonical) is None
    ]


def is_about_an_unknown_claim(issue: Issue) -> bool:
    """Say whether an issue tells what `check` tells in its own words."""
    place = (issue.expression or "").rstrip("[]0123456789")
    told = issue.code == "not-found" and issue.severity != "error"
    return told and place.endswith((".meta.profile", ".questionnaire"))
