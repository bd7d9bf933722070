"""Chains, _has, _include and _revinclude."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_server.definitions.structures import type_name as type_name_of
from fhir_server.search import include
from fhir_server.search.ast import Clause, Criterion
from fhir_server.search.parse import parse
from fhir_server.search.registry import standard
from fhir_server.search.types.token import TokenValue
from tests.spec.r4_search.conftest import Search
from tests.support.builders import observation, patient
from tests.support.clause import clause
from tests.support.http import FhirClient


def refer(kind: str, id: str, **references: str) -> dict[str, Any]:
    members = {name: {"reference": text} for name, text in references.items()}
    return {"resourceType": kind, "id": id, **members}


ANN = {"resourceType": "Patient", "id": "ann", "name": [{"family": "Ann"}], "gender": "female"}
BOB = {
    **refer("Patient", "bob", managingOrganization="Organization/ward"),
    "name": [{"family": "Bob"}],
    "generalPractitioner": [{"reference": "Practitioner/dr"}],
}
WARD = {**refer("Organization", "ward", partOf="Organization/clinic"), "name": "Ward 7"}
CLINIC = {"resourceType": "Organization", "id": "clinic", "name": "Clinic"}
DOCTOR = {"resourceType": "Practitioner", "id": "dr", "name": [{"family": "Ann"}]}
PLACE = {"resourceType": "Location", "id": "place", "name": "Ann's house"}
GLUCOSE = {"coding": [{"system": "http://loinc.org", "code": "2345-7"}]}
OF_ANN = {**refer("Observation", "of-ann", subject="Patient/ann"), "code": GLUCOSE, "status": "final"}
OF_BOB = {
    **refer("Observation", "of-bob", subject="Patient/bob", encounter="Encounter/visit"),
    "status": "final",
}
OF_PLACE = refer("Observation", "of-place", subject="Location/place")
VISIT = refer("Encounter", "visit", subject="Patient/bob")
SIGNED = {
    "resourceType": "Provenance",
    "id": "signed",
    "target": [{"reference": "Observation/of-ann"}],
    "agent": [{"who": {"reference": "Practitioner/dr"}}],
}
FORM = {"resourceType": "Questionnaire", "id": "form", "url": "http://a.org/form", "title": "Intake"}
ANSWER = {
    **refer("QuestionnaireResponse", "answer", subject="Patient/ann"),
    "questionnaire": "http://a.org/form|2",
}
WORLD = (ANN, BOB, WARD, CLINIC, DOCTOR, PLACE, OF_ANN, OF_BOB, OF_PLACE, VISIT, SIGNED, FORM, ANSWER)


@clause("R4/search.html#chaining", "through a reference, typed or not, one step or several")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("Observation?subject:Patient.name=ann", ["of-ann"]),
        ("Observation?subject.name=ann", ["of-ann", "of-place"]),
        ("Observation?patient.name=ann,bob", ["of-ann", "of-bob"]),
        ("Observation?patient.name:exact=ann", []),
        ("Observation?patient.gender:not=female", ["of-bob"]),
        ("Observation?patient.gender:missing=true", ["of-bob"]),
        ("Observation?patient._id=bob", ["of-bob"]),
        ("Observation?patient._lastUpdated=gt2030", []),
        ("Observation?patient.organization.name=ward", ["of-bob"]),
        ("Observation?patient.organization.partof.name=clinic", ["of-bob"]),
        ("Observation?encounter.patient.name=bob", ["of-bob"]),
        ("Observation?patient.name=ann&status=final", ["of-ann"]),
        ("Patient?general-practitioner:Practitioner.name=ann", ["bob"]),
        ("QuestionnaireResponse?questionnaire.title=intake", ["answer"]),
    ],
)
def test_chain(search: Search, query: str, ids: list[str]) -> None:
    assert search(query, *WORLD) == ids


@clause("R4/search.html#has", "what refers to the resource, also nested and mixed with chains")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("Patient?_has:Observation:patient:code=2345-7", ["ann"]),
        ("Patient?_has:Observation:subject:status=final", ["ann", "bob"]),
        ("Patient?_has:Observation:patient:code:missing=true", ["bob"]),
        ("Patient?_has:Observation:patient:_has:Provenance:target:agent=dr", ["ann"]),
        ("Patient?_has:Observation:patient:encounter.patient.name=bob", ["bob"]),
        ("Observation?patient._has:Encounter:patient:_id=visit", ["of-bob"]),
        ("Organization?_has:Patient:organization:name=bob", ["ward"]),
        ("Practitioner?_has:Provenance:agent:target=Observation/of-ann", ["dr"]),
        ("Questionnaire?_has:QuestionnaireResponse:questionnaire:patient=ann", ["form"]),
        ("Patient?_has:Observation:patient:status=final&_has:Observation:patient:code=2345-7", ["ann"]),
    ],
)
def test_has(search: Search, query: str, ids: list[str]) -> None:
    assert search(query, *WORLD) == ids


def included(search: Search, connection: Any, query: str, rounds: int = 1, visible: Any = None) -> list[str]:
    """Return the addresses that the includes of a search bring, by rounds as interactions do."""
    type_name, _, rest = query.partition("?")
    pairs = [(name, value) for name, _, value in (pair.partition("=") for pair in rest.split("&"))]
    parsed = parse(type_name, pairs)
    ids = search(query)
    with connection.cursor() as cursor:
        cursor.execute("select pk, id from resource where id = any(%s)", (ids,))
        new = [include.Found(pk, type_name, id) for pk, id in cursor.fetchall()]
        known = {each.pk for each in new}
        found: list[str] = []
        includes = parsed.includes
        for _ in range(rounds):
            statements = include.statements(includes, new, known, 100, visible=visible)
            new = []
            for statement in statements:
                cursor.execute(statement.sql, statement.parameters)
                new += [include.Found(row[0], type_name_of(row[1]), row[2]) for row in cursor.fetchall()]
            known |= {each.pk for each in new}
            found += [f"{each.type_name}/{each.id}" for each in new]
            includes = tuple(each for each in includes if each.iterate)
    return sorted(set(found))


@clause("R4/search.html#include", "_include and _revinclude, with target type, several, *, :iterate")
@pytest.mark.parametrize(
    ("query", "rounds", "addresses"),
    [
        ("Observation?_include=Observation:subject", 1, ["Location/place", "Patient/ann", "Patient/bob"]),
        ("Observation?_include=Observation:subject:Patient", 1, ["Patient/ann", "Patient/bob"]),
        ("Observation?_include=Observation:patient", 1, ["Patient/ann", "Patient/bob"]),
        (
            "Observation?_id=of-bob&_include=Observation:subject&_include=Observation:encounter",
            1,
            ["Encounter/visit", "Patient/bob"],
        ),
        ("Observation?_id=of-bob&_include=*", 1, ["Encounter/visit", "Patient/bob"]),
        ("Observation?_id=of-bob&_include=Observation:*", 1, ["Encounter/visit", "Patient/bob"]),
        (
            "Observation?_id=of-bob&_include=Observation:subject&_include:iterate=Patient:organization"
            "&_include:iterate=Organization:partof",
            4,
            ["Organization/clinic", "Organization/ward", "Patient/bob"],
        ),
        ("Patient?_id=ann&_revinclude=Observation:subject", 1, ["Observation/of-ann"]),
        ("Patient?_revinclude=Observation:patient&_revinclude=Encounter:patient", 1,
         ["Encounter/visit", "Observation/of-ann", "Observation/of-bob"]),
        ("Patient?_id=ann&_revinclude=Observation:patient&_revinclude:iterate=Provenance:target", 2,
         ["Observation/of-ann", "Provenance/signed"]),
        ("QuestionnaireResponse?_include=QuestionnaireResponse:questionnaire", 1, ["Questionnaire/form"]),
        ("Questionnaire?_revinclude=QuestionnaireResponse:*", 1, ["QuestionnaireResponse/answer"]),
        ("Patient?_id=ann&_include=Patient:organization", 1, []),
        ("Patient?_id=ann&_revinclude=*", 1, ["Observation/of-ann", "QuestionnaireResponse/answer"]),
        ("Patient?_id=ann&_revinclude:iterate=*", 3,
         ["Observation/of-ann", "Provenance/signed", "QuestionnaireResponse/answer"]),
        ("Questionnaire?_revinclude=*", 1, ["QuestionnaireResponse/answer"]),
        ("Observation?_id=of-bob&_include:iterate=*", 4,
         ["Encounter/visit", "Organization/clinic", "Organization/ward", "Patient/bob", "Practitioner/dr"]),
    ],
)  # fmt: skip
def test_include(search: Search, connection: Any, query: str, rounds: int, addresses: list[str]) -> None:
    search("Patient?_id=none", *WORLD)
    assert included(search, connection, query, rounds) == addresses


@clause("R4/search.html#include", "what a caller may not see comes by no side door")
def test_visible(search: Search, connection: Any) -> None:
    def visible(type_name: str) -> Criterion | None:
        if type_name != "Patient":
            return None
        gender = standard().get("Patient", "gender")
        assert gender is not None
        return Clause(gender, None, (TokenValue(None, "female", ("female",)),))

    search("Patient?_id=none", *WORLD)
    both = "Observation?_include=Observation:subject"
    assert included(search, connection, both, visible=visible) == ["Location/place", "Patient/ann"]
    typed = "Observation?_include=Observation:subject:Patient"
    assert included(search, connection, typed, visible=visible) == ["Patient/ann"]
    back = "Organization?_revinclude=Patient:organization"
    assert included(search, connection, back, visible=visible) == []


@clause("R4/search.html#versions", "a reference to a version brings that version; chains ask the current one")
def test_versioned_references(client: FhirClient, stored: Any) -> None:
    id_ = stored(patient("Before"))
    assert client.send("PUT", f"Patient/{id_}", {**patient("After"), "id": id_}).status == 200
    seen = stored(observation(f"Patient/{id_}/_history/1"))
    found = client.get(f"Observation?_id={seen}&_include=Observation:subject").json["entry"]
    assert [entry["resource"]["meta"]["versionId"] for entry in found] == ["1", "1"]
    assert [entry["search"]["mode"] for entry in found] == ["match", "include"]
    assert found[1]["resource"]["name"][0]["family"] == "Before"
    for family, expected in (("After", 1), ("Before", 0)):
        asked = client.get(f"Observation?_id={seen}&subject:Patient.family={family}").json
        assert len(asked.get("entry", [])) == expected


@clause(
    "R4/search.html#versions", "several versions, the current one where it is meant too, none that is gone"
)
def test_several_versions(client: FhirClient, stored: Any) -> None:
    id_ = stored(patient("One"))
    for family in ("Two", "Three"):
        client.send("PUT", f"Patient/{id_}", {**patient(family), "id": id_})

    def families(*references: str, include: str = "Observation:subject") -> list[str]:
        ids = ",".join(stored(observation(each)) for each in references)
        found = client.get(f"Observation?_id={ids}&_include={include}").json["entry"]
        people = [each["resource"] for each in found if each["resource"]["resourceType"] == "Patient"]
        return sorted(each["name"][0]["family"] for each in people)

    one, two, three, plain = (
        f"Patient/{id_}{end}" for end in ("/_history/1", "/_history/2", "/_history/3", "")
    )
    assert families(one, two) == ["One", "Two"]
    assert families(one, one, two) == ["One", "Two"]
    assert families(one, plain) == ["One", "Three"]
    assert families(two, three) == ["Three", "Two"]
    assert families(one, include="*") == ["One"]
    assert families(one, include="Observation:subject:Patient") == ["One"]
    assert families(f"{plain}/_history/9") == ["Three"], "what never was leads to the current one"
    assert families("http://elsewhere.example/fhir/" + one) == []
    purged = {
        "resourceType": "Parameters",
        "parameter": [{"name": "expungePreviousVersions", "valueBoolean": True}],
    }
    assert client.post(f"Patient/{id_}/$expunge", purged).status == 200
    assert families(one) == ["Three"], "so does what is gone"
    client.delete(f"Patient/{id_}")
    assert families(one) == []


@clause("R4/search.html#versions", "a match that is referred to in a former version has that beside it")
def test_version_of_a_match(client: FhirClient, stored: Any) -> None:
    first = stored({"resourceType": "Organization", "name": "Before"})
    client.send(
        "PUT", f"Organization/{first}", {"resourceType": "Organization", "name": "After", "id": first}
    )
    part = {
        "resourceType": "Organization",
        "name": "Part",
        "partOf": {"reference": f"Organization/{first}/_history/1"},
    }
    found = client.get(f"Organization?_id={first},{stored(part)}&_include=Organization:partof").json["entry"]
    told = {(each["resource"]["name"], each["search"]["mode"]) for each in found}
    assert told == {("After", "match"), ("Part", "match"), ("Before", "include")}
