"""XML at the door: asked for by Accept or _format, sent as a body, refused in kind (R4/xml.html)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from fhir_server.model import json_format, xml_format
from tests.support.builders import bundle, observation, patient, post
from tests.support.clause import clause
from tests.support.http import FHIR_JSON, FhirClient, Reply
from tests.support.server import Server
from tests.support.wire import exchange, request

Store = Callable[[dict[str, Any]], str]

FHIR_XML = "application/fhir+xml"
XML = f"{FHIR_XML}; charset=utf-8"
BASE = "http://127.0.0.1/fhir"
SENT = {"Content-Type": FHIR_XML}
BOTH = {"Content-Type": FHIR_XML, "Accept": FHIR_XML}
LI = (
    b'<Patient xmlns="http://hl7.org/fhir"><id value="li"/><name><family value="Li"/></name>'
    b'<multipleBirthInteger value="2"/></Patient>'
)


def content(reply: Reply, status: int = 200, media_type: str = XML) -> dict[str, Any]:
    assert (reply.status, reply.headers["Content-Type"]) == (status, media_type), reply.data
    assert reply.headers["Content-Length"] == str(len(reply.data))
    return xml_format.parse(reply.data)


@clause("R4/http.html#mime-type", "Accept: XML where it is wanted most, under the name that was used")
@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        (FHIR_XML, XML),
        ("application/xml", "application/xml; charset=utf-8"),
        ("text/xml", "text/xml; charset=utf-8"),
        (f"{FHIR_JSON};q=0.5, {FHIR_XML};q=0.6", XML),
        (f"{FHIR_XML}; fhirVersion=4.0", f"{FHIR_XML}; fhirVersion=4.0; charset=utf-8"),
    ],
)
def test_accept(client: FhirClient, stored: Store, accept: str, answered: str) -> None:
    id_ = stored(patient())
    plain, reply = client.get(f"Patient/{id_}"), client.get(f"Patient/{id_}", Accept=accept)
    assert content(reply, media_type=answered) == plain.json
    for name in ("ETag", "Last-Modified", "Content-Location", "Vary"):
        assert reply.headers[name] == plain.headers[name]


@clause("R4/http.html#parameters", "_format=xml and its longer names override Accept")
@pytest.mark.parametrize("name", ["xml", FHIR_XML, quote(FHIR_XML, safe="")])
def test_format(client: FhirClient, stored: Store, name: str) -> None:
    address = f"Patient/{stored(patient())}"
    asked = client.get(f"{address}?_format={name}", Accept=FHIR_JSON)
    assert content(asked) == client.get(address).json
    back = client.get(f"{address}?_format=json", Accept=FHIR_XML)
    assert back.headers["Content-Type"] == "application/fhir+json; charset=utf-8"


@clause("R4/http.html#parameters", "_pretty indents XML, too")
def test_pretty(client: FhirClient, stored: Store) -> None:
    reply = client.get(f"Patient/{stored(patient())}?_format=xml&_pretty=true")
    assert b'\n  <name>\n    <family value="Chalmers"/>' in reply.data
    assert content(reply)["name"] == patient()["name"]


@clause("R4/http.html#create", "a body of XML is stored as the same resource; the answer is as Accept says")
@pytest.mark.parametrize("name", [FHIR_XML, "application/xml", "text/xml", f"{FHIR_XML}; charset=UTF-8"])
def test_create(client: FhirClient, name: str) -> None:
    reply = client.send("POST", "Patient", LI, {"Content-Type": name})
    assert reply.status == 201
    assert reply.headers["Content-Type"] == "application/fhir+json; charset=utf-8"
    assert (reply.json["name"], reply.json["multipleBirthInteger"]) == ([{"family": "Li"}], 2)
    made = content(client.send("POST", "Patient", LI, {"Content-Type": name, "Accept": FHIR_XML}), 201)
    assert content(client.get(f"Patient/{made['id']}", Accept=FHIR_XML)) == made


@clause("R4/http.html#update", "PUT of XML: ETag and Location as ever, 400 where the id is another")
def test_update(client: FhirClient) -> None:
    reply = client.send("PUT", "Patient/li", LI, BOTH)
    assert (content(reply, 201)["id"], reply.headers["ETag"]) == ("li", 'W/"1"')
    assert reply.headers["Location"] == f"{BASE}/Patient/li/_history/1"
    again = client.send("PUT", "Patient/li", LI.replace(b'"Li"', b'"Lee"'), {**BOTH, "If-Match": 'W/"1"'})
    assert content(again)["meta"]["versionId"] == "2"
    wrong = content(client.send("PUT", "Patient/lo", LI, BOTH), 400)
    assert "the URL says" in wrong["issue"][0]["diagnostics"]
    same = client.get("Patient/li", Accept=FHIR_XML, If_None_Match='W/"2"')
    assert (same.status, same.data) == (304, b"")


@clause("R4/http.html#ops", "Prefer: minimal has no body, OperationOutcome is XML")
def test_prefer(client: FhirClient) -> None:
    minimal = client.send("POST", "Patient", LI, {**BOTH, "Prefer": "return=minimal"})
    assert (minimal.status, minimal.data) == (201, b"")
    told = content(client.send("POST", "Patient", LI, {**BOTH, "Prefer": "return=OperationOutcome"}), 201)
    assert told["resourceType"] == "OperationOutcome"


@clause("R4/bundle.html", "searchset and history as XML hold what they hold as JSON")
def test_bundles(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient("Xmlson"))
    stored(observation(f"Patient/{id_}", value='72 < 80 & "so"\non'))
    for address in (
        "Patient?family=Xmlson",
        "Patient?family=Nobody-of-this-name",
        f"Observation?subject=Patient/{id_}&_include=Observation:subject",
        f"Patient/{id_}/_history",
        "Patient?family=Xmlson&_summary=true",
        "Patient?family=Xmlson&_summary=count",
    ):
        plain, found = client.get(address).json, content(client.get(address, Accept=FHIR_XML))
        assert found["type"] in ("searchset", "history")
        assert found == plain


@clause("R4/http.html#transaction", "a transaction sent as XML, answered as XML")
def test_transaction(client: FhirClient) -> None:
    urn = "urn:uuid:0b8e1b7e-0000-4000-8000-00000000aaaa"
    sent = xml_format.encode(
        bundle("transaction", post(patient("Tee"), urn), post(observation(urn))), pretty=True
    )
    answer = content(client.send("POST", "", sent, BOTH))
    assert answer["type"] == "transaction-response"
    assert [entry["response"]["status"] for entry in answer["entry"]] == ["201 Created"] * 2
    whole = content(client.send("POST", "", sent, {**BOTH, "Prefer": "return=representation"}))
    assert whole["entry"][1]["resource"]["subject"]["reference"].startswith("Patient/")


@clause("R4/operations.html", "operations take parameters and resources as XML and answer so")
def test_operation(client: FhirClient) -> None:
    wrong = LI.replace(b"<multiple", b'<gender value="femal"/><multiple')
    told = content(client.send("POST", "Patient/$validate", wrong, BOTH))
    assert [issue["expression"] for issue in told["issue"] if issue["severity"] == "error"] == [
        ["Patient.gender"]
    ]
    inside = {
        "resourceType": "Parameters",
        "parameter": [{"name": "resource", "resource": xml_format.parse(wrong)}],
    }
    also = content(client.send("POST", "Patient/$validate", xml_format.encode(inside), BOTH))
    assert "Patient.gender" in also["issue"][0]["expression"][0]
    assert also["issue"][0]["extension"][1]["valueInteger"] > 100


@clause("R4/http.html#capabilities", "the CapabilityStatement tells of XML, in XML")
def test_capabilities(client: FhirClient) -> None:
    statement = content(client.get("metadata", Accept=FHIR_XML))
    assert statement["format"] == ["application/fhir+json", "json", "application/fhir+xml", "xml"]
    assert statement == client.get("metadata").json


@clause("R4/http.html#Status-Codes", "whatever is refused is refused in the format that the client takes")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "Patient/unknown", 404),
        ("GET", "Nonsense/7", 404),
        ("GET", "Patient?nmae=x", 400),
        ("PATCH", "metadata", 405),
        ("GET", "Patient?name=%ff", 400),
        ("GET", "Patient?name=%00%01", 400),
    ],
)
def test_refusals_are_xml(client: FhirClient, method: str, path: str, status: int) -> None:
    outcome = content(client.send(method, path, headers={"Accept": FHIR_XML}), status)
    assert outcome["issue"][0]["severity"] == "error"
    assert client.send(method, path).headers["Content-Type"].startswith(FHIR_JSON)


@clause("R4/http.html#mime-type", "406 and 415 as before: Turtle, other charsets, other versions of FHIR")
def test_not_ours(client: FhirClient) -> None:
    assert client.get("Patient/7", Accept=f"{FHIR_XML}; fhirVersion=5.0").status == 406
    assert client.get("Patient/7", Accept=f"{FHIR_XML};q=0").status == 406
    for name in (f"{FHIR_XML}; charset=utf-16", f"{FHIR_XML}; fhirVersion=3.0", "application/xhtml+xml"):
        reply = client.send("POST", "Patient", LI, {"Content-Type": name, "Accept": FHIR_XML})
        content(reply, 415)


@clause("R4/xml.html", "what cannot be read: 400 with line and column, and the nearest name")
def test_line_and_column(client: FhirClient) -> None:
    body = b'<Patient xmlns="http://hl7.org/fhir">\n  <brithDate value="1970"/>\n</Patient>'
    issue = content(client.send("POST", "Patient", body, BOTH), 400)["issue"][0]
    assert (
        "line 2, column 3: <brithDate> is no element of Patient; did you mean <birthDate>?"
        in issue["diagnostics"]
    )
    assert [extension["valueInteger"] for extension in issue["extension"]] == [2, 3]
    invalid = body.replace(b"<brithDate", b"<birthDate").replace(b"1970", b"1970-02-30")
    issue = content(client.send("POST", "Patient", invalid, BOTH), 400)["issue"][0]
    assert issue["expression"] == ["Patient.birthDate"]
    assert [extension["valueInteger"] for extension in issue["extension"]] == [2, 3]
    assert content(client.send("POST", "Patient", b"", BOTH), 400)["issue"][0]["diagnostics"].startswith(
        "the body is"
    )


@clause(
    "R4/xml.html",
    "what XML has no spelling for: 406 where it was asked for, never something else in its place",
)
def test_what_xml_cannot_hold(client: FhirClient) -> None:
    """A control character: JSON holds it, XML 1.0 does not."""
    odd = patient("a\x01b", id="odd")
    made = client.send("PUT", "Patient/odd", odd, {"Accept": FHIR_XML})
    if made.status == 400:
        pytest.skip("validation refuses control characters")
    assert content(made, 201)["resourceType"] == "OperationOutcome"
    assert made.headers["ETag"] == 'W/"1"'
    assert "U+0001" in content(client.get("Patient/odd", Accept=FHIR_XML), 406)["issue"][0]["diagnostics"]
    assert client.get("Patient/odd").json["name"] == odd["name"]


HOSTILE = {
    "laughs": b'<!DOCTYPE x [<!ENTITY a "haha"><!ENTITY b "&a;&a;">]>' + LI,
    "file": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Patient>&a;</Patient>',
    "deep": b'<Patient xmlns="http://hl7.org/fhir">' + b"<contact>" * 30_000,
    "deeper": b'<Patient xmlns="http://hl7.org/fhir">' + b'<extension url="u">' * 15_000,
    "attribute": LI.replace(b"</Patient>", b"<x a='%s'/></Patient>" % (b"x" * 300_000)),
    "namespace": LI.replace(b"hl7.org/fhir", b"example.org/fhir"),
    "two roots": LI + LI,
    "no UTF-8": LI.replace(b"Li", b"L\xff"),
    "no XML": b"\x00\x01\x02",
    "JSON": json_format.encode(patient()),
}


@clause("R4/security.html", "hostile XML: 400 with an OperationOutcome, at once, and the server goes on")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(running: Server, name: str) -> None:
    started = time.monotonic()
    sent = request("POST", "/fhir/Patient", BOTH, HOSTILE[name])
    reply = exchange(running.facts["port"], sent)
    assert time.monotonic() - started < 5
    assert content(reply, 400)["issue"][0]["severity"] == "error"
    assert b"root:" not in reply.data
    assert len(reply.data) < 20_000
    plain = exchange(running.facts["port"], request("POST", "/fhir/Patient", SENT, HOSTILE[name]))
    assert (plain.status, plain.json["resourceType"]) == (400, "OperationOutcome")
