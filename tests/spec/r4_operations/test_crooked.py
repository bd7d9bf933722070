"""Calls that are bent at random: an answer below 500, always an OperationOutcome or Parameters."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.spec.r4_operations.test_fhirpath import PEOPLE
from tests.support.clause import clause
from tests.support.http import FhirClient

CALLS = {
    "$fhirpath": [
        {"name": "expression", "valueString": "name.given.trace('x') | %x | extension('urn:x').value"},
        {"name": "context", "valueString": "descendants() | name | resolve()"},
        {"name": "resource", "resource": PEOPLE},
        {"name": "variables", "part": [{"name": "x", "valueCoding": {"code": "c"}}]},
        {"name": "validate", "valueBoolean": False},
    ],
    "Patient/$validate": [
        {"name": "resource", "resource": PEOPLE},
        {"name": "mode", "valueCode": "update"},
        {"name": "profile", "valueUri": "http://hl7.org/fhir/StructureDefinition/Patient"},
    ],
}
VALUES: list[Any] = [
    None, True, 0, -1, 1.5, "", " ", "x", [], {}, [None], [[]], [{}], {"x": None}, {"resourceType": 5},
    {"resourceType": "Patient"}, {"resourceType": "Parameters", "parameter": [5]}, "\U0001f600", 2**70, "%x",
]  # fmt: skip
NAMES = [
    "resource",
    "part",
    "name",
    "valueString",
    "_valueString",
    "valueX",
    "extension",
    "resourceType",
    "",
    "é",
]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of everything below a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in list(items):
        yield value, key
        yield from places(below)


def bent(body: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    made = copy.deepcopy(body)
    for _ in range(chance.choice((1, 1, 2, 4))):
        container, key = chance.choice(list(places(made)))
        what = chance.randrange(4)
        if what == 0:
            del container[key]
        elif what == 1:
            container[key] = copy.deepcopy(chance.choice(VALUES))
        elif what == 2 and isinstance(container, dict):
            container[chance.choice(NAMES)] = copy.deepcopy(chance.choice([container[key], *VALUES]))
        elif isinstance(container, list):
            container.append(copy.deepcopy(chance.choice([container[key], *VALUES])))
        if not list(places(made)):
            break
    return made


@clause("R4/http.html#Status-Codes", "whatever is sent is answered, and is no fault of the server")
@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("seed", range(4))
def test_crooked_calls(client: FhirClient, path: str, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(150):
        body = bent({"resourceType": "Parameters", "parameter": CALLS[path]}, chance)
        reply = client.post(path, body)
        assert reply.status in (200, 400, 422), (body, reply.data)
        assert reply.json["resourceType"] in ("OperationOutcome", "Parameters")
