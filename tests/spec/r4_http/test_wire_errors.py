"""The refusals of a running server over real sockets: what an in-process client cannot send or see."""

from __future__ import annotations

import gzip
import socket
import time
from contextlib import ExitStack
from http.client import HTTPResponse

import pytest

from tests.support.clause import clause
from tests.support.http import FHIR_JSON, Reply
from tests.support.server import Server
from tests.support.wire import chunked, exchange, request

LIMIT_BYTES = 400_000
JSON = {"Content-Type": FHIR_JSON}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PATIENT = b'{"resourceType":"Patient","active":true}'


def ask(server: Server, *parts: object, **more: object) -> Reply:
    return exchange(server.facts["port"], request(*parts, **more))  # type: ignore[arg-type]


def check(reply: Reply, status: int, says: str = "") -> None:
    assert reply.status == status, reply.data
    assert reply.headers["Content-Type"] == "application/fhir+json; charset=utf-8"
    assert says in reply.issue["diagnostics"]
    for leak in (b"Traceback", b"psycopg2", b".py", b"<html", b"<!doctype"):
        assert leak not in reply.data


@clause("R4/http.html#Status-Codes", "bodies over the limit: 413 at once, by their length or while they come")
def test_too_large_is_not_read_to_its_end(running: Server) -> None:
    endless = [
        request("POST", "/fhir/Patient", {**JSON, "Content-Length": "99999999999"}, b"{"),
        request("POST", "/fhir", {**JSON, "Content-Length": str(LIMIT_BYTES + 1)}, b"{"),
        request(
            "PUT", "/fhir/Patient/7", {**JSON, "Content-Length": "99999999999", "Expect": "100-continue"}
        ),
        request("POST", "/fhir/Patient", {**JSON, "Transfer-Encoding": "chunked"})
        + chunked(*[b" " * 50_000] * 9, end=False),
        request("POST", "/fhir/Patient/_search", {**FORM, "Content-Length": "99999999999"}, b"name="),
    ]
    for sent in endless:
        started = time.monotonic()
        check(exchange(running.facts["port"], sent), 413, f"this server takes {LIMIT_BYTES} bytes at most")
        assert time.monotonic() - started < 5
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < LIMIT_BYTES
    check(ask(running, "POST", "/fhir/Patient", {**JSON, "Content-Encoding": "gzip"}, bomb), 413, "unpacked")


@clause("R4/http.html#create", "chunks, 100-continue and HTTP/1.0 are as good as a plain body")
def test_other_ways_to_send(running: Server) -> None:
    port = running.facts["port"]
    sent = request("POST", "/fhir/Patient", {**JSON, "Transfer-Encoding": "chunked"})
    assert exchange(port, sent + chunked(PATIENT[:9], PATIENT[9:])).status == 201
    packed = gzip.compress(PATIENT)
    assert ask(running, "POST", "/fhir/Patient", {**JSON, "Content-Encoding": "gzip"}, packed).status == 201
    old = b"POST /fhir/Patient HTTP/1.0\r\nContent-Type: application/fhir+json\r\nContent-Length: %d\r\n\r\n"
    assert exchange(port, old % len(PATIENT) + PATIENT).status == 201


BODIES = [
    (b"", "the body is empty"),
    (b"\xff\xfe{\x00}\x00", "UTF-16"),
    (b'{"resourceType":"Patient",\n "active":tru}', "line 2, column"),
    (b'{"resourceType":"Patient","acti\\u0076e":true,"active":false}', "'active' stands twice"),
    (b'{"resourceType":"Patient","x":1e131071}', "line 1, column 31"),
    (b'{"resourceType":"Patient","multipleBirthInteger":' + b"9" * 5000 + b"}", "5000 digits"),
    (b'{"resourceType":"Patient","language":"a\\u0000"}', "U+0000"),
    (b'{"resourceType":"Patient","language":"\\ud800"}', "surrogate"),
    (b'{"resourceType":"Patient","language":"\xed\xa0\x80"}', "not UTF-8: byte 0xed"),
    (b'{"a":' * 50_000, "nested deeper than 64"),
    (b"[" * 200_000, "nested deeper than 64"),
    (PATIENT + b"x", "trailing"),
    (b'{"resourceType":["Patient"]}', "resourceType"),
    (b'{"resourceType":"Patient","contained":[{"resourceType":"Foo"}]}', "Foo"),
    (b'{"resourceType":"Patient","meta":[1]}', "expected an object"),
    (b'{"resourceType":"Patient","name":[null]}', "null"),
    (b'{"resourceType":"Patient","multipleBirthInteger":2147483648}', "32 bits"),
]  # fmt: skip


@clause("R4/http.html#Status-Codes", "a body that is no resource: 400, wherever it is sent")
@pytest.mark.parametrize(("body", "says"), BODIES)
def test_broken_bodies(running: Server, body: bytes, says: str) -> None:
    check(ask(running, "POST", "/fhir/Patient", JSON, body), 400, says)
    assert ask(running, "PUT", "/fhir/Patient/wire", JSON, body).status == 400
    assert ask(running, "POST", "/fhir", JSON, body).status == 400
    assert ask(running, "GET", "/fhir/Patient/wire").status == 404


TARGETS: list[tuple[str, bytes, int, str]] = [
    ("GET", b"/fhir//Patient", 404, "no address"),
    ("GET", b"/fhir/Patient//", 404, "no address"),
    ("GET", b"/fhir/../etc/passwd", 404, "no resource type"),
    ("GET", b"/fhir/Patient/%2e%2e", 404, ""),
    ("GET", b"/fhir/Patient/%00", 404, "not an id"),
    ("GET", b"/fhir/Patient/%ff", 404, "not an id"),
    ("GET", b"/fhir/Patient/" + b"x" * 65, 404, "not an id"),
    ("GET", b"/fhir/" + b"x" * 50_000, 404, "no resource type"),
    ("GET", b"/fhir/patient", 404, "do you mean Patient?"),
    ("GET", b"/fhir/Patient/7/_history/99999999999999999999", 404, "no version"),
    ("PUT", b"/fhir/Patient/a_b", 400, "not an id"),
    ("GET", b"/fhir/Patient?name=%zz", 400, "no %-escape"),
    ("GET", b"/fhir/Patient?name=%ED%A0%80", 400, "UTF-8"),
    ("GET", b"/fhir/Patient?name=%00", 400, "U+0000"),
    ("GET", b"/fhir/Patient?name=", 400, "no value"),
    ("GET", b"/fhir/Patient?=", 400, "no search parameter"),
    ("GET", b"/fhir/Patient?nmae=x", 400, "did you mean name?"),
    ("GET", b"/fhir/Patient?name:exakt=x", 400, "did you mean exact?"),
    ("GET", b"/fhir/Patient?name:missing=maybe", 400, "true or false"),
    ("GET", b"/fhir/Patient?birthdate=2020-13", 400, "not a date"),
    ("GET", b"/fhir/Patient?_cursor=AAAA", 400, "not one of ours"),
    ("GET", b"/fhir/Patient?_count=-1", 400, "_count"),
    ("GET", b"/fhir/Patient?_sort=foo", 400, "cannot be sorted"),
    ("GET", b"/fhir/Patient?_include=Patient:foo", 400, "no such reference"),
    ("GET", b"/fhir/Patient?" + b"&".join([b"name=a"] * 600), 400, "more than 500"),
    ("GET", b"/fhir/_history?_since=x", 400, "no date"),
    ("GET", b"/fhir/Patient?_format=ttl", 406, "Turtle"),
    ("POST", b"/fhir/Patient/7", 405, "it takes GET"),
    ("TRACE", b"/fhir/Patient", 405, "it takes GET"),
    ("BREW", b"/fhir", 405, "it takes GET"),
    ("DELETE", b"/fhir/metadata", 405, "it takes GET"),
]  # fmt: skip


@clause(
    "R4/http.html#Status-Codes",
    "addresses, methods and parameters that are wrong, as bytes of the request line",
)
@pytest.mark.parametrize(("method", "target", "status", "says"), TARGETS)
def test_wrong_targets(running: Server, method: str, target: bytes, status: int, says: str) -> None:
    reply = ask(running, method, target)
    check(reply, status, says)
    assert ("Allow" in reply.headers) is (status == 405)
    if method == "GET":
        head = ask(running, "HEAD", target)
        assert (head.status, head.data) == (status, b"")
        assert head.headers["Content-Length"] == str(len(reply.data))


HEADERS = [
    ({"Content-Type": "text/plain"}, 415, "text/plain"),
    ({"Content-Type": "\xff"}, 415, "Content-Type"),
    ({"Content-Type": FHIR_JSON + "; charset=utf-16"}, 415, "UTF-8"),
    ({"Content-Type": FHIR_JSON + "; fhirVersion=3.0"}, 415, "4.0"),
    ({**JSON, "Content-Encoding": "br"}, 415, "gzip"),
    ({**JSON, "Content-Encoding": "gzip"}, 400, "gzip"),
    ({**JSON, "Accept": "text/html"}, 406, "JSON and XML only"),
    ({**JSON, "Accept": "application/fhir+json;q=0"}, 406, "JSON and XML only"),
    ({**JSON, "If-None-Exist": "nmae=1"}, 400, "did you mean name?"),
    ({**JSON, "If-None-Exist": "name=%00"}, 400, "U+0000"),
    ({**JSON, "If-None-Exist": "_count=1"}, 400, "no search parameter"),
]  # fmt: skip


@clause("R4/http.html#mime-type", "headers that are wrong")
@pytest.mark.parametrize(("headers", "status", "says"), HEADERS)
def test_wrong_headers(running: Server, headers: dict[str, str], status: int, says: str) -> None:
    check(ask(running, "POST", "/fhir/Patient", headers, PATIENT), status, says)


@clause("R4/http.html#concurrency", "If-Match of what is not there or no entity tag: 412, 400")
@pytest.mark.parametrize(
    ("tag", "status"), [('W/"1"', 412), ('W/"99999999999"', 412), ("1", 400), ("\xff", 400)]
)
def test_if_match(running: Server, tag: str, status: int) -> None:
    body = b'{"resourceType":"Patient","id":"wire"}'
    check(ask(running, "PUT", "/fhir/Patient/wire", {**JSON, "If-Match": tag}, body), status)


@clause("R4/http.html#general", "links and answers do not depend on the Host header")
@pytest.mark.parametrize("host", ["evil.example", 'a"><script>', "x:99999", ""])
def test_host(running: Server, host: str) -> None:
    reply = ask(running, "GET", "/fhir/Patient?_count=1", {"Host": host})
    assert reply.status == 200
    assert all(each["url"].startswith(f"{running.url}/fhir/") for each in reply.json["link"])


@clause("RFC 9112 3", "what is no HTTP request is ended with 4xx by the listener, and the next one is served")
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET /fhir/Patient BROKEN\r\n\r\n", 400),
        (request("POST", "/fhir/Patient", {**JSON, "Content-Length": "-1"}), 400),
        (request("GET", "/fhir/Patient", {"X-Large": "x" * 2_000_000}), 431),
        (request("GET", "/fhir/Patient", {f"X-{n}": "x" for n in range(300)}), 431),
        (request("GET", "/fhir/Patient?name=" + "x" * 200_000), 414),
    ],
)  # fmt: skip
def test_no_http(running: Server, sent: bytes, status: int) -> None:
    assert exchange(running.facts["port"], sent).status == status
    assert ask(running, "GET", "/healthz").status == 200


@clause("RFC 9110 15.5.9", "clients whose body does not come keep nobody waiting, and are told so with 408")
def test_stalled_bodies(running: Server) -> None:
    port, held = running.facts["port"], []
    begun = time.monotonic()
    with ExitStack() as stack:
        for number in range(60):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            path = ("/fhir/Patient", "/fhir", "/fhir/Patient/_search", "/cds-services/stroke-early-aspirin")[
                number % 4
            ]
            kind = FORM if path.endswith("_search") else JSON
            connection.sendall(request("POST", path, {**kind, "Content-Length": "100"}, b"{"))
            held.append(connection)
        for _ in range(20):
            started = time.monotonic()
            assert ask(running, "POST", "/fhir/Patient", JSON, PATIENT).status == 201
            assert time.monotonic() - started < 1.5
        for connection in held:
            response = HTTPResponse(connection)
            response.begin()
            reply = Reply(response.status, response.headers, response.read())
            check(reply, 408, "body_wait_s")
    assert time.monotonic() - begun < 15


@clause("CDS-Hooks-2.0/#calling-a-cds-service", "a chunked call over the limit: 413 before its end")
def test_an_endless_cds_call(running: Server) -> None:
    sent = request("POST", "/cds-services/stroke-early-aspirin", {**JSON, "Transfer-Encoding": "chunked"})
    started = time.monotonic()
    reply = exchange(running.facts["port"], sent + chunked(*[b" " * 1_000_000] * 9, end=False))
    assert (reply.status, reply.issue["code"]) == (413, "too-long")
    assert time.monotonic() - started < 1.5  # a server that read on would be ended after 2 s with 408
