"""X-Provenance: a Provenance beside the write that it tells of (R4/provenance.html#header)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.builders import bundle, identified, patient, post
from tests.support.clause import clause
from tests.support.http import FhirClient

HEADER = "R4/provenance.html#header"
WHERE_FROM = {
    "resourceType": "Provenance",
    "recorded": "2026-01-02T03:04:05Z",
    "agent": [{"who": {"display": "the ward's own system"}}],
}
JSON_PATCH = {"Content-Type": "application/json-patch+json"}


def provenances(client: FhirClient, target: str) -> list[dict[str, Any]]:
    found = client.get(f"Provenance?target={target}")
    assert found.status == 200, found.data
    return [entry["resource"] for entry in found.json.get("entry", [])]


@clause(HEADER, "a create, an update, a patch and their conditional forms: stored with the version as target")
def test_writes(client: FhirClient) -> None:
    header = {"X-Provenance": json.dumps(WHERE_FROM)}
    patch = json.dumps([{"op": "add", "path": "/active", "value": True}]).encode()
    made = client.post("Patient", identified("prov-1"), X_Provenance=header["X-Provenance"])
    assert made.status == 201
    id_ = made.json["id"]
    assert provenances(client, f"Patient/{id_}/_history/1")[0]["target"] == [
        {"reference": f"Patient/{id_}/_history/1"}
    ]
    where = "identifier=urn:test:mrn|prov-1"
    steps = [
        ("PUT", f"Patient/{id_}", {**identified("prov-1", "Second"), "id": id_}, {}),
        ("PATCH", f"Patient/{id_}", patch, JSON_PATCH),
        ("PUT", f"Patient?{where}", identified("prov-1", "Fourth"), {}),
        ("PATCH", f"Patient?{where}", patch, JSON_PATCH),
    ]
    for number, (method, path, body, more) in enumerate(steps, 2):
        reply = client.send(method, path, body, {**header, **more})
        assert (reply.status, reply.headers["ETag"]) == (200, f'W/"{number}"'), reply.data
        assert len(provenances(client, f"Patient/{id_}/_history/{number}")) == 1


@clause(HEADER, "what changes nothing has no Provenance; return=OperationOutcome tells of one that was made")
def test_nothing_written(client: FhirClient, stored: Callable[[dict[str, Any]], str]) -> None:
    id_ = stored(identified("prov-2"))
    text = json.dumps(WHERE_FROM)
    found = client.post(
        "Patient", patient(), If_None_Exist="identifier=urn:test:mrn|prov-2", X_Provenance=text
    )
    same = client.put(f"Patient/{id_}", {**identified("prov-2"), "id": id_}, X_Provenance=text)
    assert (found.status, same.status) == (200, 200)
    assert provenances(client, f"Patient/{id_}") == []
    told = client.put(
        f"Patient/{id_}",
        {**identified("prov-2", "New"), "id": id_},
        X_Provenance=text,
        Prefer="return=OperationOutcome",
    )
    made = provenances(client, f"Patient/{id_}")[0]
    assert f"Provenance/{made['id']}" in told.data.decode()


@clause(HEADER, "targets and letters of other alphabets that came stay; ours comes first")
def test_what_came_stays(client: FhirClient) -> None:
    other = {**WHERE_FROM, "id": "mine", "target": [{"display": "Größe"}]}
    text = json.dumps(other, ensure_ascii=False).encode().decode("latin-1")  # as a client sends its bytes
    made = client.post("Patient", patient(), X_Provenance=text)
    assert made.status == 201, made.data
    found = provenances(client, f"Patient/{made.json['id']}")[0]
    assert [each.get("display") for each in found["target"]] == [None, "Größe"]
    assert found["id"] != "mine"


@clause(HEADER, "what is no Provenance is refused, by name, and nothing is written")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no Provenance as JSON"),
        ("{", "no Provenance as JSON"),
        ("[]", "no Provenance as JSON"),
        ('{"resourceType": "Patient"}', "holds a Provenance"),
        ('{"resourceType": "Provenance"}', "recorded"),
        (json.dumps({**WHERE_FROM, "target": "Patient/7"}), "no array"),
        (json.dumps({**WHERE_FROM, "agend": []}), "agend"),
    ],
)
def test_refused(client: FhirClient, text: str, said: str) -> None:
    criteria = "identifier=urn:test:mrn|prov-3"
    reply = client.post("Patient", identified("prov-3"), X_Provenance=text)
    assert reply.status == 400
    assert "X-Provenance" in reply.issue["diagnostics"]
    assert said in reply.data.decode()
    assert client.get(f"Patient?{criteria}&_summary=count").json["total"] == 0


@clause(HEADER, "where it would be lost it is refused: with a delete, and with a Bundle")
def test_elsewhere(client: FhirClient, stored: Callable[[dict[str, Any]], str]) -> None:
    id_ = stored(patient())
    text = json.dumps(WHERE_FROM)
    assert client.delete(f"Patient/{id_}", X_Provenance=text).status == 400
    assert client.delete(f"Patient?_id={id_}", X_Provenance=text).status == 400
    assert client.post("", bundle("transaction", post(patient())), X_Provenance=text).status == 400
    assert client.get(f"Patient/{id_}").status == 200
