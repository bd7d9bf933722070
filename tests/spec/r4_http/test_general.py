"""What holds for every address: methods, encodings, HEAD, bounds (R4/http.html#general)."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from fhir_server.config import Config
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.entry import Entry
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import BUILT, Installation
from tests.spec.r4_http.conftest import LIMIT_BYTES
from tests.support.builders import patient
from tests.support.clause import clause
from tests.support.http import FhirClient

Store = Callable[[dict[str, Any]], str]
PACKED = {"Content-Encoding": "gzip", "Content-Type": "application/fhir+json"}
ANN = b'{"resourceType":"Patient","active":true}'


@clause("R4/http.html#general", "every GET has a HEAD: the same status and headers, no body")
def test_head(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient("Head"))
    paths = (
        f"Patient/{id_}", f"Patient/{id_}/_history/1", f"Patient/{id_}/_history", "Patient/_history?_count=1",
        f"Patient?_id={id_}", f"?_type=Patient&_id={id_}", f"Patient/{id_}/*", "metadata",
        f"Patient/{id_}/$validate", "Patient/nobody", "Nonsense", "Patient?colour=red",
    )  # fmt: skip
    for path in paths:
        whole, head = client.get(path), client.send("HEAD", path)
        assert (head.status, head.data) == (whole.status, b""), path
        for name in ("Content-Type", "Content-Length", "ETag", "Last-Modified"):
            assert head.headers.get(name) == whole.headers.get(name), (path, name)


@clause(
    "R4/http.html#general", "a method is what the request line says; headers and parameters do not change it"
)
@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_no_method_override(client: FhirClient, stored: Store, header: str) -> None:
    id_ = stored(patient("Override"))
    assert client.send("GET", f"Patient/{id_}", headers={header: "DELETE"}).json["id"] == id_
    assert client.send("POST", "Patient", patient(), headers={header: "PUT"}).status == 201
    assert client.post(f"Patient/{id_}?_method=DELETE", patient()).status == 405
    assert client.get(f"Patient/{id_}").status == 200


@clause("R4/http.html#general", "a slash at the end and escapes in the path change nothing")
@pytest.mark.parametrize(
    "path", ["Patient/{}/", "P%61tient/{}", "Patient/{}/_history/1/", "Patient/{}/%5Fhistory/1"]
)
def test_spellings(client: FhirClient, stored: Store, path: str) -> None:
    id_ = stored(patient("Spelling"))
    assert client.get(path.format(id_)).json["id"] == id_


@clause(
    "R4/http.html#general",
    "OPTIONS tells what an address takes; an operation that changes something POST alone",
)
@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("Patient/7", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        ("Patient/$validate", "GET, HEAD, POST, OPTIONS"),
        ("ImplementationGuide/$install", "POST, OPTIONS"),
    ],
)
def test_options(client: FhirClient, path: str, allow: str) -> None:
    reply = client.send("OPTIONS", path)
    assert (reply.status, reply.headers["Allow"]) == (204, allow)
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    preflight = client.send("OPTIONS", path, headers=asked)
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert preflight.headers["Access-Control-Allow-Methods"] == allow
    assert {"Prefer", "Range", "X-Security-Context"} <= set(
        preflight.headers["Access-Control-Allow-Headers"].split(", ")
    )


@clause("R4/http.html#general", "OPTIONS of what is not there: 404")
@pytest.mark.parametrize("path", ["Nonsense", "Patient/$nonsense", "Patient/7/8/9/10"])
def test_options_of_nothing(client: FhirClient, path: str) -> None:
    assert client.send("OPTIONS", path).status == 404


@clause("RFC 9110 8.4", "gzip may have several members; one that is packed small and is large: 413")
def test_gzip_bodies(client: FhirClient) -> None:
    halves = gzip.compress(ANN[:20]) + gzip.compress(ANN[20:])
    assert client.send("POST", "Patient", halves, PACKED).status == 201
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 60_000
    for sent in (
        gzip.compress(b" " * (LIMIT_BYTES + 1)),
        gzip.compress(b"{" + b" " * LIMIT_BYTES) + bomb[:1000],
    ):
        reply = client.send("POST", "Patient", sent, PACKED)
        assert reply.status == 413
        assert "once unpacked" in reply.issue["diagnostics"]
    many = client.send("POST", "Patient", gzip.compress(b"") * 200, PACKED)
    assert (many.status, "members" in many.issue["diagnostics"]) == (400, True)
    assert client.send("POST", "Patient", gzip.compress(ANN)[:-9], PACKED).status == 400


@clause("RFC 9110 15.5.16", "another Content-Encoding: 415 with what works")
@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
def test_other_encodings(client: FhirClient, encoding: str) -> None:
    reply = client.send("POST", "Patient", zlib.compress(ANN), {**PACKED, "Content-Encoding": encoding})
    assert (reply.status, reply.headers["Accept-Encoding"]) == (415, "gzip")


@clause("R4/search.html", "the values of one search are bounded, and so is its form")
def test_bounded_searches(entry: Entry) -> None:
    capabilities = Capabilities(entry.settings, BUILT, entry.clock())
    client = FhirClient(Door(Installation(entry, Config(), capabilities)).wsgi)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for name in ("birthdate", "name", "_id"):
        values = ",".join(f"{1000 + number}" for number in range(5_001))
        reply = client.send("POST", "Patient/_search", f"{name}={values}".encode(), form)
        assert reply.status == 400, name
        assert "5000 values" in reply.issue["diagnostics"]
    reply = client.send("POST", "Patient/_search", b"name=" + b"a" * 1_100_000, form)
    assert reply.status == 413
    assert "max_form_bytes" in reply.issue["diagnostics"]
    reply = client.get("Patient?" + "&".join(["name=a"] * 501))
    assert (reply.status, "500 parameters" in reply.issue["diagnostics"]) == (400, True)


@clause("R4/http.html#Status-Codes", "deep JSON is bounded wherever it is sent")
def test_deep_bodies(client: FhirClient) -> None:
    deep = b'{"resourceType":"Patient","extension":[' + b'{"extension":[' * 100 + b"]}" * 100 + b"]}"
    for path in ("Patient", "Patient/$validate"):
        reply = client.post(path, deep)
        assert reply.status == 400
        assert "64 levels" in reply.issue["diagnostics"]
    stream = {
        "input_stream": io.BytesIO(b"[" * 1_000_000),
        "environ_overrides": {"CONTENT_LENGTH": None, "HTTP_TRANSFER_ENCODING": "chunked"},
    }
    reply = client.send("POST", "Patient", None, {"Content-Type": "application/fhir+json"}, **stream)
    assert reply.status == 413
