"""The RESTful interactions as a client meets them (R4/http.html)."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import pytest

from fhir_server.config import Config
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.entry import Entry
from fhir_server.model import json_format
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import BUILT, Installation
from tests.support.builders import bundle, identified, patient, post
from tests.support.clause import clause
from tests.support.http import FhirClient

Store = Callable[[dict[str, Any]], str]
BASE = "http://127.0.0.1/fhir"


@clause(
    "R4/http.html#create", "201, Location with id and version, ETag, Last-Modified; the body's id is not used"
)
def test_create(client: FhirClient) -> None:
    reply = client.post("Patient", patient(id="mine"), Host="evil.example")
    assert reply.status == 201
    resource = reply.json
    assert resource["id"] != "mine"
    assert resource["meta"]["versionId"] == "1"
    assert reply.headers["Location"] == f"{BASE}/Patient/{resource['id']}/_history/1"
    assert reply.headers["ETag"] == 'W/"1"'
    assert reply.headers["Last-Modified"] == "Fri, 02 Jan 2026 03:04:05 GMT"
    assert reply.headers["Content-Type"] == "application/fhir+json; charset=utf-8"


@clause("R4/http.html#read", "what was stored comes back digit for digit")
def test_read_gives_back_what_was_sent(client: FhirClient, stored: Store) -> None:
    observation = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "Größe – 身長"},
        "valueQuantity": {"value": json_format.number("1.50"), "unit": "m"},
    }
    id_ = stored(observation)
    reply = client.get(f"Observation/{id_}")
    assert b"1.50" in reply.data
    assert {key: reply.json[key] for key in observation} == observation


@clause("R4/json.html#primitive", "decimals keep their spelling, members their order: read, search, history")
def test_a_body_is_kept_as_it_was_written(client: FhirClient) -> None:
    numbers = ["1.50", "1.0", "0.00", "-0.0", "1e-7", "1.0e2", "1234567890123456789012345", "1E5"]
    kept = ",".join(f'{{"url":"urn:n","valueDecimal":{number}}}' for number in numbers)
    div = '"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">ü</div>"'
    rest = (
        f'"text":{{"status":"generated","div":{div}}},"extension":[{kept}],"birthDate":"1970","active":true'
    )
    sent = f'{{"resourceType":"Patient","meta":{{"tag":[{{"code":"a"}}],"source":"urn:s"}},{rest}}}'
    reply = client.send("POST", "Patient", sent.encode())
    assert reply.status == 201, reply.data
    id_ = reply.json["id"]
    whole = reply.data.decode()
    assert whole.endswith(f'"tag":[{{"code":"a"}}],"source":"urn:s"}},{rest}}}')
    assert client.get(f"Patient/{id_}").data.decode() == whole
    assert whole in client.get(f"Patient?_id={id_}&_sort=_tag").data.decode()
    assert whole in client.get(f"Patient/{id_}/_history").data.decode()
    again = client.send("PUT", f"Patient/{id_}", reply.data)
    assert again.headers["ETag"] == 'W/"1"', "the same digits make no version"
    other = reply.data.replace(b"1.0e2", b"100")
    again = client.send("PUT", f"Patient/{id_}", other)
    assert again.headers["ETag"] == 'W/"2"', "another precision is another value"


@clause("R4/http.html#read", "HEAD is GET without the body")
def test_head(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    got, head = client.get(f"Patient/{id_}"), client.send("HEAD", f"Patient/{id_}")
    assert (head.status, head.data) == (200, b"")
    assert head.headers["Content-Length"] == str(len(got.data))
    assert head.headers["ETag"] == got.headers["ETag"]


@clause("R4/http.html#cread", "304 without a body while the client has the current version")
def test_conditional_read(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    reply = client.get(f"Patient/{id_}", If_None_Match='W/"1"')
    assert (reply.status, reply.data, reply.headers["ETag"]) == (304, b"", 'W/"1"')
    assert client.put(f"Patient/{id_}", patient("New", id=id_)).status == 200
    assert client.get(f"Patient/{id_}", If_None_Match='W/"1"').status == 200


@clause("R4/http.html#update", "a new version, 200; under a new id 201 with Location")
def test_update(client: FhirClient) -> None:
    made = client.put("Patient/own-id", patient(id="own-id"))
    assert made.status == 201
    assert made.headers["Location"] == f"{BASE}/Patient/own-id/_history/1"
    changed = client.put("Patient/own-id", patient("Other", id="own-id"), If_Match='W/"1"')
    assert (changed.status, changed.headers["ETag"], "Location" in changed.headers) == (200, 'W/"2"', False)
    assert client.get("Patient/own-id/_history/1").json["name"] != changed.json["name"]


@clause("R4/http.html#upsert", "If-None-Match: * on an update only creates")
def test_update_that_must_create(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    assert client.put(f"Patient/{id_}", patient(id=id_), If_None_Match="*").status == 412


@clause("R4/http.html#ops", "Prefer: return decides on the body")
def test_prefer(client: FhirClient) -> None:
    minimal = client.post("Patient", patient(), Prefer="return=minimal")
    assert (minimal.status, minimal.data) == (201, b"")
    assert minimal.headers["Location"]
    outcome = client.post("Patient", patient(), Prefer="return=OperationOutcome")
    assert (outcome.status, outcome.json["resourceType"]) == (201, "OperationOutcome")
    assert client.post("Patient", patient(), Prefer="return=representation").json["resourceType"] == "Patient"


@clause("R4/http.html#delete", "204, again 204; a read then says 410")
def test_delete(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    assert client.delete(f"Patient/{id_}").status == 204
    assert client.delete(f"Patient/{id_}").status == 204
    assert client.delete("Patient/never-was").status == 204
    assert client.get(f"Patient/{id_}").status == 410


@clause("R4/http.html#ccreate", "one match: 200 with it; none: 201")
def test_conditional_create(client: FhirClient) -> None:
    wanted = identified("cc-1")
    first = client.post("Patient", wanted, If_None_Exist="identifier=urn:test:mrn|cc-1")
    again = client.post("Patient", wanted, If_None_Exist="?identifier=urn:test:mrn|cc-1")
    assert (first.status, again.status) == (201, 200)
    assert first.json["id"] == again.json["id"]


@clause("R4/http.html#cond-update", "no match creates, one match updates, several 412")
def test_conditional_update(client: FhirClient) -> None:
    made = client.put("Patient?identifier=urn:test:mrn|cu-1", identified("cu-1"))
    changed = client.put("Patient?identifier=urn:test:mrn|cu-1", identified("cu-1", "Other"))
    assert (made.status, changed.status) == (201, 200)
    assert made.json["id"] == changed.json["id"]


@clause("R4/http.html#cdelete", "one match is deleted, none is no error")
def test_conditional_delete(client: FhirClient) -> None:
    id_ = client.post("Patient", identified("cd-1")).json["id"]
    assert client.delete("Patient?identifier=urn:test:mrn|cd-1").status == 204
    assert client.delete("Patient?identifier=urn:test:mrn|cd-1").status == 204
    assert client.get(f"Patient/{id_}").status == 410


@clause("R4/http.html#history", "instance, type and system, newest first")
def test_history(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    client.put(f"Patient/{id_}", patient("Other", id=id_))
    client.delete(f"Patient/{id_}")
    for path in (f"Patient/{id_}/_history", "Patient/_history?_count=3", "_history?_count=3"):
        reply = client.get(path)
        assert reply.status == 200
        assert reply.json["type"] == "history"
        entries = [each for each in reply.json["entry"] if each["fullUrl"].endswith(id_)]
        assert [each["request"]["method"] for each in entries] == ["DELETE", "PUT", "POST"]


@clause("R4/http.html#search", "GET, and POST with a form, both with parameters in the URL")
def test_search(client: FhirClient, stored: Store) -> None:
    id_ = stored(identified("find-me", "Ünal"))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for reply in (
        client.get("Patient?identifier=urn:test:mrn%7Cfind-me&_format=json&_pretty=true"),
        client.send("POST", "Patient/_search", b"identifier=urn%3Atest%3Amrn%7Cfind-me", form),
        client.send("POST", "Patient/_search?identifier=urn:test:mrn|find-me", b"family=%C3%9Cnal", form),
    ):
        assert reply.status == 200
        assert [each["resource"]["id"] for each in reply.json["entry"]] == [id_]


@clause("R4/http.html#search", "a client that does not escape its UTF-8 finds what it asked for")
def test_search_with_raw_utf8(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient("Übermüller"))
    raw = {"QUERY_STRING": "family:exact=Übermüller".encode().decode("latin-1")}
    reply = client.send("GET", "Patient", environ_overrides=raw)
    assert [entry["resource"]["id"] for entry in reply.json["entry"]] == [id_]
    condition = {"HTTP_IF_NONE_EXIST": raw["QUERY_STRING"]}
    assert client.send("POST", "Patient", patient("Other"), environ_overrides=condition).status == 200
    latin = {"QUERY_STRING": "family:exact=Übermüller"}  # the bytes of Latin-1
    assert client.send("GET", "Patient", environ_overrides=latin).status == 400


@clause("R4/http.html#transaction", "POST on the base; the response has addresses, and bodies when asked")
def test_transaction(client: FhirClient) -> None:
    sent = bundle("transaction", post(patient(), "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"))
    reply = client.post("", sent)
    assert (reply.status, reply.json["type"]) == (200, "transaction-response")
    entry = reply.json["entry"][0]
    assert entry["response"]["status"].startswith("201")
    assert entry["response"]["location"].startswith(f"{BASE}/Patient/")
    assert "resource" not in entry
    with_body = client.post("/fhir/", sent, Prefer="return=representation")
    assert with_body.json["entry"][0]["resource"]["resourceType"] == "Patient"


@clause("R4/http.html#parameters", "_pretty indents, _summary and _elements cut, nothing else changes")
def test_general_parameters(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient(birthDate="1970-01-01"))
    plain, indented = client.get(f"Patient/{id_}"), client.get(f"Patient/{id_}?_pretty=true")
    assert indented.data.startswith(b'{\n  "resourceType": "Patient"')
    assert plain.json == indented.json
    assert "name" not in client.get(f"Patient/{id_}?_elements=birthDate").json


@clause("RFC 9110 12.5.3", "gzip when the client takes it, both ways")
def test_gzip(client: FhirClient) -> None:
    large = patient(extension=[{"url": f"urn:x:{number}", "valueBoolean": True} for number in range(60)])
    packed = {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    reply = client.send(
        "POST",
        "Patient",
        gzip.compress(json_format.encode(large)),
        {**packed, "Content-Type": "application/fhir+json"},
    )
    assert (reply.status, reply.headers["Content-Encoding"]) == (201, "gzip")
    assert b'"valueBoolean"' in gzip.decompress(reply.data)


@clause("W3C/CORS", "a browser's page may read ETag, Location and Content-Location")
def test_cors(client: FhirClient) -> None:
    preflight = client.send(
        "OPTIONS",
        "Patient/7",
        headers={"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"},
    )
    assert preflight.status == 204
    assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]
    assert "If-Match" in preflight.headers["Access-Control-Allow-Headers"]
    reply = client.get("metadata", Origin="https://app.example")
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    for name in ("ETag", "Location", "Content-Location"):
        assert name in reply.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Origin" not in client.get("metadata").headers


@clause("W3C/CORS", "where origins are listed, or none is, pages of others may not read")
@pytest.mark.parametrize(
    ("allowed", "origin", "said"),
    [
        (("https://app.example", "http://localhost:3000"), "http://localhost:3000", "http://localhost:3000"),
        (("https://app.example",), "https://app.example.evil", None),
        (("https://app.example",), "null", None),
        (("off",), "https://app.example", None),
        (("*",), "null", "*"),
    ],
)
def test_origins(entry: Entry, allowed: tuple[str, ...], origin: str, said: str | None) -> None:
    config = Config(fhir_cors_origins=allowed)
    door = Door(Installation(entry, config, Capabilities(entry.settings, BUILT, entry.clock())))
    client = FhirClient(door.wsgi)
    asked = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
    page = client.get("Patient?_count=1", Origin=origin)
    preflight = client.send("OPTIONS", "Patient/7", None, asked)
    for reply in (page, preflight):
        assert reply.headers.get("Access-Control-Allow-Origin") == said
        assert "*" in allowed or "Origin" in ", ".join(reply.headers.getlist("Vary"))


@clause(
    "R4/http.html#custom",
    "X-Request-Id is used; one that is no id comes back as X-Correlation-Id beside ours",
)
@pytest.mark.parametrize(
    ("sent", "id_", "correlated"),
    [
        ({}, None, None),
        ({"X_Request_Id": "abc-1"}, "abc-1", None),
        ({"X_Request_Id": "abc-1", "X_Correlation_Id": "order 7/2"}, "abc-1", "order 7/2"),
        ({"X_Request_Id": "a b <script>"}, "ours", "a b <script>"),
        ({"X_Request_Id": "a b", "X_Correlation_Id": "c"}, "ours", "c"),
        ({"X_Request_Id": "ü"}, "ours", None),
        ({"X_Correlation_Id": "x" * 201}, None, None),
    ],
)
def test_request_id(
    client: FhirClient, sent: dict[str, str], id_: str | None, correlated: str | None
) -> None:
    reply = client.get("Patient/x", **sent)
    given = reply.headers.get("X-Request-Id")
    assert (given is not None and len(given) == 32) if id_ == "ours" else given == id_
    assert reply.headers.get("X-Correlation-Id") == correlated


@pytest.fixture
def statement(client: FhirClient) -> dict[str, Any]:
    reply = client.get("metadata")
    assert reply.status == 200
    found: dict[str, Any] = reply.json
    return found


@clause(
    "R4/http.html#capabilities", "the CapabilityStatement: R4, JSON, all types, the base URL of the settings"
)
def test_capabilities(statement: dict[str, Any]) -> None:
    assert statement["resourceType"] == "CapabilityStatement"
    assert statement["fhirVersion"] == "4.0.1"
    assert statement["implementation"]["url"] == BASE
    rest = statement["rest"][0]
    assert len(rest["resource"]) == 146
    assert {each["code"] for each in rest["interaction"]} == {
        "transaction", "batch", "history-system", "search-system",
    }  # fmt: skip
    assert "Authorization is off" in rest["security"]["description"]


@clause("R4/http.html#capabilities", "no false claims: every search parameter that is listed is answered")
@pytest.mark.parametrize("type_name", ["Patient", "Observation", "Location", "DocumentReference"])
def test_every_listed_parameter_is_answered(
    client: FhirClient, statement: dict[str, Any], type_name: str
) -> None:
    resource = next(each for each in statement["rest"][0]["resource"] if each["type"] == type_name)
    samples = {"date": "2020", "number": "1", "quantity": "1", "reference": "Patient/7", "uri": "urn:a"}
    special = {"_filter": "_id eq a", "near": "52.52|13.405"}
    for parameter in resource["searchParam"]:
        value = special.get(parameter["name"]) or samples.get(parameter["type"], "a")
        if parameter["type"] == "composite":
            continue  # each component has its own form; listed ones are tested by the search's own chapter
        reply = client.get(f"{type_name}?{parameter['name']}={value}&_count=1")
        assert reply.status == 200, (parameter, reply.data)
    for include in resource.get("searchInclude", []):
        assert client.get(f"{type_name}?_include={include}&_count=1").status == 200, include
    for include in resource.get("searchRevInclude", [])[::20]:
        assert client.get(f"{type_name}?_revinclude={include}&_count=1").status == 200, include


@clause("R4/http.html#capabilities", "no false claims: every interaction that is listed is routed")
def test_every_listed_interaction_is_routed(client: FhirClient, statement: dict[str, Any]) -> None:
    codes = {each["code"] for each in statement["rest"][0]["resource"][0]["interaction"]}
    assert codes == {
        "read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create",
        "search-type",
    }  # fmt: skip
