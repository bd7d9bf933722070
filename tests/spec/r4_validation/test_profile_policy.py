"""What becomes of a write that does not keep the profiles it claims, and of packages over the wire."""

from __future__ import annotations

import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.spec.r4_validation.conftest import Doors
from tests.support.builders import bundle, patient, post
from tests.support.clause import clause
from tests.support.http import FhirClient, Reply
from tests.support.packages import PROFILE, package, profile, value_set
from tests.support.server import wait_for

NAMED = {**patient(), "meta": {"profile": [PROFILE]}}
NAMELESS: dict[str, Any] = {"resourceType": "Patient", "meta": {"profile": [PROFILE]}, "gender": "male"}
OUTCOME = {"Prefer": "return=OperationOutcome"}


def install(client: FhirClient, data: bytes, **headers: str) -> Reply:
    headers = {"Content-Type": "application/gzip", **headers}
    return client.send("POST", "ImplementationGuide/$install", data, headers)


def values(reply: Reply) -> dict[str, Any]:
    assert reply.json["resourceType"] == "Parameters", reply.json
    return {
        member["name"]: value
        for member in reply.json["parameter"]
        for name, value in member.items()
        if name != "name"
    }


def severities(reply: Reply) -> list[str]:
    return [issue["severity"] for issue in reply.json["issue"]]


@clause("R4/resource.html#Meta.profile", "a claim that is not kept is told and kept with the version: warn")
def test_warn(doors: Doors) -> None:
    client = doors()
    assert install(client, package(profile())).status == 200
    made = client.send("POST", "Patient", NAMELESS, OUTCOME)
    assert made.status == 201
    assert severities(made) == ["error", "information"]  # the second one says that it is stored
    assert made.json["issue"][0]["expression"] == ["Patient.name"]
    id_ = made.headers["Location"].split("/")[-3]
    told = client.get(f"Patient/{id_}/$validation-outcome")
    assert (told.status, severities(told)) == (200, ["error"])
    assert "name" in told.json["issue"][0]["diagnostics"]
    plain = client.post("Patient", NAMELESS)
    assert (plain.status, plain.headers["X-Warnings"]) == (201, "1")


@clause("R4/resource.html#Meta.profile", "a claim that is not kept refuses the write: reject")
def test_reject(doors: Doors) -> None:
    client = doors("warn", "Patient=reject")
    install(client, package(profile()))
    refused = client.post("Patient", NAMELESS)
    assert refused.status == 422
    assert "name" in refused.issue["diagnostics"]
    assert client.post("Patient", NAMED).status == 201
    put = client.put("Patient/x", {**NAMELESS, "id": "x"})
    assert put.status == 422
    assert client.get("Patient/x").status == 404
    base = client.post("Patient", {**NAMELESS, "gender": "unheard"})
    assert base.status == 400  # R4's own rules come first


def test_off(doors: Doors) -> None:
    client = doors("off")
    install(client, package(profile()))
    made = client.send("POST", "Patient", NAMELESS, OUTCOME)
    assert severities(made) == ["information"]
    assert "X-Warnings" not in client.post("Patient", NAMELESS).headers


def test_a_claim_that_is_not_known_is_information_and_not_kept(doors: Doors) -> None:
    client = doors("reject")
    made = client.send("PUT", "Patient/x", {**NAMELESS, "id": "x"}, OUTCOME)
    assert made.status == 201
    assert severities(made) == ["information", "information"]
    assert made.json["issue"][0]["expression"] == ["Patient.meta.profile[0]"]
    assert "is not known here" in made.json["issue"][0]["diagnostics"]
    assert severities(client.get("Patient/x/$validation-outcome")) == ["information"]
    assert "X-Warnings" not in client.put("Patient/x", {**NAMELESS, "id": "x", "gender": "female"}).headers


def test_the_base_type_is_no_claim(doors: Doors) -> None:
    client = doors("reject")
    meta = {"profile": ["http://hl7.org/fhir/StructureDefinition/Patient"]}
    made = client.send("POST", "Patient", {**NAMELESS, "meta": meta}, OUTCOME)
    assert severities(made) == ["information"]


def test_every_process_judges_by_what_was_installed_last(doors: Doors) -> None:
    """The refusal, the acceptance and the removal are seen by the next request to another process."""
    one, other = doors("reject"), doors("reject")
    assert other.post("Patient", NAMELESS).status == 201
    install(one, package(profile()))
    assert other.post("Patient", NAMELESS).status == 422
    install(one, package(profile(least_names=0)))
    assert other.post("Patient", NAMELESS).status == 201
    install(one, package(profile(least_names=2)))
    assert other.post("Patient", NAMED).status == 422


def test_a_profile_that_a_client_stores_judges_what_comes_after_it(doors: Doors) -> None:
    client, other = doors("reject"), doors("reject")
    assert other.post("Patient", NAMELESS).status == 201
    assert client.put("StructureDefinition/p", {**profile(), "id": "p"}).status == 201
    assert other.post("Patient", NAMELESS).status == 422
    assert client.delete("StructureDefinition/p").status == 204
    assert other.post("Patient", NAMELESS).status == 201


@clause("R4/http.html#trules", "a claim that is not kept refuses all of it, or is told")
def test_transaction(doors: Doors) -> None:
    strict, mild = doors("reject"), doors("warn")
    install(mild, package(profile()))
    body = bundle("transaction", post(NAMED), post(NAMELESS), post(NAMELESS))
    refused = strict.post("", body)
    assert refused.status == 422
    assert [issue["expression"] for issue in refused.json["issue"]] == [
        ["Bundle.entry[1].resource.name"],
        ["Bundle.entry[2].resource.name"],
    ]
    done = mild.post("", body)
    outcomes = [entry["response"].get("outcome") for entry in done.json["entry"]]
    assert outcomes[0] is None
    assert outcomes[1]["issue"][0]["severity"] == "error"
    batch = strict.post("", {**body, "type": "batch"})
    statuses = [entry["response"]["status"][:3] for entry in batch.json["entry"]]
    assert statuses == ["201", "422", "422"]


def test_the_outcome_goes_with_its_version(doors: Doors) -> None:
    client = doors()
    install(client, package(profile()))
    client.put("Patient/x", {**NAMELESS, "id": "x"})
    client.put("Patient/x", {**NAMED, "id": "x"})
    assert severities(client.get("Patient/x/$validation-outcome")) == ["information"]
    assert severities(client.get("Patient/x/$validation-outcome?version=1")) == ["error"]
    assert client.get("Patient/x/$validation-outcome?version=3").status == 404
    assert client.get("Patient/y/$validation-outcome").status == 404


@clause("R4/questionnaireresponse.html#link", "a response is held against the Questionnaire that it names")
def test_a_questionnaire_is_a_claim(doors: Doors) -> None:
    client = doors("reject")
    url = "http://example.org/fhir/Questionnaire/asked"
    response = {"resourceType": "QuestionnaireResponse", "questionnaire": url, "status": "completed"}
    unknown = client.send("POST", "QuestionnaireResponse", response, OUTCOME)
    assert (unknown.status, severities(unknown)[0]) == (201, "information")
    item = {"linkId": "q", "type": "string", "text": "What?", "required": True}
    asked = {"resourceType": "Questionnaire", "url": url, "status": "active", "item": [item]}
    assert client.post("Questionnaire", asked).status == 201
    assert client.post("QuestionnaireResponse", response).status == 422
    answered = {**response, "item": [{"linkId": "q", "answer": [{"valueString": "this"}]}]}
    assert client.post("QuestionnaireResponse", answered).status == 201


def test_entries_of_a_stored_bundle_claim_for_themselves(doors: Doors) -> None:
    client = doors("reject")
    install(client, package(profile()))
    document = bundle(
        "collection", {"fullUrl": "urn:uuid:7c1a3bb2-1b2f-4b61-9d3c-6c5a5e6f0a01", "resource": NAMELESS}
    )
    refused = client.post("Bundle", document)
    assert refused.status == 422
    assert refused.issue["expression"] == ["Bundle.entry[0].resource.name"]


@clause("R4/operations.html#executing", "$install: the bytes as they are, or in Parameters")
def test_install_over_http(doors: Doors) -> None:
    client = doors()
    data = package(profile(), value_set("http://example.org/v"), dependencies={"example.other": "1.0.0"})
    first = values(install(client, data))
    assert (first["name"], first["version"], first["status"]) == ("example.tested", "1.0.0", "installed")
    assert first["definitions"] == 2
    assert "depends on example.other" in first["note"]
    member = {"name": "package", "valueBase64Binary": base64.b64encode(data).decode()}
    again = client.post("ImplementationGuide/$install", {"resourceType": "Parameters", "parameter": [member]})
    assert values(again)["status"] == "unchanged"


@pytest.mark.parametrize(
    ("data", "status", "says"),
    [
        (b"", 400, "needs the package"),
        (b"PK no tgz", 400, "is not gzip"),
        (package(fhir="5.0.0"), 422, "made for FHIR 5.0.0 (R5)"),
        (package({**profile(), "status": "new"}), 422, "was not installed"),
    ],
)
def test_what_install_refuses(doors: Doors, data: bytes, status: int, says: str) -> None:
    client = doors()
    reply = install(client, data)
    assert reply.status == status
    assert says in reply.issue["diagnostics"]


def test_lenient(doors: Doors) -> None:
    client = doors()
    data = package(profile(), {**profile("http://example.org/bad"), "status": "new"})
    reply = client.send(
        "POST", "ImplementationGuide/$install?lenient=true", data, {"Content-Type": "application/gzip"}
    )
    assert values(reply)["definitions"] == 1


def test_install_takes_post_only(doors: Doors) -> None:
    reply = doors().get("ImplementationGuide/$install")
    assert reply.status == 405


@clause("R4/capabilitystatement.html", "supportedProfile and implementationGuide are what is installed")
def test_capabilities(doors: Doors) -> None:
    client, other = doors(), doors()
    assert "implementationGuide" not in other.get("metadata").json
    guide = {
        "resourceType": "ImplementationGuide",
        "url": "http://example.org/fhir/ImplementationGuide/tested",
        "version": "1.0.0",
        "name": "Tested",
        "status": "active",
        "packageId": "example.tested",
        "fhirVersion": ["4.0.1"],
    }
    install(client, package(profile(), guide))

    def supported(reply: Reply) -> Any:
        [found] = [each for each in reply.json["rest"][0]["resource"] if each["type"] == "Patient"]
        return found.get("supportedProfile")

    statement = other.get("metadata")
    assert statement.json["implementationGuide"] == [f"{guide['url']}|1.0.0"]
    assert supported(statement) == [PROFILE]
    install(client, package(profile(version="2.0.0"), version="2.0.0"))
    assert supported(other.get("metadata")) == [PROFILE, f"{PROFILE}|1.0.0", f"{PROFILE}|2.0.0"]
    assert client.get("metadata").data == client.get("metadata").data


def test_writes_during_installs_are_judged_by_one_state(doors: Doors) -> None:
    """Both profiles of a package ask for an element, or neither does: never just one of them."""
    second = f"{PROFILE}-2"

    def of(least: int) -> bytes:
        return package(profile(least_names=least), profile(second, least_names=least, element="telecom"))

    both = {**NAMELESS, "meta": {"profile": [PROFILE, second]}}
    installer, writers = doors(), [doors(), doors()]
    over = threading.Event()
    told: list[str | None] = []

    def write(client: FhirClient) -> None:
        while not over.is_set():
            reply = client.post("Patient", both)
            assert reply.status == 201, reply.data
            told.append(reply.headers.get("X-Warnings"))

    install(installer, of(0))
    with ThreadPoolExecutor(len(writers)) as pool:
        writing = [pool.submit(write, client) for client in writers]
        for number in range(24):
            seen = len(told)
            install(installer, of((number + 1) % 2))
            wait_for(lambda: len(told) > seen + 2 or any(each.done() for each in writing))  # noqa: B023
        over.set()
        for each in writing:
            each.result()
    assert set(told) == {None, "2"}
