"""`serve`: the server: HTTP workers, DIMSE listener, background worker and embedded Postgres.

One supervisor over processes of their own; see supervisor.py. Ends on Ctrl-C or SIGTERM after
the running requests; the database stops last.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import shutil
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from fhir_server.cli.command import Refused, add_json, add_settings, answer, say
from fhir_server.cli.installation import held
from fhir_server.cli.listeners import Group, bound
from fhir_server.cli.process import BOARD_FD, REPORT_FD, SOCKET_FD
from fhir_server.cli.supervisor import Child, DatabaseChild, Supervisor, python
from fhir_server.config import Config
from fhir_server.database.embedded import Embedded
from fhir_server.observability import events
from fhir_server.observability.logs import JsonLines
from fhir_server.observability.metrics import Meter, Numbers

EXAMPLES = """\
  xinglin serve
  xinglin serve --port 9000 --data-dir /srv/xinglin --workers 4
  xinglin serve --database-url postgresql://xinglin@db.example.org/xinglin --no-dimse
  XINGLIN_PORT=9000 xinglin serve --config /etc/xinglin.toml
"""

Started = Callable[[Config], None]

PATIENCE_S = 5.0
"""How long the processes of a supervisor that was killed may hold its ports."""

_ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}
"""Of an HTTP worker: glibc gives each thread a heap of its own, and what a large transaction leaves free in
one is of no use to the others. Python runs one thread at a time anyway. Who sets it himself is obeyed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_json(parser)
    add_settings(
        parser, "host", "port", "base_url", "dimse", "dimse_host", "dimse_port", "ae_title", "worker",
        "dimse_workers", "dimse_tls", "dimse_tls_port", "dimse_tls_cert", "dimse_tls_key", "dimse_tls_ca",
        "workers", "threads", "database_url", "data_dir", "postgres_user", "auth", "cds_auth", "tls_cert",
        "tls_key", "stop_grace_s",
        "log_requests",
    )  # fmt: skip


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Serve until told to stop."""

    def started(running: Config) -> None:
        answer(arguments, {"base_url": running.base_url[0], "port": running.port, "pid": os.getpid(),
                           "dimse_port": running.dimse_port if running.dimse else None,
                           "dimse_tls_port": running.dimse_tls_port if _own_tls_port(running) else None,
                           "data_dir": str(running.data_dir), "auth": running.auth}, "")  # fmt: skip
        say(f"Xinglin answers at {running.base_url[0]}")
        if running.dimse:
            say(f"DIMSE {running.ae_title} at {running.dimse_host}:{running.dimse_port}")
        say("authorization is off: everybody on this machine may do everything")

    serve(config, started)
    return 0


def serve(config: Config, started: Started) -> None:
    """Run an installation until a signal asks to stop; `started` is told once all of it is up.

    Raises Refused or EmbeddedError, with everything stopped again, when it cannot start.
    """
    _check(config)
    config = replace(config, data_dir=config.data_dir.absolute())
    supervisor = Supervisor(config.stop_grace_s)
    with held(config.data_dir) as last_was_killed, supervisor.signals():
        patience_s = PATIENCE_S if last_was_killed else 0.0
        http = Group(config.host, config.port, "--port", config.workers, patience_s)
        dimse = _listen_dimse(config, patience_s)
        config = _with_ports(config, http.port, dimse)
        numbers = _fresh_numbers(config)
        lines = JsonLines("supervisor", routine=config.log_requests)
        with events.listening(lines, Meter(numbers)):
            try:
                _start(config, supervisor, http, dimse, started)
            finally:
                http.close()
                for one in dimse:
                    one.close()
                supervisor.stop()


def _start(
    config: Config,
    supervisor: Supervisor,
    http: Group,
    dimse: Sequence[socket.socket],
    started: Started,
) -> None:
    if not config.database_url:
        embedded = Embedded(config.data_dir, user=config.postgres_user)
        supervisor.add(DatabaseChild("postgres", (), {}, embedded=embedded))
        config = replace(config, database_url=embedded.url)
        if not supervisor.wait_until_up():
            return
    environment = {**os.environ, **config.as_environment(), REPORT_FD: str(supervisor.report_fd)}
    migrated = supervisor.run_once(Child("migrate", python("fhir_server", "migrate"), environment))
    if migrated is None:
        return
    if migrated != 0:
        raise Refused("the database schema could not be brought up to date; the reason stands above")
    for child in _children(config, environment, http, dimse, supervisor.report_fd):
        supervisor.add(child)
    if supervisor.wait_until_up():
        started(config)
        supervisor.watch()


def _children(
    config: Config,
    environment: dict[str, str],
    http: Group,
    dimse: Sequence[socket.socket],
    report_fd: int,
) -> list[Child]:
    def child(kind: str, name: str, *fds: int) -> Child:
        command = python("fhir_server.cli.process", kind, name)
        extra = {SOCKET_FD: ",".join(map(str, fds))} if fds else {}
        return Child(name, command, {**environment, **extra}, (report_fd, *fds))

    found = []
    for number in range(config.workers):
        worker = child("http", f"http-{number + 1}", http.fileno(number))
        worker.is_up = partial(http.is_up, number)
        worker.environment = {**_ONE_HEAP, **worker.environment}
        if http.board_fd is not None:
            worker.environment[BOARD_FD] = str(http.board_fd)
            worker.fds = (*worker.fds, http.board_fd)
        found.append(worker)
    if config.dimse:
        fds = [one.fileno() for one in dimse]
        found += [child("dimse", f"dimse-{number}", *fds) for number in range(1, config.dimse_workers + 1)]
    if config.worker:
        found.append(child("worker", "worker"))
    return found


def _check(config: Config) -> None:
    if config.auth == "smart":
        raise Refused("--auth smart is not built yet; use --auth off, on loopback")
    if not is_loopback(config.host):
        raise Refused(
            f"--auth off is refused on {config.host}: whoever reaches it could read and change all; "
            "use --host 127.0.0.1"
        )
    for name in (config.tls_cert, config.tls_key):
        if name and not os.access(name, os.R_OK):
            raise Refused(f"{name} cannot be read")


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.7", "")]
    [True, True, True, False, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen_dimse(config: Config, patience_s: float) -> list[socket.socket]:
    """Open the listening sockets of DIMSE, the one of TLS last; all its processes accept from them."""
    if not config.dimse:
        return []
    # counts of processes that were killed together with their supervisor must not hold places
    (config.data_dir / "run" / "dimse.slots").unlink(missing_ok=True)
    ports = [(config.dimse_port, "--dimse-port")]
    if _own_tls_port(config):
        ports.append((config.dimse_tls_port, "--dimse-tls-port"))
    found = [bound(config.dimse_host, port, flag, patience_s) for port, flag in ports]
    for one in found:
        one.listen(256)
        one.setblocking(False)
    return found


def _own_tls_port(config: Config) -> bool:
    return config.dimse and config.dimse_tls == "own-port"


def _with_ports(config: Config, port: int, dimse: Sequence[socket.socket]) -> Config:
    """Return the settings with the ports that were really taken (0 means any), and a base URL."""
    config = replace(config, port=port)
    if dimse:
        config = replace(config, dimse_port=dimse[0].getsockname()[1])
    if len(dimse) > 1:
        config = replace(config, dimse_tls_port=dimse[1].getsockname()[1])
    if not config.base_url:
        host = f"[{config.host}]" if ":" in config.host else config.host
        scheme = "https" if config.tls_cert else "http"
        config = replace(config, base_url=(f"{scheme}://{host}:{config.port}/fhir",))
    return config


def _fresh_numbers(config: Config) -> Numbers:
    """Clear the metrics of the last run and return the supervisor's own."""
    folder = config.data_dir / "run" / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    return Numbers(folder / "supervisor.numbers")
