"""reference search parameters: to what a resource points (R4/search.html#reference).

    Type/id      that resource here             id            the same, of any type the parameter allows
    absolute url ours: the resource here; another server's: sign by sign
    url|version  a canonical with that version   url           with any or none
    Type/id/_history/v   a reference to that version alone

`:[type]` names the type of a bare id; `:identifier` asks for Reference.identifier as a token.
`:below` and `:above` follow a hierarchy of resources (search/hierarchy.py); of canonicals they are by
version, whose parts are parted by points: `url|1.2` is above 1.2.3 and below 1.
A reference into `contained` (#x) has the key of its container's address with it: chains go there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fhir_server.definitions import structures
from fhir_server.outcome import Invalid
from fhir_server.search import elements, hierarchy, keys, values
from fhir_server.search.ast import Parameter
from fhir_server.search.types.protocol import Cell, Columns, Environment, Extractor, Match, SearchType, Texts

RELATIVE = re.compile(r"([A-Z][A-Za-z]{2,60})/([A-Za-z0-9\-.]{1,64})(?:/_history/([A-Za-z0-9\-.]{1,64}))?")
CANONICAL = frozenset({"canonical", "uri"})
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
    environment = environment or Environment()
    here = local(plain, environment.base_urls)
    if modifier in ("below", "above"):
        return _related(here, modifier, parameter, environment)
    if found := RELATIVE.fullmatch(here):
        if modifier is not None and modifier != found[1]:
            raise Invalid(f"{plain!r} is no {modifier}, which the modifier asks for")
        if not structures.is_resource_type(found[1]):
            raise Invalid(f"{plain!r} names {found[1]}, which is no resource type of R4")
        return ReferenceValue((here,))
    if ID.fullmatch(here):
        types = (modifier,) if modifier else (parameter.targets if parameter else ())
        return ReferenceValue(tuple(f"{type_name}/{here}" for type_name in types) or (here,))
    if modifier is not None and f"/{modifier}/" not in f"/{here.rpartition('/')[0]}/":
        raise Invalid(f":{modifier} goes with an id or {modifier}/id; got {plain!r}")
    return ReferenceValue((here,))


def _related(
    here: str, modifier: str, parameter: Parameter | None, environment: Environment
) -> ReferenceValue:
    """Read a resource with those below or above it, or a canonical with its versions."""
    url, bar, version = here.partition("|")
    types = elements.facts(parameter).types if parameter is not None else frozenset()
    if bar or "://" in url or url.startswith("urn:") or (types and types <= CANONICAL):
        if types and not types & CANONICAL:
            raise Invalid(f":{modifier} goes by what is stored here, and {here!r} is somewhere else")
        if modifier == "below":
            return ReferenceValue((here, f"{keys.BELOW}{here}") if version else (url,))
        return ReferenceValue((here, *(f"{url}|{beginning}" for beginning in keys.beginnings(version))))
    found = RELATIVE.fullmatch(here)
    if found is not None and found[3] is None:
        kinds, id = [found[1]], found[2]
    elif ID.fullmatch(here):
        kinds, id = list(parameter.targets if parameter else ()), here
    else:
        raise Invalid(f":{modifier} goes with Type/id or an id; got {here!r}")
    known = [each for each in kinds if hierarchy.parameter_of(each) is not None]
    if not known:
        which = kinds[0] if len(kinds) == 1 else "what it refers to"
        raise Invalid(f":{modifier}: {which} is no hierarchy; those are {', '.join(hierarchy.types())}")
    follow = environment.stored.below if modifier == "below" else environment.stored.above
    return ReferenceValue(tuple(f"{each}/{other}" for each in known for other in follow(each, id)))


def _identifier_query(text: str) -> tuple[str, ...]:
    parts = [values.unescape(part) for part in values.split(text, "|")]
    if len(parts) > 2 or not any(parts):
        raise Invalid(f"{text!r} is not an identifier; write system|value or value")
    return ("|".join(map(keys.escaped, parts)),)


@lru_cache(maxsize=2048)
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
            return [*keys.canonical(value)] if "|" in value else [local(value, base_urls)]
        if not isinstance(value, dict):
            return []
        texts: list[Cell] = []
        reference = value.get("reference")
        if isinstance(reference, str):
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
    modifiers=frozenset({"identifier", "above", "below"}),
)
