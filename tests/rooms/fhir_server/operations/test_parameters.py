"""What came with a call → arguments: every way that a value can come."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from fhir_server.definitions.operations import Parameter
from fhir_server.operations.declaration import Operation
from fhir_server.operations.parameters import arguments
from fhir_server.operations.registry import OPERATIONS, find, offered
from fhir_server.outcome import Invalid, NotFound


def operation(*parameters: Parameter, affects_state: bool = False) -> Operation:
    levels = frozenset({"system"})
    return Operation(
        "try", "urn:try", levels, ("Resource",), affects_state, parameters, lambda context, call: {}
    )


TRY = operation(
    Parameter("flag", "in", 0, 1, "boolean"),
    Parameter("count", "in", 0, 1, "integer"),
    Parameter("share", "in", 0, 1, "decimal"),
    Parameter("day", "in", 0, None, "date"),
    Parameter("url", "in", 0, 1, "uri"),
    Parameter("coding", "in", 0, 1, "Coding"),
    Parameter("patient", "in", 0, 1, "Patient"),
    Parameter("return", "out", 1, 1, "Bundle"),
)
PATIENT = {"resourceType": "Patient"}


def body(*parameters: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": list(parameters)}


def test_values_of_the_url_get_their_types() -> None:
    pairs = [("flag", "true"), ("count", "-5"), ("share", "1.50"), ("day", "2020"), ("day", "2021-01")]
    found = arguments(TRY, pairs, None)
    assert {name: [one.value for one in values] for name, values in found.items()} == {
        "flag": [True], "count": [-5], "share": [Decimal("1.50")], "day": ["2020", "2021-01"],
    }  # fmt: skip
    assert found["flag"][0].place is None


@pytest.mark.parametrize(
    ("name", "text"),
    [("flag", "1"), ("count", "x"), ("count", "1.5"), ("count", "99999999999"), ("share", "x"),
     ("share", "NaN"), ("day", "2020-13"), ("url", "a b"), ("coding", "x"), ("patient", "Patient/7")],
)  # fmt: skip
def test_values_of_the_url_that_are_none(name: str, text: str) -> None:
    with pytest.raises(Invalid, match=name):
        arguments(TRY, [(name, text)], None)


def test_values_of_parameters() -> None:
    sent = body(
        {"name": "flag", "valueBoolean": False},
        {"name": "url", "valueCanonical": "urn:x"},
        {"name": "coding", "valueCoding": {"code": "c"}},
        {"name": "patient", "resource": PATIENT},
    )
    found = arguments(TRY, [("day", "2020")], sent)
    assert [found[name][0].value for name in ("flag", "url", "coding", "patient", "day")] == [
        False, "urn:x", {"code": "c"}, PATIENT, "2020",
    ]  # fmt: skip
    assert found["patient"][0].place == "Parameters.parameter[3].resource"
    assert found["url"][0].place == "Parameters.parameter[1].value"


def test_a_bare_resource_is_the_one_parameter_that_is_one() -> None:
    assert arguments(TRY, [("flag", "true")], PATIENT)["patient"][0].value == PATIENT
    two = operation(Parameter("a", "in", 0, 1, "Patient"), Parameter("b", "in", 0, 1, "Resource"))
    for without in (two, operation(Parameter("a", "in", 0, 1, "string"))):
        with pytest.raises(Invalid, match="as a Parameters resource"):
            arguments(without, [], PATIENT)


def test_what_changes_something_is_not_got() -> None:
    assert operation(affects_state=True).methods == ("POST",)


def test_the_table() -> None:
    assert {one.code for one in OPERATIONS} == {one.name for one in offered()}
    for one in OPERATIONS:
        for level in one.levels:
            type_name = "Patient" if "Resource" in one.types or not one.types else one.types[0]
            assert find(one.code, level, None if level == "system" else type_name) is one
    with pytest.raises(NotFound, match="no operation"):
        find("", "system")
