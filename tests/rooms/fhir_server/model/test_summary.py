"""_summary and _elements: what is left out, what never is, and the tag that says so."""

import copy

import pytest

from fhir_server.model.summary import SUBSETTED, subset
from fhir_server.outcome import Invalid

OBSERVATION = {
    "resourceType": "Observation",
    "id": "1",
    "meta": {"versionId": "3", "tag": [{"code": "x"}]},
    "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'},
    "status": "final",
    "_status": {"id": "s"},
    "code": {"text": "x"},
    "valueQuantity": {"value": 1, "unit": "mg"},
    "note": [{"text": "x"}],
    "component": [{"code": {"text": "y"}, "valueInteger": 1, "interpretation": [{"text": "H"}]}],
    "unknown": 1,
}


@pytest.mark.parametrize(
    ("wanted", "missing"),
    [
        ("true", {"text", "note"}),
        ("text", {"valueQuantity", "note", "component"}),
        ("data", {"text"}),
        ("false", set()),
        (["value"], {"text", "note", "component"}),
        (["Observation.note", "Patient.name"], {"text", "valueQuantity", "component"}),
        ([], {"text", "valueQuantity", "note", "component"}),
    ],
)
def test_what_is_left_out(wanted, missing):
    before = copy.deepcopy(OBSERVATION)
    part = subset(OBSERVATION, wanted)
    assert set(OBSERVATION) - set(part) == missing
    assert before == OBSERVATION
    if wanted != "false":
        assert part["meta"] == {"versionId": "3", "tag": [{"code": "x"}, SUBSETTED]}
        assert list(part)[:3] == ["resourceType", "id", "meta"]


def test_children_of_a_summary_element_are_summarised_too():
    assert subset(OBSERVATION, "true")["component"] == [{"code": {"text": "y"}, "valueInteger": 1}]


def test_count_is_for_bundles():
    assert "entry" not in subset(
        {"resourceType": "Bundle", "type": "searchset", "total": 1, "entry": []}, "count"
    )
    with pytest.raises(Invalid):
        subset(OBSERVATION, "count")


@pytest.mark.parametrize("wanted", ["yes", ["nonsense"], ["name.family"], ["Observation.nonsense"]])
def test_what_is_not_known_is_refused(wanted):
    with pytest.raises(Invalid):
        subset(OBSERVATION, wanted)
