"""A CodeSystem compiled from its JSON: codes, hierarchy, properties, names (R4/codesystem.html)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from terminology.logic import Answer

CONCEPT_PROPERTIES = "http://hl7.org/fhir/concept-properties#"

# Known under these codes in every code system, whether it declares them or not
# (R4/codesystem.html#defined-props).
STANDARD = frozenset({"inactive", "deprecated", "notSelectable", "parent", "child", "status", "subsumedBy"})
FEW_ENOUGH_TO_COMPARE = 5_000


@dataclass(slots=True)
class Concept:
    """One code; `properties` is (property code, value) as often as it is written."""

    code: str
    display: str | None = None
    definition: str | None = None
    parents: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    properties: list[tuple[str, Any]] = field(default_factory=list)
    designations: list[tuple[str | None, str]] = field(default_factory=list)

    def values(self, name: str) -> list[Any]:
        """Return the values of a property, none if it is not there."""
        return [value for key, value in self.properties if key == name]


class CodeSystem:
    """One code system.

    >>> system = CodeSystem({"url": "urn:s", "content": "complete", "concept": [
    ...     {"code": "pain", "concept": [{"code": "headache"}]}, {"code": "fever"}]})
    >>> system.has("fever"), system.has("cough"), system.subsumes("pain", "headache")
    (True, False, True)

    A code system that is not here in full (fragment, example, not-present) never says False. Upper
    and lower case are different codes only where the system says so (`caseSensitive`): of a system
    that is silent, codes are accepted in any case.
    """

    def __init__(self, resource: Mapping[str, Any], supplements: Iterable[Mapping[str, Any]] = ()) -> None:
        self.url: str = resource.get("url", "")
        self.version: str | None = resource.get("version")
        self.content: str = resource.get("content", "complete")
        self.case_sensitive: bool = resource.get("caseSensitive") is True
        self.meaning: str | None = resource.get("hierarchyMeaning")
        self.value_set: str | None = resource.get("valueSet")
        self.supplements: str | None = resource.get("supplements")
        self.concepts: dict[str, Concept] = {}
        self.declared: set[str] = set()
        self._standard: dict[str, str] = {}  # standard property → the code that it has here
        self._read(resource, supplements=False)
        for supplement in supplements:
            self._read(supplement, supplements=True)
        self._link()

    @property
    def complete(self) -> bool:
        """Whether what is not here does not exist."""
        return self.content == "complete"

    def _read(self, resource: Mapping[str, Any], *, supplements: bool) -> None:
        for declared in resource.get("property", ()):
            code, uri = declared.get("code"), declared.get("uri", "")
            if isinstance(code, str):
                self.declared.add(code)
                if uri.startswith(CONCEPT_PROPERTIES):
                    self._standard.setdefault(uri.removeprefix(CONCEPT_PROPERTIES), code)
        for written, parent in nested(resource.get("concept", ())):
            code = written["code"]
            concept = self.concepts.get(code)
            if concept is None:
                if supplements:  # which says more about codes and brings none
                    continue
                concept = self.concepts[code] = Concept(
                    code, written.get("display"), written.get("definition")
                )
            elif written.get("display"):
                concept.designations.append((None, written["display"]))
            if parent is not None:
                concept.parents.append(parent)
            for entry in written.get("property", ()):
                value = next((entry[key] for key in entry if key.startswith("value")), None)
                if value is not None and isinstance(entry.get("code"), str):
                    concept.properties.append((entry["code"], value))
            for entry in written.get("designation", ()):
                if isinstance(entry.get("value"), str):
                    concept.designations.append((entry.get("language"), entry["value"]))

    def _link(self) -> None:
        """Let parents and children know each other, whoever of them names the other."""
        upward = {self.standard("parent"), self.standard("subsumedBy")}
        downward = self.standard("child")
        for concept in self.concepts.values():
            for name, value in concept.properties:
                if name in upward and value in self.concepts:
                    concept.parents.append(value)
                elif name == downward and value in self.concepts:
                    self.concepts[value].parents.append(concept.code)
        for concept in self.concepts.values():
            concept.parents = list(dict.fromkeys(concept.parents))
            for parent in concept.parents:
                self.concepts[parent].children.append(concept.code)

    def standard(self, name: str) -> str:
        """Return the code that a standard property has in this system."""
        return self._standard.get(name, name)

    @cached_property
    def properties(self) -> set[str]:
        """The codes of all properties, declared or only written."""
        return self.declared | {name for concept in self.concepts.values() for name, _ in concept.properties}

    @cached_property
    def _folded(self) -> dict[str, str]:
        return {code.casefold(): code for code in reversed(self.concepts)}

    def find(self, code: str) -> Concept | None:
        """Return the concept of a code, in any case unless the system minds."""
        concept = self.concepts.get(code)
        if concept is None and not self.case_sensitive:
            concept = self.concepts.get(self._folded.get(code.casefold(), ""))
        return concept

    def has(self, code: str) -> Answer:
        """Say whether the code exists; None where only a part of the system is here."""
        if self.find(code) is not None:
            return True
        return False if self.complete else None

    def codes(self) -> Iterable[str] | None:
        """Return all codes, None if not all are here."""
        return self.concepts if self.complete else None

    def display(self, code: str) -> str | None:
        """Return the name of a code."""
        concept = self.find(code)
        return concept.display if concept is not None else None

    def names(self, code: str) -> tuple[str, ...]:
        """Return all names of a code: its display and its designations in any language."""
        concept = self.find(code)
        if concept is None:
            return ()
        first = (concept.display,) if concept.display else ()
        return first + tuple(value for _, value in concept.designations)

    def ancestors(self, code: str) -> Iterator[str]:
        """Yield a code and all above it, each once; circles do no harm."""
        return self._spread(code, up=True)

    def descendants(self, code: str) -> Iterator[str]:
        """Yield a code and all below it, each once."""
        return self._spread(code, up=False)

    def _spread(self, code: str, *, up: bool) -> Iterator[str]:
        seen, todo = set(), [code]
        while todo:
            here = todo.pop()
            concept = self.concepts.get(here)
            if here not in seen and concept is not None:
                seen.add(here)
                yield here
                todo += concept.parents if up else concept.children

    def is_a(self, code: str, ancestor: str) -> Answer:
        """Say whether a code is `ancestor` or below it in the hierarchy."""
        below, above = self.find(code), self.find(ancestor)
        if below is not None and above is not None and above.code in self.ancestors(below.code):
            return True
        return False if self.complete else None

    def subsumes(self, code: str, other: str) -> Answer:
        """Say whether `code` is `other` or more general; None if a code or the meaning is unknown."""
        above, below = self.find(code), self.find(other)
        if above is None or below is None:
            return None
        if above is below:
            return True
        # Parts of a whole, or members of a group, are not kinds of it.
        return self.is_a(other, code) if self.meaning in (None, "is-a") else None

    def is_inactive(self, concept: Concept) -> bool:
        """Return whether a concept is no longer in use (deprecated ones still may be)."""
        if any(value is True or value == "true" for value in concept.values(self.standard("inactive"))):
            return True
        return any(value in ("retired", "inactive") for value in concept.values(self.standard("status")))

    def near(self, code: str) -> str | None:
        """Return the code that somebody probably meant.

        >>> CodeSystem({"concept": [{"code": "HOME"}, {"code": "WORK"}], "caseSensitive": True}).near("Home")
        'HOME'
        """
        stripped = code.strip().casefold()
        if stripped in self._folded:
            return self._folded[stripped]
        for concept in self.concepts.values():
            if concept.display is not None and concept.display.casefold() == stripped:
                return concept.code
        if len(self.concepts) > FEW_ENOUGH_TO_COMPARE or len(code) > 80:
            return None
        return next(iter(difflib.get_close_matches(code, self.concepts, n=1)), None)


def nested(concepts: Iterable[Any]) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    """Yield every concept that has a code, with its parent's code, a parent before its children."""
    todo: list[tuple[Any, str | None]] = [(concept, None) for concept in reversed(list(concepts))]
    while todo:
        concept, parent = todo.pop()
        code = concept.get("code")
        if isinstance(code, str):
            yield concept, parent
            todo += [(child, code) for child in reversed(concept.get("concept", ()))]
