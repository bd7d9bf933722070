"""Searches in a compartment: /fhir/Patient/7/Observation, /fhir/Patient/7/*."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fhir_server.definitions.compartments import compartment_types
from tests.spec.r4_http.test_errors import check
from tests.spec.r4_search.test_several import FORM, addresses
from tests.support.builders import observation, patient
from tests.support.clause import clause
from tests.support.http import FhirClient

Store = Callable[[dict[str, Any]], str]


@clause("R4/compartmentdefinition.html#2.42.4", "any of the parameters puts a resource into the compartment")
def test_membership(client: FhirClient, stored: Store) -> None:
    p, other = stored(patient()), stored(patient())
    here = [{"reference": f"Patient/{p}"}]
    subject = stored(observation(f"Patient/{p}"))
    performer = stored(observation(f"Patient/{other}", performer=here))
    stored(observation(f"Patient/{other}", focus=here))  # which R4's definition does not name
    linked = stored(patient(link=[{"other": here[0], "type": "refer"}]))
    found = client.get(f"Patient/{p}/Observation").json
    assert addresses(found) == [f"Observation/{subject}", f"Observation/{performer}"]
    assert addresses(client.get(f"Patient/{p}/Patient").json) == [f"Patient/{p}", f"Patient/{linked}"]
    assert addresses(client.get(f"Patient/{p}/Observation?code=8867-4&_id={performer}").json) == [
        f"Observation/{performer}"
    ]
    assert addresses(client.get(f"Patient/{p}/Observation?code=no").json) == []
    everything = [
        f"Patient/{p}",
        f"Observation/{subject}",
        f"Observation/{performer}",
        f"Patient/{linked}",
    ]
    assert addresses(client.get(f"Patient/{p}/*").json) == everything
    assert addresses(client.get(f"Patient/{p}/*?_type=Observation,Device").json) == everything[1:3]
    assert addresses(client.get(f"Patient/{p}/*?_type=Organization").json) == []


@clause("R4/http.html#vsearch", "by POST with a form; total, count, links and pages as everywhere")
def test_forms_and_pages(client: FhirClient, stored: Store) -> None:
    p = stored(patient())
    made = [f"Observation/{stored(observation(f'Patient/{p}'))}" for _ in range(5)]
    reply = client.send("POST", f"Patient/{p}/Observation/_search?_total=accurate", "code=8867-4", FORM)
    assert (reply.status, reply.json["total"], addresses(reply.json)) == (200, 5, made)
    reply = client.send("POST", f"Patient/{p}/*/_search", "_summary=count", FORM)
    assert (reply.status, reply.json["total"]) == (200, 6)
    for member, expected in (("Observation", made), ("*", [f"Patient/{p}", *made])):
        path, seen = f"Patient/{p}/{member}?_sort=_lastUpdated&_count=2", []
        while True:
            answer = client.get(path).json
            links = {each["relation"]: each["url"] for each in answer["link"]}
            seen += addresses(answer)
            assert all(f"/fhir/Patient/{p}/{member}?" in url for url in links.values())
            if "next" not in links:
                break
            path = links["next"].partition("/fhir/")[2]
        assert seen == expected
        check(client.get(path.replace(f"Patient/{p}/{member}", "Observation")), 400, "not one of ours")


@clause("R4/http.html#vsearch", "an id that nothing refers to: an empty page, known or not")
def test_unknown_id(client: FhirClient) -> None:
    for member in ("Observation", "*"):
        reply = client.get(f"Patient/never-was/{member}")
        assert (reply.status, addresses(reply.json)) == (200, [])


@clause("R4/compartmentdefinition.html", "all five compartments; a type without one, or never in it: 404")
def test_addresses(client: FhirClient, stored: Store) -> None:
    for name in compartment_types():
        assert client.get(f"{name}/7/*").status == 200, name
    stored({"resourceType": "Device", "id": "d"})
    encounter = stored({"resourceType": "Encounter", "status": "finished", "class": {"code": "AMB"}})
    inside = stored(observation("Patient/x", encounter={"reference": f"Encounter/{encounter}"}))
    assert addresses(client.get(f"Encounter/{encounter}/Observation").json) == [f"Observation/{inside}"]
    check(client.get("Organization/7/Patient"), 404, "has no compartment")
    check(client.get("Patient/7/Organization"), 404, "never in it")
    check(client.get("Patient/7/Nothing"), 404, "no resource type")
    check(client.get("Patient/7/Observation?nome=x"), 400, "no search parameter")
    check(client.get("Patient/7/*?code=x"), 400, "no search parameter")


@clause("R4/capabilitystatement.html", "compartments and the search over all types are announced")
def test_announced(client: FhirClient) -> None:
    rest = client.get("metadata").json["rest"][0]
    assert "http://hl7.org/fhir/CompartmentDefinition/relatedperson" in rest["compartment"]
    assert {"code": "search-system"} in rest["interaction"]
    assert [each["name"] for each in rest["searchParam"]] == [
        "_filter", "_id", "_lastUpdated", "_profile", "_security", "_source", "_tag",
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_only_searches(client: FhirClient, method: str) -> None:
    assert client.send(method, "Patient/7/Observation", {}).status == 405
