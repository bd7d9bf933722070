"""batch and transaction (R4/http.html#transaction).

A transaction is one unit of work in stages: read the entries, lock and look up every
condition, give out ids, apply patches, rewrite references, validate, write all drafts together, answer
(reads, searches and operations see what was written). A batch (batch.py) is as many units as it has
entries.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.interactions import bundle as bundles
from fhir_server.interactions import drafts, entries, links
from fhir_server.interactions.batch import batch
from fhir_server.interactions.context import Context, Resource, Result
from fhir_server.interactions.create import found as found_version
from fhir_server.interactions.delete import deleted
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.integrity import store
from fhir_server.interactions.places import (
    Place,
    Places,
    conditional_references,
    places,
    refuse_two_writes,
    resolved,
    two_writes,
)
from fhir_server.interactions.replayed import as_batch
from fhir_server.interactions.requests import METHODS, Request, check_size, requests
from fhir_server.interactions.update import check_id
from fhir_server.model.positions import placed_groups
from fhir_server.outcome import (
    MAX_ISSUES,
    FhirError,
    Invalid,
    Issue,
    NotSupported,
    Unprocessable,
    capped,
)
from fhir_server.storage import outcomes, writer
from fhir_server.storage.writer import Draft, Written


def execute(
    entry: Entry,
    grant: Grant,
    bundle: Resource,
    *,
    returns: str | None = None,
    keep_ids: bool = False,
    sent: bytes | None = None,
    stated: entries.Stated | None = None,
) -> Result:
    """Carry out a Bundle of type batch, transaction or history.

    `returns` is what the answer shall hold of what was written (Prefer: return), one of entries.RETURNS;
    `keep_ids` stores a POSTed resource under the id that it carries (loading of files). `sent` is
    the text of the Bundle: issues in the outcomes of the entries then tell line and column. `stated`
    answers the entries that ask for the CapabilityStatement.
    Raises Invalid (400) for a Bundle of another type.
    """
    kind = bundle.get("type")
    if kind == "batch":
        return batch(entry, grant, bundle, returns=returns, keep_ids=keep_ids, sent=sent, stated=stated)
    if kind == "transaction":
        return entry.write(
            grant,
            lambda context: transaction(
                context, bundle, returns=returns, keep_ids=keep_ids, sent=sent, stated=stated
            ),
        )
    if kind == "history":
        repeated, order = as_batch(bundle)
        return batch(entry, grant, repeated, returns=returns, sent=sent, stated=stated, order=order)
    raise Invalid(
        f"a Bundle sent to the base is a batch, a transaction or a history, this one is {kind!r}; "
        "to store it as a resource, POST it to Bundle",
        expression="Bundle.type",
    )


def transaction(
    context: Context,
    bundle: Resource,
    *,
    returns: str | None = None,
    keep_ids: bool = False,
    sent: bytes | None = None,
    stated: entries.Stated | None = None,
) -> Result:
    """Carry out all entries or none, and return the transaction-response.

    Raises what is wrong with the resources, all of them together, or else the first refusal, with
    Bundle.entry[n] in its expression, and then nothing is written.
    """
    plan = _plan(context, bundle)
    found = places(context, plan, keep_ids=keep_ids)
    refuse_two_writes(plan)
    written = {
        request.type_name
        for request in plan
        if request.number in found.of and not (request.method == "POST" and found.of[request.number].existing)
    }
    referred, waiting = conditional_references(context, plan, written)
    if waiting:
        referred |= _rehearsed(context, plan, found, referred, waiting)
    made = _write(context, plan, found, referred)
    told = {number: result.issues for number, result in made.items() if result.issues}
    if told and sent is not None:
        told = dict(zip(told, placed_groups(list(told.values()), sent), strict=True))
    room = entries.Room(context.settings.max_response_bytes)
    answers = []
    for request in plan:
        issues = told.get(request.number, ())
        answer = _answer(context, request, made.get(request.number), issues, returns, stated)
        room.take(answer, request)
        answers.append(answer)
    text = bundles.responses("transaction-response", answers)
    return Result(200, text=text, changes=sum(result.changes for result in made.values()))


def _plan(context: Context, bundle: Resource) -> list[Request]:
    """Read all entries and ask the grant for each."""
    check_size(context.settings.max_bundle_entries, bundle)
    plan = []
    for request in requests(bundle, context.settings.base_urls):
        if isinstance(request, FhirError):
            raise request
        if request.writes:
            permit(context.grant, _INTERACTIONS[request.method], request.type_name)
        elif request.operation is not None and entries.prepared(context.settings, request).affects_state:
            raise NotSupported(
                f"${request.operation} changes something and cannot share the fate of a transaction; "
                "call it by itself or in a batch",
                expression=f"{request.path}.request.url",
            )
        plan.append(request)
    return plan


_INTERACTIONS = {"DELETE": "delete", "POST": "create", "PUT": "update", "PATCH": "patch"}
_LETTERS = {"POST": "C", "PUT": "U", "PATCH": "P"}


def _rehearsed(
    context: Context,
    plan: Sequence[Request],
    found: Places,
    referred: dict[str, str],
    waiting: dict[str, str],
) -> dict[str, str]:
    """Return what the conditional references become that can only be looked up once all is written.

    All is written, they are looked up, and it is taken back: what refers to them is then written whole.
    While it stands they lead to an id that nothing has.
    """
    unit = context.unit
    nowhere = {reference: f"{reference.partition('?')[0]}/{drafts.new_id()}" for reference in waiting}
    pending, _ = _drafts(context, plan, found, referred | nowhere)
    known = list(unit.changes)
    unit.execute("SAVEPOINT rehearsal")
    writer.write(unit, [draft for _, draft in pending], context.now(), context.grant.subject)
    became = {reference: resolved(context, reference, path) for reference, path in waiting.items()}
    unit.execute("ROLLBACK TO SAVEPOINT rehearsal")
    unit.changes[:] = known
    return became


def _drafts(
    context: Context, plan: Sequence[Request], found: Places, referred: dict[str, str]
) -> tuple[list[tuple[Request, Draft]], dict[int, tuple[Issue, ...]]]:
    """Rewrite and validate; return the drafts with their entries, and warnings by entry number."""
    pending: list[tuple[Request, Draft]] = []
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
        elif request.method != "POST" or not place.existing:
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
    return pending, warnings


def _write(
    context: Context,
    plan: Sequence[Request],
    found: Places,
    referred: dict[str, str],
) -> dict[int, Result]:
    """Rewrite, validate and store; return the result of each write by entry number."""
    pending, warnings = _drafts(context, plan, found, referred)
    results: dict[int, Result] = {}
    written = store(
        context,
        [draft for _, draft in pending],
        [f"{request.path}.{'request' if draft.method == 'D' else 'resource'}" for request, draft in pending],
    )
    deletions: dict[int, list[Written]] = {
        request.number: [] for request in plan if request.method == "DELETE"
    }
    for (request, _), outcome in zip(pending, written, strict=True):
        if request.method == "DELETE":
            deletions[request.number].append(outcome)
            continue
        status, told = 201 if outcome.created else 200, warnings.get(request.number, ()) + outcome.issues
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
    resource = dict(request.resource or {})
    if targets or referred:
        resource = links.rewrite(resource, targets, referred.get, links.base_of(request.full_url))
    try:
        if request.method == "PUT":
            if request.id is not None:
                check_id(resource, request.id)
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
    returns: str | None,
    stated: entries.Stated | None,
) -> str:
    """Return the response entry of one request; reads, searches and operations run now, after all writes."""
    if made is not None:
        if returns == "OperationOutcome":
            issues = (*issues, bundles.done(made))
        with_body = entries.shows_body(request, made, returns)
        return bundles.response_entry(
            context.settings, made.status, made.version, with_body=with_body, issues=issues
        )
    try:
        result = entries.look(context, request, stated)
    except FhirError as error:
        raise entries.naming(request, error) from None
    return bundles.response_entry(
        context.settings,
        result.status,
        result.version,
        with_body=entries.shows_body(request, result, returns),
        text=None if request.method == "HEAD" else result.text,
    )
