"""To fhir.resources and back: what it cannot hold is refused, what it would change is told."""

import tarfile
from collections import Counter
from decimal import Decimal

import pytest

pytest.importorskip("fhir.resources.R4B", reason="needs the extra: pip install -e '.[python]'")

from fhir_server.definitions import structures
from fhir_server.model import json_format
from fhir_server.model.interchange import MISSING, NotInterchangeable, differences, from_model, to_model
from fhir_server.outcome import Invalid
from tests.support import made


@pytest.mark.parametrize("type_name", structures.resource_types())
def test_every_type_goes_there_and_back_or_says_why_not(type_name):
    resource = made.resource(type_name)
    if type_name in MISSING:
        with pytest.raises(NotInterchangeable, match=f"R4B has no {type_name}"):
            to_model(resource)
    elif type_name not in ("Evidence", "EvidenceVariable"):  # others in R4B
        assert from_model(to_model(resource)) == resource


def test_nested_types_without_a_class_are_named_too():
    substance = made.resource("SubstanceProtein")
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": substance}]}
    for resource, place in (
        (bundle, "Bundle.entry[0].resource"),
        ({"resourceType": "Patient", "contained": [substance]}, "Patient.contained[0]"),
        (
            {
                "resourceType": "Parameters",
                "parameter": [{"name": "a", "part": [{"name": "b", "resource": substance}]}],
            },
            "Parameters.parameter[0].part[0].resource",
        ),
    ):
        with pytest.raises(NotInterchangeable, match="R4B has no SubstanceProtein") as caught:
            to_model(resource)
        assert str(caught.value).startswith(f"{place}:")


def test_extensions_beside_a_value_are_refused():
    extension = {"url": "http://x", "_valueString": {"extension": [{"url": "http://y", "valueCode": "z"}]}}
    with pytest.raises(NotInterchangeable, match=r"Patient.extension\[0\]._valueString"):
        to_model({"resourceType": "Patient", "extension": [extension]})


def test_decimals_keep_their_digits():
    observation = made.resource("Observation")
    for text in ("1.10", "100", "0.0000001", "1.0e2", "1" * 30 + ".50"):
        observation["valueQuantity"] = {"value": json_format.number(text)}
        model = to_model(observation)
        assert model.valueQuantity.value == Decimal(text)
        assert list(differences(observation, from_model(model))) == []


@pytest.mark.parametrize(
    ("written", "comes_back"),
    [
        ("2020-01-01T10:00:00+00:00", "2020-01-01T10:00:00Z"),
        ("2020-01-01T10:00:00.000Z", "2020-01-01T10:00:00Z"),
    ],
)
def test_moments_that_would_be_written_otherwise_are_told(written, comes_back):
    observation = {**made.resource("Observation"), "effectiveDateTime": written}
    with pytest.raises(NotInterchangeable) as caught:
        to_model(observation)
    (difference,) = caught.value.differences
    assert difference == ("Observation.effectiveDateTime", written, comes_back)
    assert from_model(to_model(observation, may_change=True))["effectiveDateTime"] == comes_back


def test_what_r4b_refuses_is_refused():
    with pytest.raises(NotInterchangeable, match="refuses it"):
        to_model({"resourceType": "Patient", "nonsense": 1})
    with pytest.raises(NotInterchangeable, match="no resource type"):
        to_model({"resourceType": "Foo"})


@pytest.mark.slow
def test_official_examples(shared):
    counts: Counter[str] = Counter()
    refused = set()
    with tarfile.open(shared("data/r4-examples.tar.xz")) as archive:
        for member in archive:
            if not member.name.endswith(".json"):
                continue
            try:
                resource = json_format.parse(archive.extractfile(member).read())
            except Invalid:
                continue
            try:
                to_model(resource)
                counts["same"] += 1
            except NotInterchangeable as problem:
                if problem.differences:
                    counts["changed"] += 1
                elif "R4B has no" in str(problem):
                    counts["no class"] += 1
                else:
                    refused.add(member.name.rpartition("/")[2])
    assert counts == {"same": 1369, "changed": 1318, "no class": 18}
    assert refused == {"evidence-example.json", "slm-codesystem.json"}
