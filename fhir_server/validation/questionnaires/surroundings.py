"""What a Questionnaire or a response refers to: contained, in the same Bundle, or known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from fhir_server.definitions.conformance import Conformance
from fhir_server.definitions.core import Core
from fhir_server.validation.knowledge import NoTerminology, Task, Terminology
from terminology.terms import Terms


@cache
def _r4() -> Terminology:
    """Return what R4's own code systems and value sets say, for a task that knows no more."""
    return Terms(Conformance([Core()]).find)


class Surroundings:
    """Finds what a resource names, from the near to the far: contained, same Bundle, installation.

    `contained` is what canonicals such as `#v` may mean, `own` what references in the resource do: the
    Questionnaire of a response brings contained value sets, but not the subjects of its answers.
    """

    def __init__(
        self, task: Task, contained: Iterable[dict[str, Any]] = (), bundle: Bundled | None = None
    ) -> None:
        self.task = task
        given = task.knowledge.terminology
        self.terminology = _r4() if isinstance(given, NoTerminology) else given
        self.contained = {f"#{inner['id']}": inner for inner in contained if isinstance(inner.get("id"), str)}
        self.own = self.contained
        self.bundle = bundle
        self._lists: dict[int, Membership] = {}
        self._answers: dict[tuple[str, str | None, str], bool | None] = {}

    def within(self, contained: Iterable[dict[str, Any]]) -> Surroundings:
        """Return the surroundings of a resource that brings contained ones of its own."""
        inner = Surroundings(self.task, contained, self.bundle)
        inner.contained, inner.own = {**self.contained, **inner.contained}, self.own
        return inner

    def find(self, type_name: str, canonical: str) -> dict[str, Any] | None:
        """Return the resource that a canonical (`url|version`, `#id`) or an address names."""
        if canonical.startswith("#"):
            found = self.contained.get(canonical)
            return found if found is not None and found.get("resourceType") == type_name else None
        found = self.bundle.find(type_name, canonical) if self.bundle is not None else None
        if found is None:
            found = self.task.knowledge.conformance.find(type_name, canonical)
        if found is None:
            found = self.task.knowledge.resolve(canonical)
            if found is not None and found.get("resourceType") != type_name:
                return None
        return found

    def member(self, value_set: str, system: str | None, code: str) -> bool | None:
        """Say whether a value set has a code; None if that is not known. With no system any will do."""
        asked = (value_set, system, code)
        if asked not in self._answers:
            self._answers[asked] = None  # what a value set says that is made of itself
            self._answers[asked] = self._member(value_set, system, code)
        return self._answers[asked]

    def names(self, system: str | None, code: str) -> tuple[str, ...]:
        """Return the names that a code system gives to a code, none if they are not known."""
        return self.terminology.names(system, code) if system else ()

    def listed_display(self, value_set: str, system: str, code: str) -> str | None:
        """Return the name that a value set itself gives to a code, None if it gives none."""
        near = self._near(value_set)
        return None if near is None else near.displays.get((system, code))

    def _near(self, value_set: str) -> Membership | None:
        found = self.contained.get(value_set)
        if found is None and self.bundle is not None:
            found = self.bundle.find("ValueSet", value_set)
        return self._read(found)

    def _read(self, found: dict[str, Any] | None) -> Membership | None:
        if found is None or found.get("resourceType") != "ValueSet":
            return None
        if id(found) not in self._lists:
            self._lists[id(found)] = Membership(found)
        return self._lists[id(found)]

    def _member(self, value_set: str, system: str | None, code: str) -> bool | None:
        near = self._near(value_set)
        if near is None and not value_set.startswith("#"):
            answer = self.terminology.member(value_set, system, code)
            if answer is not None:
                return answer
            near = self._read(self.task.knowledge.conformance.find("ValueSet", value_set))
        return None if near is None else near.has(self, system, code)


class Membership:
    """A ValueSet, read so that a code is looked up without a scan (R4/valueset.html#compositions)."""

    def __init__(self, value_set: dict[str, Any]) -> None:
        self.source = value_set
        compose = value_set.get("compose", {})
        self.displays = {
            (part.get("system"), concept.get("code")): concept["display"]
            for part in compose.get("include", ())
            for concept in part.get("concept", ())
            if "display" in concept
        }
        self.expanded: _Codes | None = None
        expansion = value_set.get("expansion")
        if isinstance(expansion, dict) and "contains" in expansion:
            entries = list(_contained_codes(expansion))
            self.expanded = _Codes(
                (entry.get("system"), entry["code"])
                for entry in entries
                if "code" in entry and not entry.get("abstract")
            )
            total = expansion.get("total")
            self.is_all = not isinstance(total, int) or total <= len(entries)
            self.displays |= {
                (entry.get("system"), entry.get("code")): entry["display"]
                for entry in entries
                if "display" in entry
            }
        self.include = [_Part(part) for part in compose.get("include", ())]
        self.exclude = [_Part(part) for part in compose.get("exclude", ())]

    def has(self, around: Surroundings, system: str | None, code: str) -> bool | None:
        """Say whether the code is in it."""
        there = self._composed(around, system, code) if self.include else None
        if there is None and self.expanded is not None:
            listed = self.expanded.has(system, code)
            return True if listed else False if self.is_all else None
        return there

    def _composed(self, around: Surroundings, system: str | None, code: str) -> bool | None:
        out = _any(part.has(around, system, code) for part in self.exclude)
        if out:
            return False
        there = _any(part.has(around, system, code) for part in self.include)
        return None if there and out is None else there


class _Codes:
    def __init__(self, pairs: Iterable[tuple[str | None, str]]) -> None:
        self.pairs = set(pairs)
        self.codes = {code for _, code in self.pairs}

    def has(self, system: str | None, code: str) -> bool:
        return code in self.codes if system is None else (system, code) in self.pairs


class _Part:
    """One include or exclude: all of its conditions hold."""

    def __init__(self, source: dict[str, Any]) -> None:
        self.source = source
        self.system: str | None = source.get("system")
        concepts = source.get("concept")
        self.listed = None if concepts is None else {concept.get("code") for concept in concepts}

    def has(self, around: Surroundings, system: str | None, code: str) -> bool | None:
        answers: list[bool | None] = []
        if self.system is not None:
            if system is not None and system != self.system:
                return False
            if self.listed is not None:
                answers.append(code in self.listed)
            elif "filter" in self.source:
                answers += [self._passes(around, one, code) for one in self.source["filter"]]
            else:
                answers.append(around.terminology.known(self.system, code))
        answers += [around.member(other, system, code) for other in self.source.get("valueSet", ())]
        return False if False in answers else None if None in answers else True

    def _passes(self, around: Surroundings, condition: dict[str, Any], code: str) -> bool | None:
        terms, value = around.terminology, condition.get("value", "")
        if condition.get("property") != "concept" or self.system is None:
            return None
        if condition.get("op") == "is-a":
            return True if code == value else terms.subsumes(self.system, value, code)
        if condition.get("op") == "descendent-of":
            return False if code == value else terms.subsumes(self.system, value, code)
        if condition.get("op") == "is-not-a":
            below = True if code == value else terms.subsumes(self.system, value, code)
            return None if below is None else not below
        if condition.get("op") == "in":
            return code in {one.strip() for one in value.split(",")}
        return None


def _any(answers: Iterator[bool | None]) -> bool | None:
    unsure = False
    for answer in answers:
        if answer:
            return True
        unsure = unsure or answer is None
    return None if unsure else False


def _contained_codes(expansion: dict[str, Any]) -> Iterator[dict[str, Any]]:
    todo = list(expansion.get("contains", ()))
    while todo:
        entry = todo.pop()
        yield entry
        todo += entry.get("contains", ())


class Bundled:
    """The Questionnaires and ValueSets among the entries of a Bundle, by canonical and by fullUrl."""

    def __init__(self, bundle: dict[str, Any]) -> None:
        self._found: dict[tuple[str, str], dict[str, Any]] = {}
        for entry in bundle.get("entry", ()):
            resource = entry.get("resource")
            if not isinstance(resource, dict) or resource.get("resourceType") not in (
                "Questionnaire",
                "ValueSet",
            ):
                continue
            kind = resource["resourceType"]
            names = [entry.get("fullUrl"), resource.get("url")]
            if "id" in resource:
                names.append(f"{kind}/{resource['id']}")
            if "url" in resource and "version" in resource:
                names.append(f"{resource['url']}|{resource['version']}")
            for name in names:
                if isinstance(name, str):
                    self._found.setdefault((kind, name), resource)

    def find(self, type_name: str, canonical: str) -> dict[str, Any] | None:
        """Return the resource, None if the Bundle does not have it."""
        return self._found.get((type_name, canonical))
