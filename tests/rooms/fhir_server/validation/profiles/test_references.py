"""Reference(Profile), aggregation and versioning (R4/references.html, R4/elementdefinition.html)."""

import pytest

from tests.support.clause import clause

from .written import URL, at, broken, issues, profile

CORE = "http://hl7.org/fhir/StructureDefinition/"
NAMED = profile("named", "Patient", at("Patient.name", 1))
NAMELESS = {"resourceType": "Patient"}
RIGHT = {"resourceType": "Patient", "name": [{"text": "A"}]}


def to(*targets, **more):
    types = [{"code": "Reference", "targetProfile": list(targets), **more}]
    return profile("p", "Observation", at("Observation.subject", 0, "1", type=types))


def about(text, **more):
    subject = text if isinstance(text, dict) else {"reference": text}
    return {"resourceType": "Observation", "subject": subject, **more}


@clause("R4/elementdefinition.html#ElementDefinition.type.targetProfile", "the type of the target")
@pytest.mark.parametrize(
    ("reference", "right"),
    [
        ("Patient/1", True),
        ("http://example.org/fhir/Patient/1", True),
        ({"type": "Patient", "display": "A"}, True),
        ({"display": "A"}, True),
        ("urn:uuid:c757873d-ec9a-4326-a141-556f43239520", True),
        ("Group/1", False),
        ("http://example.org/fhir/Group/1", False),
        ({"type": "Group", "identifier": {"value": "1"}}, False),
    ],
)
@pytest.mark.parametrize("target", [f"{CORE}Patient", NAMED["url"]])
def test_type_of_the_target(reference, target, right):
    found = broken(about(reference), to(target), NAMED)
    assert found == ([] if right else [("error", "Observation.subject", "Observation.subject")])


@clause("R4/elementdefinition.html#ElementDefinition.type.targetProfile", "the target meets the profile")
def test_contained_targets():
    definition = to(NAMED["url"])
    assert broken(about("#p", contained=[{**RIGHT, "id": "p"}]), definition, NAMED) == []
    found = issues(about("#p", contained=[{**NAMELESS, "id": "p"}]), definition, NAMED)
    assert [(one.severity, one.expression) for one in found] == [("error", "Observation.subject")]
    assert "Patient.name" in found[0].diagnostics or "contained[0].name" in found[0].diagnostics
    device = {"resourceType": "Device", "id": "p"}
    assert [one[0] for one in broken(about("#p", contained=[device]), definition, NAMED)] == ["error"]


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://example.org/fhir/Patient/1", "Patient/1"),
        ("http://example.org/fhir/Patient/1", "http://example.org/fhir/Patient/1"),
        ("urn:uuid:c757873d-ec9a-4326-a141-556f43239520", "urn:uuid:c757873d-ec9a-4326-a141-556f43239520"),
    ],
)
@pytest.mark.parametrize(("patient", "right"), [(RIGHT, True), (NAMELESS, False)])
def test_targets_in_the_same_bundle(url, text, patient, right):
    meta = {"profile": [f"{URL}p"]}
    entries = [{"resource": about(text, meta=meta)}, {"fullUrl": url, "resource": patient}]
    bundle = {"resourceType": "Bundle", "entry": entries}
    found = broken(bundle, to(NAMED["url"]), NAMED, profiles=(), claims=True)
    assert [one[:2] for one in found] == ([] if right else [("error", "Bundle.entry[0].resource.subject")])


def test_targets_elsewhere_give_a_warning():
    definition = to(NAMED["url"])
    assert broken(about("Patient/1"), definition, NAMED, resolve={"Patient/1": RIGHT}.get) == []
    found = broken(about("Patient/1"), definition, NAMED, resolve={"Patient/1": NAMELESS}.get)
    assert [one[0] for one in found] == ["warning"]


def test_one_of_several_profiles():
    male = profile("male", "Patient", at("Patient.gender", 1, "1", fixedCode="male"))
    definition = to(NAMED["url"], male["url"])
    for patient, count in (({"gender": "male"}, 0), ({"gender": "female"}, 1)):
        contained = [{"resourceType": "Patient", "id": "p", **patient}]
        assert len(broken(about("#p", contained=contained), definition, NAMED, male)) == count


def test_circles_end():
    types = [{"code": "Reference", "targetProfile": [f"{URL}p"]}]
    definition = profile("p", "Observation", at("Observation.hasMember", 1, type=types))
    one = {"resourceType": "Observation", "hasMember": [{"reference": "Observation/2"}]}
    other = {"resourceType": "Observation", "hasMember": [{"reference": "Observation/1"}]}
    resolve = {"Observation/1": one, "Observation/2": other}.get
    assert broken(one, definition, resolve=resolve) == []


def test_long_chains_end():
    types = [{"code": "Reference", "targetProfile": [f"{URL}p"]}]
    definition = profile("p", "Observation", at("Observation.hasMember", 0, type=types))
    entries = [
        {
            "fullUrl": f"http://example.org/fhir/Observation/{number}",
            "resource": {
                "resourceType": "Observation",
                "meta": {"profile": [f"{URL}p"]},
                "hasMember": [{"reference": f"Observation/{number + 1}"}],
            },
        }
        for number in range(2000)
    ]
    bundle = {"resourceType": "Bundle", "entry": entries}
    assert broken(bundle, definition, profiles=(), claims=True) == []


def test_a_profile_that_is_not_known():
    found = broken(about("#p", contained=[{**RIGHT, "id": "p"}]), to(f"{URL}nowhere"))
    assert [one[0] for one in found] == ["warning"]


@clause("R4/elementdefinition.html#ElementDefinition.type.aggregation", "contained, bundled or referenced")
@pytest.mark.parametrize(
    ("modes", "text", "right"),
    [
        (["contained"], "#p", True),
        (["contained"], "Patient/2", False),
        (["referenced"], "Patient/2", True),
        (["referenced"], "#p", False),
        (["bundled"], "Patient/1", True),
        (["bundled"], "Patient/2", False),
        (["contained", "bundled"], "#p", True),
        (["referenced"], "Patient/1", True),
    ],
)
def test_aggregation(modes, text, right):
    definition = to(f"{CORE}Patient", aggregation=modes)
    contained = [{**RIGHT, "id": "p"}]
    entries = [
        {"resource": about(text, contained=contained, meta={"profile": [f"{URL}p"]})},
        {"fullUrl": "http://example.org/fhir/Patient/1", "resource": RIGHT},
    ]
    bundle = {"resourceType": "Bundle", "entry": entries}
    assert (broken(bundle, definition, profiles=(), claims=True) == []) is right


@clause("R4/elementdefinition.html#ElementDefinition.type.versioning", "with a version, or without")
@pytest.mark.parametrize(
    ("versioning", "text", "right"),
    [
        ("specific", "Patient/1/_history/1", True),
        ("specific", "Patient/1", False),
        ("independent", "Patient/1", True),
        ("independent", "Patient/1/_history/1", False),
        ("either", "Patient/1", True),
        ("either", "Patient/1/_history/1", True),
    ],
)
def test_versioning(versioning, text, right):
    assert (broken(about(text), to(f"{CORE}Patient", versioning=versioning)) == []) is right
