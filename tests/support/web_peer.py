"""A server of somebody else on a real port of loopback, that answers as a test tells it to."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """One request that came in."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class Reply:
    """What is answered; `raw` is sent as it stands instead of an HTTP answer, piece by piece."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: Iterator[bytes] | None = None


def json_reply(document: Any, status: int = 200, kind: str = "application/json") -> Reply:
    """Return an answer of JSON."""
    return Reply(status, json.dumps(document).encode(), {"Content-Type": kind})


class WebPeer:
    """The running server; `answer` may be changed at any time, `asked` is what came in so far."""

    def __init__(self, answer: Callable[[Asked], Reply], context: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                asked = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
                peer.asked.append(asked)
                reply = peer.answer(asked)
                try:
                    if reply.raw is not None:
                        self.close_connection = True
                        for piece in reply.raw:
                            self.wfile.write(piece)
                        return
                    self.send_response(reply.status)
                    for name, value in reply.headers.items():
                        self.send_header(name, value)
                    if "Content-Length" not in reply.headers:
                        self.send_header("Content-Length", str(len(reply.body)))
                    self.end_headers()
                    self.wfile.write(reply.body)
                except OSError:
                    self.close_connection = True  # whoever asked has gone

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def web_peer(answer: Callable[[Asked], Reply], context: ssl.SSLContext | None = None) -> Iterator[WebPeer]:
    """Give a running peer for the block."""
    peer = WebPeer(answer, context)
    try:
        yield peer
    finally:
        peer.close()
