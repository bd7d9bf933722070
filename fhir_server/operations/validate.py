"""$validate: what a write would say, and more, without writing (R4/resource-operation-validate.html).

The same rules as for a write, in the same words. Beside them the profiles that a resource claims in
meta.profile are looked at always, whatever the policy for writes, and the one that `profile` names; and,
unless a mode asks what a write would say, the profiles that R4 asks of vital signs by their codes.
"""

from __future__ import annotations

from fhir_server.authorization.permit import permit
from fhir_server.interactions import claims
from fhir_server.interactions.context import Context, Resource
from fhir_server.interactions.read import read
from fhir_server.interactions.update import check_id
from fhir_server.model import json_format, positions
from fhir_server.operations.declaration import Argument, Call, of_r4
from fhir_server.outcome import MAX_ISSUES, FhirError, Gone, Invalid, Issue, NotFound, operation_outcome
from fhir_server.validation.explain import did_you_mean
from fhir_server.validation.knowledge import Knowledge, Task
from fhir_server.validation.validator import validate

MODES = ("create", "update", "delete", "profile")
_BASE = "http://hl7.org/fhir/StructureDefinition/"


def run(context: Context, call: Call) -> Resource:
    """Return an OperationOutcome with everything that is wrong, or with "All OK".

    Raises Invalid (400) for a request that makes no sense: no resource, no such mode, mode=profile
    without profile, another type than that of the address. For a resource that is not there
    NotFound (404) or Gone (410), as read does.
    """
    type_name, mode = call.type_name or "", _mode(call)
    if mode == "delete":
        return _outcome(_deletion(context, type_name, call.id))
    sent, profile = call.one("resource"), call.text("profile")
    if mode == "profile" and profile is None:
        raise Invalid(
            "mode=profile needs the parameter profile, the canonical of a StructureDefinition, for example "
            "profile=http://hl7.org/fhir/StructureDefinition/vitalsigns",
            code="required",
        )
    resource = _stored(context, type_name, call.id) if sent is None else sent.value
    if sent is not None:
        _check_type(sent, type_name)
    knowledge = context.knowledge()
    issues = [] if profile is None else _unknown(profile, type_name, knowledge)
    wanted = () if profile is None or issues else (profile,)
    vital_signs = mode not in ("create", "update")
    issues += _problems(resource, Task(knowledge, profiles=wanted, claims=True, vital_signs=vital_signs))
    if mode == "update":
        issues += _update(context, type_name, call.id, resource)
    if sent is not None and call.sent is not None:
        issues = list(positions.placed(issues, call.sent, sent.place))
    against = f"R4 and {profile}" if wanted else "R4"
    if all(issue.severity == "information" for issue in issues):
        issues = [_said(f"All OK: the {type_name} is valid against {against}"), *issues]
    return _outcome(issues)


VALIDATE = of_r4("Resource-validate", run)


def _mode(call: Call) -> str | None:
    mode = call.text("mode")
    if mode is not None and mode not in MODES:
        place = call.arguments["mode"][0].place
        what = f"the mode {mode!r} is not known; {', '.join(MODES)} are{did_you_mean(mode, MODES)}"
        raise Invalid(what, expression=place, code="value")
    if call.id is None and mode == "delete":
        raise Invalid(
            f"mode=delete is asked of one resource: /fhir/{call.type_name}/7/$validate?mode=delete",
            code="required",
        )
    if call.id is not None and mode == "create":
        raise Invalid(
            f"mode=create is asked of a type, as a create gives the id: /fhir/{call.type_name}/$validate"
        )
    return mode


def _check_type(sent: Argument, type_name: str) -> None:
    if sent.type != type_name:
        where = type_name if sent.place is None else sent.place
        raise Invalid(
            f"the body is a {sent.type}, the URL says {type_name}; both must name the same type",
            expression=f"{where}.resourceType",
        )


def _stored(context: Context, type_name: str, id_: str | None) -> Resource:
    """Return the stored resource that is meant when none was sent."""
    if id_ is None:
        raise Invalid(
            "$validate needs the parameter resource: the body, or a parameter of a Parameters resource; only "
            f"a stored resource is validated without, as /fhir/{type_name}/7/$validate",
            code="required",
        )
    version = read(context, type_name, id_).version
    return json_format.parse(version.text().encode()) if version is not None else {}


def _problems(resource: Resource, task: Task) -> list[Issue]:
    """Return what a write would say, word for word, and then what it would not have looked at."""
    plain = validate(resource)
    if len(plain) > MAX_ISSUES:
        return plain
    further = validate(resource, task)
    if not any(issue.severity == "error" for issue in plain):
        # as the write tells it: so far nothing is wrong but what claims may say
        further = [issue for issue in further if not claims.is_about_an_unknown_claim(issue)]
        further += claims.unknown(claims.claimed(resource), task.knowledge.conformance)
    known = set(plain)
    return [*plain, *(issue for issue in further if issue not in known)]


def _unknown(profile: str, type_name: str, knowledge: Knowledge) -> list[Issue]:
    """Return the issue for a profile that nobody here knows (R4: the server SHALL return an error)."""
    url = profile.partition("|")[0]
    if url in (f"{_BASE}{name}" for name in (type_name, "DomainResource", "Resource")):
        return []  # what every resource is validated against
    if knowledge.conformance.find("StructureDefinition", profile) is not None:
        return []
    what = f"the profile {profile} is not known here, so nothing was checked against it"
    return [Issue("error", "not-found", what, rule="profile-known")]


def _update(context: Context, type_name: str, id_: str | None, resource: Resource) -> list[Issue]:
    """Return what an update would say beside the rules of the content: about ids and what is there."""
    own = id_ if id_ is not None else resource.get("id")
    if not isinstance(own, str):
        what = "an update needs an id, and the resource has none"
        return [Issue("error", "required", what, f"{type_name}.id", "update-id")]
    try:
        check_id(resource, own)
    except FhirError as error:
        return list(error.issues)
    permit(context.grant, "update", type_name)
    try:
        read(context, type_name, own)
    except NotFound:
        return [_said(f"there is no {type_name}/{own} yet; an update creates it")]
    except Gone as gone:
        return [_said(f"{gone.issues[0].diagnostics}; an update brings it back")]
    return []


def _deletion(context: Context, type_name: str, id_: str | None) -> list[Issue]:
    """Return what a deletion would say: it takes every resource, and looks at no references to it."""
    permit(context.grant, "delete", type_name)
    try:
        read(context, type_name, id_ or "")
    except (NotFound, Gone) as nothing:
        return [_said(f"{nothing.issues[0].diagnostics}; a deletion changes nothing")]
    what = f"All OK: {type_name}/{id_} can be deleted; whether others refer to it is not looked at"
    return [_said(what)]


def _said(what: str) -> Issue:
    return Issue("information", "informational", what)


def _outcome(issues: list[Issue]) -> Resource:
    return operation_outcome(issues)
