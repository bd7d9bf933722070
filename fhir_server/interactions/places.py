"""Where the entries of a transaction go: conditions looked up, ids given out, patches applied.

Everything that a transaction must lock is locked here, in the order of every writer: its criteria, then
the rows that it will change (R4/http.html#trules). What it writes besides is new.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from fhir_server.interactions import conditions, drafts, links
from fhir_server.interactions.conditions import Criteria
from fhir_server.interactions.context import Context
from fhir_server.interactions.delete import victims
from fhir_server.interactions.patch import of_entry, only_match, patched
from fhir_server.interactions.requests import METHODS, Request
from fhir_server.interactions.update import check_own_id, refuse_taken
from fhir_server.outcome import FhirError, Invalid, NoMatch
from fhir_server.storage import reader, writer
from fhir_server.storage.version import Version


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry goes: the ids that it writes, and whether its conditions found them to exist.

    One id, but for a conditional delete, which may have none or several. `may_create` is False where the
    client names an id that is not known and the installation gives all ids itself.
    """

    ids: tuple[str, ...]
    existing: bool
    may_create: bool = True

    @property
    def id(self) -> str:
        """The id of an entry that has one."""
        return self.ids[0]


@dataclass(frozen=True, slots=True)
class Places:
    """The places of all writes by entry number, and what each fullUrl of the Bundle becomes."""

    of: Mapping[int, Place]
    targets: dict[str, str]


def places(context: Context, plan: Sequence[Request], *, keep_ids: bool) -> Places:
    """Lock and look up the conditions of the entries; give every write its id, and apply the patches.

    A deletion comes before everything else: a conditional create does not find what the same
    transaction deletes. Of several conditional creates with the same criteria that match nothing, the
    first creates and the others answer with it.
    """
    asked = _criteria(context, plan)
    bodies = [request.resource for request in plan if request.number in asked and request.method != "PATCH"]
    conditions.lock(context, asked.values(), bodies)
    found: dict[int, Place] = {}
    gone: set[tuple[str | None, str]] = set()
    created: dict[str, Place] = {}
    for request in sorted(plan, key=lambda request: METHODS.index(request.method)):
        if not request.writes:
            continue
        criteria = asked.get(request.number)
        try:
            place = _place(context, request, criteria, gone, keep_ids=keep_ids)
        except FhirError as error:
            raise error.within(f"{request.path}.request") from None
        if request.method == "DELETE":
            gone |= {(request.type_name, id_) for id_ in place.ids}
        elif request.method == "POST" and criteria is not None and not place.existing:
            first = created.setdefault(criteria.query.canonical(), place)
            place = place if first is place else Place(first.ids, existing=True)
        found[request.number] = place
    current = _lock(context, plan, found, asked)
    _check_own_ids(plan, found, asked, current)
    _patch(context, plan, found, current)
    return Places(found, _targets(context, plan, found))


def _criteria(context: Context, plan: Sequence[Request]) -> dict[int, Criteria]:
    """Return the criteria of those writes that have some, by entry number."""
    asked: dict[int, Criteria] = {}
    for request in plan:
        text = request.if_none_exist if request.method == "POST" else request.query
        if text and request.writes and request.type_name:
            try:
                asked[request.number] = conditions.criteria(
                    context, request.type_name, text, countable=request.method == "DELETE"
                )
            except FhirError as error:
                raise error.within(f"{request.path}.request") from None
    return asked


def _place(
    context: Context,
    request: Request,
    criteria: Criteria | None,
    gone: set[tuple[str | None, str]],
    *,
    keep_ids: bool,
) -> Place:
    """Return the place of one write; what its criteria match is not locked yet."""
    own = request.resource.get("id") if request.resource is not None else None
    if request.method == "DELETE":
        if criteria is None:
            return Place((request.id or "",), existing=True)
        return Place(tuple(victims(context, criteria, request.if_match)), existing=True)
    if request.method == "PATCH":
        id_ = only_match(context, criteria) if criteria is not None else request.id
        return Place((id_ or "",), existing=True)
    match = conditions.match(context, criteria) if criteria is not None else None
    if match is not None and not (request.method == "POST" and (request.type_name, match) in gone):
        return Place((match,), existing=True)
    if request.method == "PUT":
        id_ = request.id or own
        return Place((id_ or drafts.new_id(),), False, may_create=id_ is None or context.settings.upsert)
    if keep_ids and isinstance(own, str) and drafts.ID.match(own):
        request.method, request.id = "PUT", own
    return Place((request.id or drafts.new_id(),), existing=False)


def _lock(
    context: Context, plan: Sequence[Request], found: Mapping[int, Place], asked: Mapping[int, Criteria]
) -> Mapping[tuple[str, str], Version]:
    """Lock all rows that the transaction will change, and look again whether its criteria match them.

    Entries that need none of that are locked when they are written.
    """
    if not any(request.method == "PATCH" or request.number in asked for request in plan):
        return {}
    there = [
        (request.type_name or "", id_)
        for request in plan
        if (place := found.get(request.number)) is not None and request.method != "POST"
        for id_ in place.ids
    ]
    current = writer.lock(context.unit, there)
    for request in plan:
        if request.number not in asked or request.method == "POST":
            continue
        place = found[request.number]
        if place.existing and place.ids:
            conditions.still_match(context, asked[request.number], place.ids)
    return current


def _check_own_ids(
    plan: Sequence[Request],
    found: Mapping[int, Place],
    asked: Mapping[int, Criteria],
    current: Mapping[tuple[str, str], Version],
) -> None:
    """Hold the ids that the bodies of conditional updates carry against what their criteria match."""
    for request in plan:
        if request.method != "PUT" or request.number not in asked or request.resource is None:
            continue
        own, place, type_name = request.resource.get("id"), found[request.number], request.type_name or ""
        try:
            check_own_id(type_name, own, place.id if place.existing else None)
            if own is not None and not place.existing:
                refuse_taken(type_name, own, current.get((type_name, own)))
        except FhirError as error:
            raise error.within(f"{request.path}.resource") from None


def _patch(
    context: Context,
    plan: Sequence[Request],
    found: Mapping[int, Place],
    current: Mapping[tuple[str, str], Version],
) -> None:
    """Put in the place of each patch the resource that it makes."""
    for request in plan:
        if request.method != "PATCH":
            continue
        type_name, id_ = request.type_name or "", found[request.number].id
        try:
            change = of_entry(request.resource or {}, context.settings)
            version = current.get((type_name, id_))
            made = patched(context.settings, version, type_name, id_, change, request.if_match)
        except FhirError as error:
            raise error.within(f"{request.path}.resource") from None
        request.resource = made.resource


def _targets(context: Context, plan: Sequence[Request], found: Mapping[int, Place]) -> dict[str, str]:
    """Return what each fullUrl becomes, and with links.VERSIONED behind it what its versions become.

    The version is that of a new resource, or the one that a conditional create found.
    """
    targets: dict[str, str] = {}
    for request in plan:
        place = found.get(request.number)
        if place is None or request.full_url is None or request.method == "DELETE":
            continue
        address = f"{request.type_name}/{place.id}"
        if targets.setdefault(request.full_url, address) != address:
            raise Invalid(
                f"the fullUrl {request.full_url!r} stands on two entries",
                expression=f"{request.path}.fullUrl",
            )
        if request.method == "POST" and request.full_url[:4] == "http":
            there = reader.read(context.unit, request.type_name or "", place.id) if place.existing else None
            number = 1 if there is None else there.version
            targets[request.full_url + links.VERSIONED] = f"{address}/_history/{number}"
    return targets


def conditional_references(
    context: Context, plan: Sequence[Request], written: Collection[str | None]
) -> tuple[dict[str, str], dict[str, str]]:
    """Look up every conditional reference once; return what each becomes, and which have to wait, and where.

    Those on types that the transaction writes wait: what they match is told when it is written
    (R4/http.html#trules: conditional references are resolved last).
    """
    found: dict[str, str] = {}
    waiting: dict[str, str] = {}
    for request in plan:
        if request.resource is None or not request.writes:
            continue
        if not links.has_conditional_reference(request.resource):
            continue
        for reference, path in links.conditional_references(request.resource, f"{request.path}.resource"):
            if reference in found or reference in waiting:
                continue
            if reference.partition("?")[0] in written:
                waiting[reference] = path
            else:
                found[reference] = resolved(context, reference, path)
    return found, waiting


def resolved(context: Context, reference: str, path: str) -> str:
    """Return what a conditional reference becomes. Raises NoMatch, MultipleMatches (412) at `path`."""
    type_name, _, text = reference.partition("?")
    try:
        match = conditions.match(context, conditions.criteria(context, type_name, unquote(text)))
    except FhirError as error:
        raise error.within(path) from None
    if match is None:
        raise NoMatch(
            f"the conditional reference {reference!r} matches nothing, neither here nor in the Bundle; "
            "store its target first, or send it in the same Bundle",
            expression=path,
        )
    return f"{type_name}/{match}"


def refuse_two_writes(plan: Sequence[Request]) -> None:
    """Raise Invalid (400) when two entries write the same resource by its id."""
    seen: dict[tuple[str | None, str], Request] = {}
    for request in plan:
        if request.id is None or request.method not in ("PUT", "DELETE", "PATCH"):
            continue
        first = seen.setdefault((request.type_name, request.id), request)
        if first is not request:
            raise two_writes(first, request, f"{request.type_name}/{request.id}")


def two_writes(first: Request, second: Request, address: str) -> Invalid:
    """Return the refusal of two entries that write the same resource."""
    return Invalid(
        f"{first.path} and {second.path} both write {address}; a transaction may write a resource once",
        expression=second.path,
    )
