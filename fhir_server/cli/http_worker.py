"""One HTTP worker: granian's WSGI worker on the listening socket that the supervisor holds for it.

A worker that dies takes along only the requests that it was answering: its socket stays open, and
nobody is refused while it starts again (see listeners.py; granian's own supervisor ends the whole
server when a worker dies twice within 5.5 s).

A request has a turn only while it is worked on. A small body is read before that; one that waits for
more of a large body gives its turn to another. Who does not send the next piece is answered 408:
else a handful of stalled clients would be the end of the server.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any

from granian._futures import _new_cbscheduler
from granian._granian import SocketHolder, WorkerSignal, WSGIWorker
from granian._loops import loops
from granian.http import HTTP1Settings
from granian.wsgi import Response, ResponseIterWrap

from fhir_server.cli.balance import Share
from fhir_server.cli.stopping import Stop
from fhir_server.config import Config
from fhir_server.model import json_format
from fhir_server.observability import events
from fhir_server.outcome import Issue, operation_outcome

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_BACKLOG = 1024
_IDLE_THREAD_S = 30
_RUNTIME_THREADS, _RUNTIME_BLOCKING_THREADS = 1, 512
_MOST_IN_FLIGHT = 512
_MOST_WAITING = 124  # threads that may wait for bodies, besides those that work
_MOST_STREAMS = 64  # large answers at once: each keeps a thread until its reader has it
_SMALL_BODY_BYTES = 65_536  # read before there is a turn, sent at once; longer ones would fill the memory
_CLOSING = [("connection", "close"), ("content-type", "application/fhir+json; charset=utf-8")]

# granian's own wrapper copies the whole os.environ, our settings with it, into every request.
_ENVIRON: dict[str, Any] = {
    "GATEWAY_INTERFACE": "CGI/1.1",
    "SCRIPT_NAME": "",
    "SERVER_SOFTWARE": "xinglin",
    "wsgi.errors": sys.stderr,
    "wsgi.input_terminated": True,
    "wsgi.multiprocess": True,
    "wsgi.multithread": True,
    "wsgi.run_once": False,
    "wsgi.version": (1, 0),
}


def serve(
    config: Config,
    application: Application,
    socket_fd: int,
    stop: Stop,
    ready: Callable[[], None],
    share: Share | None = None,
) -> None:
    """Answer requests from the listening socket until `stop` is set; then finish the running ones.

    `share` is this worker's of all requests, where there are several workers.
    """
    tls = bool(config.tls_cert)
    worker = WSGIWorker(
        1,
        (None, SocketHolder(socket_fd, False, _BACKLOG)),
        None,
        _RUNTIME_THREADS,
        _RUNTIME_BLOCKING_THREADS,
        config.threads + _MOST_WAITING,
        _IDLE_THREAD_S,
        _MOST_IN_FLIGHT,
        "auto" if tls else "1",
        HTTP1Settings(),
        None,
        None,
        tls,
        config.tls_cert or None,
        config.tls_key or None,
        None,
        "tls1.2",
        None,
        [],
        False,
        (None, None),
    )
    loop = loops.get("asyncio")
    ending, ended = WorkerSignal(), threading.Event()
    ending.add_cb(ended.set)
    turns = Turns(config.threads, config.body_wait_s, share)
    threading.Thread(target=turns.watch, name="bodies", daemon=True).start()
    worker.serve_str(_new_cbscheduler(loop, _callback(application, turns), impl_asyncio=True), loop, ending)
    ready()
    stop.wait()
    ending.set()  # once: granian waits for itself when it is told twice
    ended.wait()


class Turns:
    """As many turns as requests may be worked on at once, in the order in which they were asked for.

    A turn that is given back belongs to who has waited longest. Were it free for a moment, whoever runs
    then would take it, and under load some would wait many times as long as others.
    """

    def __init__(self, count: int, body_wait_s: float, share: Share | None = None) -> None:
        self._share = share
        self._free = count
        self._queue: deque[threading.Lock] = deque()
        self._change = threading.Lock()
        self._body_wait_s = body_wait_s
        self._waiting: dict[int, tuple[float, Any]] = {}

    def take(self) -> None:
        """Wait for a turn."""
        with self._change:
            if self._share is not None:
                self._share.change(1)
            if self._free:
                self._free -= 1
                return
            mine = threading.Lock()
            mine.acquire()
            self._queue.append(mine)
        mine.acquire()  # it is released by who hands the turn on

    def give_back(self) -> None:
        """Let another request have the turn."""
        with self._change:
            if self._share is not None:
                self._share.change(-1)
            if self._queue:
                self._queue.popleft().release()
            else:
                self._free += 1

    def closing(self) -> bool:
        """Tell whether the connection of the answer that is being made shall end with it."""
        if self._share is None:
            return False
        with self._change:
            return self._share.lets_go()

    def first_read(self, proto: Any, read: Callable[..., bytes], *size: int) -> bytes:
        """Return bytes of a body, for which there is no turn yet."""
        self._waiting[id(proto)] = time.monotonic() + self._body_wait_s, proto
        try:
            return read(*size)
        finally:
            self._waiting.pop(id(proto), None)

    def read(self, proto: Any, read: Callable[..., bytes], *size: int) -> bytes:
        """Return the next bytes of a body; the turn is somebody else's meanwhile."""
        self.give_back()
        try:
            return self.first_read(proto, read, *size)
        finally:
            self.take()

    def each(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Give the pieces of an answer, each made in a turn of its own."""
        found = iter(pieces)
        try:
            while True:
                self.take()
                try:
                    piece = next(found, None)
                finally:
                    self.give_back()
                if piece is None:
                    return
                yield piece
        finally:
            _close(pieces)

    def watch(self) -> None:
        """Answer 408 to every request whose body does not go on.

        Its thread is free when the client ends the connection; that we cannot do from here.
        """
        said = f"the body did not go on for {self._body_wait_s:g} s (setting body_wait_s); send it again"
        answer = json_format.encode(operation_outcome([Issue("error", "timeout", said)]))
        while True:
            time.sleep(min(1.0, self._body_wait_s / 2))
            now = time.monotonic()
            for key, (until, proto) in list(self._waiting.items()):
                if until < now and self._waiting.pop(key, None) is not None:
                    proto.response_bytes(408, _CLOSING, answer)


def _close(body: Iterable[bytes]) -> None:
    """End a body as PEP 3333 asks: whoever made it may hold something."""
    if (close := getattr(body, "close", None)) is not None:
        close()


class _Body:
    """wsgi.input of a request with a body."""

    __slots__ = ("_proto", "_stream", "_turns")

    def __init__(self, stream: Any, proto: Any, turns: Turns) -> None:
        self._stream, self._proto, self._turns = stream, proto, turns

    def read(self, *size: int) -> bytes:
        """Return up to `size` bytes, fewer only at the end; without a size all of them."""
        return self._turns.read(self._proto, self._stream.read, *size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_small(length: str | None) -> bool:
    return length is not None and length.isdecimal() and int(length) <= _SMALL_BODY_BYTES


def _callback(application: Application, turns: Turns) -> Callable[[Any, dict[str, Any]], int]:
    """Return what granian calls for each request."""

    def run(proto: Any, scope: dict[str, Any]) -> int:
        environ = {**_ENVIRON, **scope}
        if _is_small(scope.get("CONTENT_LENGTH")):
            environ["wsgi.input"] = BytesIO(turns.first_read(proto, scope["wsgi.input"].read))
        elif "CONTENT_LENGTH" in scope or "HTTP_TRANSFER_ENCODING" in scope:
            environ["wsgi.input"] = _Body(scope["wsgi.input"], proto, turns)
        turns.take()
        try:
            return answer(proto, environ)
        finally:
            turns.give_back()

    def answer(proto: Any, environ: dict[str, Any]) -> int:
        response = Response()
        try:
            body = application(environ, response)
            if isinstance(body, list) or _is_small(dict(response.headers).get("Content-Length")):
                whole = b"".join(body)
                _close(body)
                if environ["SERVER_PROTOCOL"].startswith("HTTP/1") and turns.closing():
                    response.headers = [*response.headers, ("connection", "close")]
                proto.response_bytes(response.status, response.headers, whole)
            else:
                return stream(proto, response, body)
        except Exception as error:
            # granian would log the traceback with the error's message, which may quote a record.
            events.emit(events.crashed(error))
            proto.response_bytes(500, [("content-type", "text/plain")], b"internal error\n")
            return 500
        return int(response.status)

    def stream(proto: Any, response: Response, body: Iterable[bytes]) -> int:
        """Send a body piece by piece; while its reader takes one, the turn is somebody else's."""
        if not streams.acquire(blocking=False):
            _close(body)
            headers = [*_CLOSING, ("retry-after", "5")]
            said = f"{_MOST_STREAMS} large answers are being sent by this process; try again"
            issue = Issue("error", "throttled", said)
            proto.response_bytes(503, headers, json_format.encode(operation_outcome([issue])))
            return 503
        turns.give_back()
        try:
            proto.response_iter(response.status, response.headers, ResponseIterWrap(turns.each(body)))
        finally:
            turns.take()
            streams.release()
        return int(response.status)

    streams = threading.BoundedSemaphore(_MOST_STREAMS)
    return run
