"""batch and transaction (R4/http.html#transaction).

A transaction is one unit of work in stages: read the entries, lock and look up every
condition, give out ids, apply patches, rewrite references, validate, write all drafts together, answer
(reads, searches and operations see what was written). A batch (batch.py) is as many units as it has
entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.interactions import bundle as bundles
from fhir_server.interactions import conditions, drafts, entries, links
from fhir_server.interactions.batch import batch
from fhir_server.interactions.context import Context, Resource, Result
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.patch import of_entry, only_match, patched, still_matches
from fhir_server.interactions.requests import METHODS, Request, check_size, requests
from fhir_server.model.positions import placed_groups
from fhir_server.outcome import (
    MAX_ISSUES,
    FhirError,
    Invalid,
    Issue,
    NoMatch,
    NotSupported,
    Unprocessable,
    capped,
)
from fhir_server.storage import outcomes, reader, writer
from fhir_server.storage.writer import Draft, write


def execute(
    entry: Entry,
    grant: Grant,
    bundle: Resource,
    *,
    returns: str | None = None,
    keep_ids: bool = False,
    sent: bytes | None = None,
) -> Result:
    """Carry out a Bundle of type batch or transaction.

    `returns` is what the answer shall hold of what was written (Prefer: return), one of entries.RETURNS;
    `keep_ids` stores a POSTed resource under the id that it carries (loading of files). `sent` is
    the text of the Bundle: issues in the outcomes of the entries then tell line and column.
    Raises Invalid (400) for a Bundle of another type.
    """
    kind = bundle.get("type")
    if kind == "batch":
        return batch(entry, grant, bundle, returns=returns, keep_ids=keep_ids, sent=sent)
    if kind == "transaction":
        return entry.write(
            grant,
            lambda context: transaction(context, bundle, returns=returns, keep_ids=keep_ids, sent=sent),
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
    returns: str | None = None,
    keep_ids: bool = False,
    sent: bytes | None = None,
) -> Result:
    """Carry out all entries or none, and return the transaction-response.

    Raises what is wrong with the resources, all of them together, or else the first refusal, with
    Bundle.entry[n] in its expression, and then nothing is written.
    """
    plan = _plan(context, bundle)
    targets, found = _places(context, plan, keep_ids=keep_ids)
    referred = _conditional_references(context, plan)
    _refuse_two_writes(plan)
    made = _write(context, plan, targets, found, referred)
    told = {number: result.issues for number, result in made.items() if result.issues}
    if told and sent is not None:
        told = dict(zip(told, placed_groups(list(told.values()), sent), strict=True))
    room = entries.Room(context.settings.max_response_bytes)
    answers = []
    for request in plan:
        answer = _answer(context, request, made.get(request.number), told.get(request.number, ()), returns)
        room.take(answer, request)
        answers.append(answer)
    text = bundles.responses("transaction-response", answers)
    return Result(200, text=text, changes=sum(result.changes for result in made.values()))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an entry goes: its id, and whether its conditions found that id to exist already."""

    id: str
    existing: bool


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


def _places(
    context: Context, plan: Sequence[Request], *, keep_ids: bool
) -> tuple[dict[str, str], dict[int, _Place | None]]:
    """Lock and look up the conditions of the entries; give every write its id.

    Returns what each fullUrl becomes, and the place of each write by entry number (None for
    a conditional delete without a match).
    """
    asked: dict[int, conditions.Criteria] = {}
    for request in plan:
        text = request.if_none_exist if request.method == "POST" else request.query
        if text and request.writes and request.type_name:
            try:
                asked[request.number] = conditions.criteria(context, request.type_name, text)
            except FhirError as error:
                raise error.within(f"{request.path}.request") from None
    conditions.lock(context, asked.values())
    targets: dict[str, str] = {}
    places: dict[int, _Place | None] = {}
    for request in plan:
        if not request.writes:
            continue
        match = None
        if (criteria := asked.get(request.number)) is not None:
            try:
                look_up = only_match if request.method == "PATCH" else conditions.match
                match = look_up(context, criteria)
            except FhirError as error:
                raise error.within(f"{request.path}.request") from None
        own = request.resource.get("id") if request.resource is not None else None
        if match is not None:
            places[request.number] = _Place(match, existing=True)
        elif request.method == "DELETE":
            places[request.number] = _Place(request.id, existing=True) if request.id else None
        elif request.method == "PATCH":
            places[request.number] = _Place(request.id or "", existing=True)
        elif request.method == "PUT":
            places[request.number] = _Place(request.id or own or drafts.new_id(), existing=False)
        else:
            if keep_ids and isinstance(own, str) and drafts.ID.match(own):
                request.method, request.id = "PUT", own
            places[request.number] = _Place(request.id or drafts.new_id(), existing=False)
        place = places[request.number]
        if place is None or request.full_url is None or request.method == "DELETE":
            continue
        address = f"{request.type_name}/{place.id}"
        if targets.setdefault(request.full_url, address) != address:
            raise Invalid(
                f"the fullUrl {request.full_url!r} stands on two entries",
                expression=f"{request.path}.fullUrl",
            )
    _patch(context, plan, places, asked)
    return targets, places


def _patch(
    context: Context,
    plan: Sequence[Request],
    places: dict[int, _Place | None],
    asked: dict[int, conditions.Criteria],
) -> None:
    """Put in the place of each patch the resource that it makes.

    All that the transaction will write is locked together, in the order of every writer.
    """
    if not any(request.method == "PATCH" for request in plan):
        return
    there = [
        (request.type_name or "", place.id)
        for request in plan
        if (place := places.get(request.number)) is not None and request.method != "POST"
    ]
    current = writer.lock(context.unit, there)
    for request in plan:
        place = places.get(request.number)
        if request.method != "PATCH" or place is None:
            continue
        type_name, criteria = request.type_name or "", asked.get(request.number)
        try:
            if criteria is not None:
                still_matches(context, criteria, place.id)
            change = of_entry(request.resource or {}, context.settings)
            version = current.get((type_name, place.id))
            made = patched(context.settings, version, type_name, place.id, change, request.if_match)
        except FhirError as error:
            raise error.within(f"{request.path}.resource") from None
        request.resource = made.resource


def _conditional_references(context: Context, plan: Sequence[Request]) -> dict[str, str]:
    """Look up every conditional reference once; return what each becomes."""
    found: dict[str, str] = {}
    for request in plan:
        if request.resource is None or not request.writes:
            continue
        for reference, path in links.conditional_references(request.resource, f"{request.path}.resource"):
            if reference in found:
                continue
            type_name, _, text = reference.partition("?")
            try:
                match = conditions.match(context, conditions.criteria(context, type_name, unquote(text)))
            except FhirError as error:
                raise error.within(path) from None
            if match is None:
                raise NoMatch(
                    f"the conditional reference {reference!r} matches nothing here; "
                    "store its target first, or send it in the same Bundle and refer to its fullUrl",
                    expression=path,
                )
            found[reference] = f"{type_name}/{match}"
    return found


def _refuse_two_writes(plan: Sequence[Request]) -> None:
    """Raise Invalid (400) when two entries write the same resource by its id."""
    seen: dict[tuple[str | None, str], Request] = {}
    for request in plan:
        if request.id is None or request.method not in ("PUT", "DELETE", "PATCH"):
            continue
        first = seen.setdefault((request.type_name, request.id), request)
        if first is not request:
            raise Invalid(
                f"{first.path} and {request.path} both write {request.type_name}/{request.id}; "
                "a transaction may write a resource once",
                expression=request.path,
            )


def _write(
    context: Context,
    plan: Sequence[Request],
    targets: dict[str, str],
    places: dict[int, _Place | None],
    referred: dict[str, str],
) -> dict[int, Result]:
    """Rewrite, validate and store; return the result of each write by entry number."""
    pending: list[tuple[Request, Draft]] = []
    results: dict[int, Result] = {}
    warnings: dict[int, tuple[Issue, ...]] = {}
    wrong: list[Issue] = []
    short: list[Issue] = []
    for request in sorted(plan, key=lambda request: METHODS.index(request.method)):
        place = places.get(request.number)
        if not request.writes:
            continue
        if place is None:
            results[request.number] = Result(204)
        elif request.method == "DELETE":
            pending.append(
                (request, Draft(request.type_name or "", place.id, "D", None, if_version=request.if_match))
            )
        elif request.method == "POST" and place.existing:
            results[request.number] = Result(
                200, reader.read(context.unit, request.type_name or "", place.id)
            )
        else:
            try:
                draft, warnings[request.number] = _draft(context, request, place, targets, referred)
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
    for (request, draft), outcome in zip(pending, written, strict=True):
        status = 204 if draft.method == "D" else 201 if outcome.created else 200
        told = warnings.get(request.number, ())
        results[request.number] = Result(status, outcome.version, issues=told, changes=int(outcome.changed))
    return results


def _draft(
    context: Context, request: Request, place: _Place, targets: dict[str, str], referred: dict[str, str]
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
            raise Invalid(
                f"{first.path} and {request.path} both write {draft.type_name}/{draft.id}; "
                "a transaction may write a resource once",
                expression=request.path,
            )


def _answer(
    context: Context,
    request: Request,
    made: Result | None,
    issues: Sequence[Issue],
    returns: str | None,
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
        result = entries.look(context, request)
    except FhirError as error:
        raise entries.naming(request, error) from None
    return bundles.response_entry(
        context.settings,
        result.status,
        result.version,
        with_body=entries.shows_body(request, result, returns),
        text=None if request.method == "HEAD" else result.text,
    )
