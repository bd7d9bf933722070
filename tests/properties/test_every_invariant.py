"""Each of R4's invariants is kept by a resource and broken by one, and both readings say the same of it.

The resources are found by chance from the facts: the element that lists the invariant, with random
content, in a resource that may hold it. For the few that chance does not find there is a table.
"""

from __future__ import annotations

import copy
from itertools import islice
from typing import Any

import pytest

from fhir_server.definitions import structures
from fhir_server.validation import invariants
from fhir_server.validation.validator import validate
from tests.rooms.fhir_server.validation.test_invariants import by_engine, quickly
from tests.support import made
from tests.support.constrained import Constraint, candidates, constraints
from tests.support.mutations.rules import RULES

TRIES = 400
ALL = constraints()
# structure holds these, and dom-6 is not told (see invariants.py); MoneyQuantity is used by nothing.
ELSEWHERE = {"ele-1", "txt-1", "txt-2", "sqty-1", "dom-6"}
UNUSED = {"mqty-1"}
# What no structurally right resource can break: there is no ChargeItemDefinition.name, required is
# required, and where type.code is not empty the select() of eld-11 is not either.
UNBREAKABLE = {"cid-0", "tst-4", "eld-11"}
ELEMENT = {"id": "Patient", "path": "Patient", "min": 0, "max": "*", "definition": "x",
           "base": {"path": "Patient", "min": 0, "max": "*"}}  # fmt: skip


def defined(**members: Any) -> dict[str, Any]:
    listed = {"element": [ELEMENT, {**ELEMENT, "id": "Patient.x", "path": "Patient.x"}]}
    return {
        "resourceType": "StructureDefinition", "url": "http://x/p", "name": "Name", "status": "draft",
        "kind": "resource", "abstract": False, "type": "Patient", "derivation": "constraint",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Patient",
        "snapshot": copy.deepcopy(listed), "differential": copy.deepcopy(listed), **members,
    }  # fmt: skip


def element(**members: Any) -> dict[str, Any]:
    """Return a StructureDefinition whose second element has further members."""
    resource = defined()
    for part in ("snapshot", "differential"):
        resource[part]["element"][1] |= members
    return resource


def first(**members: Any) -> dict[str, Any]:
    resource = defined()
    for part in ("snapshot", "differential"):
        resource[part]["element"][0] |= members
    return resource


def operated(part: str) -> dict[str, Any]:
    operation = {"encodeRequestUrl": True, "type": {"code": "read"}}
    whole: Any = {"action": [{"operation": operation}]}
    return {**made.resource("TestScript"), part: [whole] if part == "test" else whole}


TEAM = {
    "resourceType": "CareTeam",
    "contained": [
        {"resourceType": "Patient", "id": "p"},
        {"resourceType": "Organization", "id": "o", "name": "Ward"},
    ],
    "participant": [{"member": {"reference": "#p"}, "onBehalfOf": {"reference": "#o"}}],
}
STRATIFIER = {
    "description": "x",
    "component": [made._object("Measure.group.stratifier.component", 0)],
}
# key → a resource that breaks it, one that keeps it (None: chance finds one)
BY_HAND: dict[str, tuple[Any, Any]] = {
    "ctm-1": (TEAM, None),
    "eld-3": (element(max="-1"), defined()),
    "eld-8": (None, defined()),
    "mea-1": ({**made.resource("Measure"), "group": [{"stratifier": [STRATIFIER]}]}, None),
    "mrp-2": (
        {
            **made.resource("MeasureReport"),
            "group": [{"stratifier": [{"stratum": [{"measureScore": {"value": 1}}]}]}],
        },
        None,
    ),
    "sdf-8": (None, defined()),
    "sdf-8a": (None, defined()),
    "sdf-15": (first(type=[{"code": "Patient"}]), defined()),
    "sdf-15a": (first(type=[{"code": "Patient"}]), defined()),
    "sdf-19": (
        element(type=[{"code": "a b"}]) | {"url": "http://hl7.org/fhir/StructureDefinition/x"},
        defined(),
    ),
    "tst-7": (operated("setup"), None),
    "tst-8": (operated("test"), None),
    "tst-9": (operated("teardown"), None),
}  # fmt: skip


def told(resource: Any) -> set[str]:
    return {str(issue.rule).partition("#")[2] for issue in invariants.check(resource)}


def found(place: Constraint) -> tuple[Any, Any]:
    """Return a resource that breaks an invariant, and one that keeps it; None if there is none."""
    broken = kept = None
    tried = list(BY_HAND.get(place.key, ()))
    if place.key in RULES:
        tried += [mutant for mutant, _ in islice(RULES[place.key](made.resource("Task", 1)), 3)]
    for resource in (*(one for one in tried if one is not None), *islice(candidates(place), TRIES)):
        if place.key in told(resource):
            broken = broken or resource
        else:
            kept = kept or resource
        if broken is not None and kept is not None:
            break
    return broken, kept


def test_all_are_here():
    listed = {
        (key, structures.invariant(name, key).expression)
        for name in structures.type_names()
        for element in structures.structure(name).elements.values()
        for key in element.constraints
    }
    assert {(place.key, place.invariant.expression) for place in ALL} == listed
    assert len({place.key for place in ALL}) == 239


@pytest.mark.parametrize(
    "place", [p for p in ALL if p.key not in ELSEWHERE | UNUSED], ids=lambda p: f"{p.key} {p.path}"
)
def test_an_invariant_is_kept_and_broken(place):
    broken, kept = found(place)
    assert kept is not None, "nothing keeps it"
    if place.key in UNBREAKABLE:
        assert broken is None
        return
    assert broken is not None, "nothing breaks it"
    for resource in (broken, kept):
        assert quickly(resource) == by_engine(resource)[0]
    (issue, *_) = [one for one in invariants.check(broken) if str(one.rule).endswith(f"#{place.key}")]
    assert issue.severity == place.invariant.severity
    assert issue.code == "invariant"
    assert structures.structure(str(issue.rule).rpartition("/")[2].partition("#")[0])


def test_those_of_the_structure_are_kept_and_broken():
    """ele-1, txt-1, txt-2 and sqty-1 are told by structure; the mutants hold them too."""
    div = made.DIV
    quantity = {"value": 1, "comparator": "<"}
    observation = made.resource("Observation")

    def narrated(text: str) -> dict[str, Any]:
        return {"text": {"status": "empty", "div": text}}

    for right, wrong in (
        ({"name": [{"text": "x"}]}, {"name": [{"id": "x"}]}),
        (narrated(div), narrated(div.replace("p>", "u>"))),
        (narrated(div), narrated(div.replace("Text", ""))),
    ):
        assert validate({"resourceType": "Patient", **right}) == []
        assert [issue.severity for issue in validate({"resourceType": "Patient", **wrong})] == ["error"]
    assert validate({**observation, "valueQuantity": quantity}) == []
    assert validate({**observation, "referenceRange": [{"low": quantity}]}) != []
