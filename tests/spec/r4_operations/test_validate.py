"""$validate (R4/resource-operation-validate.html): what a write would say, in the same words."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from fhir_server.model import json_format
from tests.rooms.fhir_server.validation import samples
from tests.rooms.fhir_server.validation.test_table import REJECTED
from tests.spec.r4_operations.conftest import BORN
from tests.support.builders import observation, patient
from tests.support.clause import clause
from tests.support.http import FhirClient, Reply

Store = Callable[[dict[str, Any]], str]

PAGE = "R4/resource-operation-validate.html"


def parameters(resource: Any = None, **values: str) -> dict[str, Any]:
    given: list[dict[str, Any]] = [{"name": name, "valueString": value} for name, value in values.items()]
    if resource is not None:
        given.append({"name": "resource", "resource": resource})
    return {"resourceType": "Parameters", "parameter": given}


def issues(reply: Reply, status: int = 200) -> list[dict[str, Any]]:
    assert reply.status == status, reply.data
    assert reply.json["resourceType"] == "OperationOutcome"
    found: list[dict[str, Any]] = reply.json["issue"]
    return found


def is_all_ok(found: list[dict[str, Any]]) -> bool:
    [issue, *others] = found
    return (
        issue["diagnostics"].startswith("All OK")
        and {each["severity"] for each in found} == {"information"}
        and not any(each["diagnostics"].startswith("All OK") for each in others)
    )


def without_places(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in issue.items() if name != "extension"} for issue in found]


@clause(PAGE, "a valid resource: 200 with an OperationOutcome without errors, and nothing is stored")
def test_valid(client: FhirClient) -> None:
    before = client.get("Observation?_summary=count").json["total"]
    for body in (
        observation("Patient/7"),
        parameters(observation("Patient/7")),
        parameters(observation("Patient/7"), mode="create"),
    ):
        assert is_all_ok(issues(client.post("Observation/$validate", body)))
    assert is_all_ok(issues(client.post("Observation/$validate?mode=create", observation("Patient/7"))))
    assert client.get("Observation?_summary=count").json["total"] == before


@clause(PAGE, "errors are inside: 200, with all of them, where they stand in what was sent")
def test_invalid(client: FhirClient) -> None:
    text = b'{"resourceType": "Patient",\n "gender": "femal",\n "name": [{"famly": "Li"}]}'
    found = issues(client.post("Patient/$validate", text))
    assert [(issue["expression"], issue["severity"]) for issue in found] == [
        (["Patient.gender"], "error"),
        (["Patient.name[0].famly"], "error"),
    ]
    assert [[each["valueInteger"] for each in issue["extension"]] for issue in found] == [[2, 12], [3, 21]]
    wrapped = (
        b'{"resourceType": "Parameters",\n "parameter": [{"name": "mode", "valueCode": "create"},\n'
        b'  {"name": "resource", "resource": ' + text + b"}]}"
    )
    inside = issues(client.post("Patient/$validate", wrapped))
    assert without_places(inside) == without_places(found)
    assert [[each["valueInteger"] for each in issue["extension"]] for issue in inside] == [[4, 12], [5, 21]]


@pytest.mark.parametrize(
    "resource", [resource for _, resource, _ in REJECTED], ids=[name for name, _, _ in REJECTED]
)
@clause(PAGE, "the server checks that the content would be acceptable as a create: in the same words")
def test_the_words_are_those_of_a_create(client: FhirClient, resource: dict[str, Any]) -> None:
    if not isinstance(resource.get("resourceType"), str) or resource["resourceType"] not in (
        "Patient", "Observation", "Bundle", "MedicationRequest",
    ):  # fmt: skip
        pytest.skip("has no address")
    said = client.post(f"{resource['resourceType']}/$validate?mode=create", resource)
    assert said.status == 200
    written = issues(client.post(resource["resourceType"], resource), 400)
    assert [issue for issue in written if issue not in said.json["issue"]] == []


@pytest.mark.parametrize("resource", samples.VALID, ids=lambda resource: str(resource["resourceType"]))
@clause(PAGE, "whatever is wrong: the same answer as from create, update and an entry of a batch")
def test_the_words_are_the_same_for_every_fault(client: FhirClient, resource: dict[str, Any]) -> None:
    compared = 0
    for done, mutant, _ in islice(samples.mutants(resource), 0, None, 17):
        if not isinstance(mutant, dict) or mutant.get("resourceType") != resource["resourceType"]:
            continue
        type_name = mutant["resourceType"]
        said = client.post(f"{type_name}/$validate?mode=create", mutant)
        written = client.post(type_name, mutant)
        if written.status == 400:
            # $validate looks at claimed profiles too, which a write that is refused already does not
            assert [issue for issue in issues(written, 400) if issue not in issues(said)] == [], done
            compared += 1
        else:
            assert not [issue for issue in issues(said) if issue["severity"] == "error"], done
        if isinstance(mutant.get("id"), str) and mutant["id"] == resource.get("id"):
            updated = client.put(f"{type_name}/{mutant['id']}", mutant)
            if updated.status == 400:
                assert updated.json == written.json, done
    assert compared > 3


@clause(PAGE, "what is no JSON is refused as a write refuses it")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b'{"resourceType":"Patient","active":tru}',
        b'{"resourceType":"Patient","active":true,"active":false}',
        b'{"resourceType":"Patient","language":"\xff"}',
        b"[1]",
        b"{}",
        b'{"resourceType":"Group","type":"person","actual":true}',
    ],
)
def test_what_cannot_be_read(client: FhirClient, body: bytes) -> None:
    said, written = client.post("Patient/$validate", body), client.post("Patient", body)
    if body:
        assert (said.status, said.json) == (400, written.json)
        assert written.status == 400
    else:
        assert said.status == 400
    assert client.send("POST", "Patient/$validate", b"x", {"Content-Type": "text/plain"}).status == 415


@clause(PAGE, "on an instance, without a resource: the stored one")
def test_the_stored_one(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    assert is_all_ok(issues(client.get(f"Patient/{id_}/$validate")))
    assert is_all_ok(issues(client.post(f"Patient/{id_}/$validate", parameters())))
    assert is_all_ok(issues(client.send("POST", f"Patient/{id_}/$validate")))
    assert client.send("HEAD", f"Patient/{id_}/$validate").status == 200
    assert client.get("Patient/unknown/$validate").status == 404
    client.delete(f"Patient/{id_}")
    assert client.get(f"Patient/{id_}/$validate").status == 410


@clause(PAGE, "mode update: the rules of ids, and whether there is something to update")
def test_update(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    update = f"Patient/{id_}/$validate?mode=update"
    assert is_all_ok(issues(client.post(update, patient(id=id_))))
    for wrong in (patient(id="other"), patient()):
        refused = client.put(f"Patient/{id_}", wrong)
        assert refused.status == 400
        assert without_places(issues(client.post(update, wrong))) == without_places(refused.json["issue"])
    [issue] = issues(client.post("Patient/$validate?mode=update", patient()))
    assert (issue["severity"], issue["expression"]) == ("error", ["Patient.id"])
    [_, issue] = issues(client.post("Patient/$validate?mode=update", patient(id="nobody")))
    assert (issue["severity"], "creates it" in issue["diagnostics"]) == ("information", True)
    client.delete(f"Patient/{id_}")
    [_, issue] = issues(client.post(update, patient(id=id_)))
    assert (issue["severity"], "brings it back" in issue["diagnostics"]) == ("information", True)


@clause(PAGE, "mode delete: no resource is needed; what a deletion would say")
def test_delete(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    assert is_all_ok(issues(client.get(f"Patient/{id_}/$validate?mode=delete")))
    assert client.get(f"Patient/{id_}").status == 200
    client.delete(f"Patient/{id_}")
    for gone in (id_, "nobody"):
        [issue] = issues(client.get(f"Patient/{gone}/$validate?mode=delete"))
        assert (issue["severity"], "changes nothing" in issue["diagnostics"]) == ("information", True)


@clause(PAGE, "a profile that the server does not know SHALL be an error")
def test_unknown_profile(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    for reply in (
        client.get(f"Patient/{id_}/$validate?mode=profile&profile=urn:nobody:knows"),
        client.post("Patient/$validate?profile=urn:nobody:knows", patient()),
        client.post("Patient/$validate", parameters(patient(), profile="urn:nobody:knows", mode="profile")),
    ):
        [issue] = issues(reply)
        assert (issue["severity"], issue["code"]) == ("error", "not-found")
        assert "urn:nobody:knows" in issue["diagnostics"]
    base = "http://hl7.org/fhir/StructureDefinition/Patient"
    assert is_all_ok(issues(client.get(f"Patient/{id_}/$validate?profile={base}")))


@clause(PAGE, "a request that makes no sense is refused, and names what is wrong with it")
@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("GET", "Patient/$validate", None, "needs the parameter resource"),
        ("POST", "Patient/$validate", parameters(), "needs the parameter resource"),
        ("POST", "Patient/$validate?mode=profile", patient(), "mode=profile needs the parameter profile"),
        ("POST", "Patient/$validate?mode=delete", patient(), "mode=delete is asked of one resource"),
        ("POST", "Patient/7/$validate?mode=create", patient(), "mode=create is asked of a type"),
        ("POST", "Patient/$validate?mode=crate", patient(), "did you mean 'create'?"),
        ("POST", "Patient/$validate?profil=urn:x", patient(), "did you mean 'profile'?"),
        ("POST", "Patient/$validate?profile=a&profile=b", patient(), "profile came 2 times"),
        ("POST", "Patient/$validate", parameters(observation("Patient/7")), "the URL says Patient"),
    ],
)
def test_broken_requests(client: FhirClient, method: str, path: str, body: Any, says: str) -> None:
    found = issues(client.send(method, path, body), 400)
    assert says in found[0]["diagnostics"]


@clause("R4/operations.html#3.2.0.1", "Parameters can be validated too")
def test_parameters_in_parameters(client: FhirClient) -> None:
    inner = {"resourceType": "Parameters", "parameter": [{"name": "mode", "valueCode": "x"}]}
    assert is_all_ok(issues(client.post("Parameters/$validate", inner)))
    assert is_all_ok(issues(client.post("Parameters/$validate", parameters(inner))))
    wrong = {"resourceType": "Parameters", "parameter": [{"valueCode": "x"}]}
    assert issues(client.post("Parameters/$validate", wrong))[0]["expression"] == [
        "Parameters.parameter[0].name"
    ]


@clause(PAGE, "warnings are told, and are no reason to say that anything failed")
def test_warnings(client: FhirClient) -> None:
    library = {"resourceType": "Library", "name": "not a name", "status": "draft", "type": {"text": "x"}}
    [issue] = issues(client.post("Library/$validate", library))
    assert issue["severity"] == "warning"


@clause("R4/http.html#mime-type", "numbers keep their digits on the way into messages")
def test_digits(client: FhirClient) -> None:
    body = json_format.encode(observation("Patient/7"))[:-1] + b',"issued":1.50}'
    assert "got 1.50" in issues(client.post("Observation/$validate", body))[0]["diagnostics"]


WEIGHT = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
    "subject": {"reference": "Patient/1"},
    "valueString": "heavy",
}


@clause(PAGE, "profile: the resource is validated against this specific profile")
def test_profile(knowing: FhirClient) -> None:
    assert is_all_ok(issues(knowing.post("Patient/$validate", patient())))
    for asked in (
        knowing.post(f"Patient/$validate?mode=profile&profile={BORN}", patient()),
        knowing.post(f"Patient/$validate?profile={BORN}|1.0", patient()),
        knowing.post("Patient/$validate", parameters(patient(), profile=BORN)),
        knowing.post("Patient/$validate?mode=create", {**patient(), "meta": {"profile": [BORN]}}),
    ):
        [wrong] = issues(asked)
        assert (wrong["severity"], wrong["expression"]) == ("error", ["Patient.birthDate"])
        assert wrong["details"]["coding"][0]["system"].startswith(BORN)
        assert "extension" in wrong
    born = patient(birthDate="1970")
    [said] = issues(knowing.post(f"Patient/$validate?profile={BORN}", born))
    assert said["diagnostics"] == f"All OK: the Patient is valid against R4 and {BORN}"


@clause(
    "R4/observation-vitalsigns.html",
    "R4's profiles of vital signs, unless a write is asked for",
)
def test_vital_signs(knowing: FhirClient) -> None:
    said = issues(knowing.post("Observation/$validate?mode=create", WEIGHT))
    assert "error" not in {issue["severity"] for issue in said}
    assert knowing.post("Observation", WEIGHT).status == 201
    said = issues(knowing.post("Observation/$validate", WEIGHT))
    if is_all_ok(said):
        pytest.skip("R4's own profiles have no elements to check yet")
    assert "error" in {issue["severity"] for issue in said}


@clause(PAGE, "claims that nobody knows are told as a write tells them")
def test_unknown_claims(knowing: FhirClient) -> None:
    claiming = {"resourceType": "Patient", "meta": {"profile": ["urn:nobody:knows"]}}
    said = issues(knowing.post("Patient/$validate", claiming))
    assert is_all_ok(said)
    written = knowing.post("Patient", claiming, Prefer="return=OperationOutcome")
    assert (written.status, written.json["issue"][0]) == (201, said[1])
