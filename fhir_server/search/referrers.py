"""Who refers to a resource: both directions of a reference, by what stands in the keys.

A literal reference that a search parameter covers stands among that parameter's keys. One that none
covers (in an extension, in an element without a parameter) gets a key of its own where the installation
keeps references whole (setting referential_integrity): so every referrer is found in the index, and none
by reading resources. AuditEvent and Provenance say what was, and Bundle and Parameters carry what is
elsewhere: references in them bind nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from fhir_server.definitions.structures import resource_types, type_code
from fhir_server.model.references import Reference, parse
from fhir_server.schema.names import RESOURCE
from fhir_server.search import keys
from fhir_server.search.ast import Parameter
from fhir_server.search.compile import Statement
from fhir_server.search.registry import standard

UNBOUND = ("AuditEvent", "Bundle", "Parameters", "Provenance")
"""The types whose references may lead to nothing."""

ELSEWHERE = keys.prefix("Resource", "references elsewhere")
"""The first four bytes of the keys of references that no search parameter covers."""


def literal(resource: Mapping[str, Any], base_urls: tuple[str, ...]) -> Iterator[tuple[Reference, str, str]]:
    """Yield the literal references to resources of this server: taken apart, as written, and where.

    Contained resources count as part of the whole.

    >>> found = literal({"resourceType": "Encounter", "subject": {"reference": "Patient/7"}}, ())
    >>> [(reference.id, where) for reference, _, where in found]
    [('7', 'Encounter.subject.reference')]
    """
    type_name = str(resource.get("resourceType"))
    if type_name not in UNBOUND:
        for text, path in _texts(resource, type_name):
            reference = parse(text, base_urls)
            if reference.kind == "local":
                yield reference, text, path


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, member in value.items():
            if name == "reference" and isinstance(member, str):
                yield member, f"{path}.reference"
            elif isinstance(member, dict | list):
                yield from _texts(member, f"{path}.{name}")
    elif isinstance(value, list):
        for number, member in enumerate(value):
            yield from _texts(member, f"{path}[{number}]")


def uncovered(
    resource: Mapping[str, Any],
    found: Iterable[str],
    parameters: Iterable[Parameter],
    base_urls: tuple[str, ...],
) -> list[str]:
    """Return keys for the references of a resource that its other keys, `found`, do not hold."""
    targets = {f"{each.type}/{each.id}" for each, _, _ in literal(resource, base_urls)}
    if not targets:
        return []
    heads = _heads(parameters)
    covered = {key[8:] for key in found if key[:8] in heads}
    return [ELSEWHERE + tail for tail in map(keys.digest, sorted(targets)) if tail not in covered]


def _heads(parameters: Iterable[Parameter]) -> frozenset[str]:
    return frozenset(
        keys.prefix(each.type_name, each.code) for each in parameters if each.kind == "reference"
    )


@cache
def _standard_heads() -> frozenset[str]:
    return frozenset().union(*(_heads(standard().for_type(name).values()) for name in resource_types()))


def statement(addresses: Sequence[str], limit: int) -> Statement:
    """Return what finds up to `limit` current resources that refer to one of `addresses` (Type/id).

    Rows are (type code, id).
    """
    # a reference that another parameter covers stands elsewhere as well
    heads = _standard_heads() | {ELSEWHERE}
    asked = [head + tail for tail in map(keys.digest, addresses) for head in sorted(heads)]
    unbound = [type_code(name) for name in UNBOUND]
    return Statement(
        f"SELECT type, id FROM {RESOURCE} WHERE keys && %s::uuid[] AND tenant = 0 AND NOT deleted "
        "AND type <> ALL(%s::smallint[]) LIMIT %s",
        [asked, unbound, limit],
    )
