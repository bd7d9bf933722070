"""Value sets written out in full, or refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_server.definitions.conformance import Conformance
from fhir_server.definitions.core import Core
from terminology.expansion.enumeration import NotEnumerable, TooMany, enumerated
from terminology.terms import Terms

COLOURS = {
    "url": "urn:c",
    "content": "complete",
    "concept": [{"code": "red"}, {"code": "blue"}, {"code": "tan"}],
}
SYSTEMS = {"urn:c": COLOURS, "urn:part": {**COLOURS, "url": "urn:part", "content": "fragment"}}


def composed(*include: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"compose": {"include": list(include), **more}}


def concepts(system: str, *codes: str) -> dict[str, Any]:
    return {"system": system, "concept": [{"code": code} for code in codes]}


SETS: dict[str, dict[str, Any]] = {
    "urn:all": composed({"system": "urn:c"}),
    "urn:two": composed(concepts("urn:c", "red", "tan")),
    "urn:foreign": composed(concepts("urn:unknown", "x", "y")),
    "urn:imports": composed({"valueSet": ["urn:two"]}, {"valueSet": ["urn:foreign"]}),
    "urn:common": composed({"valueSet": ["urn:two", "urn:all"]}, exclude=[concepts("urn:c", "tan")]),
    "urn:circle": composed({"valueSet": ["urn:circle"]}, concepts("urn:c", "red")),
    "urn:dangling": composed({"valueSet": ["urn:nobody"]}),
    "urn:fragment": composed({"system": "urn:part"}),
    "urn:written": composed(concepts("urn:part", "red")),
    "urn:snomed": composed({"system": "http://snomed.info/sct"}),
    "urn:empty": {"status": "active"},
    "urn:expanded": {"expansion": {"contains": [{"system": "urn:unknown", "code": "z"}], "total": 1}},
    "urn:cut": {"expansion": {"contains": [{"system": "urn:unknown", "code": "z"}], "total": 9}},
    "urn:large": composed(concepts("urn:unknown", *(f"c{number}" for number in range(50)))),
}
TERMS = Terms(lambda kind, url: {"CodeSystem": SYSTEMS, "ValueSet": SETS}.get(kind, {}).get(url))


@pytest.mark.parametrize(
    ("value_set", "codes"),
    [
        ("urn:all", "red blue tan"),
        ("urn:two", "red tan"),
        ("urn:foreign", "x y"),
        ("urn:imports", "red tan x y"),
        ("urn:common", "red"),
        ("urn:written", "red"),
        ("urn:expanded", "z"),
    ],
)
def test_written_out(value_set: str, codes: str) -> None:
    assert [code for _, code in enumerated(TERMS, value_set, 10)] == codes.split()


@pytest.mark.parametrize(
    ("value_set", "says"),
    [
        ("urn:nobody", "it is not known here"),
        ("urn:dangling", "it imports urn:nobody"),
        ("urn:fragment", "the codes of urn:part are not all here"),
        ("urn:snomed", "the codes of http://snomed.info/sct are not all here"),
        ("urn:empty", "neither a compose nor an expansion"),
        ("urn:cut", "whether it has codes of urn:unknown cannot be told"),
        ("urn:circle", "cannot be told"),
    ],
)
def test_refused(value_set: str, says: str) -> None:
    with pytest.raises(NotEnumerable, match=says):
        enumerated(TERMS, value_set, 10)


def test_bounds() -> None:
    assert len(enumerated(TERMS, "urn:large", 50)) == 50
    with pytest.raises(TooMany, match="more than 49 codes"):
        enumerated(TERMS, "urn:large", 49)


def test_of_r4() -> None:
    terms = Terms(Conformance([Core()]).find)
    found = enumerated(terms, "http://hl7.org/fhir/ValueSet/administrative-gender", 10)
    assert [code for _, code in found] == ["male", "female", "other", "unknown"]
    assert len(enumerated(terms, "http://terminology.hl7.org/ValueSet/v3-ActEncounterCode", 2000)) > 5
