"""What a JSON Patch always does: it makes of one version the other; and 64 patches at once are all kept."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from fhir_server.database.engine import Engine
from fhir_server.interactions.create import create
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.patch import conditional_patch, patch, read_json_patch
from fhir_server.interactions.read import read
from fhir_server.interactions.transaction import transaction
from fhir_server.model import json_format, json_patch
from fhir_server.outcome import FhirError
from tests.properties.test_races import ANYONE, RACERS, race
from tests.support.builders import bundle, identified
from tests.support.made import resource

NAMES = ("a", "b", "a/b", "m~n", "", "~1", "0", "-", "é")


def difference(one: Any, other: Any, path: str = "") -> Iterator[dict[str, Any]]:
    """Yield the operations that make `other` of `one`, in an order in which they can be applied."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in one.keys() | other.keys():
            pointer = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
            if name not in other:
                yield {"op": "remove", "path": pointer}
            elif name not in one:
                yield {"op": "add", "path": pointer, "value": other[name]}
            else:
                yield from difference(one[name], other[name], pointer)
    elif isinstance(one, list) and isinstance(other, list):
        common = min(len(one), len(other))
        for place in range(len(one) - 1, common - 1, -1):
            yield {"op": "test", "path": f"{path}/{place}", "value": one[place]}
            yield {"op": "remove", "path": f"{path}/{place}"}
        for place in range(common):
            yield from difference(one[place], other[place], f"{path}/{place}")
        for place in range(common, len(other)):
            yield {"op": "add", "path": f"{path}/{random.choice(('-', place))}", "value": other[place]}
    elif type(one) is not type(other) or one != other or str(one) != str(other):
        yield {"op": "replace", "path": path, "value": other}


def changed(value: Any, dice: random.Random) -> Any:
    """Return a version of a JSON value with some of it changed, left out, moved and put in."""
    if dice.random() < 0.08:
        return dice.choice(
            [None, True, False, 0, 1, Decimal("1.0"), Decimal("1.50"), "", "é", [], {}, [1, {}]]
        )
    if isinstance(value, dict):
        kept = {name: changed(one, dice) for name, one in value.items() if dice.random() < 0.9}
        if dice.random() < 0.3:
            kept[dice.choice(NAMES)] = dice.choice([1, "x", [value], {"": [0]}])
        return kept
    if isinstance(value, list):
        made = [changed(one, dice) for one in value for _ in range(dice.choice((0, 1, 1, 1, 2)))]
        if dice.random() < 0.2:
            dice.shuffle(made)
        return made
    return value


def written(value: Any) -> bytes:
    return json_format.encode(sorted_members(value))


def sorted_members(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: sorted_members(value[name]) for name in sorted(value)}
    return [sorted_members(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "type_name", ["Patient", "Observation", "Questionnaire", "MedicationRequest", "Bundle"]
)
def test_a_patch_makes_one_version_of_the_other(type_name: str) -> None:
    random.seed(20260102)
    dice = random.Random(type_name)
    for _ in range(200):
        one = changed(resource(type_name, 3), dice)
        other = changed(one, dice)
        before = written(one)
        patch_ = json_format.parse_value(json_format.encode(list(difference(one, other))))
        operations = json_patch.operations(patch_)
        made = json_patch.apply(one, operations)
        assert written(made) == written(other)
        assert written(one) == before
        assert written(json_patch.apply(one, operations)) == written(other)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = Engine(database_url, size=24, wait_s=60)
    yield engine
    engine.close()


def given(entry: Entry, id_: str) -> dict[str, Any]:
    version = entry.read(ANYONE, lambda context: read(context, "Patient", id_)).version
    assert version is not None
    return json_format.parse(version.text().encode())


@pytest.mark.parametrize("way", ["id", "criteria", "transaction"])
def test_patches_at_once_are_all_kept(entry: Entry, way: str) -> None:
    body = identified(f"patched-{way}")
    version = entry.write(ANYONE, lambda context: create(context, "Patient", body)).version
    assert version is not None

    def work(context: Any, number: int) -> Any:
        contact = {"system": "phone", "value": str(number)}
        change = {
            "resourceType": "Parameters",
            "parameter": [
                {
                    "name": "operation",
                    "part": [
                        {"name": "type", "valueCode": "add"},
                        {"name": "path", "valueString": "Patient"},
                        {"name": "name", "valueString": "telecom"},
                        {"name": "value", "valueContactPoint": contact},
                    ],
                }
            ],
        }
        if way == "transaction":
            request = {"method": "PATCH", "url": f"Patient/{version.id}"}
            return transaction(context, bundle("transaction", {"resource": change, "request": request}))
        listed = [{"op": "add", "path": "/identifier/-", "value": {"value": str(number)}}]
        read_ = read_json_patch(json_format.encode(listed), context.settings)
        if way == "id":
            return patch(context, "Patient", version.id, read_)
        return conditional_patch(context, "Patient", f"identifier=urn:test:mrn|patched-{way}", read_)

    answers = race(entry, work)
    assert not [answer for answer in answers if isinstance(answer, FhirError)]
    found = given(entry, version.id)
    values = [one["value"] for one in found["telecom" if way == "transaction" else "identifier"]]
    assert sorted(values[-RACERS:]) == sorted(map(str, range(RACERS)))
    assert found["meta"]["versionId"] == str(RACERS + 1)


def test_of_patches_with_one_if_match_one_wins(entry: Entry) -> None:
    version = entry.write(ANYONE, lambda context: create(context, "Patient", identified("won"))).version
    assert version is not None

    def work(context: Any, number: int) -> Any:
        listed = [{"op": "add", "path": "/identifier/-", "value": {"value": str(number)}}]
        return patch(
            context, "Patient", version.id, read_json_patch(json_format.encode(listed), context.settings), 1
        )

    answers = race(entry, work)
    assert sorted(answer.status for answer in answers) == [200] + [412] * (RACERS - 1)
    assert given(entry, version.id)["meta"]["versionId"] == "2"
