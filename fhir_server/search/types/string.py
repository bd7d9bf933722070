"""string search parameters: the beginning of a text, case and accents aside.

R4/search.html#string. Text is folded (compatibility forms, combining marks and case away, white
space made single) when it is stored and when it is asked for. Plain values match the start of the
folded text, `:contains` any place in it, `:exact` the whole text as it was written. A HumanName
offers each of its parts and an Address each of its, besides `text`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fhir_server.outcome import Invalid
from fhir_server.search import keys, values
from fhir_server.search.ast import Parameter
from fhir_server.search.folding import fold
from fhir_server.search.types.protocol import (
    Cell,
    Columns,
    Environment,
    Extractor,
    Match,
    Row,
    SearchType,
    Texts,
)

ORDERED_LENGTH = 200  # a B-tree entry holds 2,704 bytes at most; what is longer stands in `long` as well
# What is to be found anywhere in a text reads every value of the parameter. So that the index alone gives
# them, `long` is asked of another look at the row, and only where the first part is as long as it can be.
# Inside, the columns have other names: a bare one is that of the row outside, whatever its alias.
_LONG_LIKE = (
    f"length(value) = {ORDERED_LENGTH} and (select bool_or(coalesce(l.w, l.v) like %s)"
    " from (select tenant as t, param as m, pk as k, value as v, long as w from idx_string) l"
    " where l.t = tenant and l.m = param and l.v = value and l.k = pk)"
)
PARTS = {
    "HumanName": ("family", "given", "prefix", "suffix", "text"),
    "Address": ("line", "city", "district", "state", "country", "postalCode", "text"),
}


@dataclass(frozen=True, slots=True)
class StringValue:
    """A text to look for; `text` is folded unless `mode` is exact."""

    mode: str  # starts, contains, exact; of _filter also whole and ends
    text: str


def parse(
    text: str,
    modifier: str | None = None,
    parameter: Parameter | None = None,
    environment: Environment | None = None,
) -> StringValue:
    """Read one value of a string parameter.

    >>> parse("Müll"), parse("Müll", "exact")
    (StringValue(mode='starts', text='mull'), StringValue(mode='exact', text='Müll'))
    """
    plain = values.unescape(text)
    if modifier == "exact":
        return StringValue("exact", plain)
    folded = fold(plain)
    if not folded:
        raise Invalid(f"{plain!r} has no letter to look for")
    return StringValue(modifier or "starts", folded)


def where(value: StringValue, columns: Columns) -> Match:
    """Return the key of an exact text, or the condition on a row."""
    if value.mode == "exact":
        return Texts((keys.EXACT + value.text,))
    if value.mode == "contains":
        pattern = "%" + _pattern(value.text) + "%"
        return Row(f"(value like %s or {_LONG_LIKE})", (pattern, pattern))
    if value.mode == "ends":
        pattern = "%" + _pattern(value.text)
        return Row(
            f"(value like %s and length(value) < {ORDERED_LENGTH} or {_LONG_LIKE})", (pattern, pattern)
        )
    start = value.text[:ORDERED_LENGTH]
    if value.mode == "whole":
        if len(value.text) <= ORDERED_LENGTH:
            return Row(f"{columns.value} = %s and {columns.long} is null", (start,))
        return Row(f"{columns.value} = %s and {columns.long} = %s", (start, value.text))
    if len(value.text) <= ORDERED_LENGTH:
        return begins(columns.value, start)
    return Row(f"{columns.value} = %s and {columns.long} like %s", (start, _pattern(value.text) + "%"))


def begins(column: str, start: str) -> Row:
    """Return that texts in the order of their code points begin so: as a range, whatever plan is made of it.

    >>> begins("value", "ab")
    Row(sql='value >= %s and value < %s', parameters=('ab', 'ac'))
    """
    before = start.rstrip("\U0010ffff")
    if not before:
        return Row(f"{column} >= %s", (start,))
    following = ord(before[-1]) + 1
    if 0xD800 <= following <= 0xDFFF:
        following = 0xE000  # between them are no characters
    return Row(f"{column} >= %s and {column} < %s", (start, before[:-1] + chr(following)))


def _pattern(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def extract(parameter: Parameter, environment: Environment) -> Extractor:
    """Return what gives the rows and exact keys of a string, markdown, HumanName or Address.

    >>> cells = extract(Parameter("Patient", "name", "string"), Environment())
    >>> cells("HumanName", {"family": "Müller", "given": ["Ana"]})
    ['=Müller', ('muller', None), '=Ana', ('ana', None)]
    """
    return cells


def cells(type_name: str, value: Any) -> Sequence[Cell]:
    """Return for every text of one element its exact key and, folded, its row."""
    if isinstance(value, str):
        return _cells(value)
    return [cell for text in texts(type_name, value) for cell in _cells(text)]


@lru_cache(maxsize=2048)
def _cells(text: str) -> tuple[Cell, ...]:
    folded = fold(text)
    if not folded:
        return (keys.EXACT + text,)
    if len(folded) <= ORDERED_LENGTH:
        return (keys.EXACT + text, (folded, None))
    return (keys.EXACT + text, (folded[:ORDERED_LENGTH], folded))


def texts(type_name: str, value: Any) -> Iterator[str]:
    """Yield the texts of one element: a string is one, a HumanName or an Address several."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name in PARTS.get(type_name, ("text",)):
            part = value.get(name)
            if isinstance(part, str):
                yield part
            elif isinstance(part, list):
                yield from (item for item in part if isinstance(item, str))


SEARCH_TYPE = SearchType(
    name="string",
    extract=extract,
    parse=parse,
    where=where,
    order=("value", "text"),  # folded, by code points, by the first 200 signs
    table="idx_string",
    columns=Columns(value="value", long="long"),
    modifiers=frozenset({"exact", "contains"}),
)
