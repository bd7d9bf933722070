"""Request bytes → resource or form."""

from __future__ import annotations

import gzip
import io
from typing import Any

import pytest

from fhir_server.config import Config
from fhir_server.outcome import FhirError, TooLarge
from fhir_server.rest import body
from fhir_server.rest.request import Request
from tests.support.clause import clause

LIMIT = 1000
CONFIG = Config(max_body_bytes=LIMIT)
PATIENT = b'{"resourceType":"Patient","id":"7","multipleBirthInteger":2}'


class CountingStream(io.BytesIO):
    """A stream that knows how much was taken from it."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(size)
        self.taken += len(piece)
        return piece


def request(data: bytes, content_type: str | None = "application/fhir+json", **more: Any) -> Request:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "PUT",
        "PATH_INFO": "/fhir/Patient/7",
        "CONTENT_LENGTH": str(len(data)),
        "wsgi.input": CountingStream(data),
    }
    if content_type is not None:
        environ["CONTENT_TYPE"] = content_type
    environ.update(more)
    return Request({name: value for name, value in environ.items() if value is not None})


@clause("R4/http.html#mime-type", "application/fhir+json and application/json, UTF-8")
@pytest.mark.parametrize(
    "content_type",
    [
        "application/fhir+json",
        "application/fhir+json; charset=utf-8",
        "application/fhir+json;charset=UTF-8; fhirVersion=4.0",
        "application/json",
        "Application/JSON",
    ],
)
def test_json_is_read(content_type: str) -> None:
    assert body.resource(request(PATIENT, content_type), CONFIG)["multipleBirthInteger"] == 2


@clause("R4/http.html#Status-Codes", "another media type or charset: 415")
@pytest.mark.parametrize(
    ("content_type", "says"),
    [
        (None, "without Content-Type"),
        ("text/plain", "text/plain"),
        ("application/fhir+turtle", "application/fhir+turtle"),
        ("application/fhir+xml; charset=utf-16", "utf-16"),
        ("text/xml; fhirVersion=5.0", "fhirVersion 5.0"),
        ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded"),
        ("application/fhir+json; charset=latin-1", "latin-1"),
        ("application/fhir+json; fhirVersion=3.0", "fhirVersion 3.0"),
    ],
)
def test_other_media_types(content_type: str | None, says: str) -> None:
    with pytest.raises(FhirError) as caught:
        body.resource(request(PATIENT, content_type), CONFIG)
    assert (caught.value.status, says in str(caught.value)) == (415, True)


@clause("R4/http.html#update", "type and id of body and URL agree, else 400")
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the body is empty"),
        (b"  \n", "the body is empty"),
        (b"[]", "line 1, column 1"),
        (b"{}", 'no "resourceType"'),
        (b'{"resourceType":5}', 'no "resourceType"'),
        (b'{"resourceType":"Group","id":"7"}', "the body is a Group, the URL says Patient"),
        (b'{"resourceType":"Patient","id":"8"}', 'the body has the id "8", the URL says "7"'),
        (b'{"resourceType":"Patient"}', "the body has no id"),
        (b'{"resourceType":"Patient",\n"id" "7"}', "line 2"),
        (b'{"resourceType":"Patient","id":"7","id":"7"}', "'id' stands twice"),
    ],
)
def test_refused(data: bytes, says: str) -> None:
    with pytest.raises(FhirError) as caught:
        body.resource_for(request(data), CONFIG, "Patient", "7")
    assert (caught.value.status, says in str(caught.value)) == (400, True)


@clause("R4/http.html#Status-Codes", "a body above the limit: 413 before it is read")
def test_declared_length_above_the_limit_reads_nothing() -> None:
    asked = request(b"x" * (LIMIT + 1))
    with pytest.raises(TooLarge, match="1001 bytes; this server takes 1000"):
        body.read(asked, LIMIT)
    assert asked.environ["wsgi.input"].taken == 0


@clause("R4/http.html#Status-Codes", "a chunked body above the limit: 413 as soon as that is known")
def test_chunked_body_is_read_up_to_the_limit_only() -> None:
    asked = request(b"x" * 5_000_000, CONTENT_LENGTH=None, HTTP_TRANSFER_ENCODING="chunked")
    with pytest.raises(TooLarge, match="more than 1000 bytes"):
        body.read(asked, LIMIT)
    assert asked.environ["wsgi.input"].taken == LIMIT + 1


def test_chunked_body_at_the_limit() -> None:
    asked = request(b"x" * LIMIT, CONTENT_LENGTH=None, HTTP_TRANSFER_ENCODING="chunked")
    assert len(body.read(asked, LIMIT)) == LIMIT


def test_body_that_ends_early() -> None:
    with pytest.raises(FhirError, match="ended after 60 of 70 bytes"):
        body.read(request(PATIENT, CONTENT_LENGTH="70"), LIMIT)


@clause("R4/http.html#mime-type", "Content-Encoding gzip, bounded by its unpacked length")
def test_gzip() -> None:
    packed = request(gzip.compress(PATIENT), HTTP_CONTENT_ENCODING="gzip")
    assert body.resource(packed, CONFIG)["id"] == "7"
    with pytest.raises(TooLarge, match="once unpacked"):
        body.read(request(gzip.compress(b"0" * 1_000_000)[:LIMIT], HTTP_CONTENT_ENCODING="gzip"), LIMIT)
    for data, status in ((PATIENT, 400), (gzip.compress(PATIENT)[:-6], 400)):
        with pytest.raises(FhirError) as caught:
            body.read(request(data, HTTP_CONTENT_ENCODING="gzip"), LIMIT)
        assert caught.value.status == status
    with pytest.raises(FhirError) as caught:
        body.read(request(PATIENT, HTTP_CONTENT_ENCODING="br"), LIMIT)
    assert caught.value.status == 415


@clause("R4/http.html#search", "POST _search takes a form")
def test_form() -> None:
    form = "application/x-www-form-urlencoded"
    assert body.form(request(b"name=M%C3%BCller&active=", form), CONFIG) == [
        ("name", "Müller"),
        ("active", ""),
    ]
    assert body.form(request(b"", None), CONFIG) == []
    for data, content_type, status in (
        (b"{}", "application/json", 415),
        (b"name=a", None, 415),
        ("name=Müller".encode(), form, 400),
        (b"name=%FF", form, 400),
    ):
        with pytest.raises(FhirError) as caught:
            body.form(request(data, content_type), CONFIG)
        assert caught.value.status == status
