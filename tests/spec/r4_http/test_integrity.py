"""Referential integrity, as the setting says (R4/http.html#delete, R4/references.html)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from fhir_server.config import Config
from fhir_server.database.engine import Engine
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.context import Context, Result
from fhir_server.interactions.create import create
from fhir_server.interactions.delete import conditional_delete, delete
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.search_type import resources
from fhir_server.interactions.store_many import store_many
from fhir_server.interactions.transaction import transaction
from fhir_server.outcome import FhirError
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import BUILT, Installation
from fhir_server.search.index import Indexer
from fhir_server.storage.writer import Written
from tests.support.builders import bundle, identified, observation, patient, post, put
from tests.support.clause import clause
from tests.support.http import FhirClient
from tests.support.races import ANYONE, RACERS, race, statuses, without_deadlocks

BASE = "http://127.0.0.1/fhir"
NOWHERE = "Patient/leads-to-nothing"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = Engine(database_url, size=24, wait_s=60)
    yield engine
    engine.close()


def ruled(entry: Entry, rule: str) -> Entry:
    """Return the installation with another rule."""
    indexer = Indexer(environment=entry.settings.environment, references=rule != "off")
    return replace(entry, settings=replace(entry.settings, referential_integrity=rule, indexer=indexer))


def door(entry: Entry) -> FhirClient:
    """Return the door of an installation."""
    capabilities = Capabilities(entry.settings, BUILT, entry.clock())
    return FhirClient(Door(Installation(entry, Config(), capabilities)).wsgi)


@pytest.fixture
def enforcing(entry: Entry) -> Entry:
    return ruled(entry, "enforce")


@pytest.fixture
def client(enforcing: Entry) -> FhirClient:
    """The door of an installation that enforces."""
    return door(enforcing)


@pytest.fixture
def subject(client: FhirClient) -> str:
    """Return the address of a patient that is here."""
    return f"Patient/{client.post('Patient', patient()).json['id']}"


@clause("R4/references.html#literal", "off: references may lead to nothing, and everything can be deleted")
def test_off(entry: Entry) -> None:
    client = door(entry)
    made = client.post("Observation", observation(NOWHERE))
    assert (made.status, "X-Warnings" in made.headers) == (201, False)
    subject = client.post("Patient", patient()).json["id"]
    client.post("Observation", observation(f"Patient/{subject}"))
    assert client.delete(f"Patient/{subject}").status == 204


@clause("R4/references.html#literal", "enforce: a reference that leads to nothing is refused with its place")
def test_write_enforced(client: FhirClient, subject: str) -> None:
    refused = client.post("Observation", observation(NOWHERE))
    assert (refused.status, refused.issue["code"]) == (422, "not-found")
    assert refused.issue["expression"] == ["Observation.subject.reference"]
    assert client.post("Observation", observation(subject)).status == 201
    assert client.post("Observation", observation(f"{BASE}/{subject}")).status == 201
    assert client.post("Observation", observation(f"{BASE}/{NOWHERE}")).status == 422


@clause("R4/http.html#update", "enforce: update and patch too, and what a deletion left is nothing")
def test_update_enforced(client: FhirClient, subject: str) -> None:
    id_ = client.post("Observation", observation(subject)).json["id"]
    assert client.put(f"Observation/{id_}", observation(NOWHERE, id=id_)).status == 422
    patch = b'[{"op": "replace", "path": "/subject/reference", "value": "Patient/leads-to-nothing"}]'
    typed = {"Content-Type": "application/json-patch+json"}
    assert client.send("PATCH", f"Observation/{id_}", patch, typed).status == 422
    other = client.post("Patient", patient()).json["id"]
    assert client.delete(f"Patient/{other}").status == 204
    assert client.put(f"Observation/{id_}", observation(f"Patient/{other}", id=id_)).status == 422
    assert client.get(f"Observation/{id_}").json["meta"]["versionId"] == "1"


@clause("R4/http.html#delete", "enforce: what others refer to is not deleted; the referrers are named (409)")
def test_delete_enforced(client: FhirClient, subject: str) -> None:
    ids = [client.post("Observation", observation(subject, value=str(n))).json["id"] for n in range(12)]
    refused = client.delete(subject)
    assert (refused.status, refused.issue["code"]) == (409, "conflict")
    assert "12 resources refer to it (Observation/" in refused.issue["diagnostics"]
    assert client.get(subject).status == 200
    for id_ in ids:
        assert client.delete(f"Observation/{id_}").status == 204
    assert client.delete(subject).status == 204
    assert client.delete(subject).status == 204


@clause("R4/http.html#cdelete", "enforce: referrers and what they refer to can go together")
def test_conditional_delete_enforced(client: FhirClient) -> None:
    first = client.post("Patient", identified("family-1", "Linked")).json["id"]
    linked = identified("family-2", "Linked") | {
        "link": [{"other": {"reference": f"Patient/{first}"}, "type": "seealso"}]
    }
    second = client.post("Patient", linked).json["id"]
    assert client.delete("Patient?identifier=family-1").status == 409
    assert client.delete("Patient?family=Linked").status == 200
    assert {client.get(f"Patient/{id_}").status for id_ in (first, second)} == {410}


@clause(
    "R4/http.html#trules",
    "enforce: what a transaction makes counts, what it deletes does not",
)
def test_transaction_enforced(client: FhirClient, subject: str) -> None:
    urn = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"
    made = client.post(
        "",
        bundle(
            "transaction",
            post(observation(urn)),
            post(observation("Patient/by-put")),
            post(patient(), urn),
            put(patient(id="by-put"), "Patient/by-put"),
        ),
    )
    assert made.status == 200, made.data
    id_ = made.json["entry"][1]["response"]["location"].split("/")[-3]
    gone = {"request": {"method": "DELETE", "url": "Patient/by-put"}}
    refused = client.post("", bundle("transaction", post(patient()), gone))
    assert (refused.status, refused.issue["expression"]) == (409, ["Bundle.entry[1].request"])
    changed = put(observation(subject, id=id_), f"Observation/{id_}")
    assert client.post("", bundle("transaction", gone, changed)).status == 200
    lost = bundle("transaction", post(patient()), post(observation(NOWHERE)))
    refused = client.post("", lost)
    assert (refused.status, refused.issue["expression"]) == (
        422, ["Bundle.entry[1].resource.subject.reference"],
    )  # fmt: skip
    both = bundle(
        "transaction", {"request": {"method": "DELETE", "url": subject}}, post(observation(subject))
    )
    assert client.post("", both).status == 422


@clause("R4/http.html#batch", "enforce: each entry by itself")
def test_batch_enforced(client: FhirClient, subject: str) -> None:
    sent = bundle("batch", post(observation(NOWHERE)), post(observation(subject)))
    codes = [each["response"]["status"][:3] for each in client.post("", sent).json["entry"]]
    assert codes == ["422", "201"]


@clause(
    "R4/references.html#Reference",
    "what is not looked at: logical, contained, other servers, urns",
)
@pytest.mark.parametrize(
    "subject",
    [
        {"identifier": {"system": "urn:test:mrn", "value": "unknown"}},
        {"reference": "http://elsewhere.example/fhir/Patient/7"},
        {"reference": "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"},
        {"reference": "#p"},
        {"display": "somebody"},
    ],
)
def test_what_is_not_looked_at(client: FhirClient, subject: dict[str, Any]) -> None:
    body = {**observation("x"), "subject": subject}
    if subject.get("reference") == "#p":
        body["contained"] = [patient(id="p")]
    assert client.post("Observation", body).status == 201


@clause("R4/references.html#contained", "references inside contained resources and extensions count")
def test_references_anywhere(client: FhirClient, subject: str) -> None:
    inside = patient(id="p", managingOrganization={"reference": "Organization/leads-to-nothing"})
    body = {**observation("#p"), "contained": [inside]}
    refused = client.post("Observation", body)
    assert refused.status == 422
    assert refused.issue["expression"] == ["Observation.contained[0].managingOrganization.reference"]
    extension = {"url": "urn:test:about", "valueReference": {"reference": subject}}
    told = client.post("Basic", {"resourceType": "Basic", "code": {"text": "x"}, "extension": [extension]})
    assert told.status == 201
    refused = client.delete(subject)
    assert refused.status == 409, "found though no search parameter covers extensions"
    assert f"Basic/{told.json['id']}" in refused.issue["diagnostics"]


@clause(
    "R4/references.html#literal",
    "a versioned one asks for a resource that is here and had that version",
)
def test_versioned_references(client: FhirClient, subject: str) -> None:
    assert client.post("Observation", observation(f"{subject}/_history/1")).status == 201
    assert client.post("Observation", observation(f"{subject}/_history/2")).status == 422
    assert client.delete(subject).status == 409


@clause("R4/http.html#trules", "a conditional reference outside of a transaction is resolved by nobody")
def test_conditional_references(client: FhirClient) -> None:
    refused = client.post("Observation", observation("Patient?identifier=urn:test:mrn|1"))
    assert (refused.status, refused.issue["expression"]) == (400, ["Observation.subject.reference"])


@clause("R4/provenance.html", "Provenance and AuditEvent say what was, and bind nobody")
def test_what_binds_nobody(client: FhirClient, subject: str) -> None:
    provenance = {
        "resourceType": "Provenance",
        "target": [{"reference": subject}],
        "recorded": "2026-01-01T00:00:00Z",
        "agent": [{"who": {"reference": "Practitioner/leads-to-nothing"}}],
    }
    assert client.post("Provenance", provenance).status == 201
    assert client.delete(subject).status == 204


@clause("R4/references.html#literal", "a resource that refers to itself can be deleted")
def test_self_reference(client: FhirClient) -> None:
    linked = patient(id="narcissus", link=[{"other": {"reference": "Patient/narcissus"}, "type": "seealso"}])
    assert client.put("Patient/narcissus", linked).status == 201
    assert client.delete("Patient/narcissus").status == 204


@clause("R4/http.html#ops", "warn: done, and told")
def test_warn(entry: Entry) -> None:
    client = door(ruled(entry, "warn"))
    made = client.post("Observation", observation(NOWHERE))
    assert (made.status, int(made.headers["X-Warnings"]) >= 1) == (201, True)
    told = client.post("Observation", observation(NOWHERE), Prefer="return=OperationOutcome").json["issue"]
    assert "not-found" in {issue["code"] for issue in told}
    subject = client.post("Patient", patient()).json["id"]
    client.post("Observation", observation(f"Patient/{subject}"))
    sent = bundle("transaction", {"request": {"method": "DELETE", "url": f"Patient/{subject}"}})
    gone = client.delete(f"Patient/{subject}")
    assert (gone.status, gone.issue["severity"]) == (200, "warning")
    assert "1 resource refers to it: Observation/" in gone.issue["diagnostics"]
    again = client.put(f"Patient/{subject}", patient(id=subject))
    assert again.status == 201
    entry_ = client.post("", sent).json["entry"][0]
    assert entry_["response"]["outcome"]["issue"][0]["code"] == "conflict"
    assert client.put(f"Patient/{subject}", patient(id=subject)).status == 201
    assert client.delete(f"Patient/{subject}", Prefer="return=minimal").status == 204


@clause("R4/http.html#delete", "enforce: what others refer to is not removed for good either")
def test_expunge_enforced(client: FhirClient, subject: str) -> None:
    referring = client.post("Observation", observation(subject)).json["id"]
    removed = f"{subject}/$expunge?expungeEverything=true"
    refused = client.post(removed)
    assert (refused.status, f"Observation/{referring}" in refused.issue["diagnostics"]) == (409, True)
    assert client.get(subject).status == 200
    assert client.post(f"Observation/{referring}/$expunge?expungeEverything=true").status == 200
    assert client.post(removed).status == 200
    assert client.get(subject).status == 404


@clause("R4/capabilitystatement.html", "referencePolicy says whether it is enforced")
@pytest.mark.parametrize("rule", ["off", "warn", "enforce"])
def test_declared(entry: Entry, rule: str) -> None:
    resources = door(ruled(entry, rule)).get("metadata").json["rest"][0]["resource"]
    assert {"enforced" in each["referencePolicy"] for each in resources} == {rule == "enforce"}


@clause("R4/references.html#literal", "loading: what leads to nothing is refused, what only seems to is not")
def test_loading(enforcing: Entry) -> None:
    given = [
        observation("Patient/loaded", id="loaded-1"),
        observation("Observation/loaded-3", id="loaded-2") | {"subject": {"reference": "Patient/loaded"},
            "derivedFrom": [{"reference": "Observation/loaded-3"}]},
        observation(NOWHERE, id="loaded-3"),
        patient(id="loaded"),
    ]  # fmt: skip
    fates = enforcing.write(ANYONE, lambda context: store_many(context, given))
    assert [isinstance(fate, Written) for fate in fates] == [True, False, False, True]


def deleted(entry: Entry, id_: str) -> bool:
    """Say whether a patient is deleted."""
    return not resources_of(entry, "Patient", "_id", id_)


def resources_of(entry: Entry, type_name: str, parameter: str, value: str) -> list[dict[str, Any]]:
    """Return what a search finds."""
    asked = [(parameter, value), ("_count", "1000")]
    return entry.read(ANYONE, lambda context: resources(context, type_name, asked))


def against_a_deletion(kind: str, id_: str, value: str, chosen: int) -> Callable[[Context, int], Result]:
    """Return the work of racers: one in eight deletes a patient, the others refer to it."""

    def work(context: Context, number: int) -> Result:
        if number % 8 == chosen:
            if kind == "delete":
                return delete(context, "Patient", id_)
            if kind == "conditional":
                return conditional_delete(context, "Patient", f"identifier={value}")
            gone = {"request": {"method": "DELETE", "url": f"Patient/{id_}"}}
            return transaction(context, bundle("transaction", gone, post(patient())))
        body = observation(f"Patient/{id_}")
        if number % 2:
            return transaction(context, bundle("transaction", post(patient()), post(body)))
        return create(context, "Observation", body)

    return work


@clause("R4/http.html#delete", "enforce: of a write that refers and a deletion, never both succeed")
@pytest.mark.parametrize("kind", ["delete", "conditional", "transaction"])
def test_writers_against_a_deletion(enforcing: Entry, kind: str) -> None:
    for chosen in range(6):
        value = f"fought-{kind}-{chosen}"
        body = identified(value)
        made = enforcing.write(ANYONE, partial(create, type_name="Patient", resource=body)).version
        assert made is not None
        answers = race(enforcing, against_a_deletion(kind, made.id, value, chosen))
        assert set(statuses(answers)) <= {200, 201, 204, 409, 422}
        referring = len(resources_of(enforcing, "Observation", "subject", made.address))
        assert not (deleted(enforcing, made.id) and referring), "both succeeded"
        wrote = [n for n, each in enumerate(answers) if n % 8 != chosen and not isinstance(each, FhirError)]
        assert referring == len(wrote)


def crossing(names: list[str]) -> Callable[[Context, int], Result]:
    """Return the work of racers: each deletes one patient and refers to another."""

    def work(context: Context, number: int) -> Result:
        one, other = names[number % 6], names[(number * 5 + 1) % 6]
        gone = {"request": {"method": "DELETE", "url": f"Patient/{one}"}}
        made = post(observation(f"Patient/{other}"))
        entries = (gone, made) if number % 2 else (made, gone)
        return transaction(context, bundle("transaction", *entries))

    return work


@clause("R4/http.html#trules", "enforce: transactions that refer to what others delete end this way or that")
def test_crossed_references(enforcing: Entry) -> None:
    for round_ in range(5):
        names = [f"cross-{round_}-{n}" for n in range(6)]
        sent = bundle("transaction", *(put(patient(id=name), f"Patient/{name}") for name in names))
        enforcing.write(ANYONE, partial(transaction, bundle=sent))
        with without_deadlocks(enforcing):
            assert set(statuses(race(enforcing, crossing(names), RACERS))) <= {200, 409, 422}
        for name in names:
            if deleted(enforcing, name):
                assert resources_of(enforcing, "Observation", "subject", f"Patient/{name}") == []
