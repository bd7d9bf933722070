"""A search over several types (R4/search.html#_type) → Query with one part a type.

Its criteria are parameters that every searched type has; each part reads them as its own type means
them. What `_has` asks about is a type that its reference may point to: of the others nothing matches.
So a search over all types has `_id _lastUpdated _tag _profile _security _source _content`, `_has`, `_list`;
`_text` is for those that have a narrative.

A compartment (R4/compartmentdefinition.html) is one more criterion: one of the parameters that put
the type into it refers to the resource that it is named after.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from fhir_server.definitions import compartments, structures
from fhir_server.model import summary
from fhir_server.outcome import FhirError, Invalid, Issue
from fhir_server.search import results, values
from fhir_server.search.ast import All, Criterion, Either, Include, Query, Sort
from fhir_server.search.names import NotIndexed, unknown
from fhir_server.search.parse import ANY_TYPE, Reader, each_pair
from fhir_server.search.registry import Registry, standard
from fhir_server.search.types.protocol import Environment
from fhir_server.search.types.table import TYPES

TYPE = "_type"


def named_types(pairs: Iterable[tuple[str, str]]) -> tuple[str, ...] | None:
    """Return the types that `_type` names, None where it does not stand.

    >>> named_types([("_type", "Patient,Observation"), ("_id", "7")])
    ('Patient', 'Observation')

    Raises Invalid (400) for what is no type; a `_type` that comes again leaves those of both.
    """
    found: list[str] | None = None
    for name, text in pairs:
        if name.partition(":")[0] != TYPE:
            continue
        if name != TYPE:
            raise Invalid(f"_type has no modifier {name.partition(':')[2]!r}")
        here = values.split(text, ",")
        for each in here:
            if not structures.is_resource_type(each):
                raise unknown(f"_type names {each!r}, which is no resource type of R4", each, _every())
        found = here if found is None else [each for each in found if each in here]
    return None if found is None else tuple(dict.fromkeys(found))


def _every() -> Sequence[str]:
    return structures.resource_types()


def member(compartment: str, id: str, type_name: str, reader: Reader) -> Criterion:
    """Return that a resource of a type is in a compartment.

    >>> reader = Reader("Observation", Environment(), standard())
    >>> [clause.parameter.code for clause in member("Patient", "7", "Observation", reader).criteria]
    ['subject', 'performer']
    """
    clauses = [
        reader.clause(reader.parameter(type_name, "_id"), None, id)
        if code == "{def}"
        else reader.clause(reader.parameter(type_name, code), None, f"{compartment}/{id}")
        for code in compartments.members(compartment)[type_name]
    ]
    return Either(tuple(clauses))


def parse_several(
    types: Sequence[str],
    present: Sequence[str],
    pairs: Iterable[tuple[str, str]],
    *,
    compartment: tuple[str, str] | None = None,
    strict: bool = True,
    environment: Environment | None = None,
    registry: Registry | None = None,
) -> Query:
    """Return the search that `pairs` ask of `types`, with parts for those of them that are `present`.

    `compartment` is its type and id; `_type` among the pairs has been read by `named_types`.

    >>> query = parse_several(("Patient", "Group"), ("Patient",), [("_id", "7"), ("_sort", "-_lastUpdated")])
    >>> [part.type_name for part in query.parts], query.applied
    (['Patient'], (('_id', '7'), ('_sort', '-_lastUpdated')))

    Raises Invalid or NotSupported (400) as `parse` does.
    """
    return _Several(
        types, present, compartment, Reader(types[0], environment or Environment(), registry or standard())
    ).query(pairs, strict=strict)


class _Several:
    """Reads the pairs of one search."""

    def __init__(
        self,
        types: Sequence[str],
        present: Sequence[str],
        compartment: tuple[str, str] | None,
        reader: Reader,
    ) -> None:
        self.types, self.reader = types, reader
        self.read = [name for name in types if name in present]
        self.draft = results.Draft()
        self.sorts: dict[str, list[Sort]] = {name: [] for name in self.read}
        self.includes: list[Include] = []
        self.criteria: dict[str, list[Criterion]] = {
            name: [] if compartment is None else [member(*compartment, name, reader)] for name in self.read
        }
        self.without: set[str] = set()  # types of which nothing can match

    def query(self, pairs: Iterable[tuple[str, str]], *, strict: bool) -> Query:
        """Return the search."""
        warnings = each_pair(pairs, self.take, self.draft.applied, strict=strict)
        self.check_elements()
        if self.draft.chosen.get("_summary") == "text" and self.includes:
            raise Invalid("_summary=text and _include or _revinclude exclude each other")
        whole = self.draft.query("", (), (*warnings, *self.reader.told))
        parts = tuple(
            Query(name, tuple(self.criteria[name]), results.distinct(self.sorts[name]))
            for name in self.read
            if name not in self.without
        )
        sort = parts[0].sort if parts else ()
        return replace(whole, sort=sort, includes=tuple(dict.fromkeys(self.includes)), parts=parts)

    def take(self, name: str, text: str) -> None:
        """Take in one pair."""
        base = name.partition(":")[0]
        if name == TYPE:
            return
        if base in ("_include", "_revinclude"):
            self.include(name, text)
        elif base == "_sort":
            self.sort(name, text)
        elif base in results.NAMES:
            self.draft.read("", name, text, self.reader.registry)
        else:
            self.criterion(name, text)

    def criterion(self, name: str, text: str) -> None:
        """Take in a criterion, which every type has to understand."""
        code = name.partition(":")[0].partition(".")[0]
        if code == "_text":
            # A type without narrative, such as Bundle, has nothing that could match.
            without = {each for each in self.types if self.reader.registry.get(each, code) is None}
            if without != set(self.types):
                self.without |= without
        if code not in ANY_TYPE:
            for type_name in self.types:
                if type_name in self.without and code == "_text":
                    continue
                if self.reader.registry.get(type_name, code) is None:
                    raise self.unknown(type_name, code)
        refused: FhirError | None = None
        found: dict[str, Criterion] = {}
        for type_name in self.types if code == "_has" else self.read or self.types[:1]:
            if code == "_text" and type_name in self.without:
                continue
            try:
                found[type_name] = self.reader.criterion(type_name, name, text)
            except FhirError as error:
                if code != "_has":
                    raise
                refused = refused or error
        if refused is not None and not found:
            raise refused
        for type_name in self.read:
            if type_name in found:
                one = found[type_name]
                self.criteria[type_name] += one.criteria if isinstance(one, All) else [one]
            else:
                self.without.add(type_name)

    def unknown(self, type_name: str, code: str) -> FhirError:
        """Return the refusal of a parameter that not every type has."""
        registry = self.reader.registry
        if why := registry.pending(type_name, code):
            return NotIndexed(why)
        first = registry.for_type(self.types[0])
        shared = [
            known
            for known in sorted(first)
            if known != "_query" and all(registry.get(name, known) is not None for name in self.types)
        ]
        said = f"{type_name} has no search parameter {code!r}; a search over several types has those of all"
        if len(self.types) == len(_every()):
            said += "; name the types that you mean, for example _type=Patient,Practitioner"
        return unknown(said, code, shared)

    def sort(self, name: str, text: str) -> None:
        """Take in `_sort`, whose keys must be of one kind in all types."""
        self.draft.checked(name, text)
        registry = self.reader.registry
        for part in text.split(","):
            keys = {each: results.sort_key(each, part, registry) for each in self.read or self.types[:1]}
            kinds = {TYPES[key.parameter.kind].name for key in keys.values()}
            if len(kinds) > 1:
                raise Invalid(
                    f"_sort={part}: it is {' and '.join(sorted(kinds))} in the types that are searched"
                )
            for each in self.read:
                self.sorts[each].append(keys[each])

    def include(self, name: str, text: str) -> None:
        """Take in `_include` or `_revinclude`, which one of the types at least has to understand."""
        base, modifier = self.draft.checked(name, text)
        found: list[Include] = []
        refused: FhirError | None = None
        for type_name in self.types:
            try:
                found += results.include(type_name, base, text, modifier == "iterate", self.reader.registry)
            except FhirError as error:
                refused = refused or error
        if refused is not None and not found:
            raise refused
        self.includes += found

    def check_elements(self) -> None:
        """Refuse names in `_elements` that none of the types has."""
        for name in self.draft.elements:
            if not any(summary.existing(type_name, [name]) for type_name in self.types):
                reason = f"_elements: none of the searched types has an element {name!r} at its root"
                raise Invalid(issues=[Issue("error", "invalid", reason)])
