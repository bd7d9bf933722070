"""Binary in its own media type (R4/binary.html): small and large, whole and in parts."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from fhir_server.config import Config
from fhir_server.database.contents import PIECE_BYTES
from fhir_server.database.engine import Engine, Mode
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.context import Settings
from fhir_server.interactions.entry import Entry
from fhir_server.model import xml_format
from fhir_server.rest import binary
from fhir_server.rest.binary import INLINE_BYTES
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import BUILT, Installation
from tests.support.builders import bundle
from tests.support.clause import clause
from tests.support.clock import FixedClock
from tests.support.http import FhirClient, Reply

PDF = "application/pdf"
SMALL = b"%PDF-1.7 \x00\xff small"
FHIR_JSON, FHIR_XML = "application/fhir+json", "application/fhir+xml"
MOST_BYTES = 16_000_000


def content(size: int) -> bytes:
    block = bytes(range(251)) * 40
    return (block * (size // len(block) + 1))[:size]


LARGE = content(3 * PIECE_BYTES + 12_345)


@pytest.fixture
def here(fresh_database_url: str, clock: FixedClock) -> Iterator[Installation]:
    engine = Engine(fresh_database_url, size=3)
    settings = Settings(base_urls=("http://127.0.0.1/fhir",))
    config = Config(max_body_bytes=6_000_000, max_binary_bytes=MOST_BYTES)
    yield Installation(Entry(engine, settings, clock), config, Capabilities(settings, BUILT, clock()))
    engine.close()


@pytest.fixture
def client(here: Installation) -> FhirClient:
    return FhirClient(Door(here).wsgi)


def rows(here: Installation, sql: str) -> list[tuple[Any, ...]]:
    with here.entry.engine.connection(Mode.SINGLE) as connection:
        cursor = connection.cursor()
        cursor.execute(sql)
        return list(cursor.fetchall()) if cursor.description is not None else []


def put(client: FhirClient, id_: str, data: bytes, media_type: str = PDF, **headers: str) -> Reply:
    sent = {"Content-Type": media_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return client.send("PUT", f"Binary/{id_}", data, sent)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@clause(
    "R4/binary.html#rest", "a body of another type is the content; it comes back as it was, or as a resource"
)
def test_there_and_back(client: FhirClient, data: bytes) -> None:
    made = client.send("POST", "Binary", data, {"Content-Type": PDF, "X-Security-Context": "Patient/7"})
    assert made.status == 201, made.data
    address = f"Binary/{made.json['id']}"
    assert made.headers["Location"].endswith(f"/{address}/_history/1")
    assert "X-Warnings" not in made.headers
    for accept in ({}, {"Accept": "*/*"}, {"Accept": PDF}, {"Accept": "application/*"}):
        raw = client.send("GET", address, headers=accept)
        assert (raw.status, raw.data == data, raw.headers["Content-Type"]) == (200, True, PDF), accept
        assert raw.headers["X-Security-Context"] == "Patient/7"
        assert raw.headers["ETag"] == 'W/"1"'
        assert "sandbox" in raw.headers["Content-Security-Policy"]
        assert raw.headers["Content-Disposition"] == "attachment"
        assert int(raw.headers["Content-Length"]) == len(data)
    resource = client.get(address, Accept=FHIR_JSON)
    assert resource.headers["Content-Type"].startswith(FHIR_JSON)
    assert int(resource.headers["Content-Length"]) == len(resource.data)
    told = json.loads(resource.data)
    assert base64.b64decode(told["data"]) == data
    assert told["securityContext"] == {"reference": "Patient/7"}
    assert "_data" not in told
    written = client.get(f"{address}?_format=xml")
    assert base64.b64decode(xml_format.parse(written.data)["data"]) == data
    pretty = json.loads(client.get(f"{address}?_pretty=true&_format=json").data)
    assert pretty == told
    version = client.get(f"{address}/_history/1", Accept=PDF)
    assert version.data == data
    head = client.send("HEAD", address)
    assert (head.status, head.data, int(head.headers["Content-Length"])) == (200, b"", len(data))
    assert client.get(address, If_None_Match='W/"1"').status == 304


@clause(
    "R4/binary.html#rest",
    "which of the two: a FHIR type by name, the type of the content, or the better weight",
)
def test_negotiation(client: FhirClient) -> None:
    assert put(client, "n", SMALL).status == 201
    expected = {
        FHIR_JSON: FHIR_JSON, "application/json": "application/json", FHIR_XML: FHIR_XML,
        f"{PDF};q=0.5, {FHIR_JSON}": FHIR_JSON, f"{PDF}, {FHIR_JSON};q=0.5": PDF, f"{FHIR_JSON}, {PDF}": PDF,
        f"{FHIR_JSON}, */*;q=0.1": FHIR_JSON, "text/html, application/xml;q=0.9, */*;q=0.8": PDF,
    }  # fmt: skip
    for accept, media_type in expected.items():
        reply = client.get("Binary/n", Accept=accept)
        assert (reply.status, reply.headers["Content-Type"].partition(";")[0]) == (200, media_type), accept
    refused = client.get("Binary/n", Accept="image/png")
    assert (refused.status, refused.issue["code"]) == (406, "not-supported")
    assert client.get("Binary/n?_format=json", Accept=PDF).json["resourceType"] == "Binary"
    assert client.get("Binary/nobody", Accept=PDF).issue["code"] == "not-found"


@clause("R4/binary.html#rest", "a resource is a resource; XML and JSON that are none are contents")
def test_what_is_a_resource(client: FhirClient) -> None:
    data = base64.b64encode(SMALL).decode()
    sent = {"resourceType": "Binary", "id": "r", "contentType": PDF, "data": data}
    for media_type in (FHIR_JSON, "application/json"):
        assert put(client, "r", json.dumps(sent).encode(), media_type).status in (200, 201)
        assert client.get("Binary/r", Accept=PDF).data == SMALL
    xml = xml_format.encode(sent)
    for media_type in (FHIR_XML, "text/xml", "application/xml"):
        assert put(client, "r", xml, media_type).status == 200
        assert client.get("Binary/r", Accept=PDF).data == SMALL
    document = b'<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3"/>'
    assert put(client, "cda", document, "text/xml; charset=utf-8").status == 201
    reply = client.send("GET", "Binary/cda")
    assert (reply.data, reply.headers["Content-Type"]) == (document, "text/xml; charset=utf-8")
    assert put(client, "j", b'{"a": 1}', "application/json").status == 201
    assert client.send("GET", "Binary/j").data == b'{"a": 1}'
    assert put(client, "wrong", b'{"resourceType": "Patient"}', FHIR_JSON).status == 400
    assert client.send("POST", "Binary", SMALL, {"Content-Type": ""}).status == 415
    assert put(client, "empty", b"").status == 400


@clause("R4/binary.html", "each version has its own content; one that is the same makes no version")
def test_versions(client: FhirClient, here: Installation) -> None:
    other = LARGE[:-1] + b"x"
    assert put(client, "v", LARGE).headers["ETag"] == 'W/"1"'
    assert put(client, "v", LARGE).headers["ETag"] == 'W/"1"'
    assert put(client, "v", other, If_Match='W/"1"').headers["ETag"] == 'W/"2"'
    assert put(client, "v", LARGE, If_Match='W/"1"').status == 412
    assert put(client, "v", SMALL).headers["ETag"] == 'W/"3"'
    got = [client.get(f"Binary/v/_history/{version}", Accept=PDF).data for version in (1, 2, 3)]
    assert got == [LARGE, other, SMALL]
    assert client.delete("Binary/v").status == 204
    assert client.get("Binary/v", Accept=PDF).status == 410
    assert client.get("Binary/v/_history/2", Accept=PDF).data == other
    assert rows(here, "SELECT count(*) FROM binary_content") == [(2,)]
    rows(here, "DELETE FROM resource_version WHERE version = 1")
    assert client.get("Binary/v/_history/2", Accept=PDF).data == other
    rows(here, "DELETE FROM resource_version")  # as $expunge does
    assert rows(here, "SELECT (SELECT count(*) FROM content), (SELECT count(*) FROM binary_content)") == [
        (0, 0)
    ]


@clause(
    "R4/binary.html",
    "in Bundles a large content is described by size and hash, and kept by who sends that back",
)
def test_in_bundles(client: FhirClient, here: Installation) -> None:
    assert put(client, "b", LARGE).status == 201
    found = client.get("Binary?_id=b").json["entry"][0]["resource"]
    assert "data" not in found
    said = found["_data"]["extension"][0]["valueString"]
    assert said == f"sha256:{hashlib.sha256(LARGE).hexdigest()};size={len(LARGE)}"
    changed = {**found, "contentType": "application/x-changed"}
    assert client.put("Binary/b", changed).status == 200
    operations = [{"op": "replace", "path": "/contentType", "value": "application/x-patched"}]
    patched = client.send(
        "PATCH", "Binary/b", json.dumps(operations).encode(), {"Content-Type": "application/json-patch+json"}
    )
    assert patched.status == 200
    raw = client.send("GET", "Binary/b")
    assert (raw.data == LARGE, raw.headers["Content-Type"]) == (True, "application/x-patched")
    entry = {"resource": {**found, "id": "thief"}, "request": {"method": "PUT", "url": "Binary/thief"}}
    for reply in (
        client.put("Binary/thief", {**found, "id": "thief"}),
        client.post("", bundle("transaction", entry)),
    ):
        assert reply.status == 422
        assert "describes data" in reply.issue["diagnostics"]
    assert client.get("Binary/thief").status == 404
    assert rows(here, "SELECT count(DISTINCT content), count(*) FROM binary_content") == [(1, 3)]


@clause("RFC9110#14", "parts of a content, small and large")
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_ranges(client: FhirClient, data: bytes) -> None:
    put(client, "p", data)
    for header, part in (("bytes=2-9", data[2:10]), ("bytes=-5", data[-5:]), ("bytes=4-", data[4:])):
        reply = client.get("Binary/p", Accept=PDF, Range=header, Accept_Encoding="gzip")
        assert (reply.status, reply.data == part) == (206, True)
        assert reply.headers["Content-Range"].endswith(f"/{len(data)}")
    beyond = client.get("Binary/p", Accept=PDF, Range=f"bytes={len(data)}-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{len(data)}")
    across = client.get("Binary/p", Accept=PDF, Range=f"bytes={PIECE_BYTES - 3}-{PIECE_BYTES + 3}")
    assert across.data == data[PIECE_BYTES - 3 : PIECE_BYTES + 4] or across.status == 416


@clause("R4/http.html#Status-Codes", "a content that is too long: 413, and nothing of it stays")
def test_too_large(client: FhirClient, here: Installation) -> None:
    assert put(client, "l", content(MOST_BYTES + 1)).status == 413
    stream = {
        "input_stream": io.BytesIO(content(MOST_BYTES + 1)),
        "environ_overrides": {"CONTENT_LENGTH": None, "HTTP_TRANSFER_ENCODING": "chunked"},
    }
    reply = client.send("PUT", "Binary/l", None, {"Content-Type": PDF}, **stream)
    assert (reply.status, "max_binary_bytes" in reply.issue["diagnostics"]) == (413, True)
    bomb = gzip.compress(bytes(MOST_BYTES * 4))
    assert put(client, "l", bomb, Content_Encoding="gzip").status == 413
    assert put(client, "l", gzip.compress(LARGE)[:-20], Content_Encoding="gzip").status == 400
    assert rows(here, "SELECT (SELECT count(*) FROM content), (SELECT count(*) FROM content_piece)") == [
        (0, 0)
    ]
    assert put(client, "l", gzip.compress(LARGE), Content_Encoding="gzip").status == 201
    assert client.get("Binary/l", Accept=PDF).data == LARGE


@clause("R4/binary.html", "memory does not grow with the content, in and out")
def test_memory(client: FhirClient, here: Installation) -> None:
    put(client, "m", SMALL)
    sent = content(MOST_BYTES)
    stream = io.BytesIO(sent)
    more = {"input_stream": stream, "environ_overrides": {"CONTENT_LENGTH": str(MOST_BYTES)}}
    tracemalloc.start()
    try:
        assert client.send("PUT", "Binary/m", None, {"Content-Type": PDF}, **more).status == 200
        _, peak_in = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        asked = {"REQUEST_METHOD": "GET", "PATH_INFO": "/fhir/Binary/m", "HTTP_ACCEPT": FHIR_JSON}
        made = Door(here).answer(asked)
        assert made.stream is not None
        size_bytes = sum(len(piece) for piece in made.stream)
        _, peak_out = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size_bytes == made.size_bytes > MOST_BYTES
    # a piece on its way, and as Postgres is sent it: two characters a byte, twice
    assert peak_in < 8 * PIECE_BYTES
    assert peak_out - before < 8 * PIECE_BYTES


@clause("R4/datatypes.html#Attachment", "large attachments inside a resource, as far as the body's limit")
def test_attachments(client: FhirClient) -> None:
    data = base64.b64encode(content(3_000_000)).decode()
    document = {
        "resourceType": "DocumentReference", "status": "current",
        "content": [{"attachment": {"contentType": PDF, "data": data}}],
    }  # fmt: skip
    made = client.post("DocumentReference", document, Prefer="return=minimal")
    assert made.status == 201, made.data[:300]
    location = made.headers["Location"].partition("/fhir/")[2]
    assert client.get(location).json["content"][0]["attachment"]["data"] == data
    again = json.loads(json.dumps(document))
    again["content"][0]["attachment"]["data"] = base64.b64encode(content(4_600_000)).decode()
    assert client.post("DocumentReference", again).status == 413


@clause("R4/binary.html#rest", "what does not fit a header is left out of it")
def test_odd_headers(client: FhirClient) -> None:
    odd = {"resourceType": "Binary", "id": "o", "contentType": PDF, "data": "AAAA"}
    odd["securityContext"] = {"reference": "Patient/7", "display": "x"}
    assert client.put("Binary/o", odd).status == 201
    assert client.get("Binary/o", Accept=PDF).headers["X-Security-Context"] == "Patient/7"
    odd["securityContext"] = {"identifier": {"value": "ü"}}
    assert client.put("Binary/o", odd).status == 200
    assert "X-Security-Context" not in client.get("Binary/o", Accept=PDF).headers
    assert not binary._fits_header("a\r\nb")
    assert not binary._fits_header("ü")
    assert (
        client.send("PUT", "Binary/o", SMALL, {"Content-Type": PDF, "X-Security-Context": ""}).status == 400
    )


def test_inline_up_to(client: FhirClient, here: Installation) -> None:
    put(client, "i", content(INLINE_BYTES))
    assert rows(here, "SELECT count(*) FROM content") == [(0,)]
    put(client, "i", content(INLINE_BYTES + 1))
    assert rows(here, "SELECT count(*) FROM content") == [(1,)]
    assert client.get("Binary/i", Accept=PDF).data == content(INLINE_BYTES + 1)
