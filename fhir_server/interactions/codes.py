"""What `:in`, `:not-in`, `:above` and `:below` ask, answered by the definitions of the unit.

R4's value sets and code systems, those of packages and those that clients have stored. What cannot be
written out in full is refused by name: a search that silently left codes out would be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fhir_server.interactions.registry import Shelf
from fhir_server.outcome import Invalid
from terminology.code_systems import CodeSystem
from terminology.expansion.enumeration import NotEnumerable, TooMany, enumerated
from terminology.terms import Terms

if TYPE_CHECKING:
    from fhir_server.interactions.context import Context

MOST_CODES = 2_000
"""Codes that one criterion may stand for; each is a key to look up, some pages of the index."""

KEPT = 100_000  # codes of the value sets that a process keeps written out
NAME = "search codes"


class TooManyCodes(Invalid):
    """400: a value set or a branch of a hierarchy that is too large to be searched by."""

    code = "too-costly"


class UnknownCodes(Invalid):
    """400: a value set, code system or code that is not here."""

    code = "not-found"


class SearchCodes:
    """The Codes of one unit of work; nothing is looked up before it is asked."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def members(self, value_set: str) -> Sequence[tuple[str, str]]:
        """Return system and code of all members of a value set: a canonical, or one that is stored here.

        Raises UnknownCodes, TooManyCodes (400), with its name.
        """
        state = self._context.settings.registry.state(self._context.unit)
        stored = self._stored(value_set)
        if stored is not None:
            terms = Terms(lambda kind, url: stored if url == value_set else state.conformance.find(kind, url))
            return _written_out(terms, value_set)
        shelf: Shelf[list[tuple[str, str]]] = state.conformance.compiled.setdefault(NAME, Shelf(KEPT))
        found = shelf.get(value_set)
        if found is None:
            found = _written_out(self._terms(), value_set)
            shelf.put(value_set, found, len(found) + 1)
        return found

    def _stored(self, value_set: str) -> Mapping[str, Any] | None:
        """Return the resource that a relative or own address leads to, None for any other canonical."""
        local = value_set
        for base in self._context.settings.base_urls:
            local = local.removeprefix(f"{base}/")
        if not local.startswith("ValueSet/"):
            return None
        found = self._context.knowledge().resolve(local)
        if found is None:
            raise UnknownCodes(f"there is no {local} here")
        return found

    def below(self, system: str, code: str) -> Sequence[str]:
        """Return a code and all that it subsumes; raises UnknownCodes, TooManyCodes (400)."""
        known, own = self._concept(system, code)
        return _bounded(list(known.descendants(own)), f"{system}|{code}")

    def above(self, system: str, code: str) -> Sequence[str]:
        """Return a code and all that subsume it; raises UnknownCodes (400)."""
        known, own = self._concept(system, code)
        return _bounded(list(known.ancestors(own)), f"{system}|{code}")

    def _concept(self, system: str, code: str) -> tuple[CodeSystem, str]:
        known = self._terms().system(system)
        if known is None:
            raise UnknownCodes(f"the code system {system} is not here, so nothing is known of its hierarchy")
        if not isinstance(known, CodeSystem) or not known.complete:
            raise UnknownCodes(f"of the code system {system} only a part is here, not its whole hierarchy")
        if known.meaning not in (None, "is-a"):
            raise Invalid(
                f"the hierarchy of {system} means {known.meaning}, not is-a: no code subsumes another"
            )
        concept = known.find(code)
        if concept is None:
            near = known.near(code)
            raise UnknownCodes(f"{system} has no code {code!r}" + (f"; is it {near}?" if near else ""))
        return known, concept.code

    def _terms(self) -> Terms:
        state = self._context.settings.registry.state(self._context.unit)
        own = state.terminology
        return own if isinstance(own, Terms) else Terms(state.conformance.find)


def _written_out(terms: Terms, value_set: str) -> list[tuple[str, str]]:
    try:
        return enumerated(terms, value_set, MOST_CODES)
    except TooMany as reason:
        raise TooManyCodes(
            f"the value set {value_set} is too large to search by ({reason}); {MOST_CODES} codes are possible"
        ) from None
    except NotEnumerable as reason:
        raise UnknownCodes(f"the codes of the value set {value_set} cannot be listed: {reason}") from None


def _bounded(codes: list[str], name: str) -> list[str]:
    if len(codes) > MOST_CODES:
        raise TooManyCodes(f"{len(codes)} codes are below {name}; {MOST_CODES} are possible")
    return codes
