"""What one process knows of its installation's definitions, loaded url by url when they are asked for.

Truth is a generation number in one row of the database. A unit of work judges by one generation from
its first question to its last: a reading unit reads the number; a writing one takes what the process
knows and lets its transaction fail, to be run again, should that be old (`storage.definitions.guard`
travels with the unit's other statements and costs no round trip). What is looked up comes over a
connection of its own, outside of all transactions, and each answer tells its generation.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fhir_server.database.engine import Engine
from fhir_server.database.unit_of_work import RunAgain, UnitOfWork, looking_up, run_read
from fhir_server.definitions.conformance import Conformance, Source
from fhir_server.definitions.structures import is_resource_type
from fhir_server.definitions.versions import order
from fhir_server.model import json_format
from fhir_server.storage import definitions
from fhir_server.storage.definitions import Place
from fhir_server.validation.knowledge import NoTerminology, Terminology

Resource = dict[str, Any]

SHELF_BYTES = 12 * 2**20
"""JSON text of the definitions that a process keeps, without prose (all of US Core 6.1.0 has 2.4 MiB);
as Python values they are five times that."""

MOST_URLS = 8192
LONGEST_URL = 1000
V = TypeVar("V")


class Shelf(Generic[V]):
    """A mapping that forgets what was not used for longest when it weighs too much; safe for threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._weight = 0
        self._kept: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> V | None:
        """Return what is kept, None if it is not."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: V, weight: int = 1) -> None:
        """Keep a value; one that weighs more than half of all is not kept."""
        if weight * 2 > self._most:
            return
        with self._lock:
            if key in self._kept:
                self._weight -= self._kept[key][1]
            self._kept[key] = (value, weight)
            self._kept.move_to_end(key)
            self._weight += weight
            while self._weight > self._most:
                _, (_, gone) = self._kept.popitem(last=False)
                self._weight -= gone


@dataclass(frozen=True, slots=True)
class State:
    """One generation of the definitions, and the terminology made of it."""

    generation: int
    conformance: Conformance
    terminology: Terminology


class Registry:
    """The definitions of an installation as one process sees them; without an engine, R4's alone.

    `core` are the sources of R4's own definitions, asked first: nothing replaces them.
    `terminology` makes the answers about codes out of what can be looked up.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        core: tuple[Source, ...] = (),
        terminology: Callable[[Conformance], Terminology] = lambda conformance: NoTerminology(),
    ) -> None:
        self._engine = engine
        self._core = core
        self._make_terminology = terminology
        self._lock = threading.Lock()
        self._state: State | None = None if engine is not None else self._made(0)
        self._contents: Shelf[Resource] = Shelf(SHELF_BYTES)
        self._packages: Shelf[dict[str, str]] = Shelf(100_000)

    def state(self, unit: UnitOfWork) -> State:
        """Return the definitions by which a unit judges, the same for all of it."""
        if unit.definitions is None:
            unit.definitions = self._current(unit)
        found: State = unit.definitions
        return found

    def confirm(self, unit: UnitOfWork) -> None:
        """Raise unless what the unit judged by is current: before a refusal, which commits nothing."""
        if self._engine is not None and unit.writing:
            definitions.guard(unit, self.state(unit).generation)
            unit.execute("SELECT 1")

    def close(self) -> None:
        """Close the connection by which definitions are looked up; it opens again when it is needed."""
        if self._engine is not None:
            self._engine.close()

    def _current(self, unit: UnitOfWork) -> State:
        known = self._state
        if self._engine is None and known is not None:
            return known
        if known is not None and unit.writing and not unit.attempt:
            definitions.guard(unit, known.generation)
            return known
        generation = definitions.generation(unit)
        with self._lock:
            known = self._state
            if known is None or known.generation != generation:
                known = self._made(generation)
                self._state = known
        return known

    def _made(self, generation: int) -> State:
        sources = self._core
        if self._engine is not None:
            sources = (*sources, _Installed(generation, self._engine, self._contents, self._packages))
        conformance = Conformance(sources, generation)
        return State(generation, conformance, self._make_terminology(conformance))


class _Installed:
    """The Source of what packages and clients have brought, as of one generation."""

    def __init__(
        self, generation: int, engine: Engine, contents: Shelf[Resource], packages: Shelf[dict[str, str]]
    ) -> None:
        self._generation = generation
        self._engine = engine
        self._contents = contents
        self._packages = packages
        self._places: Shelf[tuple[Place, ...]] = Shelf(MOST_URLS)

    def find(self, type_name: str, url: str, version: str | None) -> Resource | None:
        """Return the definition; without a version the newest one (`definitions.versions.order`).

        Where several have the same version, one of a package wins over a stored resource and the
        package that was installed later over an earlier one.
        """
        if not is_resource_type(type_name) or len(url) > LONGEST_URL or "\x00" in url:
            return None
        with looking_up():
            places = self._places.get((type_name, url))
            if places is None:
                places = self._look(type_name, url)
                self._places.put((type_name, url), places)
            for fits in (_is, _begins):
                for place in places:
                    if version is None or fits(place.version, version):
                        return self._content(type_name, place)
        return None

    def _look(self, type_name: str, url: str) -> tuple[Place, ...]:
        generation, found = run_read(self._engine, lambda unit: definitions.places(unit, type_name, url))
        if generation != self._generation:
            raise RunAgain
        found.sort(key=lambda place: (order(place.version), place.package or 0, place.pk), reverse=True)
        return tuple(found)

    def _content(self, type_name: str, place: Place) -> Resource:
        key = (place.package is None, place.pk, place.row_version)
        kept = self._contents.get(key)
        if kept is not None:
            return kept
        text = run_read(self._engine, lambda unit: definitions.content(unit, type_name, place))
        if text is None:
            raise RunAgain
        resource = lean(json_format.parse(text.encode()))
        resource["resourceType"] = type_name
        if place.package is not None:
            pin(resource, self._of_package(place.package))
        self._contents.put(key, resource, len(json_format.encode(resource)))
        return resource

    def _of_package(self, package: int) -> dict[str, str]:
        found = self._packages.get(package)
        if found is None:
            found = run_read(self._engine, lambda unit: definitions.of_package(unit, package))
            if not found:
                raise RunAgain
            self._packages.put(package, found, len(found))
        return found


def _is(version: str, wanted: str) -> bool:
    return version == wanted


def _begins(version: str, wanted: str) -> bool:
    """Say whether a version is one of those that a shorter one means: 6.1 is the newest 6.1.x."""
    return version.startswith(f"{wanted}.")


_PROSE = (
    "definition",
    "comment",
    "requirements",
    "alias",
    "mapping",
    "example",
    "meaningWhenMissing",
    "label",
)


def lean(resource: Resource) -> Resource:
    """Take out what no rule reads: narrative, prose, and a differential beside a snapshot.

    >>> lean({"text": {}, "snapshot": {"element": [{"id": "a", "comment": "…"}]}, "differential": {}})
    {'snapshot': {'element': [{'id': 'a'}]}}
    """
    resource.pop("text", None)
    resource.pop("mapping", None)
    if "snapshot" in resource:
        resource.pop("differential", None)
    for part in ("snapshot", "differential"):
        for element in resource.get(part, {}).get("element", ()):
            for name in _PROSE:
                element.pop(name, None)
    return resource


_CANONICALS = frozenset(
    ("baseDefinition", "profile", "targetProfile", "valueSet", "answerValueSet", "derivedFrom", "supplements")
)


def pin(value: Any, versions: dict[str, str]) -> None:
    """Add the version to canonicals that mean a definition of the same package.

    Several versions of a package stand side by side with the same urls: without this a profile
    of the older one would be put together with extensions and value sets of the newer one.

    >>> profile = {"baseDefinition": "urn:a", "element": [{"type": [{"profile": ["urn:b", "urn:c|1"]}]}]}
    >>> pin(profile, {"urn:a": "6.1.0", "urn:b": "6.1.0", "urn:c": "6.1.0"}); profile
    {'baseDefinition': 'urn:a|6.1.0', 'element': [{'type': [{'profile': ['urn:b|6.1.0', 'urn:c|1']}]}]}
    """
    if isinstance(value, list):
        for member in value:
            pin(member, versions)
    elif isinstance(value, dict):
        for name, member in value.items():
            if name not in _CANONICALS:
                if isinstance(member, (dict, list)):
                    pin(member, versions)
            elif isinstance(member, str):
                value[name] = _pinned(member, versions)
            elif isinstance(member, list):
                value[name] = [_pinned(each, versions) for each in member]


def _pinned(canonical: Any, versions: dict[str, str]) -> Any:
    version = versions.get(canonical) if isinstance(canonical, str) else None
    return f"{canonical}|{version}" if version else canonical
