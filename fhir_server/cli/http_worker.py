"""One HTTP worker: granian's WSGI worker on the listening socket that the supervisor holds.

The supervisor opens the socket once and every worker accepts from it. So a worker that dies
takes along only the requests that it was answering: connections that wait are taken by the
others, and nobody is refused while it starts again. (granian's own supervisor ends the whole
server when a worker dies twice within 5.5 s.)
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from granian._futures import _new_cbscheduler
from granian._granian import SocketHolder, WorkerSignal, WSGIWorker
from granian._loops import loops
from granian.http import HTTP1Settings
from granian.wsgi import Response, ResponseIterWrap

from fhir_server.cli.stopping import Stop
from fhir_server.config import Config
from fhir_server.observability import events

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_BACKLOG = 1024
_IDLE_THREAD_S = 30
_RUNTIME_THREADS, _RUNTIME_BLOCKING_THREADS = 1, 512
_MOST_IN_FLIGHT = 512

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
) -> None:
    """Answer requests from the listening socket until `stop` is set; then finish the running ones."""
    tls = bool(config.tls_cert)
    worker = WSGIWorker(
        1,
        (None, SocketHolder(socket_fd, False, _BACKLOG)),
        None,
        _RUNTIME_THREADS,
        _RUNTIME_BLOCKING_THREADS,
        config.threads,
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
    worker.serve_str(_new_cbscheduler(loop, _callback(application), impl_asyncio=True), loop, ending)
    ready()
    stop.wait()
    ending.set()  # once: granian waits for itself when it is told twice
    ended.wait()


def _callback(application: Application) -> Callable[[Any, dict[str, Any]], int]:
    """Return what granian calls for each request."""

    def run(proto: Any, scope: dict[str, Any]) -> int:
        response = Response()
        try:
            body = application({**_ENVIRON, **scope}, response)
            if isinstance(body, list):
                proto.response_bytes(response.status, response.headers, b"".join(body))
            else:
                proto.response_iter(response.status, response.headers, ResponseIterWrap(body))
        except Exception as error:
            # granian would log the traceback with the error's message, which may quote a record.
            events.emit(events.crashed(error))
            proto.response_bytes(500, [("content-type", "text/plain")], b"internal error\n")
            return 500
        return int(response.status)

    return run
