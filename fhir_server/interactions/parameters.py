"""Search parameters that R4 does not define: what is indexed and searched by in this moment.

A SearchParameter that is stored or installed with status `active` is indexed from the commit on that
brought it, by all processes: a unit that writes guards the generation of the parameters. What was stored
before is indexed by a job (reindex.py); until that is done a search by the parameter is refused and
says how far it is. Another definition begins anew, under rows of its own; those of the old one are cleared
away. A search reads the generation and the index in one snapshot, and costs nothing more unless a
name is none of R4's.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from fhir_server.database.changes import Change
from fhir_server.database.unit_of_work import UnitOfWork
from fhir_server.definitions import search_parameters
from fhir_server.definitions.structures import resource_types
from fhir_server.outcome import Issue, Unprocessable
from fhir_server.search import keys
from fhir_server.search.ast import Parameter
from fhir_server.search.defined import as_json, define, is_of_r4, same_rows
from fhir_server.search.index import Indexer
from fhir_server.search.registry import Registry, standard
from fhir_server.storage import jobs
from fhir_server.storage import parameters as storage
from fhir_server.storage.jobs import Scope
from fhir_server.storage.parameters import INDEXING, READY, Kept

BATCH = 200
"""Resources that are looked at in one transaction of a job."""

TYPE = "SearchParameter"
Key = tuple[str, str]  # type and code
Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """One generation of the parameters: those that may be searched by, and what writes have to index."""

    generation: int
    searchable: Registry
    indexer: Indexer
    kept: Mapping[Key, Kept]


class Parameters:
    """What one process knows of the parameters of its installation: the last generation that it saw."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: Known | None = None

    def known(self, unit: UnitOfWork, indexer: Indexer) -> Known:
        """Return the parameters of a unit, the same for all of it; `indexer` is that of R4's own."""
        if unit.parameters is None:
            unit.parameters = self._current(unit, indexer)
        found: Known = unit.parameters
        return found

    def _current(self, unit: UnitOfWork, indexer: Indexer) -> Known:
        known = self._known
        if known is not None and unit.writing and not unit.attempt:
            storage.guard(unit, known.generation)
            return known
        # what a search finds must be of the moment in which the parameter was ready
        unit.snapshot()
        if known is not None and known.generation == storage.generation(unit):
            return known
        generation, kept = storage.load(unit)
        with self._lock:
            known = self._known
            if known is None or known.generation != generation:
                known = _made(generation, kept, indexer)
                if self._known is None or self._known.generation < generation:
                    self._known = known
        return known


def _made(generation: int, kept: Sequence[Kept], indexer: Indexer) -> Known:
    searchable, indexed = Registry(), Registry()
    for each in kept:
        parameter = each.parameter()
        indexed.put(parameter)
        if each.state == READY:
            searchable.put(parameter)
    by_key = {(each.type_name, each.code): each for each in kept}
    return Known(generation, searchable, indexer.knowing(indexed), by_key)


class Searchable(Registry):
    """The parameters by which one unit may search; asks the database when a name is none of R4's."""

    def __init__(self, unit: UnitOfWork, parameters: Parameters, indexer: Indexer) -> None:
        super().__init__()
        self._unit = unit
        self._parameters = parameters
        self._indexer = indexer
        self._used: set[int] = set()

    def _known(self) -> Known:
        return self._parameters.known(self._unit, self._indexer)

    def all(self) -> Registry:
        """Return R4's parameters and those that are ready, of one moment."""
        return self._known().searchable

    def for_type(self, type_name: str) -> Mapping[str, Parameter]:
        """Return all parameters of a resource type by code, R4's and those that are ready."""
        return self._known().searchable.for_type(type_name)

    def get(self, type_name: str, code: str) -> Parameter | None:
        """Return one parameter of a type, or None."""
        found = standard().get(type_name, code)
        if found is None and (found := self._known().searchable.get(type_name, code)) is not None:
            self._used.add(self._known().kept[type_name, code].pk)
        return found

    def pending(self, type_name: str, code: str) -> str | None:
        """Return how far the index of a parameter is that is not searched by yet."""
        kept = self._known().kept.get((type_name, code))
        if kept is None or kept.state != INDEXING:
            return None
        return waiting(self._unit, kept)

    def warnings(self) -> tuple[Issue, ...]:
        """Return what the answers of this unit may lack: resources that could not be indexed."""
        if not self._used or not (count := storage.failures(self._unit, sorted(self._used))):
            return ()
        are = "resource is" if count == 1 else "resources are"
        says = (
            f"{count} {are} not indexed by the parameters of this search, because an expression failed on "
            "them, and may be missing here; GET /fhir/$reindex-status lists them"
        )
        return (Issue("warning", "incomplete", says),)


def waiting(unit: UnitOfWork, kept: Kept) -> str:
    """Say how far the index of a parameter is."""
    what = f"{kept.code} of {kept.type_name} cannot be searched by yet"
    found = jobs.progress_of(unit, kept.pk)
    if found is None:
        return f"{what}: nothing is indexed; POST /fhir/$reindex?url={kept.url} does it"
    id_, state, seen, total = found
    status = f"GET /fhir/$reindex-status?job={id_}"
    if total is None and state != "cancelled":
        return f"{what}: its index has not begun; {status} tells more"
    done = f"{seen:,} of {total or 0:,} resources are indexed"
    if state == "cancelled":
        return f"{what}: {done}, then it was cancelled; POST /fhir/$reindex?url={kept.url} begins again"
    return f"{what}: {done}; {status} tells more"


def admit(resource: Resource) -> None:
    """Raise Unprocessable (422) for an active SearchParameter that can never be searched by.

    What others define (the components of a composite, codes that are taken) is looked at by `settle`.
    """
    if resource.get("resourceType") == TYPE and resource.get("status") == "active" and not is_of_r4(resource):
        faults = define(resource, None).faults
        if faults:
            raise Unprocessable(issues=faults)


def notice(unit: UnitOfWork, changes: Sequence[Change], now: str, rate: int | None) -> None:
    """Settle anew what is indexed when SearchParameters are among the changes of a unit."""
    own = [change for change in changes if change.type_name == TYPE]
    if own:
        settle(unit, now, own[0].actor, rate, {change.id for change in own})


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the definitions: `job` indexes the new ones; `left_out` says url and why."""

    job: str | None
    new: tuple[Parameter, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


def settle(
    unit: UnitOfWork, now: str, actor: str, rate: int | None, changed: Collection[str] = ()
) -> Settled:
    """Make what is indexed agree with the definitions that are here.

    Of two urls with the same code on one type the one that is indexed already stays, then a stored one
    before that of a package. Raises Unprocessable (422) where a stored one of `changed` (ids) loses.
    """
    storage.lock(unit)
    current = {(each.type_name, each.code): each for each in storage.load(unit)[1]}
    wanted, left_out = _wanted(unit, changed, {each.url for each in current.values()})
    gone = [each for key, each in current.items() if not _stays(each, wanted.get(key))]
    kept = {key for key, each in current.items() if each not in gone}
    new = [parameter for key, parameter in wanted.items() if key not in kept]
    described = False
    for key in kept:
        definition = as_json(wanted[key])
        if (current[key].url, current[key].definition) != (wanted[key].url, definition):
            storage.describe(unit, current[key].pk, wanted[key].url, definition)
            described = True
    if not gone and not new:
        if described:
            storage.changed(unit)
        return Settled(None, (), left_out)
    storage.retire(unit, [each.pk for each in gone])
    scopes: dict[str, list[int]] = {}
    for each in gone:
        scopes.setdefault(each.type_name, []).append(each.pk)
    for parameter in new:
        pk = _free_pk(unit, parameter)
        storage.add(unit, parameter, as_json(parameter), pk)
        scopes.setdefault(parameter.type_name, []).append(pk)
    storage.changed(unit)
    codes = sorted({each.code for each in gone} | {each.code for each in new})
    job = jobs.create(
        unit,
        scopes_of(unit, scopes),
        reason=f"SearchParameter {', '.join(codes)}"[:500],
        actor=actor,
        now=now,
        rate=rate,
        batch=BATCH,
    )
    return Settled(job, tuple(new), left_out)


def scopes_of(unit: UnitOfWork, pks: Mapping[str, Sequence[int]]) -> dict[str, Scope]:
    """Return what a job does for parameters by type: types that contain such resources are done whole."""
    found = {name: set(some) for name, some in pks.items()}
    outer = storage.containers(unit, list(pks))
    for inner, container in outer:
        found[container] = found.get(container, set()) | set(pks[inner])
    whole = {container for _, container in outer}
    return {name: Scope(name in whole, tuple(sorted(some))) for name, some in found.items()}


def _stays(kept: Kept, wanted: Parameter | None) -> bool:
    return wanted is not None and same_rows(kept.definition, as_json(wanted))


def _wanted(
    unit: UnitOfWork, changed: Collection[str], in_use: Collection[str]
) -> tuple[dict[Key, Parameter], tuple[tuple[str, str], ...]]:
    """Return what is to be indexed, and which definitions are not used for which reason."""
    there = storage.definitions(unit)
    by_url = {each.url: each.resource for each in there}
    wanted: dict[Key, Parameter] = {}
    left_out: list[tuple[str, str]] = []
    for each in sorted(there, key=lambda each: each.url not in in_use):
        if each.resource.get("status") != "active":
            continue
        made = define(each.resource, by_url.get)
        faults = list(made.faults)
        for parameter in made.parameters:
            other = wanted.setdefault((parameter.type_name, parameter.code), parameter)
            if other is not parameter:
                faults.append(_taken(other))
        if faults and each.id in changed:
            raise Unprocessable(issues=faults)
        left_out += [(each.url, fault.diagnostics) for fault in faults]
    return wanted, tuple(left_out)


def _taken(other: Parameter) -> Issue:
    says = (
        f"{other.code} of {other.type_name} is defined by {other.url or 'another SearchParameter'} already; "
        "retire that one, or give this one another code"
    )
    return Issue("error", "duplicate", says, "SearchParameter.code")


def _free_pk(unit: UnitOfWork, parameter: Parameter) -> int:
    """Return a key whose 32 bits nobody else has: neither R4 nor another one of the same installation."""
    taken = _hashes_of_r4() | storage.columns(unit)
    while True:
        pk = storage.next_pk(unit)
        if not taken & storage.columns_of(parameter.type_name, f"{parameter.code}@{pk}"):
            return pk


@cache
def _hashes_of_r4() -> frozenset[int]:
    return frozenset(
        keys.column_hash(name, f"{code}{end}")
        for name in resource_types()
        for code in search_parameters.for_type(name)
        for end in ("", ":text")
    )
