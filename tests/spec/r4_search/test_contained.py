"""_contained, _containedType, and chains into contained resources (R4/search.html#contained)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fhir_server.database.engine import Engine
from tests.spec.r4_http.test_errors import check
from tests.support.clause import clause
from tests.support.http import FhirClient

Resource = dict[str, Any]
SYSTEM = "http://example.org/medications"


def medication(code: str, id: str | None = None, *ingredients: str, **more: Any) -> Resource:
    made: Resource = {
        "resourceType": "Medication",
        "code": {"coding": [{"system": SYSTEM, "code": code}], "text": code},
        **more,
    }
    if ingredients:
        made["ingredient"] = [{"itemReference": {"reference": each}} for each in ingredients]
    return made if id is None else {**made, "id": id}


def request(id: str, reference: str, *contained: Resource) -> Resource:
    return {
        "resourceType": "MedicationRequest",
        "id": id,
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/1"},
        "medicationReference": {"reference": reference},
        **({"contained": list(contained)} if contained else {}),
    }


@pytest.fixture
def put(client: FhirClient) -> Callable[..., None]:
    def store(*resources: Resource) -> None:
        for each in resources:
            reply = client.put(f"{each['resourceType']}/{each['id']}", each)
            assert reply.status in (200, 201), reply.data

    return store


def found(client: FhirClient, query: str) -> list[str]:
    """Return the addresses of the matches, as the fullUrls have them."""
    reply = client.get(query)
    assert reply.status == 200, reply.data
    return [each["fullUrl"].partition("/fhir/")[2] for each in reply.json.get("entry", [])]


def made(mark: str) -> list[Resource]:
    """Return two requests with medications inside, one with a medication elsewhere, and that medication."""
    return [
        medication(f"{mark}-abc", f"{mark}-alone"),
        request(f"{mark}-in", "#m1", medication(f"{mark}-abc", "m1")),
        request(
            f"{mark}-two",
            "#m1",
            medication(f"{mark}-other", "m1", "#m2"),
            medication(f"{mark}-abc", "m2", status="active"),
        ),
        request(f"{mark}-out", f"Medication/{mark}-alone"),
    ]


@clause("R4/search.html#contained", "false: only what stands alone; true: only what is contained; both: both")
def test_which(client: FhirClient, put: Callable[..., None]) -> None:
    put(*made("which"))
    query = f"Medication?code={SYSTEM}|which-abc"
    assert found(client, query) == ["Medication/which-alone"]
    assert found(client, f"{query}&_contained=false") == ["Medication/which-alone"]
    containers = ["MedicationRequest/which-in", "MedicationRequest/which-two"]
    assert found(client, f"{query}&_contained=true") == containers
    assert found(client, f"{query}&_contained=true&_containedType=container") == containers
    assert sorted(found(client, f"{query}&_contained=both")) == ["Medication/which-alone", *containers]
    inside = [f"{containers[0]}#m1", f"{containers[1]}#m2"]
    assert found(client, f"{query}&_contained=true&_containedType=contained") == inside
    both = found(client, f"{query}&_contained=both&_containedType=contained")
    assert sorted(both) == sorted(["Medication/which-alone", *inside])


@clause(
    "R4/search.html#contained", "an entry has the container, or the contained resource with a fullUrl of both"
)
def test_entries(client: FhirClient, put: Callable[..., None]) -> None:
    put(*made("entry"))
    query = "Medication?code=entry-abc&_contained=true"
    [first, _] = client.get(query).json["entry"]
    assert first["search"] == {"mode": "match"}
    assert first["resource"]["resourceType"] == "MedicationRequest"
    assert first["resource"]["contained"][0]["id"] == "m1"
    [first, second] = client.get(f"{query}&_containedType=contained").json["entry"]
    assert first["fullUrl"].endswith("/fhir/MedicationRequest/entry-in#m1")
    assert first["resource"] == medication("entry-abc", "m1")
    assert second["resource"] == medication("entry-abc", "m2", status="active")
    [first, _] = client.get(f"{query}&_containedType=contained&_elements=code").json["entry"]
    assert first["resource"].keys() == {"resourceType", "id", "meta", "code"}


@clause("R4/search.html#contained", "two criteria are of one contained resource, not of two in one container")
def test_no_strangers(client: FhirClient, put: Callable[..., None]) -> None:
    put(*made("one"))
    assert found(client, "Medication?code=one-abc&status=active&_contained=true") == [
        "MedicationRequest/one-two"
    ]
    assert found(client, "Medication?code=one-other&status=active&_contained=true") == []
    assert found(client, "Medication?code=one-other&code=one-abc&_contained=true") == []
    assert found(client, "Medication?code=one-abc,one-other&_contained=true") == [
        "MedicationRequest/one-in",
        "MedicationRequest/one-two",
    ]
    assert found(client, "Medication?code=one-abc&status:missing=true&_contained=true") == [
        "MedicationRequest/one-in"
    ]
    assert found(
        client, "Medication?code:text=one&status:not=active&_contained=true&_containedType=contained"
    ) == [
        "MedicationRequest/one-in#m1",
        "MedicationRequest/one-two#m1",
    ]
    assert found(client, "Medication?code=one-abc&_id=m2&_contained=true") == ["MedicationRequest/one-two"]


@clause("R4/search.html#contained", "a chained condition is evaluated inside of contained resources")
def test_chains(client: FhirClient, put: Callable[..., None]) -> None:
    put(*made("chain"))
    query = "MedicationRequest?medication.code"
    assert sorted(found(client, f"{query}=chain-abc")) == [
        "MedicationRequest/chain-in",
        "MedicationRequest/chain-out",
    ]
    assert found(client, f"{query}=chain-other") == ["MedicationRequest/chain-two"]
    assert found(client, "MedicationRequest?medication:Medication.code=chain-other&status=active") == [
        "MedicationRequest/chain-two"
    ]
    assert found(client, "MedicationRequest?medication.ingredient:Medication.code=chain-abc") == [
        "MedicationRequest/chain-two"
    ]
    assert found(client, "MedicationRequest?_filter=medication.code eq chain-other") == [
        "MedicationRequest/chain-two"
    ]
    assert found(client, "Medication?_has:MedicationRequest:medication:status=active&code=chain-abc") == [
        "Medication/chain-alone"
    ]
    inside = "_contained=true&_containedType=contained"
    either = "_filter=code eq chain-other or (status eq active and code eq chain-abc)"
    assert found(client, f"Medication?{either}&{inside}") == [
        "MedicationRequest/chain-two#m1",
        "MedicationRequest/chain-two#m2",
    ]
    assert found(
        client, f"Medication?_has:MedicationRequest:medication:status=active&code:text=chain&{inside}"
    ) == [
        "MedicationRequest/chain-in#m1",
        "MedicationRequest/chain-two#m1",
    ]


@clause("R4/search.html#contained", "ordered values inside, and a reference back to the container")
def test_values(client: FhirClient, put: Callable[..., None]) -> None:
    person: Resource = {
        "resourceType": "Patient",
        "id": "p",
        "birthDate": "1931-05-01",
        "name": [{"family": "Inside"}],
    }
    part: Resource = {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "code": {"text": "part"},
        "derivedFrom": [{"reference": "#"}],
        "valueQuantity": {"value": 7, "system": "http://unitsofmeasure.org", "code": "g"},
    }
    put(
        {
            "resourceType": "Observation",
            "id": "values",
            "status": "final",
            "code": {"text": "whole"},
            "subject": {"reference": "#p"},
            "hasMember": [{"reference": "#o"}],
            "contained": [person, part],
        }
    )
    query = "Observation?subject:Patient.birthdate=lt1932&subject:Patient.family=insi"
    assert found(client, query) == ["Observation/values"]
    assert found(client, "Observation?patient.family=inside") == ["Observation/values"]
    assert found(client, "Patient?family=inside&_contained=true") == ["Observation/values"]
    weight = "value-quantity=7000|http://unitsofmeasure.org|mg"
    assert found(client, f"Observation?has-member:Observation.{weight}") == ["Observation/values"]
    assert found(client, f"Observation?{weight}&_contained=true") == ["Observation/values"]
    assert found(client, "Observation?derived-from=Observation/values&_contained=true") == [
        "Observation/values"
    ]


@clause("R4/search.html#contained", "what a new version no longer contains is not found, nor after a delete")
def test_changes(client: FhirClient, put: Callable[..., None], engine: Engine) -> None:
    put(*made("change"))
    query = "Medication?code=change-abc&_contained=true"
    assert len(found(client, query)) == 2
    put(request("change-in", "#m1", medication("change-new", "m1")))
    assert found(client, query) == ["MedicationRequest/change-two"]
    assert found(client, "Medication?code=change-new&_contained=true") == ["MedicationRequest/change-in"]
    assert found(client, "MedicationRequest?medication.code=change-new") == ["MedicationRequest/change-in"]
    put(request("change-two", "Medication/change-alone"))
    assert found(client, query) == []
    client.delete("MedicationRequest/change-in")
    assert found(client, "Medication?code=change-new&_contained=true") == []
    put(request("change-gone", "#m1", medication("change-gone", "m1")))
    everything = [{"name": "expungeEverything", "valueBoolean": True}]
    reply = client.post(
        "MedicationRequest/change-gone/$expunge", {"resourceType": "Parameters", "parameter": everything}
    )
    assert reply.status == 200, reply.data
    assert found(client, "Medication?code=change-gone&_contained=true") == []
    with engine.connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            "select count(*) from contained c where not exists "
            "(select from resource r where r.pk = c.container and not r.deleted)"
        )
        assert cursor.fetchall() == [(0,)]


@clause("R4/search.html#count", "pages, links and totals of contained resources")
def test_pages(client: FhirClient, put: Callable[..., None]) -> None:
    both = medication("paged", "m", "#n"), medication("paged", "n")
    put(*(request(f"page{n}", "#m", *both) for n in range(5)))
    for kind, size, whole in (("contained", 3, 10), ("container", 2, 5)):
        query = f"Medication?code=paged&_contained=true&_containedType={kind}"
        all_of_it = found(client, query)
        assert len(set(all_of_it)) == len(all_of_it) == whole
        assert client.get(f"{query}&_summary=count").json["total"] == whole
        assert client.get(f"{query}&_total=estimate&_count=1").json["total"] >= 1
        page = client.get(f"{query}&_count={size}&_total=accurate").json
        assert page["total"] == whole
        walked = [[each["fullUrl"].partition("/fhir/")[2] for each in page["entry"]]]
        while following := [each["url"] for each in page["link"] if each["relation"] == "next"]:
            page = client.get(following[0].partition("/fhir/")[2]).json
            walked.append([each["fullUrl"].partition("/fhir/")[2] for each in page["entry"]])
        assert [each for part in walked for each in part] == all_of_it
        back = next(each["url"] for each in page["link"] if each["relation"] == "previous")
        assert found(client, back.partition("/fhir/")[2]) == walked[-2]


@clause("R4/search.html#contained", "what does not go together is refused by name")
@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("Medication?_contained=true&_sort=code", "_contained=true and _sort exclude each other"),
        ("Medication?_contained=both&_include=Medication:manufacturer", "_include and _revinclude exclude"),
        ("Medication?_contained=yes", "_contained is one of false, true, both"),
        ("Medication?_containedType=all", "_containedType is one of container, contained"),
        ("?_type=Medication,Patient&_contained=true", "_contained is for a search on one type"),
    ],
)
def test_refused(client: FhirClient, query: str, says: str) -> None:
    check(client.get(query), 400, says)


@clause("docs/search.md", "a search in contained resources is explained, too")
def test_explained(client: FhirClient) -> None:
    reply = client.get("Medication?code=x&_contained=true&_explain=true")
    assert reply.json["resourceType"] == "Parameters"
    assert "contained" in str(reply.json)
