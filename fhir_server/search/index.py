"""Resource → IndexRows: the write side of every search parameter type.

A type is compiled once, to one closure for each parameter that has rows of its own; indexing a
resource runs them. Nothing is parsed and nothing looked up by name on that way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from fhir_server.definitions import structures
from fhir_server.fhirpath.extract import beginnings, extractor, watched_extractor
from fhir_server.search import absence, chart, keys, readable, referrers, wording
from fhir_server.search.ast import Parameter
from fhir_server.search.registry import Registry, standard
from fhir_server.search.types import composite
from fhir_server.search.types.protocol import Environment, Extractor
from fhir_server.search.types.table import SIMPLE, TYPES


@dataclass(slots=True)
class IndexRows:
    """What one resource version leaves in the search index.

    `keys` are distinct, as 32 hex digits. Rows are tuples in the order of the columns of
    schema/indexes.py between `tenant` and `pk`, so they begin with the parameter's column hash, but for
    those of `words`. Moments and numbers are texts that Postgres reads, '-infinity' and 'Infinity' among
    them. `chart` and `chart_date` are what chart.py says. `own` says that the type has parameters which
    R4 does not define; `failed` has those of them, by `Parameter.index`, whose expression could not be
    evaluated, and the reason.
    """

    keys: list[str] = field(default_factory=list)
    strings: list[tuple[Any, ...]] = field(default_factory=list)
    dates: list[tuple[Any, ...]] = field(default_factory=list)
    numbers: list[tuple[Any, ...]] = field(default_factory=list)
    quantities: list[tuple[Any, ...]] = field(default_factory=list)
    composites: list[tuple[Any, ...]] = field(default_factory=list)
    positions: list[tuple[Any, ...]] = field(default_factory=list)
    words: list[tuple[Any, ...]] = field(default_factory=list)
    contained: list[Contained] = field(default_factory=list)
    chart: str | None = None
    chart_date: str | None = None
    own: bool = False
    failed: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""  # of the resource, or of what contains it: `#x` in it is below that

    def of(self, table: str) -> list[tuple[Any, ...]]:
        """Return the rows of one index table."""
        rows: list[tuple[Any, ...]] = getattr(self, ATTRIBUTES[table])
        return rows


FORM = 2
"""Which rows and keys a resource leaves, as a number: one more with every change of it, so that an
installation knows of which types the index was made by an older release."""


@dataclass(frozen=True, slots=True)
class Contained:
    """A contained resource with its own rows; `rid` is that of the address Type/id#id."""

    type_name: str
    id: str
    rid: str
    rows: IndexRows


ATTRIBUTES = {
    "idx_string": "strings",
    "idx_date": "dates",
    "idx_number": "numbers",
    "idx_quantity": "quantities",
    "idx_composite": "composites",
    "idx_position": "positions",
    "idx_text": "words",
}
Step = Callable[[dict[str, Any], list[str], IndexRows], None]


MOST_SHAPES = 200
"""Sets of members that a type's resources have, of which it is remembered what may index them."""


class _Compiled:
    """The steps of one type: those of R4's parameters, with the members that they need, and those `added`."""

    __slots__ = ("_fitting", "_steps", "added", "version")

    def __init__(
        self, version: int, steps: list[tuple[tuple[frozenset[str], ...], Step]], added: list[Step]
    ) -> None:
        self.version, self._steps, self.added = version, steps, added
        self._fitting: dict[frozenset[str], list[Step]] = {}

    def fitting(self, resource: dict[str, Any]) -> list[Step]:
        """Return the steps that may find something: a resource has few of its type's members."""
        shape = frozenset(resource)
        found = self._fitting.get(shape)
        if found is None:
            found = [step for needed, step in self._steps if not any(map(shape.isdisjoint, needed))]
            if len(self._fitting) >= MOST_SHAPES:
                self._fitting.clear()
            self._fitting[shape] = found
        return found


class Indexer:
    """Indexes resources for one server: its parameters, its zone, its own addresses.

    >>> rows = Indexer().index("Patient", {"resourceType": "Patient", "gender": "male"})
    >>> keys.key("Patient", "gender", "male") in rows.keys
    True
    """

    def __init__(
        self,
        registry: Registry | None = None,
        environment: Environment | None = None,
        *,
        references: bool = False,
    ) -> None:
        """Index by the parameters of `registry`; with `references` also those that none of them covers."""
        self.registry = registry or Registry()
        self.references = references
        self.environment = environment or Environment()
        self._compiled: dict[str, _Compiled] = {}
        self._steps: dict[Parameter, Step] = {}
        self._charts: dict[str, tuple[Callable[[dict[str, Any]], str | None] | None, int | None]] = {}

    def knowing(self, registry: Registry) -> Indexer:
        """Return an indexer for other parameters, which shares what is compiled with this one."""
        other = Indexer(registry, self.environment, references=self.references)
        other._steps, other._charts = self._steps, self._charts
        return other

    def index(self, type_name: str, resource: dict[str, Any], id: str | None = None) -> IndexRows:
        """Return the index rows of one resource of type `type_name`, and of what it contains.

        `id` is what it will have; without it that in the resource.
        """
        address = f"{type_name}/{id or resource.get('id', '')}"
        rows = self._rows(type_name, resource, address, references=self.references)
        if type_name in self.environment.full_text and (read := readable.vector(type_name, resource)):
            rows.words.append(read)
        patient, column = self._chart(type_name)
        if patient is not None:
            rows.chart = patient(resource)
            rows.chart_date = next((row[1] for row in rows.dates if row[0] == column), None)
        if "contained" in resource:
            for inner in resource["contained"]:
                kind, inner_id = inner.get("resourceType"), inner.get("id")
                if inner_id and structures.is_resource_type(kind):
                    rid = keys.rid_of(f"{address}#{inner_id}")
                    rows.contained.append(Contained(kind, inner_id, rid, self._rows(kind, inner, address)))
        return rows

    def _rows(
        self, type_name: str, resource: dict[str, Any], address: str, *, references: bool = False
    ) -> IndexRows:
        version = self.registry.version(type_name)
        compiled = self._compiled.get(type_name)
        if compiled is None or compiled.version != version:
            compiled = self._compiled[type_name] = self._compile(type_name, version)
        rows = IndexRows(address=address)
        found: list[str] = []
        for step in compiled.fitting(resource):
            step(resource, found, rows)
        if references:
            # by R4's parameters alone: the others come and go, each with a run over its own keys
            parameters = standard().for_type(type_name).values()
            found += referrers.uncovered(resource, found, parameters, self.environment.base_urls)
        if compiled.added:
            rows.own = True
            given = as_given(resource)
            for step in compiled.added:
                step(given, found, rows)
        distinct = dict.fromkeys(found)
        for present, absent in absence.pairs(type_name):
            if present not in distinct:
                distinct[absent] = None
        rows.keys = list(distinct)
        return rows

    def _chart(self, type_name: str) -> tuple[Callable[[dict[str, Any]], str | None] | None, int | None]:
        made = self._charts.get(type_name)
        if made is None:
            made = chart.reader(type_name, self.environment), chart.column(type_name)
            self._charts[type_name] = made
        return made

    def index_by(self, resource: dict[str, Any], parameters: Iterable[Parameter]) -> IndexRows:
        """Return what parameters that R4 does not define leave of a resource, and nothing else."""
        rows = IndexRows(own=True)
        found: list[str] = []
        given = as_given(resource)
        for parameter in parameters:
            self._step(parameter)(given, found, rows)
        rows.keys = list(dict.fromkeys(found))
        return rows

    def _compile(self, type_name: str, version: int) -> _Compiled:
        """Return the steps of R4's parameters, and those of the others."""
        indexed = [each for each in self.registry.for_type(type_name).values() if is_indexed(each)]
        return _Compiled(
            version,
            [(_needed(each), self._step(each)) for each in indexed if not each.index],
            [self._step(each) for each in indexed if each.index],
        )

    def _step(self, parameter: Parameter) -> Step:
        made = self._steps.get(parameter)
        if made is None:
            made = step(parameter, self.environment)
            self._steps[parameter] = made = watched(made, parameter) if parameter.index else made
        return made


def as_given(resource: dict[str, Any]) -> dict[str, Any]:
    """Return a resource without what the server says of it: id, versionId, lastUpdated.

    So an expression yields the same before a write gives them and after; `_id` and `_lastUpdated` ask
    for them.
    """
    given = {name: value for name, value in resource.items() if name != "id"}
    if isinstance(meta := given.get("meta"), dict):
        given["meta"] = {k: v for k, v in meta.items() if k not in ("versionId", "lastUpdated")}
    return given


def watched(made: Step, parameter: Parameter) -> Step:
    """Return a step that notes its failure and leaves nothing then: the write of a resource goes on."""

    def run(resource: dict[str, Any], found: list[str], rows: IndexRows) -> None:
        mine, own = [], IndexRows()  # type: list[str], IndexRows
        try:
            made(resource, mine, own)
        except Exception as error:  # whatever a stranger's expression may do
            rows.failed.append((parameter.index, f"{type(error).__name__}: {error}"[:500]))
            return
        found += mine
        for attribute in ATTRIBUTES.values():
            getattr(rows, attribute).extend(getattr(own, attribute))

    return run


def is_indexed(parameter: Parameter) -> bool:
    """Tell whether a parameter has keys and rows of its own."""
    return (
        parameter.expression is not None
        and parameter.kind in TYPES
        and parameter.kind != "special"
        and parameter.sources in ((), (parameter.rows,))
        and (parameter.kind != "composite" or composite.layout(parameter.components, SIMPLE) is not None)
    )


def _needed(parameter: Parameter) -> tuple[frozenset[str], ...]:
    """Return sets of members: of each a resource must have one, or the parameter finds nothing in it."""
    assert parameter.expression is not None
    begins = beginnings(parameter.expression, parameter.type_name)
    if begins is None and parameter.expression == parameter.type_name:  # a composite of the whole resource
        parts = [beginnings(each.expression, parameter.type_name) for each in parameter.components]
        return tuple(part for part in parts if part is not None)
    return () if begins is None else (begins,)


def step(parameter: Parameter, environment: Environment) -> Step:
    """Return the closure that indexes one parameter of a resource."""
    assert parameter.expression is not None
    kind = TYPES[parameter.kind]
    select = (watched_extractor if parameter.index else extractor)(parameter.expression, parameter.type_name)
    if "extension(" in parameter.expression:
        select = _inside(select)
    cells: Extractor = kind.extract(parameter, environment)
    start = keys.prefix(parameter.type_name, parameter.rows)
    column = keys.column_hash(parameter.type_name, parameter.rows)
    present = start + keys.digest(keys.PRESENT)
    attribute = ATTRIBUTES.get(kind.table or "", "")

    def simple(resource: dict[str, Any], found: list[str], rows: IndexRows) -> None:
        if elements := select(resource):
            found.append(present)
            for type_name, value in elements:
                for cell in cells(type_name, value):
                    if cell.__class__ is str:
                        found.append(start + digest(cell))
                    else:
                        getattr(rows, attribute).append((column, *cell))

    def keyed(resource: dict[str, Any], found: list[str], rows: IndexRows) -> None:
        if elements := select(resource):
            found.append(present)
            for type_name, value in elements:
                for text in cells(type_name, value):
                    found.append(start + digest(text))

    def pointing(resource: dict[str, Any], found: list[str], rows: IndexRows) -> None:
        if elements := select(resource):
            found.append(present)
            for type_name, value in elements:
                for text in cells(type_name, value):
                    if text[:1] == "#":  # in the container, or "#": the container itself
                        text = rows.address if text == "#" else f"{rows.address}{text}"
                    found.append(start + digest(text))

    def grouped(resource: dict[str, Any], found: list[str], rows: IndexRows) -> None:
        for type_name, element in select(resource):
            for cell in cells(type_name, element, resource):
                if cell.__class__ is str:
                    found.append(start + digest(cell))
                else:
                    rows.composites.append((column, *cell))

    words = wording.rows(parameter)

    def worded(resource: dict[str, Any], found: list[str], rows: IndexRows) -> None:
        assert words is not None
        if elements := select(resource):
            found.append(present)
            for type_name, value in elements:
                for text in cells(type_name, value):
                    found.append(start + digest(text))
                for row in words(type_name, value):
                    if row not in rows.strings:
                        rows.strings.append(row)

    if parameter.kind == "composite":
        return grouped
    if words is not None:
        return worded
    if parameter.kind == "reference":
        return pointing
    return simple if attribute else keyed


def _inside(select: Any) -> Any:
    """Return a selection that gives the values of extensions in the place of the extensions."""

    def values(resource: dict[str, Any]) -> list[tuple[str, Any]]:
        found: list[tuple[str, Any]] = []
        for type_name, value in select(resource):
            if type_name != "Extension":
                found.append((type_name, value))
                continue
            for name, inner in value.items():
                if name in EXTENSION_VALUES:
                    found.append((EXTENSION_VALUES[name].type, inner))
        return found

    return values


EXTENSION_VALUES = {
    name: field for name, field in structures.fields("Extension").items() if field.element.name == "value[x]"
}


@lru_cache(maxsize=8192)
def digest(text: Any) -> str:
    """Return keys.digest, remembered: most codes, systems and patients come again and again.

    Of those that are remembered nine of ten are, in a stream of records, and eight times as many hold
    no more: what comes once comes never again.
    """
    return keys.digest(text)


@lru_cache(maxsize=16)
def _standard(time_zone: str, base_urls: tuple[str, ...]) -> Indexer:
    return Indexer(standard(), Environment(ZoneInfo(time_zone), base_urls))


def index(
    type_name: str, resource: dict[str, Any], *, time_zone: str = "UTC", base_urls: tuple[str, ...] = ()
) -> IndexRows:
    """Return the index rows of a resource by R4's own parameters.

    `time_zone` is that of dates without one; `base_urls` are the addresses that are ours.
    """
    return _standard(time_zone, base_urls).index(type_name, resource)
