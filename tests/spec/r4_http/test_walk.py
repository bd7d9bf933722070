"""http.html read from its first sentence to its last: what no other chapter asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.builders import patient
from tests.support.clause import clause
from tests.support.http import FhirClient

Store = Callable[[dict[str, Any]], str]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@clause("R4/http.html#mime-type", "text/json, a generic name too, is read and answered with itself")
def test_text_json(client: FhirClient) -> None:
    sent = json.dumps(patient()).encode()
    made = client.send("POST", "Patient", sent, {"Content-Type": "text/json", "Accept": "text/json"})
    assert (made.status, made.headers["Content-Type"]) == (201, "text/json; charset=utf-8")
    assert client.get(f"Patient/{made.json['id']}?_format=text/json").status == 200
    patch = {"resourceType": "Parameters", "parameter": []}
    reply = client.send(
        "PATCH", f"Patient/{made.json['id']}", json.dumps(patch).encode(), {"Content-Type": "text/json"}
    )
    assert reply.status != 415


@clause("R4/http.html#read", "410 tells the version of the deletion, so that a client may bring it back")
def test_gone(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    assert client.delete(f"Patient/{id_}").headers["ETag"] == 'W/"2"'
    for path in (f"Patient/{id_}", f"Patient/{id_}/_history/2"):
        for method in ("GET", "HEAD"):
            reply = client.send(method, path)
            assert (reply.status, reply.headers["ETag"]) == (410, 'W/"2"')
    back = client.put(f"Patient/{id_}", patient(id=id_), If_Match='W/"2"')
    assert (back.status, back.headers["ETag"]) == (201, 'W/"3"')


@clause("R4/http.html#parameters", "_summary and _elements shape the answer of a write, not what is written")
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_parts_of_what_was_written(client: FhirClient, stored: Store, method: str) -> None:
    id_ = stored(patient(photo=[{"title": "a"}], birthDate="1970"))
    body: Any = patient("New", photo=[{"title": "a"}], birthDate="1970", id=id_)
    headers = {"Prefer": "return=representation"}
    if method == "PATCH":
        body = json.dumps([{"op": "replace", "path": "/name/0/family", "value": "New"}]).encode()
        headers["Content-Type"] = "application/json-patch+json"
    path = "Patient" if method == "POST" else f"Patient/{id_}"
    shaped = client.send(method, f"{path}?_elements=birthDate", body, headers).json
    assert set(shaped) == {"resourceType", "id", "meta", "birthDate"}
    assert shaped["meta"]["tag"][0]["code"] == "SUBSETTED"
    whole = client.get(f"Patient/{shaped['id']}").json
    assert whole["photo"] == [{"title": "a"}]
    assert "tag" not in whole["meta"]


@clause(
    "R4/http.html#parameters", "a form that the answer to a write cannot have is refused before it is written"
)
@pytest.mark.parametrize("query", ["_summary=count", "_summary=nonsense", "_elements=nonsense"])
def test_parts_that_are_none(client: FhirClient, stored: Store, query: str) -> None:
    id_ = stored(patient())
    assert client.put(f"Patient/{id_}?{query}", patient("New", id=id_)).status == 400
    assert client.get(f"Patient/{id_}").headers["ETag"] == 'W/"1"'


@clause("R4/http.html#summary", "an operation by POST with a form")
def test_operation_with_a_form(client: FhirClient, stored: Store) -> None:
    by_url = client.get(f"Patient/{stored(patient())}/$validate?mode=delete")
    by_form = client.send("POST", f"Patient/{stored(patient())}/$validate", b"mode=delete", FORM)
    assert (by_form.status, by_form.json["resourceType"]) == (by_url.status, "OperationOutcome")
    refused = client.send("POST", f"Patient/{stored(patient())}/$validate", b"nonsense=1", FORM)
    assert refused.status == 400
    assert "nonsense" in refused.issue["diagnostics"]


@clause("R4/http.html#history", "_count beyond any page is the largest page")
def test_huge_count(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    assert len(client.get(f"Patient/{id_}/_history?_count=99999999999").json["entry"]) == 1
    assert client.get(f"Patient/{id_}/_history?_count=0").status == 400
