"""batch and transaction (R4/http.html#transaction).

A transaction is one unit of work in stages: read the entries, lock and look up every
condition, give out ids, apply patches, rewrite references, validate, write all drafts together, answer. A
batch is as many units of work as it has entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.database.refusals import refusal_of
from fhir_server.interactions import bundle as bundles
from fhir_server.interactions import drafts, links, search_compartment, search_system
from fhir_server.interactions.context import Context, Resource, Result
from fhir_server.interactions.create import create
from fhir_server.interactions.create import found as found_version
from fhir_server.interactions.delete import conditional_delete, delete, deleted
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.history import history
from fhir_server.interactions.patch import conditional_patch, of_entry, patch
from fhir_server.interactions.places import (
    Place,
    Places,
    conditional_references,
    places,
    refuse_two_writes,
    two_writes,
)
from fhir_server.interactions.read import read, unchanged
from fhir_server.interactions.requests import METHODS, Request, requests
from fhir_server.interactions.search_type import search
from fhir_server.interactions.update import conditional_update, update
from fhir_server.interactions.vread import vread
from fhir_server.model.positions import placed_groups
from fhir_server.outcome import (
    MAX_ISSUES,
    FhirError,
    Invalid,
    Issue,
    TooLarge,
    Unprocessable,
    capped,
)
from fhir_server.storage import outcomes
from fhir_server.storage.writer import Draft, Written, write


def execute(
    entry: Entry,
    grant: Grant,
    bundle: Resource,
    *,
    with_bodies: bool = False,
    with_outcomes: bool = False,
    keep_ids: bool = False,
    sent: bytes | None = None,
) -> Result:
    """Carry out a Bundle of type batch or transaction.

    `with_bodies` puts the stored resources into the answer (Prefer: return=representation),
    `with_outcomes` says of each write what it did (return=OperationOutcome);
    `keep_ids` stores a POSTed resource under the id that it carries (loading of files). `sent` is
    the text of the Bundle: issues in the outcomes of the entries then tell line and column.
    Raises Invalid (400) for a Bundle of another type.
    """
    kind = bundle.get("type")
    if kind == "batch":
        return batch(
            entry,
            grant,
            bundle,
            with_bodies=with_bodies,
            with_outcomes=with_outcomes,
            keep_ids=keep_ids,
            sent=sent,
        )
    if kind == "transaction":
        return entry.write(
            grant,
            lambda context: transaction(
                context,
                bundle,
                with_bodies=with_bodies,
                with_outcomes=with_outcomes,
                keep_ids=keep_ids,
                sent=sent,
            ),
        )
    raise Invalid(
        f"a Bundle sent to the base must be a batch or a transaction, this one is {kind!r}; "
        "to store it as a resource, POST it to Bundle",
        expression="Bundle.type",
    )


def transaction(
    context: Context,
    bundle: Resource,
    *,
    with_bodies: bool = False,
    with_outcomes: bool = False,
    keep_ids: bool = False,
    sent: bytes | None = None,
) -> Result:
    """Carry out all entries or none, and return the transaction-response.

    Raises what is wrong with the resources, all of them together, or else the first refusal, with
    Bundle.entry[n] in its expression, and then nothing is written.
    """
    plan = _plan(context, bundle)
    found = places(context, plan, keep_ids=keep_ids)
    referred = conditional_references(context, plan)
    refuse_two_writes(plan)
    made = _write(context, plan, found, referred)
    told = {number: result.issues for number, result in made.items() if result.issues}
    if told and sent is not None:
        told = dict(zip(told, placed_groups(list(told.values()), sent), strict=True))
    if with_outcomes:
        told = {number: (*told.get(number, ()), *done(result)) for number, result in made.items()}
    entries = [
        _answer(context, request, made.get(request.number), told.get(request.number, ()), with_bodies)
        for request in plan
    ]
    text = bundles.responses("transaction-response", entries)
    return Result(200, text=text, changes=sum(result.changes for result in made.values()))


def batch(
    entry: Entry,
    grant: Grant,
    bundle: Resource,
    *,
    with_bodies: bool = False,
    with_outcomes: bool = False,
    keep_ids: bool = False,
    sent: bytes | None = None,
) -> Result:
    """Carry out each entry by itself, and return the batch-response with the fate of each."""
    check_size(entry.settings.max_bundle_entries, bundle)
    fates: list[_Fate] = []
    changes = 0
    for request in requests(bundle, entry.settings.base_urls):
        try:
            if isinstance(request, FhirError):
                raise request
            result = _alone(entry, grant, request, keep_ids)
            changes += result.changes
            with_body = with_bodies or request.method in ("GET", "HEAD")
            wrote = request.method not in ("GET", "HEAD")
            fates.append(_Fate(result, with_body and result.status != 304, wrote=wrote))
        except Exception as error:  # a crash too: what other entries wrote stays, so their fate must be told
            refusal = refusal_of(error)
            failed = Result(refusal.status, issues=refusal.issues)
            fates.append(_Fate(failed, reason=refusal.issues[0].code))
    told = [fate.result.issues if worth_telling(fate.result) else () for fate in fates]
    if sent is not None:
        told = placed_groups(told, sent)
    if with_outcomes:
        told = [
            (*issues, *(done(fate.result) if fate.wrote else ()))
            for fate, issues in zip(fates, told, strict=True)
        ]
    answers = [
        bundles.response_entry(
            entry.settings,
            fate.result.status,
            fate.result.version,
            with_body=fate.with_body,
            text=fate.result.text,
            issues=issues,
            reason=fate.reason,
        )
        for fate, issues in zip(fates, told, strict=True)
    ]
    return Result(200, text=bundles.responses("batch-response", answers), changes=changes)


def worth_telling(result: Result) -> bool:
    """Say whether the issues of an entry are told unasked: warnings, and what has no version to tell it."""
    return outcomes.worth_keeping(result.issues) or (result.version is None and bool(result.issues))


@dataclass(frozen=True, slots=True)
class _Fate:
    """What became of an entry of a batch, and how it is told."""

    result: Result
    with_body: bool = False
    reason: str = ""
    wrote: bool = False


def done(result: Result) -> tuple[Issue, ...]:
    """Return what a write did, in words (Prefer: return=OperationOutcome)."""
    version = result.version
    if version is None:
        return (
            () if result.issues else (Issue("information", "informational", "there was nothing to delete"),)
        )
    did = "deleted" if version.deleted else "created" if result.status == 201 else "stored"
    what = f"{version.address} is {did}, version {version.version}"
    return (Issue("information", "informational", what),)


def check_size(limit: int, bundle: Resource) -> None:
    """Raise TooLarge (413) for a Bundle with more entries than the installation takes at once."""
    entries = bundle.get("entry")
    if isinstance(entries, list) and len(entries) > limit:
        raise TooLarge(
            f"the Bundle has {len(entries)} entries; at most {limit} are taken at once, "
            "so send it in parts or load it as a file",
            expression="Bundle.entry",
        )


def _plan(context: Context, bundle: Resource) -> list[Request]:
    """Read all entries and ask the grant for each."""
    check_size(context.settings.max_bundle_entries, bundle)
    plan = []
    for request in requests(bundle, context.settings.base_urls):
        if isinstance(request, FhirError):
            raise request
        permit(context.grant, _INTERACTIONS[request.method], request.type_name)
        plan.append(request)
    return plan


_INTERACTIONS = {
    "DELETE": "delete", "POST": "create", "PUT": "update", "PATCH": "patch", "GET": "read", "HEAD": "read",
}  # fmt: skip
_LETTERS = {"POST": "C", "PUT": "U", "PATCH": "P"}


def _write(
    context: Context,
    plan: Sequence[Request],
    found: Places,
    referred: dict[str, str],
) -> dict[int, Result]:
    """Rewrite, validate and store; return the result of each write by entry number."""
    pending: list[tuple[Request, Draft]] = []
    results: dict[int, Result] = {}
    warnings: dict[int, tuple[Issue, ...]] = {}
    wrong: list[Issue] = []
    short: list[Issue] = []
    for request in sorted(plan, key=lambda request: METHODS.index(request.method)):
        if (place := found.of.get(request.number)) is None:
            continue
        if request.method == "DELETE":
            pending += [
                (request, Draft(request.type_name or "", id_, "D", None, if_version=request.if_match))
                for id_ in place.ids
            ]
        elif request.method == "PATCH" or not (request.method == "POST" and place.existing):
            try:
                draft, warnings[request.number] = _draft(context, request, place, found.targets, referred)
                pending.append((request, draft))
            except Invalid as error:
                wrong += error.issues
            except Unprocessable as error:
                short += error.issues
            if len(wrong) + len(short) > MAX_ISSUES:
                break  # what is wrong with thousands of entries is wrong with the program that sent them
    if wrong:
        raise Invalid(issues=capped(wrong, complete=False))
    if short:
        raise Unprocessable(issues=capped(short, complete=False))
    _refuse_shared_targets(pending)
    written = write(context.unit, [draft for _, draft in pending], context.now(), context.grant.subject)
    deletions: dict[int, list[Written]] = {
        request.number: [] for request in plan if request.method == "DELETE"
    }
    for (request, _), outcome in zip(pending, written, strict=True):
        if request.method == "DELETE":
            deletions[request.number].append(outcome)
            continue
        status, told = 201 if outcome.created else 200, warnings.get(request.number, ())
        results[request.number] = Result(status, outcome.version, issues=told, changes=int(outcome.changed))
    for request in plan:
        if request.method == "DELETE":
            results[request.number] = deleted(request.type_name or "", deletions[request.number])
        elif request.number in found.of and request.number not in results:  # a condition that was met
            existing = found_version(context, request.type_name or "", found.of[request.number].id)
            results[request.number] = Result(200, existing)
    return results


def _draft(
    context: Context, request: Request, place: Place, targets: dict[str, str], referred: dict[str, str]
) -> tuple[Draft, tuple[Issue, ...]]:
    """Return the draft of one write, its references resolved and its rules checked, and warnings."""
    resource = links.rewrite(request.resource or {}, targets, referred.get)
    try:
        if request.method == "PUT":
            own = resource.setdefault("id", place.id)
            if own != place.id:
                raise Invalid(
                    f"request.url leads to {request.type_name}/{place.id}, but the resource's id is {own!r}",
                    expression=f"{request.type_name}.id",
                )
        checked = drafts.judge(context, resource)
        draft = drafts.draft(
            context,
            resource,
            place.id,
            _LETTERS[request.method],
            must_be_new=request.method == "POST" or request.must_be_new,
            may_create=place.may_create,
            if_version=request.if_match,
            issues=checked.outcome,
        )
        if not outcomes.worth_keeping(checked.issues):
            return draft, ()
        return draft, tuple(issue.within(f"{request.path}.resource") for issue in checked.issues)
    except FhirError as error:
        raise error.within(f"{request.path}.resource") from None


def _refuse_shared_targets(pending: Sequence[tuple[Request, Draft]]) -> None:
    """Raise Invalid (400) when conditions led two entries to the same resource."""
    seen: dict[str, Request] = {}
    for request, draft in pending:
        first = seen.setdefault(draft.rid, request)
        if first is not request:
            raise two_writes(first, request, f"{draft.type_name}/{draft.id}")


def _answer(
    context: Context,
    request: Request,
    made: Result | None,
    issues: Sequence[Issue],
    with_bodies: bool,
) -> str:
    """Return the response entry of one request; reads and searches run now, after all writes."""
    if made is not None:
        return bundles.response_entry(
            context.settings, made.status, made.version, with_body=with_bodies, issues=issues
        )
    try:
        result = look(context, request)
    except FhirError as error:
        raise error.within(request.path) from None
    return bundles.response_entry(
        context.settings, result.status, result.version, with_body=result.status == 200, text=result.text
    )


def look(context: Context, request: Request) -> Result:
    """Carry out a GET entry: read, vread, history or search."""
    if request.history and request.version_id is None:
        return history(context, request.type_name, request.id, request.pairs)
    if request.type_name is None:
        return search_system.search(context, request.pairs)
    if request.member is not None and request.id is not None:
        return search_compartment.search(
            context, request.type_name, request.id, request.member, request.pairs
        )
    if request.id is None:
        return search(context, request.type_name, request.pairs)
    if request.version_id is not None:
        result = vread(context, request.type_name, request.id, request.version_id)
    else:
        result = read(context, request.type_name, request.id)
    version = result.version
    if version is not None and unchanged(version, request.if_none_match, request.if_modified_since):
        return Result(304, version)
    return result


def _alone(entry: Entry, grant: Grant, request: Request, keep_ids: bool) -> Result:
    """Carry out one entry of a batch in a unit of its own."""
    type_name = request.type_name or ""
    if request.method in ("GET", "HEAD"):
        return entry.read(grant, lambda context: look(context, request))

    def work(context: Context) -> Result:
        resource = request.resource or {}
        if request.method == "POST":
            return create(context, type_name, resource, request.if_none_exist, keep_id=keep_ids)
        if request.method == "DELETE":
            if request.id is None:
                return conditional_delete(context, type_name, request.query or "", request.if_match)
            return delete(context, type_name, request.id, request.if_match)
        if request.method == "PATCH":
            change = of_entry(resource, context.settings)
            if request.id is None:
                return conditional_patch(context, type_name, request.query or "", change, request.if_match)
            return patch(context, type_name, request.id, change, request.if_match)
        if request.id is None:
            return conditional_update(
                context,
                type_name,
                request.query or "",
                resource,
                request.if_match,
                must_be_new=request.must_be_new,
            )
        return update(
            context, type_name, request.id, resource, request.if_match, must_be_new=request.must_be_new
        )

    try:
        result = entry.write(grant, work)
        issues = tuple(issue.within(f"{request.path}.resource") for issue in result.issues)
        return replace(result, issues=issues)
    except FhirError as error:
        raise error.within(f"{request.path}.resource") from None
