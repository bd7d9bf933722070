"""The load generator: N keep-alive connections, each with one request under way, on one thread.

Requests are ready-made bytes; of an answer only status and length are looked at. So it costs
some 20 µs a request, which `Run.generator_ms` reports, and does not compete with what it measures.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

_HEAD_END = b"\r\n\r\n"
_CLOSE = b"\r\nconnection: close\r\n"
_PATIENCE_S = 30


class Broken(Exception):
    """A server closed a connection in the middle, or answered what is not HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, head and body of one response."""

    status: int
    head: bytes
    body: bytes


@dataclass(slots=True)
class Run:
    """What happened: latencies in ms in order of arrival, and what failed."""

    seconds: float = 0.0
    generator_ms: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    bytes_received: int = 0
    unexpected: dict[int, int] = field(default_factory=dict)
    example: bytes = b""

    @property
    def count(self) -> int:
        """How many requests were answered."""
        return len(self.latencies_ms)

    def percentile(self, share: float) -> float:
        """Return the latency that `share` of the requests did not exceed.

        >>> Run(latencies_ms=[3.0, 1.0, 2.0]).percentile(0.5)
        2.0
        """
        ordered = sorted(self.latencies_ms)
        return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    sent_at: float = 0.0
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)


def run(
    address: tuple[str, int],
    requests: Sequence[bytes],
    *,
    expected: frozenset[int],
    clients: int = 4,
    count: int = 1000,
    longest_s: float = 10.0,
    first: int = 0,
    every_s: float = 0.0,
) -> Run:
    """Send up to `count` of `requests`, beginning with number `first` and going round, for `longest_s`.

    Requests under way at the end are still waited for and counted. Each connection sends its next request
    as soon as it has its answer; with `every_s` requests fall due at that pace, and a latency counts from
    then on, so that one that found all connections busy has waited.
    """
    result = Run()
    poll = select.epoll()
    connections: dict[int, _Connection] = {}
    number, last = first, first + count
    try:
        for _ in range(min(clients, count)):
            found = _Connection(_connect(address))
            found.socket.setblocking(False)
            connections[found.socket.fileno()] = found
            poll.register(found.socket, select.EPOLLIN)
        cpu, started = time.thread_time(), time.perf_counter()
        idle = deque(connections)
        while True:
            now = due = time.perf_counter()
            ending = number == last or now - started >= longest_s
            while idle and number < last and not ending:
                due = started + (number - first) * every_s
                if due > now:
                    break
                connection = connections[fd := idle.popleft()]
                _send(poll, fd, connection, requests[number % len(requests)])
                if every_s:
                    connection.sent_at = due
                number += 1
            if ending and len(idle) == len(connections):
                break
            events = poll.poll(due - now if due > now else _PATIENCE_S)
            if not events and due <= now:
                raise Broken(f"no answer for {_PATIENCE_S} s")
            for fd, event in events:
                connection = connections[fd]
                if event & select.EPOLLOUT:
                    _continue(poll, fd, connection)
                if not event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                    continue
                chunk = connection.socket.recv(1 << 20)
                if not chunk:
                    raise Broken(f"the server closed a connection after {result.count} answers")
                connection.received += chunk
                if not _complete(connection.received):
                    continue
                _note(result, connection, expected, time.perf_counter())
                if _CLOSE in connection.received:
                    fd = _again(poll, connections, fd, address)
                idle.append(fd)
        result.seconds = time.perf_counter() - started
        result.generator_ms = (time.thread_time() - cpu) * 1000
    finally:
        poll.close()
        for connection in connections.values():
            connection.socket.close()
    return result


def ask(address: tuple[str, int], request: bytes, *, longest_s: float = 60.0) -> Answer:
    """Send one request on a connection of its own and return the whole answer."""
    with _connect(address) as link:
        link.settimeout(longest_s)
        link.sendall(request)
        received = bytearray()
        while not _complete(received):
            chunk = link.recv(1 << 20)
            if not chunk:
                raise Broken("the server closed the connection in the middle of an answer")
            received += chunk
    head, _, body = bytes(received).partition(_HEAD_END)
    if _is_chunked(head):
        body = _unchunked(body)
    return Answer(_status(received), head, body)


def request(
    method: str,
    path: str,
    body: bytes = b"",
    *,
    host: str,
    headers: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Return an HTTP/1.1 request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Accept: application/fhir+json"]
    if body:
        lines.append(f"Content-Length: {len(body)}")
        if "Content-Type" not in dict(headers):
            lines.append("Content-Type: application/fhir+json")
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode() + _HEAD_END + body


def _connect(address: tuple[str, int]) -> socket.socket:
    found = socket.create_connection(address, timeout=30)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found


def _again(poll: select.epoll, connections: dict[int, _Connection], fd: int, address: tuple[str, int]) -> int:
    """Connect anew, as the server has asked with its answer; return the new descriptor."""
    connections.pop(fd).socket.close()
    found = _Connection(_connect(address))
    found.socket.setblocking(False)
    connections[found.socket.fileno()] = found
    poll.register(found.socket, select.EPOLLIN)
    return found.socket.fileno()


def _send(poll: select.epoll, fd: int, connection: _Connection, data: bytes) -> None:
    connection.received.clear()
    connection.unsent = memoryview(data)
    connection.sent_at = time.perf_counter()
    _continue(poll, fd, connection)


def _continue(poll: select.epoll, fd: int, connection: _Connection) -> None:
    """Send on; ask to be woken for the rest when the socket is full."""
    was_waiting = bool(connection.received) or bool(connection.unsent)
    while connection.unsent:
        try:
            sent = connection.socket.send(connection.unsent)
        except BlockingIOError:
            poll.modify(fd, select.EPOLLIN | select.EPOLLOUT)
            return
        connection.unsent = connection.unsent[sent:]
    if was_waiting:
        poll.modify(fd, select.EPOLLIN)


def _note(result: Run, connection: _Connection, expected: frozenset[int], now: float) -> None:
    result.latencies_ms.append((now - connection.sent_at) * 1000)
    result.bytes_received += len(connection.received)
    status = _status(connection.received)
    if status not in expected:
        result.unexpected[status] = result.unexpected.get(status, 0) + 1
        result.example = result.example or bytes(connection.received[:1500])


def _status(received: bytearray) -> int:
    try:
        return int(received[9:12])
    except ValueError:
        raise Broken(f"not HTTP/1.1: {bytes(received[:80])!r}") from None


def _complete(received: bytearray) -> bool:
    end = received.find(_HEAD_END)
    if end < 0:
        return False
    head = bytes(received[:end]).lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        stop = head.find(b"\r\n", at + 2)
        length = int(head[at + 17 : stop if stop >= 0 else None])
        return len(received) >= end + 4 + length
    if _is_chunked(head):
        return received.endswith(b"\r\n0\r\n\r\n") or received[end + 4 :] == b"0\r\n\r\n"
    return _status(received) in (204, 304)


def _is_chunked(head: bytes) -> bool:
    return b"transfer-encoding: chunked" in head.lower()


def _unchunked(body: bytes) -> bytes:
    parts: list[bytes] = []
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        if length == 0:
            return b"".join(parts)
        parts.append(body[:length])
        body = body[length + 2 :]
