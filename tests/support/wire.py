"""Bytes over a socket to a running server, for what an HTTP client would not send."""

from __future__ import annotations

import socket
from contextlib import suppress
from http.client import HTTPResponse

from tests.support.http import Reply

PATIENCE_S = 20.0


def exchange(port: int, sent: bytes) -> Reply:
    """Send bytes, close nothing, and return the first whole answer; fail when none comes.

    A server that answers before it has read all of a body is allowed to end the connection then.
    """
    method = sent.split(b" ", 1)[0].decode("latin-1")
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # its answer is waiting
            connection.sendall(sent)
        response = HTTPResponse(connection, method=method)
        response.begin()
        return Reply(response.status, response.headers, response.read())


def request(
    method: str, target: bytes | str, headers: dict[str, str] | None = None, body: bytes = b""
) -> bytes:
    """Return a request as bytes; Content-Length is added for a body unless headers tell its length."""
    fields = {"Host": "localhost", "Connection": "close", **(headers or {})}
    if body and not {"Content-Length", "Transfer-Encoding"} & fields.keys():
        fields["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode("latin-1")
    where = target if isinstance(target, bytes) else target.encode()
    return method.encode() + b" " + where + b" HTTP/1.1\r\n" + lines + b"\r\n" + body


def chunked(*pieces: bytes, end: bool = True) -> bytes:
    """Return a body in chunks."""
    made = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return made + (b"0\r\n\r\n" if end else b"")
