"""Value sets and hierarchies made of the codes that the data have, by chance and always the same."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from tests.support.oracle import reading

VALUE_SETS = 40
LARGEST = 400


class Vocabulary:
    """Value sets `urn:oracle:0` … and, in every code system, a tree of its codes.

    Also what the server is told of codes: `members`, `below` and `above`.
    """

    def __init__(self, oracle: Any) -> None:
        self._oracle = oracle
        self._systems: dict[str, list[str]] | None = None
        self._sets: dict[str, list[tuple[str, str]]] = {}

    @property
    def systems(self) -> dict[str, list[str]]:
        """The codes of each system, in an order of their own: code n is below code n // 3."""
        if self._systems is None:
            found: dict[str, set[str]] = {}
            for resources in self._oracle.by_type.values():
                for resource in resources.values():
                    for system, code in _codings(resource):
                        found.setdefault(system, set()).add(code)
            found["http://hl7.org/fhir/observation-status"] = {"final", "amended", "corrected", "cancelled"}
            found["http://hl7.org/fhir/administrative-gender"] = {"male", "female", "other", "unknown"}
            self._systems = {system: sorted(codes) for system, codes in sorted(found.items())}
            random = Random(7)
            whole = [(system, code) for system, codes in self._systems.items() for code in codes]
            for number in range(VALUE_SETS):
                size = random.choice((1, 3, 10, 40, LARGEST))
                self._sets[f"urn:oracle:{number}"] = random.sample(whole, min(size, len(whole)))
        return self._systems

    def members(self, value_set: str) -> list[tuple[str, str]]:
        """Return the codes of a value set."""
        assert self.systems
        return self._sets[value_set]

    def with_code(self, system: str, code: str) -> str | None:
        """Return a value set that has a code, None if none has."""
        assert self.systems
        return next((name for name, codes in self._sets.items() if (system, code) in codes), None)

    def above(self, system: str, code: str) -> list[str]:
        """Return a code and its parents."""
        codes = self.systems[system]
        place = codes.index(code)
        found = [code]
        while place:
            place //= 3
            found.append(codes[place])
        return found

    def below(self, system: str, code: str) -> list[str]:
        """Return a code and its children."""
        codes = self.systems[system]
        found = [codes.index(code)]
        for place in found:
            found += [child for child in range(3 * place, 3 * place + 3) if place < child < len(codes)]
        return [codes[place] for place in found]

    def pairs(self, modifier: str, text: str) -> set[tuple[str, str]]:
        """Return the codes that one value of a modifier stands for."""
        if modifier in ("in", "not-in"):
            return set(self.members(reading.plain(text)))
        system, code = (reading.plain(part) for part in reading.pieces(text, "|"))
        return {(system, each) for each in (self.below if modifier == "below" else self.above)(system, code)}


def _codings(node: Any) -> Iterator[tuple[str, str]]:
    todo = [node]
    while todo:
        here = todo.pop()
        if isinstance(here, list):
            todo += here
        elif isinstance(here, dict):
            if isinstance(here.get("system"), str) and isinstance(here.get("code"), str):
                yield here["system"], here["code"]
            todo += here.values()
