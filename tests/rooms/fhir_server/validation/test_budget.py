"""A large resource holds no worker: invariants have a budget, and problems are not counted without end."""

import time

import pytest

from fhir_server.definitions import structures
from fhir_server.fhirpath import api
from fhir_server.model import json_format
from fhir_server.observability import events
from fhir_server.validation import judge, validator
from fhir_server.validation.knowledge import Task
from fhir_server.validation.validator import MAX_COUNTED, MAX_ISSUES, validate
from tests.support import made

SIZE = 5000
SLOWEST_S_PER_MB = 6.0  # ten times what it takes here; a quadratic rule would need minutes


def seconds_per_mb(resource):
    size = len(json_format.encode(resource)) / 1e6
    start = time.perf_counter()
    issues = validate(resource)
    return (time.perf_counter() - start) / size, issues


def element(path):
    base = {"path": "Patient", "min": 0, "max": "*"}
    return {"id": path, "path": path, "min": 0, "max": "*", "definition": "x", "base": base}


def guide(*more):
    resources = [{"groupingId": f"g{number}", "fhirVersion": ["4.0.1"]} for number in range(SIZE)]
    return {
        "resourceType": "ImplementationGuide",
        "url": "http://x/ig",
        "name": "Guide",
        "status": "draft",
        "packageId": "x.y",
        "fhirVersion": ["4.0.1"],
        "definition": {
            "grouping": [{"id": f"g{number}", "name": "x"} for number in range(SIZE)],
            "resource": [{"reference": {"reference": "Basic/1"}, **item} for item in [*resources, *more]],
        },
    }


def definition(last="Patient.last"):
    listed = [element("Patient"), *(element(f"Patient.x{number}") for number in range(SIZE)), element(last)]
    return {
        "resourceType": "StructureDefinition",
        "url": "http://x/sd",
        "name": "Definition",
        "status": "draft",
        "kind": "resource",
        "abstract": False,
        "type": "Patient",
        "derivation": "constraint",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Patient",
        "snapshot": {"element": listed},
        "differential": {"element": listed},
    }


def team(size):
    """Every participant's member is looked for among all that are contained."""
    contained = [{"resourceType": "Practitioner", "id": f"p{number}"} for number in range(size)]
    return {
        "resourceType": "CareTeam",
        "contained": [*contained, {"resourceType": "Organization", "id": "o", "name": "Ward"}],
        "participant": [
            {"member": {"reference": f"#p{number}"}, "onBehalfOf": {"reference": "#o"}}
            for number in range(size)
        ],
    }


@pytest.mark.parametrize(
    ("resource", "broken"),
    [
        (guide(), []),
        (guide({"groupingId": "nowhere"}), ["ig-1"]),
        (guide({"fhirVersion": ["3.0.1"]}), ["ig-2"]),
        (definition(), []),
        (definition("Group.x"), ["sdf-8", "sdf-8a"]),
    ],
    ids=["ig", "ig-1", "ig-2", "sd", "sd-8"],
)
def test_what_fhirpath_would_need_minutes_for_is_read_by_hand(resource, broken):
    spent, issues = seconds_per_mb(resource)
    told = {issue.rule.partition("#")[2] for issue in issues if issue.code == "invariant"}
    assert sorted(told) == broken
    assert {issue.severity for issue in issues} <= {"error"}
    assert spent < SLOWEST_S_PER_MB


@pytest.mark.parametrize("resource", [team(3), team(40)])
def test_what_fits_the_budget_is_judged(resource):
    assert validate(resource) == []
    resource["contained"][1] = {"resourceType": "Organization", "id": "p1", "name": "Ward"}
    assert [issue.rule.partition("#")[2] for issue in validate(resource)] == ["ctm-1"]


def test_what_the_budget_leaves_open_is_told_by_its_rule():
    heard = []
    with events.listening(heard.append):
        spent, issues = seconds_per_mb(team(3000))
    (issue,) = issues
    assert (issue.severity, issue.code, issue.rule) == (
        "warning",
        "too-costly",
        "http://hl7.org/fhir/StructureDefinition/CareTeam#ctm-1",
    )
    assert heard == [events.RuleUnanswered("ctm-1", "FhirPathTooCostly")]
    assert spent < SLOWEST_S_PER_MB
    # A count and no clock: the same is left open on every machine and every time.
    assert issues == validate(team(3000))


def test_items_are_counted_wherever_they_pass():
    patient = {"resourceType": "Patient", "name": [{"given": ["a"] * 50}] * 50}
    spent = {
        text: api.compile(text).result(patient).spent
        for text in ("name", "name.given", "name.given.where($this = 'a')", "descendants()", "name | name")
    }
    assert min(spent.values()) >= 50
    assert spent["name.given"] >= 2500
    with pytest.raises(api.FhirPathTooCostly):
        api.compile("name.given.all(%context.name.given contains $this)").result(patient)
    with pytest.raises(api.FhirPathTooCostly):
        api.compile("name.given").result(patient, budget=2000)


@pytest.mark.slow
@pytest.mark.parametrize("type_name", structures.resource_types())
def test_time_grows_with_size_only(type_name):
    """Every repeating element many times over, the ones inside it a few times."""
    resource = made.resource(type_name, 2)
    large = {key: [many(item)] * 1000 for key, (item, *_) in lists(resource).items()}
    spent, issues = seconds_per_mb({**resource, **large})
    assert spent < SLOWEST_S_PER_MB
    assert [issue for issue in issues if issue.code == "too-costly"] == []


def lists(value):
    return {key: item for key, item in value.items() if isinstance(item, list)}


def many(value):
    return (
        {**value, **{key: item * 30 for key, item in lists(value).items()}}
        if isinstance(value, dict)
        else value
    )


def test_a_million_wrong_values_are_not_all_counted():
    patient = {"resourceType": "Patient", "name": [{"given": [1] * 1_000_000}]}
    start = time.perf_counter()
    issues = validate(patient)
    assert time.perf_counter() - start < 10
    assert len(issues) == MAX_ISSUES + 1
    assert issues[-1].diagnostics.startswith(f"{MAX_COUNTED} or more problems")


def test_much_advice_hides_no_error():
    """Advice does not end the counting: what stands behind 20,000 warnings is found."""
    library = {"resourceType": "Library", "status": "draft", "name": "not a name", "type": {"text": "x"}}
    entries = [{"resource": library}] * (2 * MAX_COUNTED)
    entries.append({"resource": {"resourceType": "Patient", "contact": [{"gender": "male"}]}})
    issues = validate({"resourceType": "Bundle", "type": "collection", "entry": entries})
    assert issues[0].rule.endswith("#pat-1")
    assert issues[-1].diagnostics.startswith(f"{2 * MAX_COUNTED + 1} problems")


def test_a_check_of_ours_that_fails_is_told_and_refuses_nothing(monkeypatch):
    def fails(resource, task):
        yield from ()
        raise KeyError("Smith")

    monkeypatch.setattr(validator, "FURTHER", (*validator.FURTHER, fails))
    heard = []
    with events.listening(heard.append):
        (issue,) = validate({"resourceType": "Patient"})
        assert [one.severity for one in validate({"resourceType": "Patient", "active": 1})] == ["error"]
    assert (issue.severity, issue.code) == ("warning", "exception")
    assert [event.error for event in heard] == ["KeyError"]


def test_a_rule_that_cannot_be_evaluated_is_counted_without_its_values():
    rule = judge.Rule("x-1", structures.Invariant("error", "name.single()", "…"), lambda *_: False, "Patient")
    patient = {"resourceType": "Patient", "name": [{"text": "Smith"}, {"text": "Li"}]}
    heard = []
    with events.listening(heard.append):
        assert judge.Judge(patient).keeps(api.root(patient), rule)
        assert judge.Judge(patient, is_telling=False).keeps(api.root(patient), rule)
    assert heard == [events.RuleUnanswered("x-1", "FhirPathTypeError")]
    assert rule.name == "http://hl7.org/fhir/StructureDefinition/Patient#x-1"


def test_nested_beyond_following_is_refused():
    item = {"linkId": "1", "type": "string"}
    for _ in range(100_000):
        item = {"linkId": "1", "type": "group", "item": [item]}
    questionnaire = {"resourceType": "Questionnaire", "status": "draft", "item": [item]}
    (issue,) = validate(questionnaire, Task())
    assert "deeper" in issue.diagnostics
