"""What an interaction came to → status, headers, bytes."""

from __future__ import annotations

import gzip
import random
from typing import Any

import pytest

from fhir_server.interactions.context import Result
from fhir_server.model import json_format
from fhir_server.outcome import Invalid
from fhir_server.rest import response
from fhir_server.rest.preferences import Preferences
from fhir_server.rest.request import Request
from fhir_server.storage.version import Version
from tests.support.clause import clause

BASE = "https://hospital.example/fhir"
CONTENT = '{"active": true, "birthDate": "1970-01-01", "multipleBirthInteger": 2}'
VERSION = Version(1, "Patient", "7", 3, "2026-01-02T03:04:05.678Z", "PUT", CONTENT)
DELETION = Version(1, "Patient", "7", 4, "2026-01-02T03:04:05.678Z", "DELETE", None)


def request(query: str = "", **headers: str) -> Request:
    environ: dict[str, Any] = {"REQUEST_METHOD": "GET", "PATH_INFO": "/fhir/Patient/7", "QUERY_STRING": query}
    environ.update({f"HTTP_{name}": value for name, value in headers.items()})
    return Request(environ)


def read(query: str = "", **headers: str) -> response.Answer:
    return response.of_read(request(query, **headers), Result(200, VERSION), BASE)


@clause("R4/http.html#read", "ETag, Last-Modified; addresses from the configured base, never from Host")
def test_read_headers() -> None:
    answer = read(HOST="evil.example")
    assert answer.status == 200
    assert dict(answer.headers) == {
        "ETag": 'W/"3"',
        "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT",
        "Content-Location": f"{BASE}/Patient/7/_history/3",
    }
    assert answer.body == VERSION.text().encode()


@clause("R4/http.html#cread", "If-None-Match and If-Modified-Since: 304 when the client has this state")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"IF_NONE_MATCH": 'W/"3"'}, 304),
        ({"IF_NONE_MATCH": '"3"'}, 304),
        ({"IF_NONE_MATCH": 'W/"1", W/"3"'}, 304),
        ({"IF_NONE_MATCH": "*"}, 304),
        ({"IF_NONE_MATCH": 'W/"2"'}, 200),
        ({"IF_MODIFIED_SINCE": "Fri, 02 Jan 2026 03:04:05 GMT"}, 304),
        ({"IF_MODIFIED_SINCE": "Fri, 02 Jan 2026 03:04:06 GMT"}, 304),
        ({"IF_MODIFIED_SINCE": "Fri, 02 Jan 2026 03:04:04 GMT"}, 200),
        ({"IF_MODIFIED_SINCE": "yesterday"}, 200),
        ({"IF_NONE_MATCH": 'W/"2"', "IF_MODIFIED_SINCE": "Fri, 02 Jan 2026 03:04:06 GMT"}, 200),
    ],
)
def test_conditional_read(headers: dict[str, str], status: int) -> None:
    answer = read(**headers)
    assert answer.status == status
    assert ("ETag", 'W/"3"') in answer.headers
    assert bool(answer.body) is (status == 200)


@clause("R4/search.html#summary", "_summary and _elements on a read give a SUBSETTED part")
@pytest.mark.parametrize(
    ("query", "has", "tagged"),
    [
        ("_elements=birthDate", {"birthDate", "active"}, True),
        ("_summary=true", {"birthDate", "active"}, True),
        ("_summary=false", {"birthDate", "active", "multipleBirthInteger"}, False),
        ("_summary=data", {"birthDate", "active", "multipleBirthInteger"}, True),
        ("_pretty=true", {"birthDate", "active", "multipleBirthInteger"}, False),
    ],
)
def test_subsets(query: str, has: set[str], tagged: bool) -> None:
    resource = json_format.parse(read(query).body)
    assert has <= resource.keys()
    assert ("SUBSETTED" in str(resource["meta"])) is tagged
    assert ("multipleBirthInteger" in resource) is ("multipleBirthInteger" in has)


@pytest.mark.parametrize("query", ["_summary=count", "_summary=maybe"])
def test_impossible_summaries(query: str) -> None:
    with pytest.raises(Invalid):
        read(query)


@clause("R4/http.html#create", "201 with Location of the version; the body as Prefer asks")
@pytest.mark.parametrize(
    ("status", "returns", "by_post", "location", "body"),
    [
        (201, None, True, True, "Patient"),
        (201, "representation", False, True, "Patient"),
        (201, "minimal", True, True, None),
        (200, "OperationOutcome", False, False, "OperationOutcome"),
        (200, None, True, True, "Patient"),
        (200, None, False, False, "Patient"),
    ],
)
def test_writes(status: int, returns: str | None, by_post: bool, location: bool, body: str | None) -> None:
    answer = response.of_write(
        request(""), Result(status, VERSION), Preferences(returns), BASE, created_by_post=by_post
    )
    headers = dict(answer.headers)
    assert answer.status == status
    assert headers["ETag"] == 'W/"3"'
    assert headers.get("Location") == (f"{BASE}/Patient/7/_history/3" if location else None)
    assert (json_format.parse(answer.body)["resourceType"] if answer.body else None) == body


@clause("R4/http.html#delete", "204 with the ETag of the deletion, or 200 with an OperationOutcome")
def test_delete() -> None:
    answer = response.of_delete(Result(204, DELETION), Preferences())
    assert (answer.status, answer.body, dict(answer.headers)["ETag"]) == (204, b"", 'W/"4"')
    told = response.of_delete(Result(204, None), Preferences("OperationOutcome"))
    assert (told.status, b"nothing to delete" in told.body) == (200, True)


def test_pretty_keeps_every_digit() -> None:
    assert response.pretty(b'{"a":1.50,"b":1.0e2}') == b'{\n  "a": 1.50,\n  "b": 1.0e2\n}'


@clause("RFC 9110 8.4", "gzip when asked, above 1 kB, and when it is worth it")
def test_compression() -> None:
    large = b'{"resourceType":"Patient"}' * 100
    packed = response.compressed(large, "br, gzip")
    assert packed is not None
    assert gzip.decompress(packed) == large
    assert response.compressed(large, "gzip;q=0") is None
    assert response.compressed(large, "identity") is None
    assert response.compressed(large[:1023], "gzip") is None
    assert response.compressed(random.Random(7).randbytes(4000), "gzip") is None
