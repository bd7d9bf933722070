"""References in all the forms of R4/references.html, hierarchies, and canonicals by version."""

from __future__ import annotations

from typing import Any

import pytest

from tests.spec.r4_http.test_errors import check
from tests.spec.r4_search.conftest import BASE, Search
from tests.support.clause import clause
from tests.support.http import FhirClient

Resource = dict[str, Any]
OTHER = "http://b.org/fhir"


def place(id: str, whole: str | None = None) -> Resource:
    part = {} if whole is None else {"partOf": {"reference": whole}}
    return {"resourceType": "Location", "id": id, **part}


def stay(id: str, where: str) -> Resource:
    return {"resourceType": "Encounter", "id": id, "location": [{"location": {"reference": where}}]}


PLACES = (
    place("house"),
    place("ward", "Location/house"),
    place("room", f"{BASE}/Location/ward"),
    place("bed", "Location/room/_history/1"),
    place("yard"),
    place("ring1", "Location/ring2"),
    place("ring2", "Location/ring1"),
    *(stay(f"in-{id}", f"Location/{id}") for id in ("house", "ward", "room", "bed", "yard", "ring1")),
    stay("elsewhere", f"{OTHER}/Location/ward"),
    stay("nowhere", "Location/gone"),
)


@clause("R4/search.html#reference", ":below and :above follow a strict hierarchy to its ends")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("location:below=Location/house", ["in-house", "in-ward", "in-room", "in-bed"]),
        ("location:below=room", ["in-room", "in-bed"]),
        (f"location:below={BASE}/Location/bed", ["in-bed"]),
        ("location:above=Location/room", ["in-house", "in-ward", "in-room"]),
        ("location:above=house", ["in-house"]),
        ("location:below=ring1", ["in-ring1"]),
        ("location:above=ring2", ["in-ring1"]),
        ("location:below=gone", ["nowhere"]),
        ("location:below=bed,yard", ["in-bed", "in-yard"]),
        ("location:below=house&location:above=bed", ["in-house", "in-ward", "in-room", "in-bed"]),
        ("location.partof:below=ward", ["in-room", "in-bed"]),
    ],
)
def test_hierarchy(search: Search, query: str, ids: list[str]) -> None:
    assert search(f"Encounter?{query}", *PLACES) == ids


@clause("R4/search.html#reference", "in a hierarchy of its own, and through _has")
def test_hierarchy_of_itself(search: Search) -> None:
    assert search("Location?partof:below=house", *PLACES) == ["ward", "room", "bed"]
    assert search("Location?partof:above=room") == ["ward", "room", "bed"]
    assert search("Location?_has:Location:partof:partof:below=ward") == ["ward", "room"]


def versioned(id: str, canonical: str) -> Resource:
    return {"resourceType": "QuestionnaireResponse", "id": id, "questionnaire": canonical}


VERSIONS = tuple(
    versioned(id, f"http://a.org/q{version}")
    for id, version in (
        ("none", ""),
        ("1", "|1"),
        ("1.2", "|1.2"),
        ("1.2.3", "|1.2.3"),
        ("1.20", "|1.20"),
        ("2", "|2.0"),
    )
)


@clause("R4/references.html#canonical", "a canonical: with its version, any, and by parts of the version")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("questionnaire=http://a.org/q", ["none", "1", "1.2", "1.2.3", "1.20", "2"]),
        ("questionnaire=http://a.org/q|1", ["1"]),
        (r"questionnaire=http://a.org/q\|1.2", ["1.2"]),
        ("questionnaire=http://a.org/q|3", []),
        ("questionnaire:below=http://a.org/q|1", ["1", "1.2", "1.2.3", "1.20"]),
        ("questionnaire:below=http://a.org/q|1.2", ["1.2", "1.2.3"]),
        ("questionnaire:below=http://a.org/q", ["none", "1", "1.2", "1.2.3", "1.20", "2"]),
        ("questionnaire:above=http://a.org/q|1.2.3", ["1", "1.2", "1.2.3"]),
        ("questionnaire:above=http://a.org/q|1.2.3.4", ["1", "1.2", "1.2.3"]),
        ("questionnaire:above=http://a.org/q|2", []),
    ],
)
def test_versions_of_a_canonical(search: Search, query: str, ids: list[str]) -> None:
    assert search(f"QuestionnaireResponse?{query}", *VERSIONS) == ids


def about(id: str, **subject: Any) -> Resource:
    return {"resourceType": "Observation", "id": id, "subject": subject}


FORMS = (
    about("relative", reference="Patient/1"),
    about("own", reference=f"{BASE}/Patient/1"),
    about("version", reference="Patient/1/_history/3"),
    about("own-version", reference=f"{BASE}/Patient/1/_history/3"),
    about("other", reference=f"{OTHER}/Patient/1"),
    about("other-version", reference=f"{OTHER}/Patient/1/_history/3"),
    about("group", reference="Group/1"),
    about("urn", reference="urn:uuid:c757873d-ec9a-4326-a141-556f43239520"),
    about("logical", identifier={"system": "urn:mrn", "value": "9"}, type="Patient"),
    about("both", reference="Patient/2", identifier={"system": "urn:mrn", "value": "9"}),
    about("display", display="Somebody"),
)
HERE = ["relative", "own", "version", "own-version"]


@clause("R4/search.html#reference", "each form of a reference is found by each form that means the same")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("subject=Patient/1", HERE),
        (f"subject={BASE}/Patient/1", HERE),
        ("subject=1", [*HERE, "group"]),
        ("subject:Patient=1", HERE),
        ("subject:Patient=Patient/1", HERE),
        (f"subject:Patient={BASE}/Patient/1", HERE),
        ("subject:Group=1", ["group"]),
        ("subject=Patient/1/_history/3", ["version", "own-version"]),
        (f"subject={BASE}/Patient/1/_history/3", ["version", "own-version"]),
        ("subject=Patient/1/_history/2", []),
        (f"subject={OTHER}/Patient/1", ["other", "other-version"]),
        (f"subject:Patient={OTHER}/Patient/1", ["other", "other-version"]),
        (f"subject={OTHER}/Patient/1/_history/3", ["other-version"]),
        ("subject=urn:uuid:c757873d-ec9a-4326-a141-556f43239520", ["urn"]),
        ("subject:identifier=urn:mrn|9", ["logical", "both"]),
        ("subject:identifier=9", ["logical", "both"]),
        ("subject:identifier=urn:mrn|", ["logical", "both"]),
        ("subject:identifier=|9", []),
        ("subject:missing=true", []),
        ("patient=1", HERE),
    ],
)
def test_forms(search: Search, query: str, ids: list[str]) -> None:
    assert search(f"Observation?{query}", *FORMS) == ids


@clause("R4/search.html#modifiers", "what R4 has no :text, :exact and :contains for is refused by name")
@pytest.mark.parametrize(
    "query",
    [
        "Observation?subject:text=x",
        "Patient?name:text=x",
        "Observation?subject:exact=x",
        "Observation?code:contains=x",
        "Observation?date:exact=2020",
        "Observation?code-value-quantity:missing=true",
        "Observation?value-quantity:not=5",
        "Patient?_lastUpdated:not=2020",
    ],
)
def test_modifiers_of_other_types(client: FhirClient, query: str) -> None:
    code, _, modifier = query.partition("?")[2].partition("=")[0].partition(":")
    check(client.get(query), 400, f"{code} has no modifier '{modifier}'", "invalid")


@clause("R4/search.html#modifiers", ":missing on what every resource has")
def test_missing_of_the_row(search: Search) -> None:
    assert search("Observation?_id:missing=false&_lastUpdated:missing=false", about("a")) == ["a"]
    assert search("Observation?_id:missing=true") == []
    assert search("Observation?_lastUpdated:missing=true") == []
