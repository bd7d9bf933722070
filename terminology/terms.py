"""Terms: what can be said about codes and value sets from conformance resources alone.

R4/terminology-service.html asks the same questions by HTTP; here they are answered in memory, from
whatever `find` knows. None is the answer wherever that is not enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from terminology.code_systems import CodeSystem
from terminology.expansion.compose import Question, ValueSet, implicit
from terminology.expansion.enumeration import NotEnumerable, enumerated
from terminology.expansion.filters import System
from terminology.grammars import GRAMMARS
from terminology.logic import Answer, some

Find = Callable[[str, str], Mapping[str, Any] | None]
T = TypeVar("T")

MAX_CONCEPTS = 400_000  # of all code systems that are kept compiled
MAX_VALUE_SETS = 4_000
MAX_LOOKED_THROUGH = 3_000  # codes of a system, for a message


class Kept:
    """Compiled things up to a total weight; the oldest go first."""

    def __init__(self, most: int) -> None:
        self.most, self.weight = most, 0
        self._found: dict[Any, tuple[Any, int]] = {}

    def get(self, key: Any, make: Callable[[], T], weight: Callable[[T], int]) -> T:
        """Return what is kept under a key, or make it and keep it."""
        if key in self._found:
            kept: T = self._found[key][0]
            return kept
        made = make()
        _, replaced = self._found.get(key, (None, 0))  # another thread may have been quicker
        self._found[key] = made, weight(made)
        self.weight += weight(made) - replaced
        while self.weight > self.most and len(self._found) > 1:
            oldest = next(iter(self._found), None)
            self.weight -= self._found.pop(oldest, (None, 0))[1]
        return made


class Terms:
    """Answers about codes, from the resources that `find(type, canonical)` returns.

    A canonical is `url` or `url|version`; `find` knows which versions there are.

    >>> systems = {"urn:colours": {"url": "urn:colours", "content": "complete", "concept": [{"code": "red"}]}}
    >>> sets = {"urn:all": {"compose": {"include": [{"system": "urn:colours"}, {"system": "urn:other"}]}}}
    >>> terms = Terms(lambda kind, url: {"CodeSystem": systems, "ValueSet": sets}[kind].get(url))
    >>> terms.member("urn:all", "urn:colours", "red"), terms.member("urn:all", "urn:colours", "blue")
    (True, False)
    >>> terms.member("urn:all", "urn:other", "red"), terms.known("urn:colours", "blue")
    (None, False)
    """

    def __init__(self, find: Find) -> None:
        self._find = find
        self._systems = Kept(MAX_CONCEPTS)
        self._value_sets = Kept(MAX_VALUE_SETS)

    def system(self, canonical: str, supplements: tuple[str, ...] = ()) -> System | None:
        """Return a code system, with what `supplements` say more about its codes."""
        return self._systems.get(
            (canonical, supplements),
            lambda: self._system(canonical, supplements),
            lambda system: max(len(system.concepts), 20) if isinstance(system, CodeSystem) else 20,
        )

    def _system(self, canonical: str, supplements: tuple[str, ...]) -> System | None:
        url = canonical.partition("|")[0]
        resource = self._find("CodeSystem", canonical)
        # A rule knows more than an entry without codes, such as R4's for SNOMED CT, or a part of them.
        if url in GRAMMARS and (resource is None or resource.get("content") != "complete"):
            return GRAMMARS[url]
        if resource is None:
            return None
        own = []
        for name in supplements:
            supplement = self._find("CodeSystem", name)
            if supplement is None:  # what it says is asked for, and nobody knows it
                return None
            if str(supplement.get("supplements", "")).partition("|")[0] == url:
                own.append(supplement)
        return CodeSystem(resource, own)

    def value_set(self, canonical: str) -> ValueSet | None:
        """Return a value set, one that a canonical of SNOMED CT or LOINC describes too."""
        return self._value_sets.get(canonical, lambda: self._value_set(canonical), lambda made: 1)

    def _value_set(self, canonical: str) -> ValueSet | None:
        resource = self._find("ValueSet", canonical) or implicit(canonical)
        return None if resource is None else ValueSet(resource)

    def member(self, value_set: str, system: str | None, code: str) -> Answer:
        """Say whether a value set has a code; without a system, a code of any of its systems."""
        if system is not None:
            return Question(self, system, code).of(value_set)
        found = self.value_set(value_set)
        systems = found.systems(self) if found is not None else None
        if systems is None:
            return None
        return some(Question(self, each, code).of(value_set) for each in sorted(systems))

    def known(self, system: str, code: str) -> Answer:
        """Say whether a code system has a code; `system` may be `url|version`.

        >>> nothing = Terms(lambda kind, canonical: None)
        >>> nothing.known("http://unitsofmeasure.org", "mg/DL"), nothing.known("urn:s", "x")
        (False, None)
        """
        found = self.system(system)
        return None if found is None else found.has(code)

    def display(self, system: str, code: str) -> str | None:
        """Return the name of a code."""
        found = self.system(system)
        return None if found is None else found.display(code)

    def names(self, system: str, code: str) -> tuple[str, ...]:
        """Return all names of a code in all languages; none if they are not known."""
        found = self.system(system)
        return () if found is None else found.names(code)

    def near(self, system: str, code: str) -> str | None:
        """Return the code of a system that somebody probably meant by one that it does not have."""
        found = self.system(system)
        return None if found is None else found.near(code)

    def subsumes(self, system: str, code: str, other: str) -> Answer:
        """Say whether `code` is `other` or more general than it."""
        found = self.system(system)
        if found is None:
            return True if code == other else None
        return found.subsumes(code, other)

    def listed(self, value_set: str, most: int) -> list[tuple[str, str]] | None:
        """Return system and code of all members; None if not all are known or there are more than `most`.

        For messages; a large value set is given up as soon as it is too large.
        """
        try:
            return enumerated(self, value_set, most, MAX_LOOKED_THROUGH)
        except NotEnumerable:
            return None
