"""Is a code in a value set? Its compose, asked for one code at a time (R4/valueset.html#compositions).

Nothing is expanded: the parts of a compose are asked whether they have the code, and stop as soon as
the answer is clear. Parts about which nothing is known answer None, and the rest may decide anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from terminology.code_systems import CodeSystem
from terminology.expansion.filters import System, passes
from terminology.grammars import LOINC, SNOMED
from terminology.logic import Answer, every, negated, some

SUPPLEMENT = "http://hl7.org/fhir/StructureDefinition/valueset-supplement"
UNCLOSED = "http://hl7.org/fhir/StructureDefinition/valueset-unclosed"
MAX_DEPTH = 40  # value sets that import value sets


class World(Protocol):
    """What a value set refers to."""

    def system(self, canonical: str, supplements: tuple[str, ...] = ()) -> System | None:
        """Return a code system, None if it is unknown."""
        ...

    def value_set(self, canonical: str) -> ValueSet | None:
        """Return a value set, None if it is unknown."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """An include or exclude: what all of its statements have in common."""

    system: str | None
    canonical: str | None  # the system with the version that is asked for
    codes: frozenset[str] | None
    filters: list[Mapping[str, Any]]
    imports: tuple[str, ...]


class ValueSet:
    """One value set, ready to be asked."""

    def __init__(self, resource: Mapping[str, Any]) -> None:
        compose = resource.get("compose")
        self.url: str = resource.get("url", "")
        self.include = [_part(part) for part in (compose or {}).get("include", ())]
        self.exclude = [_part(part) for part in (compose or {}).get("exclude", ())]
        self.without_inactive: bool = (compose or {}).get("inactive") is False
        self.supplements = tuple(
            extension["valueCanonical"].partition("|")[0]
            for extension in resource.get("extension", ())
            if extension.get("url") == SUPPLEMENT and isinstance(extension.get("valueCanonical"), str)
        )
        expansion = resource.get("expansion")
        self.listed: frozenset[tuple[str | None, str]] | None = None
        self.closed = False  # whether the expansion leaves out what is not in it
        if expansion is not None:
            listed = list(_contained(expansion.get("contains", ())))
            self.listed = frozenset((system, code) for system, code, selectable in listed if selectable)
            self.closed = not compose and _is_whole(expansion, len(listed))

    def enumerated(self, system: str) -> set[str]:
        """Return the codes of a system that are written here, whether or not they are members."""
        found = {code for part in self.include if part.system == system for code in part.codes or ()}
        return found | {code for here, code in self.listed or () if here == system}

    def systems(self, world: World) -> set[str] | None:
        """Return the code systems that the codes come from, None if that is not known."""
        found: set[str] = set()
        seen: set[str] = set()
        todo: list[ValueSet] = [self]
        while todo:
            value_set = todo.pop()
            if not value_set.include and value_set.listed is None:
                return None
            found |= {system for system, _ in value_set.listed or () if system is not None}
            for part in value_set.include:
                if part.system is not None:
                    found.add(part.system)
                    continue
                canonical = next(iter(part.imports), "")  # the others can only take away
                if canonical not in seen:
                    seen.add(canonical)
                    other = world.value_set(canonical)
                    if other is None:
                        return None
                    todo.append(other)
        return found


def _part(part: Mapping[str, Any]) -> Part:
    system, version = part.get("system"), part.get("version")
    concepts = part.get("concept")
    return Part(
        system,
        f"{system}|{version}" if version else system,
        None if concepts is None else frozenset(concept.get("code", "") for concept in concepts),
        list(part.get("filter", ())),
        tuple(part.get("valueSet", ())),
    )


def _contained(contains: Iterable[Any]) -> Iterable[tuple[str | None, str, bool]]:
    todo = list(contains)
    while todo:
        item = todo.pop()
        todo += item.get("contains", ())
        if isinstance(item.get("code"), str):
            yield item.get("system"), item["code"], item.get("abstract") is not True


def _is_whole(expansion: Mapping[str, Any], count: int) -> bool:
    if expansion.get("offset") or expansion.get("total", 0) > count:
        return False
    if any(extension.get("url") == UNCLOSED for extension in expansion.get("extension", ())):
        return False
    names = {parameter.get("name") for parameter in expansion.get("parameter", ())}
    return names.isdisjoint({"filter", "count", "offset"}) or expansion.get("total") == count


class Question:
    """Whether value sets have one code of one system; what was answered on the way is remembered."""

    def __init__(self, world: World, system: str, code: str) -> None:
        self.world = world
        self.system, self.code = system, code
        self._answers: dict[str, Answer] = {}
        self._depth = 0

    def of(self, canonical: str) -> Answer:
        """Answer for a value set; None where it is unknown or imports itself."""
        if canonical not in self._answers:
            self._answers[canonical] = None  # what a circle comes back to
            value_set = self.world.value_set(canonical)
            if value_set is not None and self._depth < MAX_DEPTH:
                self._depth += 1
                self._answers[canonical] = self.within(value_set)
                self._depth -= 1
        return self._answers[canonical]

    def within(self, value_set: ValueSet) -> Answer:
        """Answer for a value set that is at hand.

        What is not known from the compose may stand in an expansion beside it, which says what is
        in and, once there is a compose, not what is out.
        """
        answer: Answer = None
        if value_set.include:
            answer = every(self._composed(value_set))
        if answer is None and value_set.listed is not None:
            if (self.system, self.code) in value_set.listed:
                return True
            return False if value_set.closed else None
        return answer

    def _composed(self, value_set: ValueSet) -> Iterable[Answer]:
        yield some(self._part(part, value_set) for part in value_set.include)
        yield negated(some(self._part(part, value_set) for part in value_set.exclude))
        if value_set.without_inactive:
            yield negated(self._inactive(value_set))

    def _part(self, part: Part, value_set: ValueSet) -> Answer:
        return every(answer() for answer in self._statements(part, value_set))

    def _statements(self, part: Part, value_set: ValueSet) -> Iterable[Callable[[], Answer]]:
        if part.system is not None and part.canonical is not None:
            if part.system != self.system:
                return [lambda: False]
            canonical = part.canonical
            statements: list[Callable[[], Answer]] = []
            if part.codes is not None:
                codes = part.codes
                statements.append(lambda: self._enumerated(codes, canonical))
            elif part.filters:
                statements.append(
                    lambda: passes(
                        self.world.system(canonical, value_set.supplements), self.code, part.filters
                    )
                )
            if part.codes is None:
                statements.append(lambda: self._known(canonical))
        else:
            statements = []
        imports = [(lambda url=url: self.of(url)) for url in part.imports]
        return statements + imports or [lambda: None]

    def _enumerated(self, codes: frozenset[str], canonical: str) -> Answer:
        if self.code in codes:
            return True
        system = self.world.system(canonical)
        if isinstance(system, CodeSystem) and not system.case_sensitive:
            concept = system.find(self.code)
            return concept is not None and concept.code in codes
        return False

    def _known(self, canonical: str) -> Answer:
        system = self.world.system(canonical)
        return None if system is None else system.has(self.code)

    def _inactive(self, value_set: ValueSet) -> Answer:
        system = self.world.system(self.system, value_set.supplements)
        if not isinstance(system, CodeSystem):
            return None
        concept = system.find(self.code)
        if concept is None:
            return False if system.complete else None
        return system.is_inactive(concept)


def implicit(canonical: str) -> dict[str, Any] | None:
    """Return the value set of a canonical that is a rule of SNOMED CT or LOINC (R4/snomedct.html#implicit).

    >>> implicit("http://snomed.info/sct?fhir_vs=isa/73211009")["compose"]["include"][0]["filter"][0]["op"]
    'is-a'
    """
    url = canonical.partition("|")[0]
    base, _, rule = url.partition("?fhir_vs")
    include: dict[str, Any] | None = None
    if base.startswith(SNOMED) and url != base:
        include = {"system": SNOMED}
        kind, _, value = rule.removeprefix("=").partition("/")
        if kind == "isa":
            include["filter"] = [{"property": "concept", "op": "is-a", "value": value}]
        elif kind:
            include["filter"] = [{"property": "expression", "op": "=", "value": rule}]
    elif url.startswith(f"{LOINC}/vs"):
        include = {"system": LOINC}
        if url != f"{LOINC}/vs":
            value = url.rpartition("/")[2]
            include["filter"] = [{"property": "ancestor", "op": "=", "value": value}]
    return None if include is None else {"url": url, "compose": {"include": [include]}}
