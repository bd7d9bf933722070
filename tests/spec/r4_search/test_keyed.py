"""token, string, reference, uri and composite parameters, and the modifiers of each."""

from __future__ import annotations

from typing import Any

import pytest

from tests.spec.r4_search.conftest import BASE, Search
from tests.support.clause import clause

LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"


def coded(*codings: tuple[str | None, str | None]) -> dict[str, Any]:
    pairs = [{"system": system, "code": code} for system, code in codings]
    return {"coding": [{name: text for name, text in pair.items() if text is not None} for pair in pairs]}


def condition(id: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Condition", "id": id, **more}


CONDITIONS = (
    condition("loinc", code=coded((LOINC, "1-8"))),
    condition("both", code=coded((LOINC, "2-6"), (SNOMED, "1-8"))),
    condition("bare", code=coded((None, "1-8"))),
    condition("case", code=coded((LOINC, "1-8A"))),
    condition("lower", code=coded((LOINC, "1-8a"))),
    condition("system", code=coded((LOINC, None))),
    condition("text", code={"text": "1-8"}),
    condition("none"),
)


@clause("R4/search.html#token", "code, system|code, |code, system|; :not and :missing")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("code=1-8", ["loinc", "both", "bare"]),
        (f"code={LOINC}|1-8", ["loinc"]),
        ("code=|1-8", ["bare"]),
        (f"code={LOINC}|", ["loinc", "both", "case", "lower", "system"]),
        ("code=1-8A", ["case"]),
        (f"code={LOINC}|2-6,{SNOMED}|1-8", ["both"]),
        (f"code={LOINC}|2-6&code={SNOMED}|1-8", ["both"]),
        (f"code={LOINC}|1-8&code={SNOMED}|1-8", []),
        ("code:not=1-8", ["case", "lower", "system", "text", "none"]),
        ("code:not=1-8,1-8A", ["lower", "system", "text", "none"]),
        ("code:missing=true", ["none"]),
        ("code:missing=false", ["loinc", "both", "bare", "case", "lower", "system", "text"]),
        (r"code=1-8\,x", []),
    ],
)
def test_coded_token(search: Search, query: str, ids: list[str]) -> None:
    assert search(f"Condition?{query}", *CONDITIONS) == ids


@clause("R4/search.html#token", "a code has the system of its value set; booleans, contacts and strings none")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("gender=male", ["m"]),
        ("gender=http://hl7.org/fhir/administrative-gender|male", ["m"]),
        ("gender=http://hl7.org/fhir/administrative-gender|", ["m", "f"]),
        ("gender=http://example.org|male", []),
        ("gender=|male", ["m"]),
        ("gender=Male", []),
        ("active=true", ["m"]),
        ("active=false", ["f"]),
        ("active:not=true", ["f", "u"]),
        ("deceased=true", ["m", "u"]),
        ("deceased=false", ["f"]),
        ("telecom=555 6473", ["m"]),
        ("phone=555 6473", ["m"]),
        ("email=555 6473", []),
        ("email=ann@example.org", ["f"]),
        ("language=de", ["f"]),
        ("identifier=urn:oid:1.2.36|123", ["m"]),
        ("identifier=123", ["m", "f"]),
        ("identifier=|123", ["f"]),
        ("identifier=urn:oid:1.2.36|", ["m"]),
        ("identifier:of-type=http://terminology.hl7.org/CodeSystem/v2-0203|MR|123", ["m"]),
        ("identifier:of-type=http://terminology.hl7.org/CodeSystem/v2-0203|MR|9", []),
        ("_id=m", ["m"]),
        ("_id=m,f,x", ["m", "f"]),
        ("_id:not=m", ["f", "u"]),
        ("_tag=http://example.org|blue", ["u"]),
        ("_tag:not=blue", ["m", "f"]),
        ("_security=R", ["u"]),
    ],
)
def test_other_tokens(search: Search, query: str, ids: list[str]) -> None:
    medical_record = coded(("http://terminology.hl7.org/CodeSystem/v2-0203", "MR"))
    male = {
        "resourceType": "Patient",
        "id": "m",
        "gender": "male",
        "active": True,
        "deceasedBoolean": True,
        "telecom": [{"system": "phone", "value": "555 6473"}],
        "identifier": [{"system": "urn:oid:1.2.36", "value": "123", "type": medical_record}],
    }
    female = {
        "resourceType": "Patient",
        "id": "f",
        "gender": "female",
        "active": False,
        "deceasedBoolean": False,
        "telecom": [{"system": "email", "value": "ann@example.org"}],
        "communication": [{"language": coded(("urn:ietf:bcp:47", "de"))}],
        "identifier": [{"value": "123"}],
    }
    unknown = {
        "resourceType": "Patient",
        "id": "u",
        "deceasedDateTime": "2020",
        "meta": {
            "tag": [{"system": "http://example.org", "code": "blue"}],
            "security": [{"system": "urn:c", "code": "R"}],
        },
    }
    assert search(f"Patient?{query}", male, female, unknown) == ids


@clause("R4/search.html#token", "a token on a string ignores case")
def test_string_token(search: Search) -> None:
    medication = {"resourceType": "Medication", "id": "lot", "batch": {"lotNumber": "Ab-7"}}
    assert search("Medication?lot-number=aB-7", medication) == ["lot"]
    assert search("Medication?lot-number=aB") == []


@clause("R4/search.html#token", "a bar inside a value is not the bar between system and code")
def test_bar_in_a_value(search: Search) -> None:
    odd = {"resourceType": "Patient", "id": "odd", "identifier": [{"value": "urn:a|7"}]}
    plain = {"resourceType": "Patient", "id": "plain", "identifier": [{"system": "urn:a", "value": "7"}]}
    assert search("Patient?identifier=urn:a|7", odd, plain) == ["plain"]
    assert search(r"Patient?identifier=urn:a\|7") == ["odd"]


def named(id: str, **name: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id, "name": [name]}


NAMES = (
    named("eve", given=["Eve"], family="Müller-Weiß"),
    named("evelyn", given=["Evelyn", "Mary Ann"], family="O'Neill"),
    named("severine", given=["Severine"], text="Dr. Severine  Łukasz"),
    named("percent", given=["50%_x"], family="Sørensen"),
)


@clause("R4/search.html#string", "the start, whatever case and accents; :exact, :contains")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("given=eve", ["eve", "evelyn"]),
        ("given:contains=eve", ["eve", "evelyn", "severine"]),
        ("given:exact=Eve", ["eve"]),
        ("given:exact=eve", []),
        ("given=mary a", ["evelyn"]),
        ("given=ann", []),
        ("given:contains=ann", ["evelyn"]),
        ("family=MULLER", ["eve"]),
        ("family=müller-weiss", ["eve"]),
        ("family:exact=Müller-Weiß", ["eve"]),
        ("family=sorensen", ["percent"]),
        ("given=50%25", ["percent"]),
        ("given=5_", []),
        ("given:contains=%25_", ["percent"]),
        ("name=dr. severine luk", ["severine"]),
        ("name=o'n,severine", ["evelyn", "severine"]),
        ("phonetic=eve", ["eve", "evelyn"]),
        ("family:missing=true", ["severine"]),
    ],
)
def test_string(search: Search, query: str, ids: list[str]) -> None:
    assert search(f"Patient?{query}", *NAMES) == ids


@clause("R4/search.html#string", "an address by any of its parts")
def test_address(search: Search) -> None:
    address = {"line": ["1 Main St", "Floor 2"], "city": "Zürich", "postalCode": "8001", "country": "CH"}
    made = {"resourceType": "Patient", "id": "a", "address": [address]}
    assert search("Patient?address=floor", made) == ["a"]
    assert [search(f"Patient?address={part}") for part in ("zurich", "8001", "ch", "st")] == [["a"]] * 3 + [
        []
    ]
    assert search("Patient?address-postalcode=80") == ["a"]


@clause("R4/search.html#string", "a long text is found by its start, its middle, and as a whole")
def test_long_string(search: Search) -> None:
    text = "word " * 400
    made = [{"resourceType": "ValueSet", "id": end, "description": text + end} for end in ("one", "two")]
    assert search(f"ValueSet?description={text}tw", *made) == ["two"]
    assert search("ValueSet?description:contains=word one") == ["one"]
    assert search(f"ValueSet?description:exact={text}one") == ["one"]
    assert search("ValueSet?description=word") == ["one", "two"]
    assert search('ValueSet?_filter=description ew "word two"') == ["two"]


@clause("R4/search.html#string", "a text as long as the first part that is kept in order, and a sign longer")
def test_a_string_at_the_border(search: Search) -> None:
    made = [
        {"resourceType": "ValueSet", "id": f"n{size}", "description": "a" * (size - 1) + "z"}
        for size in (199, 200, 201)
    ]
    assert search("ValueSet?description:contains=az", *made) == ["n201", "n200", "n199"]  # in their order
    assert sorted(search('ValueSet?_filter=description ew "az"')) == ["n199", "n200", "n201"]
    assert search('ValueSet?_filter=description ew "aa"') == []


OBSERVATIONS = (
    {"resourceType": "Observation", "id": "own", "subject": {"reference": "Patient/1"}},
    {"resourceType": "Observation", "id": "absolute", "subject": {"reference": f"{BASE}/Patient/1"}},
    {"resourceType": "Observation", "id": "version", "subject": {"reference": "Patient/1/_history/3"}},
    {"resourceType": "Observation", "id": "group", "subject": {"reference": "Group/1"}},
    {"resourceType": "Observation", "id": "other", "subject": {"reference": "http://b.org/Patient/1"}},
    {
        "resourceType": "Observation",
        "id": "logical",
        "subject": {"type": "Patient", "identifier": {"system": "urn:mrn", "value": "9"}},
    },
    {"resourceType": "Observation", "id": "contained", "subject": {"reference": "#p"}},
)


@clause("R4/search.html#reference", "id, Type/id, absolute, versioned; :[type], :identifier, :missing")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("subject=Patient/1", ["own", "absolute", "version"]),
        ("subject=1", ["own", "absolute", "version", "group"]),
        ("subject:Patient=1", ["own", "absolute", "version"]),
        ("subject:Group=1", ["group"]),
        (f"subject={BASE}/Patient/1", ["own", "absolute", "version"]),
        ("subject=http://b.org/Patient/1", ["other"]),
        ("subject=Patient/1/_history/3", ["version"]),
        ("subject=Patient/1/_history/4", []),
        ("patient=1", ["own", "absolute", "version"]),
        ("patient=Patient/1,Patient/2", ["own", "absolute", "version"]),
        ("subject:identifier=urn:mrn|9", ["logical"]),
        ("subject:identifier=9", ["logical"]),
        ("subject:identifier=urn:mrn|8", []),
        ("subject:missing=true", []),
    ],
)
def test_reference(search: Search, query: str, ids: list[str]) -> None:
    assert search(f"Observation?{query}", *OBSERVATIONS) == ids


@clause("R4/search.html#reference", "a canonical with and without its version")
def test_canonical(search: Search) -> None:
    made = [
        {"resourceType": "QuestionnaireResponse", "id": id, "questionnaire": f"http://a.org/q{version}"}
        for id, version in (("any", ""), ("one", "|1"), ("two", "|2"))
    ]
    assert search("QuestionnaireResponse?questionnaire=http://a.org/q", *made) == ["any", "one", "two"]
    assert search("QuestionnaireResponse?questionnaire=http://a.org/q|1") == ["one"]


@clause("R4/search.html#uri", "the whole uri; :above and :below by segments")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("url=http://acme.org/fhir/ValueSet/1", ["one"]),
        ("url=http://acme.org/fhir/valueset/1", []),
        ("url=http://acme.org/fhir/ValueSet/", []),
        ("url:below=http://acme.org/fhir", ["one", "ten", "base"]),
        ("url:below=http://acme.org/fhir/", ["one", "ten", "base"]),
        ("url:below=http://acme.org/fhir/ValueSet/1", ["one"]),
        ("url:above=http://acme.org/fhir/ValueSet/1/_history/5", ["one", "base"]),
        ("url=urn:oid:1.2", ["oid"]),
        ("_profile=http://p.org/a", ["one"]),
        ("_profile=http://p.org/a|2", ["one"]),
        ("_profile=http://p.org/a|3", []),
        ("_source=http://s.org", ["ten"]),
    ],
)
def test_uri(search: Search, query: str, ids: list[str]) -> None:
    def value_set(id: str, url: str, **meta: Any) -> dict[str, Any]:
        return {"resourceType": "ValueSet", "id": id, "url": url, "meta": meta}

    made = (
        value_set("one", "http://acme.org/fhir/ValueSet/1", profile=["http://p.org/a|2"]),
        value_set("ten", "http://acme.org/fhir/ValueSet/10", source="http://s.org"),
        value_set("base", "http://acme.org/fhir"),
        value_set("oid", "urn:oid:1.2"),
        value_set("near", "http://acme.org/fhirpath"),
    )
    assert search(f"ValueSet?{query}", *made) == ids


SYSTOLIC, DIASTOLIC, UCUM = "8480-6", "8462-4", "http://unitsofmeasure.org"


def pressure(id: str, systolic: int, diastolic: int) -> dict[str, Any]:
    values = ((SYSTOLIC, systolic), (DIASTOLIC, diastolic))
    return {
        "resourceType": "Observation",
        "id": id,
        "code": coded((LOINC, "85354-9")),
        "component": [
            {
                "code": coded((LOINC, code)),
                "valueQuantity": {"value": value, "system": UCUM, "code": "mm[Hg]", "unit": "mmHg"},
            }
            for code, value in values
        ],
    }


@clause("R4/search.html#combining", "values from the same element, never an intersection of strangers")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (f"component-code-value-quantity={LOINC}|{SYSTOLIC}$gt140", ["high"]),
        (f"component-code-value-quantity={SYSTOLIC}$gt140|{UCUM}|mm[Hg]", ["high"]),
        (f"component-code-value-quantity={SYSTOLIC}$gt140||mmHg", ["high"]),
        (f"component-code-value-quantity={SYSTOLIC}$gt140||kPa", []),
        (f"component-code-value-quantity={DIASTOLIC}$lt80", ["odd"]),
        (f"component-code-value-quantity={SYSTOLIC}$lt80", []),
        (f"component-code-value-quantity={LOINC}|$gt140", ["high"]),
        (f"component-code-value-quantity=|{SYSTOLIC}$gt140", []),
        (f"combo-code-value-quantity={SYSTOLIC}$gt140", ["high"]),
        ("combo-code-value-quantity=29463-7$70", ["weight"]),
        ("code-value-quantity=29463-7$70", ["weight"]),
        ("code-value-quantity=29463-7$71,29463-7$lt71", ["weight"]),
        ("code-value-concept=72166-2$266919005", ["smoking"]),
        (f"code-value-concept={LOINC}|72166-2${SNOMED}|266919005", ["smoking"]),
        (f"code-value-concept={LOINC}|72166-2${LOINC}|266919005", []),
        ("code-value-string=1-8$some wo", ["note"]),
        ("code-value-date=2-6$ge2020", ["onset"]),
        ("code-value-date=2-6$lt2020", []),
    ],
)
def test_composite(search: Search, query: str, ids: list[str]) -> None:
    def observed(id: str, code: str, **value: Any) -> dict[str, Any]:
        return {"resourceType": "Observation", "id": id, "code": coded((LOINC, code)), **value}

    made = (
        pressure("high", 150, 90),
        pressure("odd", 100, 70),
        observed("weight", "29463-7", valueQuantity={"value": 70, "unit": "kg"}),
        observed("smoking", "72166-2", valueCodeableConcept=coded((SNOMED, "266919005"))),
        observed("note", "1-8", valueString="Some Words"),
        observed("onset", "2-6", valueDateTime="2020-05"),
    )
    assert search(f"Observation?{query}", *made) == ids


@clause("R4/search.html#combining", "a reference among the components; three components")
def test_other_composites(search: Search) -> None:
    replaces = {"code": "replaces", "target": {"reference": "DocumentReference/1"}}
    appends = {"code": "appends", "target": {"reference": "DocumentReference/2"}}
    made = {"resourceType": "DocumentReference", "id": "d", "relatesTo": [replaces, appends]}
    assert search("DocumentReference?relationship=replaces$DocumentReference/1", made) == ["d"]
    assert search("DocumentReference?relationship=appends$1") == []
    window = {"chromosome": coded((None, "7")), "windowStart": 100, "windowEnd": 200}
    sequence = {"resourceType": "MolecularSequence", "id": "s", "referenceSeq": window}
    assert search("MolecularSequence?chromosome-window-coordinate=7$lt150$gt150", sequence) == ["s"]
    assert search("MolecularSequence?chromosome-window-coordinate=7$gt150$gt150") == []
