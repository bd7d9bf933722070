"""Snapshots of small profiles, rule by rule."""

from __future__ import annotations

import copy

import pytest

from fhir_server.definitions.conformance import Conformance
from fhir_server.definitions.core import Core
from fhir_server.validation.element_tree import LARGEST, NoSnapshot
from fhir_server.validation.snapshot import elements, snapshot
from tests.support.clause import clause

CORE = "http://hl7.org/fhir/StructureDefinition/"
OURS = "http://example.org/"


class Added:
    """Definitions that somebody has stored."""

    def __init__(self, *definitions):
        self.definitions = {definition["url"]: definition for definition in definitions}

    def find(self, type_name, url, version):
        return self.definitions.get(url)


def profile(name, of, *stated, base=None, **more):
    return {
        "resourceType": "StructureDefinition",
        "url": OURS + name,
        "kind": "resource",
        "type": of,
        "derivation": "constraint",
        "baseDefinition": base or CORE + of,
        "differential": {"element": list(stated)},
        **more,
    }


def made(definition, *others):
    """Return id → element of a snapshot."""
    found = snapshot(definition, Conformance([Core(), Added(definition, *others)]))
    assert len({element["id"] for element in found}) == len(found)
    return {element["id"]: element for element in found}


def below(found, stem):
    return [id_.removeprefix(stem) for id_ in found if id_.startswith(f"{stem}.")]


@clause("R4/profiling.html#snapshot", "what is not mentioned is as in the base")
def test_a_differential_that_says_nothing():
    found = snapshot(profile("p", "Patient", {"path": "Patient"}), Conformance([Core()]))
    assert found == elements(Core().find("StructureDefinition", CORE + "Patient", None), Conformance())


@clause("R4/profiling.html#sparse", "parents need not be mentioned, and datatypes are walked into")
def test_a_path_into_a_datatype():
    found = made(profile("p", "Patient", {"path": "Patient.name.family", "min": 1}))
    assert found["Patient.name.family"]["min"] == 1
    assert found["Patient.name.family"]["base"] == {"path": "HumanName.family", "min": 0, "max": "1"}
    assert below(found, "Patient.name")[:4] == [".id", ".extension", ".use", ".text"]
    assert "Patient.telecom.system" not in found


def test_deep_into_datatypes():
    fixed = {"path": "Observation.code.coding.system", "fixedUri": "http://loinc.org"}
    found = made(profile("p", "Observation", fixed))
    assert found["Observation.code.coding.system"]["fixedUri"] == "http://loinc.org"
    assert found["Observation.code.coding.version"]["max"] == "1"
    order = [id_ for id_ in found if id_.startswith("Observation.c")]
    assert order.index("Observation.code.coding.userSelected") < order.index("Observation.code.text")


@clause("R4/elementdefinition.html#id", "a slice is `path:slice`, and has the children of what it slices")
def test_slices_with_ids():
    found = made(
        profile(
            "p",
            "Observation",
            {
                "id": "Observation.component",
                "path": "Observation.component",
                "slicing": {"discriminator": [{"type": "pattern", "path": "code"}], "rules": "open"},
                "min": 2,
            },
            {"id": "Observation.component:a", "path": "Observation.component", "sliceName": "a", "max": "1"},
            {
                "id": "Observation.component:a.code",
                "path": "Observation.component.code",
                "patternCodeableConcept": {},
            },
        )
    )
    assert found["Observation.component"]["min"] == 2
    slice_ = found["Observation.component:a"]
    assert (slice_["sliceName"], slice_["min"], slice_["max"]) == ("a", 0, "1")
    assert "slicing" not in slice_
    assert found["Observation.component:a.value[x]"]["path"] == "Observation.component.value[x]"
    assert "patternCodeableConcept" not in found["Observation.component.code"]


def test_slices_without_ids_are_told_apart_by_their_order():
    found = made(
        profile(
            "p",
            "Patient",
            {"path": "Patient.identifier", "slicing": {"rules": "open"}},
            {"path": "Patient.identifier", "sliceName": "a", "min": 1},
            {"path": "Patient.identifier.system", "fixedUri": "http://a.example"},
            {"path": "Patient.identifier", "sliceName": "b"},
            {"path": "Patient.identifier.system", "fixedUri": "http://b.example"},
        )
    )
    assert found["Patient.identifier:a.system"]["fixedUri"] == "http://a.example"
    assert found["Patient.identifier:b.system"]["fixedUri"] == "http://b.example"
    assert "Patient.identifier.system" not in found


@clause("R4/profiling.html#reslicing", "a slice of a slice is called `a/b` and stands behind the slice")
def test_reslices():
    base = profile(
        "base",
        "Patient",
        {"path": "Patient.identifier", "slicing": {"rules": "open"}},
        {"path": "Patient.identifier", "sliceName": "a", "max": "3"},
    )
    own = {"path": "Patient.identifier", "sliceName": "a/b", "min": 1}
    found = made(profile("p", "Patient", own, base=base["url"]), base)
    ids = [id_ for id_ in found if id_.startswith("Patient.identifier")]
    assert ids == ["Patient.identifier", "Patient.identifier:a", "Patient.identifier:a/b"]
    assert (found["Patient.identifier:a/b"]["min"], found["Patient.identifier:a/b"]["max"]) == (1, "3")


def test_a_slice_of_the_base_is_inherited_and_narrowed():
    base = profile(
        "base",
        "Patient",
        {"path": "Patient.identifier", "slicing": {"rules": "open"}},
        {"path": "Patient.identifier", "sliceName": "a", "mustSupport": True},
    )
    found = made(
        profile(
            "p",
            "Patient",
            {"id": "Patient.identifier:a", "path": "Patient.identifier", "max": "1"},
            base=base["url"],
        ),
        base,
    )
    assert found["Patient.identifier:a"]["mustSupport"] is True
    assert found["Patient.identifier:a"]["max"] == "1"
    assert found["Patient.identifier"]["max"] == "*"


@clause("R4/profiling.html#slicing", "extensions are sliced by url though nobody says so")
def test_extensions():
    of = [{"code": "Extension", "profile": [CORE + "patient-birthPlace"]}]
    found = made(
        profile("p", "Patient", {"path": "Patient.extension", "sliceName": "born", "type": of, "max": "1"})
    )
    assert found["Patient.extension"]["slicing"]["discriminator"] == [{"type": "value", "path": "url"}]
    assert found["Patient.extension:born"]["type"] == of


def test_the_inside_of_a_slice_is_that_of_its_profile():
    of = [{"code": "Extension", "profile": [CORE + "patient-birthPlace"]}]
    found = made(
        profile(
            "p",
            "Patient",
            {"id": "Patient.extension:born", "path": "Patient.extension", "sliceName": "born", "type": of},
            {
                "id": "Patient.extension:born.value[x]",
                "path": "Patient.extension.value[x]",
                "mustSupport": True,
            },
        )
    )
    assert found["Patient.extension:born.url"]["fixedUri"] == CORE + "patient-birthPlace"
    assert [choice["code"] for choice in found["Patient.extension:born.value[x]"]["type"]] == ["Address"]


@pytest.mark.parametrize(
    "stated",
    [
        {"path": "Observation.valueQuantity"},
        {"id": "Observation.valueQuantity", "path": "Observation.valueQuantity"},
        {"id": "Observation.value[x]", "path": "Observation.valueQuantity"},
        {"path": "Observation.valueQuantity", "sliceName": "valueQuantity"},
        {"path": "Observation.value[x]", "sliceName": "valueQuantity", "type": [{"code": "Quantity"}]},
        {"id": "Observation.value[x]:valueQuantity", "path": "Observation.valueQuantity"},
    ],
)
@clause("R4/formats.html#choice", "a type of a choice, in all its spellings, is a slice by type")
def test_choices(stated):
    found = made(profile("p", "Observation", {**stated, "mustSupport": True}))
    assert found["Observation.value[x]"]["slicing"]["discriminator"] == [{"type": "type", "path": "$this"}]
    assert found["Observation.value[x]"]["slicing"]["rules"] == "open"
    assert len(found["Observation.value[x]"]["type"]) == 11
    slice_ = found["Observation.value[x]:valueQuantity"]
    assert (slice_["path"], slice_["type"]) == ("Observation.value[x]", [{"code": "Quantity"}])
    assert slice_["mustSupport"] is True
    assert "mustSupport" not in found["Observation.value[x]"]


def test_a_required_type_is_the_only_one():
    found = made(profile("p", "Observation", {"path": "Observation.valueQuantity", "min": 1}))
    assert found["Observation.value[x]"]["type"] == [{"code": "Quantity"}]
    assert found["Observation.value[x]"]["min"] == 1
    assert found["Observation.value[x]"]["slicing"]["rules"] == "closed"


def test_several_types_of_a_choice_with_what_is_in_them():
    found = made(
        profile(
            "p",
            "Observation",
            {"path": "Observation.valueQuantity.code", "min": 1},
            {"path": "Observation.valueString", "maxLength": 20},
        )
    )
    assert found["Observation.value[x]:valueQuantity.code"]["min"] == 1
    assert found["Observation.value[x]:valueString"]["maxLength"] == 20
    assert len(found["Observation.value[x]"]["type"]) == 11


@clause(
    "R4/elementdefinition.html#ElementDefinition.contentReference",
    "is opened where a profile speaks of its inside",
)
def test_content_references():
    found = made(profile("p", "Questionnaire", {"path": "Questionnaire.item.item.prefix", "max": "0"}))
    assert found["Questionnaire.item.item.prefix"]["max"] == "0"
    assert found["Questionnaire.item.prefix"]["max"] == "1"
    assert found["Questionnaire.item.item.item"]["contentReference"] == "#Questionnaire.item"
    assert "contentReference" not in found["Questionnaire.item.item"]
    assert found["Questionnaire.item.item"]["type"] == [{"code": "BackboneElement"}]


def test_a_content_reference_in_a_resource_inside():
    of = [{"code": "Observation"}]
    found = made(
        profile(
            "p",
            "Bundle",
            {"path": "Bundle.entry.resource", "type": of},
            {"path": "Bundle.entry.resource.component.referenceRange.low", "min": 1},
        )
    )
    assert found["Bundle.entry.resource.component.referenceRange.low"]["min"] == 1


@clause("R4/profiling.html#cardinality", "constraints add up, bindings and values replace")
def test_what_adds_up():
    base = profile(
        "base",
        "Patient",
        {
            "path": "Patient",
            "constraint": [{"key": "a-1", "severity": "error", "human": "", "expression": "true"}],
        },
        {"path": "Patient.gender", "min": 1},
        {"path": "Patient.photo", "max": "0"},
    )
    found = made(
        profile(
            "p",
            "Patient",
            {
                "path": "Patient",
                "constraint": [{"key": "b-1", "severity": "error", "human": "", "expression": "true"}],
            },
            {"path": "Patient.gender", "mustSupport": True},
            {"path": "Patient.active", "isModifier": False, "fixedBoolean": True},
            {"path": "Patient.maritalStatus", "binding": {"strength": "required"}},
            base=base["url"],
        ),
        base,
    )
    sources = {constraint["key"]: constraint["source"] for constraint in found["Patient"]["constraint"]}
    assert sources["dom-2"] == CORE + "DomainResource"
    assert (sources["a-1"], sources["b-1"]) == (OURS + "base", OURS + "p")
    assert (found["Patient.gender"]["min"], found["Patient.gender"]["mustSupport"]) == (1, True)
    assert found["Patient.photo"]["max"] == "0"
    assert found["Patient.active"]["isModifier"] is True
    marital = found["Patient.maritalStatus"]["binding"]
    assert marital == {"strength": "required", "valueSet": "http://hl7.org/fhir/ValueSet/marital-status"}


def test_a_logical_model_adds_elements():
    model = profile(
        "Model",
        "http://example.org/Model",
        {"path": "Model", "min": 0, "max": "*"},
        {"path": "Model.part", "min": 0, "max": "1", "type": [{"code": "BackboneElement"}]},
        {"path": "Model.part.size", "min": 1, "max": "1", "type": [{"code": "decimal"}]},
        base=CORE + "Element",
        derivation="specialization",
        kind="logical",
    )
    assert below(made(model), "Model")[-3:] == [".part.extension", ".part.modifierExtension", ".part.size"]


def test_a_base_that_is_its_own_base():
    first = profile("first", "Patient", {"path": "Patient"}, base=OURS + "second")
    second = profile("second", "Patient", {"path": "Patient"}, base=OURS + "first")
    with pytest.raises(NoSnapshot, match=r"/first → http://\S+/second → http://\S+/first"):
        made(first, second)


def test_a_base_that_nobody_knows():
    with pytest.raises(NoSnapshot, match=r"builds on http://\S+/none, which is not known here"):
        made(profile("p", "Patient", {"path": "Patient"}, base=OURS + "none"))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("Patient.nmae.family", "speaks of Patient.nmae, which its base does not have; did you mean name?"),
        ("Patient.name.famliy", "speaks of Patient.name.famliy, .* did you mean family?"),
        ("Patient.deceasedQuantity", "speaks of Patient.deceasedQuantity, .* did you mean deceased"),
    ],
)
def test_an_element_that_the_base_does_not_have(path, said):
    with pytest.raises(NoSnapshot, match=said) as refusal:
        made(profile("p", "Patient", {"path": path, "min": 1}))
    assert refusal.value.status == 422


def test_nothing_given_is_changed():
    core = Core().find("StructureDefinition", CORE + "Observation", None)
    definition = profile("p", "Observation", {"path": "Observation.valueQuantity.code", "min": 1})
    before = copy.deepcopy((core, definition))
    known = Conformance([Core()])
    assert snapshot(definition, known) == snapshot(definition, known)
    assert (core, definition) == before


def test_what_is_kept_belongs_to_one_state_of_the_installation():
    one = profile("base", "Patient", {"path": "Patient.name", "min": 1})
    other = profile("base", "Patient", {"path": "Patient.name", "min": 0})
    assert (
        made(profile("p", "Patient", {"path": "Patient"}, base=OURS + "base"), one)["Patient.name"]["min"]
        == 1
    )
    assert (
        made(profile("p", "Patient", {"path": "Patient"}, base=OURS + "base"), other)["Patient.name"]["min"]
        == 0
    )


@pytest.mark.parametrize(
    "stated",
    [
        {"path": "Patient" + ".extension" * 900},
        {"path": "Patient.identifier", "sliceName": "/".join("a" * 900)},
    ],
)
def test_what_is_too_deep_is_refused(stated):
    with pytest.raises(NoSnapshot, match="60"):
        made(profile("p", "Patient", stated))


def test_a_chain_that_is_too_long_is_refused():
    chain = [profile(f"{n}", "Patient", {"path": "Patient"}, base=f"{OURS}{n + 1}") for n in range(500)]
    with pytest.raises(NoSnapshot, match="40 definitions apart"):
        made(*chain)


def test_slices_of_slices_of_slices_do_not_fill_the_memory():
    """Ten slices, each with the ten of the profile before in it: 10, 100, 1,000 …"""
    chain = [profile("0", "Extension", *_ten_slices("Extension.extension"), kind="complex-type")]
    for number in range(1, 6):
        of = [{"code": "Extension", "profile": [f"{OURS}{number - 1}"]}]
        stated = [
            {**element, "type": of} if element.get("sliceName") else element
            for element in _ten_slices("Extension.extension")
        ]
        stated = [part for element in stated for part in (element, *_inside(element))]
        chain.append(profile(f"{number}", "Extension", *stated, kind="complex-type"))
    with pytest.raises(NoSnapshot, match=str(LARGEST)):
        made(*reversed(chain))


def _ten_slices(path):
    return [
        {"path": path, "slicing": {"rules": "open"}},
        *({"path": path, "sliceName": f"s{n}"} for n in range(10)),
    ]


def _inside(element):
    return [{"path": element["path"] + ".url", "min": 1}] if element.get("sliceName") else []
