"""Slices: every discriminator, rule and cardinality (R4/profiling.html#slicing), kept and broken."""

import pytest

from tests.support.clause import clause

from .written import URL, Codes, at, broken, by, extension, issues, profile

LOINC = "http://loinc.org"
VALUE_SET = "http://example.org/fhir/ValueSet/v"


def concept(*codes, system=LOINC):
    return {"coding": [{"system": system, "code": code} for code in codes]}


def panel(*components, **more):
    return {
        "resourceType": "Observation",
        "component": [one if "code" in one else {"code": concept(*one)} for one in components],
        **more,
    }


def pressure(rules="open", ordered=False, kind="value", path="code", **more):
    """Return a profile with the slices systolic (1..1) and diastolic (0..1) of component."""
    return profile(
        "p",
        "Observation",
        at("Observation.component", slicing=by(kind, path, rules, ordered), **more),
        at("Observation.component:systolic", 1, "1"),
        at("Observation.component:systolic.code", 1, "1", patternCodeableConcept=concept("8480-6")),
        at("Observation.component:diastolic", 0, "1"),
        at("Observation.component:diastolic.code", 1, "1", patternCodeableConcept=concept("8462-4")),
    )


@clause("R4/profiling.html#slicing", "each slice has its cardinality")
@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["8480-6"], []),
        (["8480-6", "8462-4", "x"], []),
        (["8462-4"], ["Observation.component:systolic"]),
        (["8480-6", "8480-6"], ["Observation.component:systolic"]),
        (["8480-6", "8462-4", "8462-4"], ["Observation.component:diastolic"]),
    ],
)
@pytest.mark.parametrize(
    ("kind", "path"), [("value", "code"), ("pattern", "code"), ("value", "code.coding.code")]
)
def test_cardinality(kind, path, codes, expected):
    found = broken(panel(*[[code] for code in codes]), pressure(kind=kind, path=path))
    assert found == [("error", "Observation.component", rule) for rule in expected]


def test_a_missing_slice_of_a_missing_element():
    found = issues({"resourceType": "Observation"}, pressure())
    assert [(one.expression, one.rule) for one in found] == [
        ("Observation.component", f"{URL}p#Observation.component:systolic")
    ]
    assert "systolic" in found[0].diagnostics
    assert "8480-6" in found[0].diagnostics


@clause("R4/profiling.html#slicing", "closed: nothing but the slices")
def test_closed():
    right = panel(["8480-6"], ["8462-4"])
    assert broken(right, pressure("closed")) == []
    found = issues(panel(["8480-6"], ["x"]), pressure("closed"))
    assert [(one.severity, one.expression) for one in found] == [("error", "Observation.component[1]")]
    assert "systolic, diastolic" in found[0].diagnostics
    assert "nearest" in found[0].diagnostics


@clause("R4/profiling.html#slicing", "openAtEnd: others only behind the slices")
def test_open_at_end():
    assert broken(panel(["8480-6"], ["8462-4"], ["x"]), pressure("openAtEnd")) == []
    assert broken(panel(["8480-6"], ["x"], ["8462-4"]), pressure("openAtEnd")) == [
        ("error", "Observation.component[1]", "Observation.component")
    ]


@clause("R4/profiling.html#slicing", "ordered: as the slices are")
def test_ordered():
    assert broken(panel(["8480-6"], ["8462-4"]), pressure(ordered=True)) == []
    assert broken(panel(["8462-4"], ["8480-6"]), pressure(ordered=False)) == []
    assert broken(panel(["8462-4"], ["8480-6"]), pressure(ordered=True)) == [
        ("error", "Observation.component[1]", "Observation.component")
    ]


def test_an_element_of_two_slices():
    found = issues(panel(["8480-6", "8462-4"]), pressure())
    assert [(one.severity, one.expression) for one in found] == [("error", "Observation.component[0]")]
    assert "systolic and diastolic" in found[0].diagnostics


def test_what_a_slice_asks_of_its_elements():
    definition = profile(
        "p",
        "Observation",
        at("Observation.component", slicing=by("pattern", "code")),
        at("Observation.component:systolic"),
        at("Observation.component:systolic.code", 1, "1", patternCodeableConcept=concept("8480-6")),
        at("Observation.component:systolic.value[x]", 1, "1", type=[{"code": "Quantity"}]),
    )
    assert broken(panel(["x"]), definition) == []
    assert broken(panel(["8480-6"]), definition) == [
        ("error", "Observation.component[0].value", "Observation.component:systolic.value[x]")
    ]


def test_fixed_values_in_slices_of_the_path():
    """As R4's bp does it: the discriminator code.coding.code leads through a slice of coding."""
    definition = profile(
        "p",
        "Observation",
        at("Observation.component", slicing=by("value", "code.coding.code")),
        at("Observation.component:systolic", 1, "1"),
        at("Observation.component:systolic.code", 1, "1"),
        at("Observation.component:systolic.code.coding", slicing=by("value", "code")),
        {
            "id": "Observation.component:systolic.code.coding:loinc",
            "path": "Observation.component.code.coding",
            "sliceName": "loinc",
            "min": 1,
            "max": "1",
        },
        {
            "id": "Observation.component:systolic.code.coding:loinc.code",
            "path": "Observation.component.code.coding.code",
            "min": 1,
            "max": "1",
            "fixedCode": "8480-6",
        },
    )
    assert broken(panel(["x"], ["y", "8480-6"]), definition) == []
    assert [one[2] for one in broken(panel(["x"]), definition)] == ["Observation.component:systolic"]


@clause("R4/profiling.html#discriminator", "several discriminators together")
def test_two_discriminators():
    slicing = {
        "discriminator": [{"type": "value", "path": "system"}, {"type": "value", "path": "use"}],
        "rules": "open",
    }
    definition = profile(
        "p",
        "Patient",
        at("Patient.telecom", slicing=slicing),
        at("Patient.telecom:home", 1, "1"),
        at("Patient.telecom:home.system", 1, "1", fixedCode="phone"),
        at("Patient.telecom:home.use", 1, "1", fixedCode="home"),
    )
    phone = {"system": "phone", "use": "home"}
    assert broken({"resourceType": "Patient", "telecom": [phone, {**phone, "use": "work"}]}, definition) == []
    assert broken({"resourceType": "Patient", "telecom": [{**phone, "system": "fax"}]}, definition) != []


@clause("R4/profiling.html#discriminator", "value: a required binding")
def test_a_binding_as_discriminator():
    definition = profile(
        "p",
        "Observation",
        at("Observation.category", slicing=by("value", "$this", "closed")),
        at("Observation.category:v", 1, "1", binding={"strength": "required", "valueSet": VALUE_SET}),
    )
    right = {"resourceType": "Observation", "category": [concept("a")]}
    wrong = {"resourceType": "Observation", "category": [concept("b")]}
    terminology = Codes({VALUE_SET: {(LOINC, "a")}})
    assert broken(right, definition, terminology=terminology) == []
    assert [one[2] for one in broken(wrong, definition, terminology=terminology)] == [
        "Observation.category",
        "Observation.category:v",
    ]
    # where the value set is not known, nobody can say that the slice is missing
    assert broken(wrong, definition) == []


@clause("R4/profiling.html#discriminator", "exists")
def test_exists():
    definition = profile(
        "p",
        "Patient",
        at("Patient.name", slicing=by("exists", "period")),
        at("Patient.name:old", 0, "1"),
        at("Patient.name:old.period", 1, "1"),
        at("Patient.name:current", 1, "1"),
        at("Patient.name:current.period", 0, "0"),
        at("Patient.name:current.family", 1, "1"),
    )
    old = {"text": "A", "period": {"end": "2020"}}
    assert broken({"resourceType": "Patient", "name": [old, {"family": "B"}]}, definition) == []
    assert broken({"resourceType": "Patient", "name": [old, {"text": "B"}]}, definition) == [
        ("error", "Patient.name[1].family", "Patient.name:current.family")
    ]
    assert [one[2] for one in broken({"resourceType": "Patient", "name": [old, old]}, definition)] == [
        "Patient.name:old",
        "Patient.name:current",
    ]


@clause("R4/profiling.html#discriminator", "type: of a choice")
@pytest.mark.parametrize("slicing", [by("type", "$this"), {"rules": "open"}])
def test_slices_of_a_choice(slicing):
    definition = profile(
        "p",
        "Observation",
        at("Observation.value[x]", 0, "1", slicing=slicing),
        at("Observation.value[x]:valueQuantity", 0, "1", type=[{"code": "Quantity"}]),
        at("Observation.value[x]:valueQuantity.unit", 1, "1"),
    )
    assert broken({"resourceType": "Observation", "valueString": "1"}, definition) == []
    assert broken({"resourceType": "Observation", "valueQuantity": {"unit": "g"}}, definition) == []
    assert broken({"resourceType": "Observation", "valueQuantity": {"value": 1}}, definition) == [
        ("error", "Observation.value.unit", "Observation.value[x]:valueQuantity.unit")
    ]


def test_a_choice_in_the_old_spelling():
    definition = profile(
        "p",
        "Observation",
        at("Observation.valueQuantity", 1, "1"),
        at("Observation.valueQuantity.unit", 1, "1"),
    )
    definition["snapshot"]["element"][1]["type"] = [{"code": "Quantity"}]
    assert broken({"resourceType": "Observation", "valueQuantity": {"unit": "g"}}, definition) == []
    assert len(broken({"resourceType": "Observation", "valueQuantity": {"value": 1}}, definition)) == 1
    assert len(broken({"resourceType": "Observation", "valueString": "1"}, definition)) == 1


@clause("R4/profiling.html#discriminator", "type: of entries")
def test_type_of_resources():
    definition = profile(
        "p",
        "Bundle",
        at("Bundle.entry", slicing=by("type", "resource", "closed")),
        at("Bundle.entry:patient", 1, "1"),
        at("Bundle.entry:patient.resource", 1, "1", type=[{"code": "Patient"}]),
        at("Bundle.entry:patient.resource.name", 1),
        at("Bundle.entry:device"),
        at("Bundle.entry:device.resource", 1, "1", type=[{"code": "Device"}]),
    )
    patient = {"resource": {"resourceType": "Patient", "name": [{"text": "A"}]}}
    device = {"resource": {"resourceType": "Device"}}
    assert broken({"resourceType": "Bundle", "entry": [patient, device]}, definition) == []
    assert broken({"resourceType": "Bundle", "entry": [device]}, definition) == [
        ("error", "Bundle.entry", "Bundle.entry:patient")
    ]
    nameless = {"resource": {"resourceType": "Patient"}}
    assert broken({"resourceType": "Bundle", "entry": [nameless]}, definition) == [
        ("error", "Bundle.entry[0].resource.name", "Bundle.entry:patient.resource.name")
    ]
    group = {"resource": {"resourceType": "Group"}}
    assert [one[1] for one in broken({"resourceType": "Bundle", "entry": [patient, group]}, definition)] == [
        "Bundle.entry[1]"
    ]


@clause("R4/profiling.html#discriminator", "profile: of entries")
def test_profile_of_resources():
    named = profile("named", "Patient", at("Patient.name", 1))
    definition = profile(
        "p",
        "Bundle",
        at("Bundle.entry", slicing=by("profile", "resource")),
        at("Bundle.entry:named", 1, "1"),
        at("Bundle.entry:named.resource", 1, "1", type=[{"code": "Patient", "profile": [named["url"]]}]),
    )
    patient = {"resource": {"resourceType": "Patient", "name": [{"text": "A"}]}}
    nameless = {"resource": {"resourceType": "Patient"}}
    assert broken({"resourceType": "Bundle", "entry": [patient, nameless]}, definition, named) == []
    assert broken({"resourceType": "Bundle", "entry": [nameless]}, definition, named) == [
        ("error", "Bundle.entry", "Bundle.entry:named")
    ]


@clause("R4/profiling.html#discriminator", "resolve(): by the type and the profile of the target")
@pytest.mark.parametrize("kind", ["type", "profile"])
def test_resolve(kind):
    named = profile("named", "Patient", at("Patient.name", 1))
    target = named["url"] if kind == "profile" else "http://hl7.org/fhir/StructureDefinition/Patient"
    definition = profile(
        "p",
        "List",
        at("List.entry", slicing=by(kind, "item.resolve()")),
        at("List.entry:patient", 1, "1"),
        at("List.entry:patient.item", 1, "1", type=[{"code": "Reference", "targetProfile": [target]}]),
    )

    def of(inner):
        entries = [{"item": {"reference": "#x"}}]
        return {"resourceType": "List", "contained": [{"id": "x", **inner}], "entry": entries}

    assert broken(of({"resourceType": "Patient", "name": [{"text": "A"}]}), definition, named) == []
    wrong = {"resourceType": "Patient"} if kind == "profile" else {"resourceType": "Device"}
    assert broken(of(wrong), definition, named) == [("error", "List.entry", "List.entry:patient")]


def test_a_value_behind_resolve():
    coded = profile(
        "coded", "Observation", at("Observation.code", 1, "1", patternCodeableConcept=concept("a"))
    )
    definition = profile(
        "p",
        "Observation",
        at("Observation.hasMember", slicing=by("value", "resolve().code")),
        at(
            "Observation.hasMember:a",
            1,
            "1",
            type=[{"code": "Reference", "targetProfile": [coded["url"]]}],
        ),
    )
    found = {code: {"resourceType": "Observation", "code": concept(code)} for code in "ab"}
    members = [{"reference": "Observation/a"}, {"reference": "Observation/b"}]
    resolve = {f"Observation/{code}": one for code, one in found.items()}.get
    observation = {"resourceType": "Observation", "hasMember": members}
    assert broken(observation, definition, coded, resolve=resolve) == []
    observation["hasMember"] = members[1:]
    assert broken(observation, definition, coded, resolve=resolve) == [
        ("error", "Observation.hasMember", "Observation.hasMember:a")
    ]
    assert broken(observation, definition, coded) == []  # not to be told


@clause("R4/profiling.html#discriminator", "extension(url)")
def test_extension_in_a_path():
    marked = extension("mark", at("Extension.value[x]", 1, "1", fixedCode="a", type=[{"code": "code"}]))
    definition = profile(
        "p",
        "Patient",
        at("Patient.name", slicing=by("value", f"extension('{URL}mark').value")),
        at("Patient.name:marked", 1, "1"),
        at("Patient.name:marked.extension", slicing=by("value", "url")),
        {
            "id": "Patient.name:marked.extension:mark",
            "path": "Patient.name.extension",
            "sliceName": "mark",
            "min": 1,
            "max": "1",
            "type": [{"code": "Extension", "profile": [marked["url"]]}],
        },
    )

    def of(code):
        return {
            "resourceType": "Patient",
            "name": [{"extension": [{"url": f"{URL}mark", "valueCode": code}]}],
        }

    assert broken(of("a"), definition, marked) == []
    assert ("error", "Patient.name", "Patient.name:marked") in broken(of("b"), definition, marked)


@clause("R4/profiling.html#discriminator", "ofType(type)")
def test_of_type_in_a_path():
    definition = profile(
        "p",
        "Observation",
        at("Observation.component", slicing=by("value", "value.ofType(Quantity).code")),
        at("Observation.component:gram", 1, "1"),
        at("Observation.component:gram.value[x]", 1, "1", type=[{"code": "Quantity"}]),
        at("Observation.component:gram.value[x].code", 1, "1", fixedCode="g"),
    )
    gram = {"code": {"text": "A"}, "valueQuantity": {"code": "g"}}
    text = {"code": {"text": "A"}, "valueString": "g"}
    assert broken(panel(text, gram), definition) == []
    assert [one[2] for one in broken(panel(text), definition)] == ["Observation.component:gram"]


@clause("R4/profiling.html#slicing", "extensions are sliced by url")
def test_slices_of_extensions():
    mark = extension("mark", at("Extension.value[x]", 1, "1", type=[{"code": "code"}]))
    definition = profile(
        "p",
        "Patient",
        at("Patient.extension"),  # the discriminator url is implied
        at("Patient.extension:mark", 1, "1", type=[{"code": "Extension", "profile": [mark["url"]]}]),
    )
    marked = {"url": mark["url"], "valueCode": "a"}
    assert broken({"resourceType": "Patient", "extension": [marked]}, definition, mark) == []
    other = {"url": "http://example.org/other", "valueCode": "a"}
    found = broken({"resourceType": "Patient", "extension": [other]}, definition, mark)
    assert ("error", "Patient.extension", "Patient.extension:mark") in found


@clause("R4/profiling.html#reslicing", "slices of slices")
def test_reslicing():
    definition = profile(
        "p",
        "Patient",
        at("Patient.identifier", slicing=by("value", "system")),
        at("Patient.identifier:a", 0, "2", slicing=by("value", "use", "closed")),
        at("Patient.identifier:a.system", 1, "1", fixedUri="http://a"),
        at("Patient.identifier:a/usual", 1, "1"),
        at("Patient.identifier:a/usual.system", 1, "1", fixedUri="http://a"),
        at("Patient.identifier:a/usual.use", 1, "1", fixedCode="usual"),
        at("Patient.identifier:a/old", 0, "1"),
        at("Patient.identifier:a/old.system", 1, "1", fixedUri="http://a"),
        at("Patient.identifier:a/old.use", 1, "1", fixedCode="old"),
    )

    def of(*uses):
        found = [{"system": "http://a", "use": use} for use in uses]
        return {"resourceType": "Patient", "identifier": [*found, {"system": "http://b"}]}

    assert broken(of("usual", "old"), definition) == []
    assert [one[2] for one in broken(of("old"), definition)] == ["Patient.identifier:a/usual"]
    assert [one[1:] for one in broken(of("usual", "temp"), definition)] == [
        ("Patient.identifier[1]", "Patient.identifier:a")
    ]
    assert [one[2] for one in broken(of("usual", "usual", "old"), definition)] == [
        "Patient.identifier:a",
        "Patient.identifier:a/usual",
    ]


@clause("R4/profiling.html#default-slice", "@default has what no other slice has")
def test_default_slice():
    definition = profile(
        "p",
        "Observation",
        at("Observation.component", slicing=by("value", "code", "closed")),
        at("Observation.component:systolic"),
        at("Observation.component:systolic.code", 1, "1", patternCodeableConcept=concept("8480-6")),
        at("Observation.component:@default"),
        at("Observation.component:@default.value[x]", 0, "0"),
    )
    text = {"code": concept("x"), "valueString": "A"}
    assert broken(panel({"code": concept("8480-6"), "valueString": "A"}, ["x"]), definition) == []
    assert broken(panel(text), definition) == [
        ("error", "Observation.component[0].value", "Observation.component:@default.value[x]")
    ]


def test_slices_within_slices():
    definition = profile(
        "p",
        "Patient",
        at("Patient.contact", slicing=by("value", "gender")),
        at("Patient.contact:mother", 0, "1"),
        at("Patient.contact:mother.gender", 1, "1", fixedCode="female"),
        at("Patient.contact:mother.telecom", slicing=by("value", "system")),
        {
            "id": "Patient.contact:mother.telecom:phone",
            "path": "Patient.contact.telecom",
            "sliceName": "phone",
            "min": 1,
            "max": "1",
        },
        {
            "id": "Patient.contact:mother.telecom:phone.system",
            "path": "Patient.contact.telecom.system",
            "min": 1,
            "max": "1",
            "fixedCode": "phone",
        },
    )
    phone, fax = {"system": "phone"}, {"system": "fax"}
    contacts = [{"gender": "male", "telecom": [fax]}, {"gender": "female", "telecom": [fax, phone]}]
    assert broken({"resourceType": "Patient", "contact": contacts}, definition) == []
    contacts[1]["telecom"] = [fax]
    assert broken({"resourceType": "Patient", "contact": contacts}, definition) == [
        ("error", "Patient.contact[1].telecom", "Patient.contact:mother.telecom:phone")
    ]
