"""Requests that are wrong: the status that the clause says, with an OperationOutcome that helps."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from psycopg2 import errors as postgres

from fhir_server.config import Config
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.entry import Entry
from fhir_server.observability import events
from fhir_server.rest import handlers
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import BUILT, Installation
from tests.spec.r4_http.conftest import LIMIT_BYTES
from tests.support.builders import bundle, patient, post
from tests.support.clause import clause
from tests.support.http import FHIR_JSON, FhirClient, Reply

Store = Callable[[dict[str, Any]], str]

PATIENT = b'{"resourceType":"Patient","active":true}'
JSON = {"Content-Type": FHIR_JSON}


def check(reply: Reply, status: int, says: str, code: str | None = None) -> None:
    assert (reply.status, reply.headers["Content-Type"]) == (status, "application/fhir+json; charset=utf-8")
    issue = reply.issue
    everything = " ".join(each["diagnostics"] for each in reply.json["issue"])
    assert says in everything
    assert code in (None, issue["code"])
    assert b"Traceback" not in reply.data


@clause("R4/http.html#Status-Codes", "a body that is no resource: 400 with line and column")
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body is empty"),
        (b"hello", "line 1, column 1"),
        (b'{"resourceType":"Patient",\n  "active": tru}', "line 2, column"),
        (b'{"resourceType":"Patient","active":true', "line 1, column"),
        (b'{"resourceType":"Patient","active":true,"active":false}', "'active' stands twice"),
        (b'{"resourceType":"Patient","multipleBirthInteger":NaN}', "line 1, column"),
        (b'{"resourceType":"Patient","language":"\\u0000"}', "line 1, column"),
        (b'{"resourceType":"Patient","language":"\\ud800"}', "line 1, column"),
        (b'{"resourceType":"Patient","language":"\xff"}', "line 1, column"),
        (b'{"resourceType":"Patient","x":1e500}', "line 1, column"),
        (b'{"resourceType":"Patient","x":' + b"9" * 60 + b".5}", "line 1, column"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "nest"),
        (b"[1,2]", "object"),
        (b'"Patient"', "object"),
        (b"{}", 'no "resourceType"'),
        (
            b'{"resourceType":"Group","type":"person","actual":true}',
            "the body is a Group, the URL says Patient",
        ),
    ],
)
def test_broken_bodies(client: FhirClient, body: bytes, says: str) -> None:
    check(client.post("Patient", body), 400, says)


@clause(
    "R4/http.html#Status-Codes",
    "a resource that breaks a rule: 400, all problems at once, each with its path",
)
def test_invalid_resource(client: FhirClient) -> None:
    reply = client.post(
        "Patient", {"resourceType": "Patient", "gender": "mail", "birthDate": "yesterday", "nme": 1}
    )
    assert reply.status == 400
    assert reply.issue["severity"] == "error"
    paths = {path for issue in reply.json["issue"] for path in issue.get("expression", [])}
    assert {"Patient.gender", "Patient.birthDate"} <= paths
    assert len(reply.json["issue"]) >= 3


@clause("R4/http.html#Status-Codes", "unknown address, type, id, version: 404")
@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("Nothing/7", "no resource type"),
        ("Patiend", "do you mean Patient?"),
        ("Patient/unknown", "unknown"),
        ("Patient/not_an_id", "not an id"),
        ("Patient/unknown/_history", "unknown"),
        ("Patient/unknown/_history/1", "version"),
        ("Patient/7/8/9/10", "no address"),
        ("$nothing", "no operation"),
        ("Patient/7/$nothing", "no operation"),
    ],
)
def test_not_found(client: FhirClient, path: str, says: str) -> None:
    check(client.get(path), 404, says)


@clause("R4/http.html#read", "an unknown version of a known resource: 404")
def test_unknown_version(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    for version in ("2", "0", "99999999999999", "x", "-1"):
        check(client.get(f"Patient/{id_}/_history/{version}"), 404, "version")


@clause("R4/http.html#delete", "a deleted resource: 410 on read, its history stays")
def test_deleted(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    assert client.delete(f"Patient/{id_}").status == 204
    check(client.get(f"Patient/{id_}"), 410, "deleted", "deleted")
    check(client.get(f"Patient/{id_}/_history/2"), 410, "deletion")
    assert client.get(f"Patient/{id_}/_history/1").status == 200


@clause("R4/http.html#Status-Codes", "a known address with another method: 405 with Allow")
@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "Patient/7", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        ("PATCH", "Patient/7/_history/1", "GET, HEAD, OPTIONS"),
        ("PUT", "metadata", "GET, HEAD, OPTIONS"),
        ("DELETE", "", "GET, HEAD, POST, OPTIONS"),
        ("GET", "Patient/_search", "POST, OPTIONS"),
        ("FROBNICATE", "Patient", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
    ],
)
def test_wrong_method(client: FhirClient, method: str, path: str, allow: str) -> None:
    reply = client.send(method, path)
    check(reply, 405, "is not possible on")
    assert reply.headers["Allow"] == allow


@clause("R4/http.html#mime-type", "nothing acceptable: 406, and nothing is done")
def test_not_acceptable(client: FhirClient) -> None:
    check(client.get("Patient/7", Accept="text/turtle"), 406, "Turtle is not written")
    check(client.get("Patient/7?_format=ttl", Accept=FHIR_JSON), 406, "Turtle is not written")
    check(client.get("Patient/7", Accept="application/fhir+json; fhirVersion=3.0"), 406, "fhirVersion=3.0")
    before = client.get("Patient?_summary=count").json["total"]
    check(client.post("Patient", patient(), Accept="text/turtle"), 406, "Turtle")
    assert client.get("Patient?_summary=count").json["total"] == before


@clause("R4/http.html#mime-type", "another media type: 415")
@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/fhir+turtle", "application/x-www-form-urlencoded", "a/b;charset=x"],
)
def test_unsupported_media_type(client: FhirClient, content_type: str) -> None:
    check(client.send("POST", "Patient", PATIENT, {"Content-Type": content_type}), 415, FHIR_JSON)
    check(client.send("PUT", "Patient/7", PATIENT, {"Content-Type": content_type}), 415, FHIR_JSON)


@clause("R4/http.html#mime-type", "a charset other than UTF-8: 415")
def test_charset(client: FhirClient) -> None:
    sent = {"Content-Type": "application/fhir+json; charset=iso-8859-1"}
    check(client.send("POST", "Patient", PATIENT, sent), 415, "UTF-8")


@clause("R4/http.html#Status-Codes", "a body above the limit: 413 with limit and size, before it is read")
def test_too_large(client: FhirClient) -> None:
    body = b'{"resourceType":"Patient","language":"' + b"x" * LIMIT_BYTES + b'"}'
    check(
        client.post("Patient", body), 413, f"{len(body)} bytes; this server takes {LIMIT_BYTES}", "too-long"
    )
    chunked = {
        "input_stream": io.BytesIO(body),
        "environ_overrides": {"CONTENT_LENGTH": None, "HTTP_TRANSFER_ENCODING": "chunked"},
    }
    reply = client.send("POST", "Patient", None, JSON, **chunked)
    check(reply, 413, f"more than {LIMIT_BYTES}")


@clause("R4/http.html#update", "the id of the body is that of the URL, else 400")
@pytest.mark.parametrize(
    ("resource", "says"),
    [
        (patient(id="8"), 'the body has the id "8", the URL says "7"'),
        (patient(), "the body has no id"),
    ],
)
def test_id_mismatch(client: FhirClient, resource: dict[str, Any], says: str) -> None:
    check(client.put("Patient/7", resource), 400, says)


@clause("R4/http.html#update", "an id that is none cannot be created: 400")
def test_update_under_a_bad_id(client: FhirClient) -> None:
    check(client.put("Patient/a_b", patient(id="a_b")), 400, "not an id")


@clause("R4/http.html#concurrency", "If-Match of another version: 412; what is no entity tag: 400")
def test_if_match(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    changed = patient("Other", id=id_)
    check(client.put(f"Patient/{id_}", changed, If_Match='W/"2"'), 412, "")
    check(client.put(f"Patient/{id_}", changed, If_Match='W/"abc"'), 412, "never gave")
    check(client.put(f"Patient/{id_}", changed, If_Match="three"), 400, 'W/"3"')
    check(client.delete(f"Patient/{id_}", If_Match='W/"2"'), 412, "")
    assert client.put(f"Patient/{id_}", changed, If_Match='W/"1"').status == 200


@clause("R4/http.html#ccreate", "several matches: 412, nothing is written; criteria that are none: 400")
def test_conditional_create(client: FhirClient) -> None:
    twin = patient(identifier=[{"system": "urn:test:twins", "value": "1"}])
    for _ in range(2):
        assert client.post("Patient", twin).status == 201
    reply = client.post("Patient", twin, If_None_Exist="identifier=urn:test:twins|1")
    check(reply, 412, "", "multiple-matches")
    assert client.get("Patient?identifier=urn:test:twins|1&_summary=count").json["total"] == 2
    check(client.post("Patient", twin, If_None_Exist=" "), 400, "If-None-Exist is empty")
    check(client.post("Patient", twin, If_None_Exist="idetifier=1"), 400, "identifier")


@clause("R4/search.html#errors", "an unknown parameter: 400 with the known ones, unless lenient")
def test_unknown_parameter(client: FhirClient) -> None:
    check(client.get("Patient?nam=x"), 400, "name")
    assert client.get("Patient?nam=x", Prefer="handling=lenient").status == 200
    check(client.get("Patient?birthdate=yesterday"), 400, "yesterday")
    check(client.get("Patient?name=%FF"), 400, "UTF-8")
    check(client.get("Patient?name=%00"), 400, "U+0000")
    for wrong in ("100%", "%zz", "%C3%B"):
        reply = client.send("GET", "Patient", environ_overrides={"QUERY_STRING": f"name={wrong}"})
        check(reply, 400, "is no %-escape; write a percent sign as %25")
    check(client.post("Patient", patient(), If_None_Exist="name=a%00"), 400, "U+0000")
    check(client.get("Patient?" + "&".join(["name=a"] * 600)), 400, "more than 500 parameters")


@clause("R4/http.html#search", "POST _search needs a form: 415")
def test_search_with_json(client: FhirClient) -> None:
    check(client.post("Patient/_search", b"{}"), 415, "application/x-www-form-urlencoded")


@clause("R4/http.html#transaction", "what is no batch or transaction: 400")
@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"resourceType": "Bundle", "type": "collection"}, "collection"),
        (patient(), "the body is a Patient, the URL says Bundle"),
        (bundle("transaction", {"resource": patient()}), "Bundle.entry[0]"),
        (bundle("transaction", {**post(patient()), "fullUrl": ["urn:a"]}), "fullUrl is ['urn:a']"),
        (bundle("transaction", post(patient(), if_none_exist=5)), "ifNoneExist is 5"),  # type: ignore[arg-type]
    ],
)
def test_other_bundles(client: FhirClient, body: dict[str, Any], says: str) -> None:
    check(client.post("", body), 400, says)


@clause("R4/http.html#cond-update", "without id and criteria: 400")
def test_write_on_a_type_without_criteria(client: FhirClient) -> None:
    check(client.put("Patient", patient()), 400, "criteria")
    check(client.delete("Patient"), 400, "criteria")


@clause("R4/http.html#Status-Codes", "a crash: 500 with a number, and neither side learns more")
def test_crash(client: FhirClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def crash(*_: Any) -> Any:
        raise RuntimeError("Margarethe Musterfrau")

    monkeypatch.setitem(handlers.HANDLERS, "read", crash)  # type: ignore[arg-type]
    heard: list[events.Event] = []
    with caplog.at_level(logging.DEBUG), events.listening(heard.append):
        reply = client.get("Patient/7")
    check(reply, 500, "incident", "exception")
    (told,) = [event for event in heard if isinstance(event, events.Crashed)]
    assert (told.error, told.incident) == ("RuntimeError", reply.issue["diagnostics"].split()[-1])
    assert b"Musterfrau" not in reply.data
    assert b"RuntimeError" not in reply.data
    assert "Musterfrau" not in caplog.text


@clause("R4/http.html#Status-Codes", "database gone: 503 with Retry-After; too slow: 422 too-costly")
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (psycopg2.OperationalError("server closed the connection"), 503, "transient"),
        (psycopg2.InterfaceError("connection already closed"), 503, "transient"),
        (postgres.AdminShutdown("terminating connection"), 503, "transient"),
        (postgres.QueryCanceled("canceling statement due to statement timeout"), 422, "too-costly"),
    ],
)
def test_database(
    client: FhirClient, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setitem(handlers.HANDLERS, "read", fail)  # type: ignore[arg-type]
    reply = client.get("Patient/7")
    check(reply, status, "", code)
    assert ("Retry-After" in reply.headers) is (status == 503)
    assert str(error) not in reply.issue["diagnostics"]


@clause("R4/http.html#summary", "in front of Flask the door gives the same answers")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "Patient/unknown"),
        ("GET", "/fhir//Patient"),
        ("GET", "Patient/"),
        ("GET", "metadata?_format=xml"),
        ("FROBNICATE", "Patient"),
        ("HEAD", "Patient/unknown"),
        ("OPTIONS", "Patient/7"),
        ("GET", ""),
    ],
)
def test_in_front(door: Door, client: FhirClient, flask_client: FhirClient, method: str, path: str) -> None:
    one, other = client.send(method, path), flask_client.send(method, path)
    assert (one.status, one.data) == (other.status, other.data)
    assert sorted(one.headers) == sorted(other.headers)


def test_what_was_served_is_told_without_what_was_asked(entry: Entry) -> None:
    told: list[tuple[Any, ...]] = []
    installation = Installation(entry, Config(), Capabilities(entry.settings, BUILT, entry.clock()))
    client = FhirClient(Door(installation, lambda *facts: told.append(facts)).wsgi)
    client.get("Patient?name=Musterfrau")
    client.get("Patiend/Musterfrau")
    client.send("MUSTERFRAU", "Patient")
    assert [(*facts[:4], facts[5] > 0) for facts in told] == [
        ("search-type", "GET", "Patient", 200, True),
        ("none", "GET", "", 404, True),
        ("none", "other", "", 405, True),
    ]


@clause("R4/conformance-rules.html#constraints", "a broken invariant refuses the write")
def test_a_broken_invariant_is_400(client: FhirClient) -> None:
    broken = patient(contact=[{"gender": "male"}])
    reply = client.post("Patient", broken)
    check(reply, 400, "(pat-1)", "invariant")
    assert reply.issue["expression"] == ["Patient.contact[0]"]
    reply = client.post("", bundle("transaction", post(broken)))
    check(reply, 400, "(pat-1)", "invariant")
    assert reply.issue["expression"] == ["Bundle.entry[0].resource.contact[0]"]


@clause("R4/conformance-rules.html#best-practice", "a warning refuses nothing")
def test_advice_is_no_refusal(client: FhirClient) -> None:
    library = {"resourceType": "Library", "status": "draft", "name": "not a name", "type": {"text": "x"}}
    assert client.post("Library", library).status == 201
