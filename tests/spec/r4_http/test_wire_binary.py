"""Large contents over a real socket: streamed both ways, and slow readers keep nobody waiting."""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.support.clause import clause
from tests.support.server import Server, wait_for

PDF = "application/pdf"
PIECE = bytes(range(256)) * 256
PIECES = 1280
SIZE = len(PIECE) * PIECES


def pieces() -> Iterator[bytes]:
    for _ in range(PIECES):
        yield PIECE


def most_memory_kb(server: Server) -> int:
    """Return the most memory that any HTTP worker ever had."""
    names = {line["name"] for line in server.lines("process-started") if line["name"].startswith("http")}
    texts = [Path(f"/proc/{server.pid(name)}/status").read_text() for name in names]
    return max(int(found[1]) for text in texts if (found := re.search(r"VmHWM:\s+(\d+)", text)))


@clause("R4/binary.html", "80 MB in and out, with the memory of some pieces")
def test_large_contents(running: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.facts["port"], timeout=120)
    connection.request("GET", "/fhir/Patient?_count=1")
    connection.getresponse().read()
    before_kb = most_memory_kb(running)
    for id_ in ("wire-a",):
        connection.request("PUT", f"/fhir/Binary/{id_}", pieces(), {"Content-Type": PDF})
        answer = connection.getresponse()
        assert answer.status in (200, 201), answer.read()
        answer.read()
        for accept, size in ((PDF, SIZE), ("application/fhir+json", None)):
            connection.request("GET", f"/fhir/Binary/{id_}", headers={"Accept": accept})
            answer = connection.getresponse()
            assert answer.status == 200
            length, digest, have = int(answer.headers["Content-Length"]), hashlib.sha256(), 0
            while data := answer.read(65536):
                digest.update(data)
                have += len(data)
            assert have == length
            if size is not None:
                assert have == size
                assert digest.digest() == hashlib.sha256(PIECE * PIECES).digest()
    assert most_memory_kb(running) - before_kb < 60_000
    connection.close()


@clause("R4/binary.html", "readers that do not read keep nobody waiting")
def test_slow_readers(running: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.facts["port"], timeout=60)
    connection.request("PUT", "/fhir/Binary/wire-slow", pieces(), {"Content-Type": PDF})
    assert connection.getresponse().read() is not None
    slow = []
    try:
        for _ in range(16):
            one = socket.create_connection(("127.0.0.1", running.facts["port"]), timeout=60)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.sendall(b"GET /fhir/Binary/wire-slow HTTP/1.1\r\nHost: a\r\nAccept: application/pdf\r\n\r\n")
            assert one.recv(12).startswith(b"HTTP/1.1 200")
            slow.append(one)
        for _ in range(20):
            assert wait_for(lambda: running.get("/fhir/Patient?_count=1")[0], 20) == 200
    finally:
        for one in slow:
            one.close()
    assert running.get("/fhir/Patient?_count=1")[0] == 200
