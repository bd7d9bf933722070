"""`:below` and `:above` on references: what is part of a resource, and what it is a part of.

R4/search.html#reference: where a reference of a type to its own type makes a strict hierarchy,
`location:below=42` finds what refers to Location/42 or to any Location in it, `location:above=42` what
refers to it or to anything it is in. Those references are the parameters `partof`, `part-of` and
`parent`. Both are followed level by level, so a ring, which nobody forbids, ends where it began.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from fhir_server.definitions.structures import resource_types, type_code
from fhir_server.outcome import Invalid
from fhir_server.schema.names import RESOURCE, TENANT
from fhir_server.search import keys
from fhir_server.search.registry import standard

CODES = ("partof", "part-of", "parent")
MOST = 2_000
"""Resources that one value may stand for; each is a key to look up."""

Execute = Callable[[str, Sequence[Any]], Sequence[tuple[Any, ...]]]


class TooManyParts(Invalid):
    """400: a hierarchy that is too large to be searched by."""

    code = "too-costly"


@cache
def parameter_of(type_name: str) -> str | None:
    """Return the code of the parameter that makes a type a hierarchy, None where there is none.

    >>> parameter_of("Location"), parameter_of("Specimen"), parameter_of("Patient")
    ('partof', 'parent', None)
    """
    for code in CODES:
        found = standard().get(type_name, code)
        if found is not None and found.kind == "reference" and type_name in found.targets:
            return code
    return None


@cache
def types() -> tuple[str, ...]:
    """Return the types that are hierarchies.

    >>> types()[:4]
    ('CarePlan', 'Communication', 'DeviceDefinition', 'Encounter')
    """
    return tuple(name for name in resource_types() if parameter_of(name) is not None)


def is_in(targets: Sequence[str]) -> bool:
    """Tell whether one of some types is a hierarchy.

    >>> is_in(("Patient", "Group")), is_in(("Patient", "Location"))
    (False, True)
    """
    return any(parameter_of(each) is not None for each in targets)


def below(execute: Execute, type_name: str, id: str) -> list[str]:
    """Return the id and those of all resources that are part of it, at any depth.

    Raises TooManyParts (400).
    """
    head = keys.prefix(type_name, _code(type_name))
    sql = (
        f"select r.id from {RESOURCE} r where r.tenant = {TENANT} and not r.deleted "
        f"and r.keys && %s::uuid[] limit {MOST + 1}"
    )
    return _levels(id, type_name, lambda ids: execute(sql, ([head + _digest(type_name, i) for i in ids],)))


def above(execute: Execute, type_name: str, id: str) -> list[str]:
    """Return the id and those of all resources that it is a part of.

    Raises TooManyParts (400).
    """
    head = keys.prefix(type_name, _code(type_name))
    sql = (
        f"select t.id from {RESOURCE} t where t.tenant = {TENANT} and not t.deleted "
        f"and t.type = {type_code(type_name)} and t.rid = any(array("
        f"select ('00000000' || substr(k::text, 9))::uuid from {RESOURCE} r cross join unnest(r.keys) k "
        f"where r.tenant = {TENANT} and not r.deleted and r.rid = any(%s::uuid[]) "
        f"and k between '{head}{'0' * 24}' and '{head}{'f' * 24}')) limit {MOST + 1}"
    )
    return _levels(id, type_name, lambda ids: execute(sql, ([keys.rid(type_name, i) for i in ids],)))


def _code(type_name: str) -> str:
    code = parameter_of(type_name)
    assert code is not None
    return code


def _digest(type_name: str, id: str) -> str:
    return keys.digest(f"{type_name}/{id}")


def _levels(
    id: str, type_name: str, further: Callable[[Sequence[str]], Sequence[tuple[Any, ...]]]
) -> list[str]:
    found, level = {id: None}, [id]
    while level:
        level = [each for (each,) in further(level) if each not in found]
        found.update(dict.fromkeys(level))
        if len(found) > MOST:
            raise TooManyParts(
                f"{type_name}/{id} has more than {MOST} resources below or above it; name one that has fewer"
            )
    return list(found)
