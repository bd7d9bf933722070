"""reference search parameters: to what a resource points (R4/search.html#reference).

    Type/id      that resource here             id            the same, of any type the parameter allows
    absolute url ours: the resource here; another server's: sign by sign
    url|version  a canonical with that version   url           with any or none
    Type/id/_history/v   a reference to that version alone

`:[type]` names the type of a bare id; `:identifier` asks for Reference.identifier as a token.
A reference into `contained` (#x) points nowhere else and is only there for `:missing`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fhir_server.definitions import structures
from fhir_server.outcome import Invalid
from fhir_server.search import keys, values
from fhir_server.search.ast import Parameter
from fhir_server.search.types.protocol import Cell, Columns, Environment, Extractor, Match, SearchType, Texts

RELATIVE = re.compile(r"([A-Z][A-Za-z]{2,60})/([A-Za-z0-9\-.]{1,64})(?:/_history/([A-Za-z0-9\-.]{1,64}))?")
ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


@dataclass(frozen=True, slots=True)
class ReferenceValue:
    """References to look for: any of these key texts."""

    texts: tuple[str, ...]


def parse(
    text: str,
    modifier: str | None = None,
    parameter: Parameter | None = None,
    environment: Environment | None = None,
) -> ReferenceValue:
    """Read one value of a reference parameter.

    >>> parse("7", parameter=Parameter("Account", "patient", "reference", targets=("Patient",))).texts
    ('Patient/7',)
    >>> parse("7", "Group").texts, parse("urn:mrn|7", "identifier").texts[0][12:]
    (('Group/7',), 'urn:mrn|7')
    """
    if modifier == "identifier":
        return ReferenceValue(tuple(keys.IDENTIFIER + known for known in _identifier_query(text)))
    plain = values.unescape(text)
    here = local(plain, (environment or Environment()).base_urls)
    if found := RELATIVE.fullmatch(here):
        if modifier is not None and modifier != found[1]:
            raise Invalid(f"{plain!r} is no {modifier}, which the modifier asks for")
        if not structures.is_resource_type(found[1]):
            raise Invalid(f"{plain!r} names {found[1]}, which is no resource type of R4")
        return ReferenceValue((here,))
    if ID.fullmatch(here):
        types = (modifier,) if modifier else (parameter.targets if parameter else ())
        return ReferenceValue(tuple(f"{type_name}/{here}" for type_name in types) or (here,))
    if modifier is not None:
        raise Invalid(f":{modifier} goes with an id or {modifier}/id; got {plain!r}")
    return ReferenceValue((here,))


def _identifier_query(text: str) -> tuple[str, ...]:
    parts = [values.unescape(part) for part in values.split(text, "|")]
    if len(parts) > 2 or not any(parts):
        raise Invalid(f"{text!r} is not an identifier; write system|value or value")
    return ("|".join(map(keys.escaped, parts)),)


@lru_cache(maxsize=16384)
def local(text: str, base_urls: tuple[str, ...]) -> str:
    """Return a reference to one of our own addresses without the address, any other as it is.

    >>> local("http://a.org/fhir/Patient/7", ("http://a.org/fhir",)), local("http://b.org/Patient/7", ())
    ('Patient/7', 'http://b.org/Patient/7')
    """
    for base in base_urls:
        if text.startswith(base + "/") and RELATIVE.fullmatch(text, len(base) + 1):
            return text[len(base) + 1 :]
    return text


def where(value: ReferenceValue, columns: Columns) -> Match:
    """Return the keys of the references asked for."""
    return Texts(value.texts)


def extract(parameter: Parameter, environment: Environment) -> Extractor:
    """Return what gives the key texts of a Reference, canonical or uri.

    >>> cells = extract(Parameter("Observation", "subject", "reference"), Environment())
    >>> cells("Reference", {"reference": "Patient/7"}), cells("canonical", "http://a.org/q|2")
    (['Patient/7'], ['http://a.org/q|2', 'http://a.org/q'])
    """
    base_urls = environment.base_urls

    def cells(type_name: str, value: Any) -> Sequence[Cell]:
        if isinstance(value, str):
            return [value, value.partition("|")[0]] if "|" in value else [local(value, base_urls)]
        if not isinstance(value, dict):
            return []
        texts: list[Cell] = []
        reference = value.get("reference")
        if isinstance(reference, str) and not reference.startswith("#"):
            here = local(reference, base_urls)
            texts.append(here)
            if "/_history/" in here:
                texts.append(here.partition("/_history/")[0])
        if isinstance(identifier := value.get("identifier"), dict):
            texts += _identifier(identifier)
        return texts

    return cells


def _identifier(identifier: Any) -> list[Cell]:
    system, value = identifier.get("system"), keys.escaped(identifier.get("value") or "")
    found: list[Cell] = [keys.IDENTIFIER + value] if value else []
    if system or value:
        found.append(f"{keys.IDENTIFIER}{keys.escaped(system or '')}|{value}")
    if system and value:
        found.append(f"{keys.IDENTIFIER}{keys.escaped(system)}|")
    return found


SEARCH_TYPE = SearchType(
    name="reference",
    extract=extract,
    parse=parse,
    where=where,
    modifiers=frozenset({"identifier"}),
    later=frozenset({"above", "below"}),
)
