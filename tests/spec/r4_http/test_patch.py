"""PATCH as a client meets it (R4/http.html#patch, R4/fhirpatch.html)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fhir_server.model import json_format
from tests.support.builders import bundle, identified, observation, patient, post, put
from tests.support.clause import clause
from tests.support.http import FhirClient
from tests.support.patches import FORMATS, JSON_PATCH, binary, change, entry, fhirpath, parameters, patched

Store = Callable[[dict[str, Any]], str]
DIV = '<div xmlns="http://www.w3.org/1999/xhtml">Ann Chalmers</div>'


@clause("R4/http.html#patch", "JSON Patch: 200 with the resource and its new ETag; history says PATCH")
def test_json_patch(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    reply = patched(client, f"Patient/{id_}", {"op": "add", "path": "/birthDate", "value": "1970-02"})
    assert (reply.status, reply.headers["ETag"]) == (200, 'W/"2"')
    assert "Location" not in reply.headers
    assert reply.json["birthDate"] == "1970-02"
    assert client.get(f"Patient/{id_}").json == reply.json
    history = client.get(f"Patient/{id_}/_history").json["entry"]
    assert [one["request"]["method"] for one in history] == ["PATCH", "POST"]
    assert client.get(f"Patient?birthdate=1970-02&_id={id_}").json["entry"][0]["resource"] == reply.json


@clause("R4/fhirpatch.html", "FHIRPath Patch: the operations of a Parameters resource, in their order")
def test_fhirpath_patch(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    reply = fhirpath(
        client,
        f"Patient/{id_}",
        change("add", "Patient", name_valueString="birthDate", value_valueDate="1970"),
        change("add", "Patient", name_valueString="deceased", value_valueBoolean=True),
        change("insert", "Patient.name[0].given", index_valueInteger=0, value_valueString="Eve"),
        change("move", "Patient.name.given", source_valueInteger=1, destination_valueInteger=0),
        change("replace", "Patient.name[0].family", value_valueString="Li"),
        change("delete", "Patient.photo"),
        change(
            "add",
            "Patient",
            name_valueString="contact",
            value=[
                {"name": "name", "valueHumanName": {"family": "Wu"}},
                {"name": "telecom", "valueContactPoint": {"system": "phone", "value": "1"}},
                {"name": "telecom", "valueContactPoint": {"system": "phone", "value": "2"}},
            ],
        ),
    )
    assert reply.status == 200, reply.data
    found = reply.json
    assert found["name"] == [{"family": "Li", "given": ["Ann", "Eve"]}]
    assert (found["birthDate"], found["deceasedBoolean"]) == ("1970", True)
    assert [one["value"] for one in found["contact"][0]["telecom"]] == ["1", "2"]


@clause("R4/fhirpatch.html", "choices by their stem; another type takes the place of the former one")
def test_choice_elements(client: FhirClient, stored: Store) -> None:
    id_ = stored(observation("Patient/1"))
    value = {"value": json_format.number("1.50"), "unit": "m"}
    reply = fhirpath(
        client, f"Observation/{id_}", change("replace", "Observation.value", value_valueQuantity=value)
    )
    assert reply.status == 200, reply.data
    assert (b"1.50" in reply.data, "valueString" in reply.json) == (True, False)
    twice = fhirpath(
        client,
        f"Observation/{id_}",
        change("add", "Observation", name_valueString="value", value_valueString="5"),
    )
    assert (twice.status, "valueQuantity already" in twice.issue["diagnostics"]) == (422, True)


@clause("R4/fhirpatch.html", "extensions are built of parts, on primitives too")
def test_extension_on_a_primitive(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient(birthDate="1970-01-02"))
    parts = [{"name": "url", "valueUri": "urn:x"}, {"name": "value", "valueString": "about"}]
    reply = fhirpath(
        client,
        f"Patient/{id_}",
        change("add", "Patient.birthDate", name_valueString="extension", value=parts),
    )
    assert reply.status == 200, reply.data
    assert reply.json["_birthDate"] == {"extension": [{"url": "urn:x", "valueString": "about"}]}
    gone = fhirpath(client, f"Patient/{id_}", change("delete", "Patient.birthDate.extension[0]"))
    assert ("_birthDate" in gone.json, gone.json["birthDate"]) == (False, "1970-01-02")


@clause("R4/fhirpatch.html", "what cannot be carried out is told with the operation, and nothing is changed")
@pytest.mark.parametrize(
    ("operation", "status", "says"),
    [
        (change("replace", "Patient.name", value_valueHumanName={"family": "X"}), 422, "finds 2 elements"),
        (change("replace", "Patient.gender", value_valueCode="male"), 422, "finds nothing"),
        (change("add", "Patient", name_valueString="nam", value_valueString="X"), 422, "no element 'nam'"),
        (
            change("add", "Patient", name_valueString="birthDate", value_valueString="1970"),
            422,
            "valueDate, the value is valueString",
        ),
        (
            change("insert", "Patient.name", index_valueInteger=3, value_valueHumanName={"text": "X"}),
            422,
            "0 to 2",
        ),
        (
            change("move", "Patient.name", source_valueInteger=0, destination_valueInteger=2),
            422,
            "destination is 2",
        ),
        (change("move", "Patient.name.where(true)", source_valueInteger=0, destination_valueInteger=1), 422,
         "must name a list"),
        (change("delete", "Patient"), 422, "whole resource"),
        (change("delete", "'Patient'"), 422, "no element of this resource"),
        (change("delete", "Patient.name[0].given)"), 400, "⟨here⟩"),
        (change("erase", "Patient.name"), 400, "'erase'"),
        (change("delete", "Patient.name", index_valueInteger=0), 400, "no part 'index'"),
        ({"name": "operation", "part": [{"name": "type", "valueCode": "delete"}]}, 400, "named path"),
        (change("replace", "Patient.id", value_valueId="other"), 400, "changes the id"),
        (change("add", "Patient", name_valueString="gender", value_valueCode="man"), 400, "man"),
    ],
)  # fmt: skip
def test_fhirpath_refusals(
    client: FhirClient, stored: Store, operation: dict[str, Any], status: int, says: str
) -> None:
    id_ = stored(patient(name=[{"text": "One"}, {"text": "Two"}]))
    allowed = change("replace", "Patient.name[0].text", value_valueString="Changed")
    reply = fhirpath(client, f"Patient/{id_}", allowed, operation)
    assert (reply.status, says in reply.issue["diagnostics"]) == (status, True), reply.data
    assert client.get(f"Patient/{id_}").json["meta"]["versionId"] == "1"


@clause("R4/http.html#patch", "a failing test, or a pointer that leads nowhere: 422; what is no patch: 400")
@pytest.mark.parametrize(
    ("operations", "status", "says"),
    [
        (
            [{"op": "test", "path": "/active", "value": False}],
            422,
            "operation 0 (test '/active') failed: true",
        ),
        ([{"op": "remove", "path": "/name/1"}], 422, "an array of 1 item, counted from 0"),
        ([{"op": "remove", "path": "/name/00"}], 422, "without '00'"),
        ([{"op": "replace", "path": "/gender", "value": "male"}], 422, "an object with resourceType, id"),
        ([{"op": "move", "from": "/name", "path": "/name/0"}], 422, "into itself"),
        ([{"op": "remove", "path": ""}], 422, "whole resource"),
        ([{"op": "add", "path": "name", "value": 5}], 400, "RFC 6901"),
        ([{"op": "replace", "path": "/active"}], 400, "no value"),
        ([{"op": "put", "path": "/active"}], 400, "it can be add"),
        ([5], 400, "operation 0 is the value 5"),
        ([{"op": "replace", "path": "/id", "value": "x"}], 400, "changes the id"),
        ([{"op": "replace", "path": "/resourceType", "value": "Person"}], 400, "changes the resourceType"),
        ([{"op": "add", "path": "/gender", "value": "femal"}], 400, "femal"),
        ([{"op": "add", "path": "/nonsense", "value": 1}], 400, "nonsense"),
    ],
)
def test_json_refusals(
    client: FhirClient, stored: Store, operations: list[Any], status: int, says: str
) -> None:
    id_ = stored(patient(active=True))
    reply = patched(client, f"Patient/{id_}", *operations, {"op": "remove", "path": "/name/0/given"})
    assert (reply.status, says in reply.issue["diagnostics"]) == (status, True), reply.data
    assert client.get(f"Patient/{id_}").json["meta"]["versionId"] == "1"


@clause("R4/http.html#patch", "what is no resource any more: 422")
def test_root_replaced(client: FhirClient, stored: Store) -> None:
    reply = patched(client, f"Patient/{stored(patient())}", {"op": "replace", "path": "", "value": 5})
    assert (reply.status, "no object" in reply.issue["diagnostics"]) == (422, True)


@clause(
    "R4/http.html#patch",
    "without effect: no new version; versionId and lastUpdated cannot be patched",
)
def test_patch_without_effect(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient(active=True))
    for operation in (
        {"op": "test", "path": "/active", "value": True},
        {"op": "replace", "path": "/active", "value": True},
        {"op": "replace", "path": "/meta/versionId", "value": "7"},
        {"op": "remove", "path": "/meta"},
    ):
        reply = patched(client, f"Patient/{id_}", operation)
        assert (reply.status, reply.headers["ETag"]) == (200, 'W/"1"'), reply.data
    assert fhirpath(client, f"Patient/{id_}").headers["ETag"] == 'W/"1"'
    assert len(client.get(f"Patient/{id_}/_history").json["entry"]) == 1


@clause("R4/http.html#patch", "numbers that are not patched keep their digits, and are tested by value")
def test_digits_stay(client: FhirClient, stored: Store) -> None:
    resource = observation("Patient/1", valueQuantity={"value": json_format.number("1.50")})
    del resource["valueString"]
    id_ = stored(resource)
    reply = patched(
        client,
        f"Observation/{id_}",
        {"op": "test", "path": "/valueQuantity/value", "value": json_format.number("1.5")},
        {"op": "add", "path": "/valueQuantity/unit", "value": "m"},
    )
    assert (reply.status, b"1.50" in reply.data) == (200, True), reply.data


@clause(
    "R4/http.html#concurrency",
    "412 unless the version is current, before anything else",
)
def test_if_match(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    operation = {"op": "add", "path": "/active", "value": True}
    assert patched(client, f"Patient/{id_}", operation, If_Match='W/"1"').status == 200
    stale = patched(client, f"Patient/{id_}", {"op": "remove", "path": "/photo"}, If_Match='W/"1"')
    assert (stale.status, "current version is 2" in stale.issue["diagnostics"]) == (412, True)


@clause("R4/http.html#patch", "no such resource: 404, a deleted one: 410; a patch never creates")
def test_missing_and_deleted(client: FhirClient, stored: Store) -> None:
    operation = {"op": "add", "path": "/active", "value": True}
    assert patched(client, "Patient/none", operation).status == 404
    id_ = stored(patient())
    client.delete(f"Patient/{id_}")
    assert patched(client, f"Patient/{id_}", operation).status == 410
    assert client.get(f"Patient/{id_}").status == 410


@clause("R4/http.html#patch", "conditional patch: no match 404, one is patched, several 412")
def test_conditional_patch(client: FhirClient, stored: Store) -> None:
    id_ = stored(identified("one"))
    operation = {"op": "add", "path": "/active", "value": True}
    reply = patched(client, "Patient?identifier=urn:test:mrn|one", operation)
    assert (reply.status, reply.json["id"]) == (200, id_)
    assert patched(client, "Patient?identifier=urn:test:mrn|two", operation).status == 404
    assert patched(client, "Patient?identifier=urn:test:mrn|one", operation, If_Match='W/"1"').status == 412
    stored(identified("one"))
    reply = fhirpath(client, "Patient?identifier=urn:test:mrn|one", change("delete", "Patient.active"))
    assert (reply.status, reply.issue["code"]) == (412, "multiple-matches")
    assert patched(client, "Patient", operation).status == 400


@clause("R4/http.html#ops", "Prefer: minimal, representation, OperationOutcome")
def test_prefer(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    operation = {"op": "add", "path": "/active", "value": True}
    assert patched(client, f"Patient/{id_}", operation, Prefer="return=minimal").data == b""
    outcome = patched(client, f"Patient/{id_}", operation, Prefer="return=OperationOutcome")
    assert (outcome.status, outcome.json["resourceType"]) == (200, "OperationOutcome")


@clause("R4/http.html#patch", "415 names the media types that work, also in Accept-Patch")
@pytest.mark.parametrize("media_type", ["application/merge-patch+json", "text/plain", ""])
def test_unsupported_media_type(client: FhirClient, stored: Store, media_type: str) -> None:
    id_ = stored(patient())
    reply = client.send(
        "PATCH", f"Patient/{id_}", "<diff/>", {"Content-Type": media_type} if media_type else None
    )
    assert (reply.status, JSON_PATCH in reply.issue["diagnostics"]) == (415, True)
    works = ", ".join(FORMATS)
    assert reply.headers["Accept-Patch"] == works
    assert client.send("OPTIONS", f"Patient/{id_}").headers["Accept-Patch"] == works


@clause("R4/http.html#patch", "a body that is a resource but no Parameters, an array as FHIR, nothing: 400")
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (json_format.encode(patient()), "Parameters"),
        (b"[]", JSON_PATCH),
        (b"", "empty"),
        (
            b'{"resourceType":"Parameters","parameter":[{"name":"other","valueCode":"x"}]}',
            "expected operation",
        ),
        (b'{"resourceType":"Parameters","parameter":{}}', "parameter"),
    ],
)
def test_no_patch(client: FhirClient, stored: Store, body: bytes, says: str) -> None:
    reply = client.send("PATCH", f"Patient/{stored(patient())}", body)
    assert (reply.status, says in reply.issue["diagnostics"]) == (400, True), reply.data


@clause("R4/http.html#patch", "a generated narrative goes, another refuses the patch")
def test_narrative(client: FhirClient, stored: Store) -> None:
    operation = {"op": "add", "path": "/birthDate", "value": "1970"}
    id_ = stored(patient(text={"status": "generated", "div": DIV}))
    reply = patched(client, f"Patient/{id_}", operation, Prefer="return=OperationOutcome")
    assert any("narrative" in issue["diagnostics"] for issue in reply.json["issue"])
    assert "text" not in client.get(f"Patient/{id_}").json
    id_ = stored(patient(text={"status": "additional", "div": DIV}))
    reply = patched(client, f"Patient/{id_}", operation)
    assert (reply.status, "narrative" in reply.issue["diagnostics"]) == (422, True)
    div = DIV.replace("Chalmers", "Chalmers, 1970")
    reply = patched(client, f"Patient/{id_}", operation, {"op": "replace", "path": "/text/div", "value": div})
    assert (reply.status, reply.json["text"]["div"]) == (200, div)
    reply = patched(client, f"Patient/{id_}", {"op": "add", "path": "/meta/tag", "value": [{"code": "x"}]})
    assert (reply.status, reply.json["text"]["div"]) == (200, div)


@clause("R4/http.html#patch", "a list that becomes empty goes; one may be made to add to")
def test_empty_lists(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    reply = patched(
        client,
        f"Patient/{id_}",
        {"op": "remove", "path": "/name/0"},
        {"op": "add", "path": "/telecom", "value": []},
        {"op": "add", "path": "/telecom/-", "value": {"system": "phone", "value": "1"}},
    )
    assert (reply.status, "name" in reply.json, len(reply.json["telecom"])) == (200, False, 1)


@clause("R4/http.html#transaction", "in a batch: Parameters, a Binary with JSON Patch, criteria")
def test_batch(client: FhirClient, stored: Store) -> None:
    one, two = stored(identified("b-1")), stored(identified("b-2"))
    active = {"op": "add", "path": "/active", "value": True}
    reply = client.post(
        "",
        bundle(
            "batch",
            entry(
                parameters(change("replace", "Patient.name.family", value_valueString="Li")), f"Patient/{one}"
            ),
            entry(binary(active), "Patient?identifier=urn:test:mrn|b-2"),
            entry(binary(active), "Patient/none"),
            entry(binary(active), f"Patient/{two}", ifMatch='W/"7"'),
            entry(patient(), f"Patient/{two}"),
            entry(binary(active, content_type="application/merge-patch+json"), f"Patient/{two}"),
            {"request": {"method": "PATCH", "url": f"Patient/{two}"}},
            entry({**binary(active), "data": "@"}, f"Patient/{two}"),
            entry(binary({"op": "remove", "path": "/photo"}), f"Patient/{two}"),
        ),
    )
    found = [one["response"]["status"][:3] for one in reply.json["entry"]]
    assert found == ["200", "200", "404", "412", "400", "400", "400", "400", "422"], reply.data
    assert client.get(f"Patient/{one}").json["name"][0]["family"] == "Li"
    assert client.get(f"Patient/{two}").json["active"] is True


@clause("R4/http.html#trules", "PATCH in a transaction: with references to other entries, all or nothing")
def test_transaction(client: FhirClient, stored: Store) -> None:
    id_, other = stored(observation("Patient/1")), stored(identified("t-1"))
    urn = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"
    refer = change("replace", "Observation.subject", value_valueReference={"reference": urn})
    active = {"op": "add", "path": "/active", "value": True}
    sent = bundle(
        "transaction",
        entry(parameters(refer), f"Observation/{id_}"),
        entry(binary(active), "Patient?identifier=urn:test:mrn|t-1"),
        post(patient("New"), urn),
    )
    reply = client.post("", sent, Prefer="return=representation")
    assert reply.status == 200, reply.data
    made = reply.json["entry"]
    assert [one["response"]["etag"] for one in made] == ['W/"2"', 'W/"2"', 'W/"1"']
    assert made[0]["resource"]["subject"]["reference"] == f"Patient/{made[2]['resource']['id']}"
    assert made[1]["resource"]["active"] is True
    failing = {"op": "test", "path": "/active", "value": False}
    reply = client.post(
        "",
        bundle(
            "transaction",
            put(patient("Other", id=other), f"Patient/{other}"),
            entry(binary(failing), f"Observation/{id_}"),
        ),
    )
    assert (reply.status, reply.issue["expression"]) == (422, ["Bundle.entry[1].resource"])
    for url, status in (("Patient/none", 404), ("Patient?identifier=urn:test:mrn|none", 404)):
        assert client.post("", bundle("transaction", entry(binary(active), url))).status == status
    twice = [entry(binary(active), f"Patient/{other}"), entry(binary(active), f"Patient/{other}")]
    assert client.post("", bundle("transaction", *twice)).status == 400
    twice[1] = entry(binary(active), "Patient?identifier=urn:test:mrn|t-1")
    assert client.post("", bundle("transaction", *twice)).status == 400
    assert client.get(f"Patient/{other}").json["meta"]["versionId"] == "2"


@clause("R4/http.html#patch", "bounded: bytes (413), operations (422), what copying may grow to (413)")
def test_bounds(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    many = [{"op": "test", "path": "/id", "value": id_}] * 10_001
    assert client.send("PATCH", f"Patient/{id_}", b"[" + b" " * 9_000_000 + b"]",
                       {"Content-Type": JSON_PATCH}).status == 413  # fmt: skip
    assert patched(client, f"Patient/{id_}", *many).status == 422
    nothing = [change("delete", "Patient.photo")] * 10_001
    assert fhirpath(client, f"Patient/{id_}", *nothing).status == 422
    doubled = [{"op": "add", "path": "/name/0/given", "value": ["Ann" * 1000]}]
    for _ in range(40):
        doubled.append({"op": "copy", "from": "/name/0/given", "path": "/name/0/given/-"})
    reply = patched(client, f"Patient/{id_}", *doubled)
    assert (reply.status, "characters" in reply.issue["diagnostics"]) == (413, True)


@clause("R4/capabilitystatement.html", "patch and its formats are announced as they are routed")
def test_announced(client: FhirClient) -> None:
    statement = client.get("metadata").json
    assert statement["patchFormat"] == FORMATS
    for resource in statement["rest"][0]["resource"]:
        assert {"code": "patch"} in resource["interaction"]
