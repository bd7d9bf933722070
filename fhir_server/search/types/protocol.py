"""SearchType: the four functions that one search parameter type consists of, and what they exchange.

Written for speed where it counts: `extract` is called once for each parameter and returns a closure
that every write runs; `parse` and `where` run once for each value of a search.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple, Protocol

from fhir_server.outcome import NotSupported
from fhir_server.search.ast import Parameter

# What one element leaves in the index: a key text, or a row of the type's table (the columns of
# schema/indexes.py between `param` and `pk`).
Cell = str | tuple[Any, ...]
# FHIR type name and plain JSON value → cells; a composite's takes the resource as a third argument.
Extractor = Callable[..., Sequence[Cell]]


class Codes(Protocol):
    """What is known of value sets and hierarchies of codes; what is not known is refused by name."""

    def members(self, value_set: str) -> Sequence[tuple[str, str]]:
        """Return system and code of all members of a value set: a canonical, or ValueSet/id."""
        ...

    def below(self, system: str, code: str) -> Sequence[str]:
        """Return a code and all that it subsumes."""
        ...

    def above(self, system: str, code: str) -> Sequence[str]:
        """Return a code and all that subsume it."""
        ...


class NoCodes:
    """Refuses all that is asked."""

    def members(self, value_set: str) -> Sequence[tuple[str, str]]:
        """Raise NotSupported."""
        raise NotSupported(f"nothing is known of the value set {value_set!r} here")

    def below(self, system: str, code: str) -> Sequence[str]:
        """Raise NotSupported."""
        raise NotSupported(f"nothing is known of the code system {system!r} here")

    def above(self, system: str, code: str) -> Sequence[str]:
        """Raise NotSupported."""
        raise NotSupported(f"nothing is known of the code system {system!r} here")


class Stored(Protocol):
    """What values depend on that only the stored resources tell."""

    def units(self, parameter: Parameter) -> Sequence[str]:
        """Return the UCUM codes that the quantities of a parameter have."""
        ...

    def below(self, type_name: str, id: str) -> Sequence[str]:
        """Return the ids of a resource and of all that are part of it, whatever the depth."""
        ...

    def above(self, type_name: str, id: str) -> Sequence[str]:
        """Return the ids of a resource and of all that it is a part of."""
        ...

    def lacks_words(self, type_name: str) -> bool:
        """Tell whether some resources of a type were written without their words."""
        ...

    def contained(self) -> Collection[str]:
        """Return the resource types of which there are contained ones."""
        ...


class NothingStored:
    """Knows no unit but the one that is asked for, and refuses hierarchies."""

    def units(self, parameter: Parameter) -> Sequence[str]:
        """Return nothing."""
        return ()

    def below(self, type_name: str, id: str) -> Sequence[str]:
        """Raise NotSupported."""
        raise NotSupported(f"what is below {type_name}/{id} is not known here")

    def above(self, type_name: str, id: str) -> Sequence[str]:
        """Raise NotSupported."""
        raise NotSupported(f"what is above {type_name}/{id} is not known here")

    def lacks_words(self, type_name: str) -> bool:
        """Return False: nothing is stored, so nothing is missing."""
        return False

    def contained(self) -> Collection[str]:
        """Return nothing."""
        return ()


@dataclass(frozen=True, slots=True)
class Environment:
    """What a value means depends on it: zone of zone-less dates, our addresses, the present, codes.

    `base_urls` are this server's own FHIR bases, without a closing slash; `now` is needed by `ap`
    on dates alone, `stored` by quantities with a UCUM unit and by hierarchies of resources. `full_text`
    are the types whose words are indexed.
    """

    zone: tzinfo = UTC
    base_urls: tuple[str, ...] = ()
    now: datetime | None = None
    codes: Codes = NoCodes()
    stored: Stored = NothingStored()
    full_text: frozenset[str] = frozenset()


class Columns(NamedTuple):
    """The columns that a row condition speaks of, as SQL; a composite's row names them otherwise."""

    low: str = ""
    high: str = ""
    value: str = ""
    long: str = ""
    unit: str = ""
    unit_code: str = ""
    unit_text: str = ""
    code: str = ""
    system: str = ""
    point: str = ""


@dataclass(frozen=True, slots=True)
class Texts:
    """Matches where the resource has the key of at least one of these texts."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """Matches where one row of the type's table fulfils this SQL over the given Columns."""

    sql: str
    parameters: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class OnResource:
    """Matches where the resource row itself, whose alias is {r} in the SQL, fulfils it."""

    sql: str
    parameters: tuple[Any, ...] = ()


Match = Texts | Row | OnResource


@dataclass(frozen=True, slots=True)
class SearchType:
    """One search parameter type (R4/search.html#ptypes).

    extract(parameter, environment) → Extractor;
    parse(text, modifier, parameter, environment) → value, or outcome.Invalid;
    where(value, columns) → Match;
    order: the column that `_sort` goes by and its SQL type, or None where only keys are kept.
    """

    name: str
    extract: Callable[[Parameter, Environment], Extractor]
    parse: Callable[[str, str | None, Parameter, Environment], Hashable]
    where: Callable[[Any, Columns], Match]
    order: tuple[str, str] | None = None
    table: str | None = None
    columns: Columns = Columns()
    modifiers: frozenset[str] = frozenset()
    later: frozenset[str] = frozenset()  # modifiers of R4 that are understood and refused
    # (system or None, code) of one element, where the type knows such pairs; for composites.
    pairs: Callable[[str, Any], Sequence[tuple[str | None, str]]] | None = None


Types = Mapping[str, SearchType]
