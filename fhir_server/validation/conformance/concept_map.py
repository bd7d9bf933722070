"""ConceptMap: the codes that it maps are those of its systems and value sets (R4/conceptmap.html)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fhir_server.outcome import Issue
from fhir_server.validation.knowledge import Task

Resource = Mapping[str, Any]


def check(concept_map: Resource, task: Task) -> Iterator[Issue]:
    """Yield the codes of a ConceptMap that its systems or its value sets do not have.

    What is not known is not told.
    """
    source = concept_map.get("sourceCanonical", concept_map.get("sourceUri"))
    target = concept_map.get("targetCanonical", concept_map.get("targetUri"))
    for number, group in enumerate(concept_map.get("group", ())):
        place = f"ConceptMap.group[{number}]"
        seen: set[str] = set()
        for at, element in enumerate(group.get("element", ())):
            here = f"{place}.element[{at}]"
            code = element.get("code")
            if code in seen:
                what = f"the code {code!r} is mapped in this group already"
                yield Issue("warning", "duplicate", what, f"{here}.code", "conceptmap-unique")
            elif code is not None:
                seen.add(code)
                yield from _code(group.get("source"), source, code, task, f"{here}.code")
            for which, mapped in enumerate(element.get("target", ())):
                if "code" in mapped:
                    there = f"{here}.target[{which}].code"
                    yield from _code(group.get("target"), target, mapped["code"], task, there)


def _code(system: str | None, value_set: str | None, code: str, task: Task, place: str) -> Iterator[Issue]:
    if system is None:
        return
    terminology = task.knowledge.terminology
    if terminology.known(system, code) is False:
        yield Issue("error", "code-invalid", f"{code!r} is no code of {system}", place, "conceptmap-code")
    elif value_set is not None and terminology.member(value_set, system, code) is False:
        what = f"{code!r} of {system} is not in {value_set}, which this map is about"
        yield Issue("error", "code-invalid", what, place, "conceptmap-valueset")
