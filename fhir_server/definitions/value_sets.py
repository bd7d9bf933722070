"""The value sets of R4: their composes, and the codes of those that an element may not leave."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from fhir_server.definitions.load import load


class ValueSet(msgspec.Struct, frozen=True, array_like=True):
    """One value set; `compose` is FHIR JSON, without the names of SNOMED CT, LOINC and the like."""

    version: str
    name: str
    compose: dict[str, Any]


@cache
def _rows() -> dict[str, msgspec.Raw]:
    return load("value_sets", dict[str, msgspec.Raw])


@cache
def _enumerations() -> dict[str, dict[str, frozenset[str]]]:
    return load("enumerations", dict[str, dict[str, frozenset[str]]])


@cache
def value_set_urls() -> tuple[str, ...]:
    """Return the urls of all value sets, sorted.

    >>> len(value_set_urls()) > 1300
    True
    """
    return tuple(_rows())


@cache
def value_set(url: str) -> ValueSet:
    """Return a value set (`url` without a version).

    >>> value_set("http://hl7.org/fhir/ValueSet/administrative-gender").compose
    {'include': [{'system': 'http://hl7.org/fhir/administrative-gender'}]}

    Raises KeyError when R4 publishes none with this url.
    """
    return msgspec.json.decode(_rows()[url], type=ValueSet)


def enumeration(url: str) -> Mapping[str, frozenset[str]] | None:
    """Return the codes by system of a value set that some element is bound to as required.

    >>> codes = enumeration("http://hl7.org/fhir/ValueSet/narrative-status")
    >>> sorted(codes["http://hl7.org/fhir/narrative-status"])
    ['additional', 'empty', 'extensions', 'generated']

    None: no element requires it, or it cannot be enumerated (languages, MIME types, units, currencies).
    """
    return _enumerations().get(url)


def resource(url: str) -> dict[str, Any] | None:
    """Return a value set as FHIR JSON, without prose; None when R4 publishes none with this url.

    >>> sorted(resource("http://hl7.org/fhir/ValueSet/administrative-gender"))
    ['compose', 'name', 'resourceType', 'status', 'url', 'version']
    """
    if url not in _rows():
        return None
    found = msgspec.json.decode(_rows()[url], type=ValueSet)  # not kept, and the caller's own
    return {
        "resourceType": "ValueSet",
        "url": url,
        "version": found.version,
        "name": found.name,
        "status": "active",
        "compose": found.compose,
    }
