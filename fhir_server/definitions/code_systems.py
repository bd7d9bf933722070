"""The code systems that R4 publishes: codes, names where they are HL7's to give, hierarchy.

For the few places below `terminology` that need them; the tables of `terminology` are filled from here.
"""

from __future__ import annotations

from functools import cache

import msgspec

from fhir_server.definitions.load import load


class Concept(msgspec.Struct, frozen=True, array_like=True):
    """One code; `parent` is the place of its parent in the same list, None at the top."""

    code: str
    display: str = ""
    parent: int | None = None
    not_selectable: bool = False


class CodeSystem(msgspec.Struct, frozen=True, array_like=True):
    """One code system; `content` is complete, example, fragment, supplement or not-present."""

    version: str
    name: str
    content: str
    case_sensitive: bool
    concepts: tuple[Concept, ...]


@cache
def _rows() -> dict[str, msgspec.Raw]:
    return load("code_systems", dict[str, msgspec.Raw])


@cache
def code_system_urls() -> tuple[str, ...]:
    """Return the urls of all code systems, sorted.

    >>> len(code_system_urls()) > 1000
    True
    """
    return tuple(_rows())


@cache
def code_system(url: str) -> CodeSystem:
    """Return a code system.

    >>> [concept.code for concept in code_system("http://hl7.org/fhir/administrative-gender").concepts]
    ['male', 'female', 'other', 'unknown']

    Raises KeyError when R4 publishes none with this url.
    """
    return msgspec.json.decode(_rows()[url], type=CodeSystem)
