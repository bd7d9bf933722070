"""Search expression → SQL/JSON path, for `_sort` by what the index keeps only as keys.

Tokens, references and uris have no ordered rows; their order is read from the stored JSON. A
parameter whose expression is more than paths with simple filters has none and cannot be sorted by.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache

from fhir_server.definitions import structures
from fhir_server.search import elements
from fhir_server.search.ast import Parameter
from fhir_server.search.elements import Step

# What of a type is ordered; of primitives each, a list of them being opened by [*].
LEAVES = {
    "CodeableConcept": ".coding.code",
    "Coding": ".code",
    "Identifier": ".value",
    "ContactPoint": ".value",
    "Reference": ".reference",
}


@lru_cache(maxsize=4096)
def json_paths(parameter: Parameter) -> tuple[str, ...]:
    """Return the paths to the values of a parameter in a stored body; () where SQL can follow none.

    >>> json_paths(Parameter("Patient", "email", "token", "Patient.telecom.where(system='email')"))
    ('$."telecom"?(@."system" == "email").value',)
    """
    found: list[str] = []
    for branch in elements.branches(parameter.expression or "", parameter.type_name):
        path = elements.steps(branch, parameter.type_name)
        reached = None if not path else _paths(path, parameter.type_name)
        if not reached:
            return ()
        found += reached
    return tuple(found)


def _paths(steps: list[Step], type_name: str) -> list[str]:
    here = [("$", type_name)]
    for step in steps:
        following: list[tuple[str, str]] = []
        for path, kind in here:
            for name, field in structures.fields(kind).items():
                if field.element.name.removesuffix("[x]") != step.name and name != step.name:
                    continue
                if step.cast is not None and field.type.lower() != step.cast.lower():
                    continue
                condition = _filter(step.filter)
                if condition is None:
                    return []
                following.append((f"{path}.{json.dumps(name)}{condition}", field.type))
        here = following
    return [
        path + LEAVES.get(kind, "[*]")
        for path, kind in here
        if kind in LEAVES or structures.is_primitive(kind)
    ]


def _filter(text: str | None) -> str | None:
    """Return a where() as a path filter, "" for none; None where it is not of a known form."""
    if text is None:
        return ""
    if found := re.fullmatch(r"(\w+)\s*=\s*'([^'\\]*)'", text):
        return f"?(@.{json.dumps(found[1])} == {json.dumps(found[2])})"
    if found := re.fullmatch(r"resolve\(\) is (\w+)", text):
        return f'?(@.reference starts with "{found[1]}/")'
    return None
