"""What the supervisor starts: `python -m fhir_server.cli.process KIND NAME`.

The settings come as environment variables; the descriptors of the listening sockets and of the
pipe to report on are inherited.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Callable

from fhir_server.cli.command import say
from fhir_server.cli.stopping import Stop
from fhir_server.cli.supervisor import WRONG_SETTINGS
from fhir_server.config import Config, ConfigError
from fhir_server.observability import events
from fhir_server.observability.logs import JsonLines, take_over
from fhir_server.observability.metrics import Meter, Numbers

SOCKET_FD, REPORT_FD, BOARD_FD = "XINGLIN_SOCKET_FD", "XINGLIN_REPORT_FD", "XINGLIN_BOARD_FD"


def main(kind: str, name: str) -> int:
    """Run one process of the installation until it is told to stop; return its exit code."""
    config = Config.read()
    lines = JsonLines(name, routine=config.log_requests)
    take_over(lines)
    from fhir_server.app import numbers_folder

    with events.listening(lines, Meter(Numbers(numbers_folder(config) / f"{name}.numbers"))):
        try:
            KINDS[kind](config, name, lambda: _report(name))
        except ConfigError as error:
            say(f"{name}: {error}")  # about our settings, so it may be shown; to try again is no use
            return WRONG_SETTINGS
    return 0


def _http(config: Config, name: str, ready: Callable[[], None]) -> None:
    from fhir_server.app import create_app
    from fhir_server.cli import http_worker
    from fhir_server.cli.balance import Board, Share

    stop = Stop()
    application = create_app(config)
    share = None
    if fd := os.environ.get(BOARD_FD):
        share = Share(Board(int(fd), config.workers), int(name.rpartition("-")[2]) - 1)
    _settle()
    http_worker.serve(config, application, int(os.environ[SOCKET_FD]), stop, ready, share)


def _dimse(config: Config, name: str, ready: Callable[[], None]) -> None:
    from dicom_node.dimse import application_entity

    sockets = [socket.socket(fileno=int(fd)) for fd in os.environ[SOCKET_FD].split(",")]
    number = int(name.rpartition("-")[2])
    _settle()
    application_entity.serve(config, Stop(), lambda port: ready(), sockets=sockets, process=number)


def _worker(config: Config, name: str, ready: Callable[[], None]) -> None:
    from fhir_server.cli import worker

    _settle()
    worker.loop(config, Stop(), ready)


KINDS: dict[str, Callable[[Config, str, Callable[[], None]], None]] = {
    "http": _http,
    "dimse": _dimse,
    "worker": _worker,
}


def _settle() -> None:
    """Tell the collector that what a process is made of is never garbage: it need not look at it."""
    gc.collect()
    gc.freeze()


def _report(name: str) -> None:
    """Tell the supervisor that we are ready."""
    if fd := os.environ.get(REPORT_FD):
        os.write(int(fd), f"{name}\n".encode())


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2]))
