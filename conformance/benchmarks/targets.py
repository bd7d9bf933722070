"""The two sides of a run: our server, the floor, or any FHIR base by its address."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import conformance
from conformance.benchmarks import floor, load
from conformance.benchmarks.data import compact
from conformance.benchmarks.postgres import Cluster, Database, wait_for
from conformance.benchmarks.processes import Cpu, Tree, postmaster_under

_ROOT = Path(conformance.__file__).resolve().parent.parent
_BATCH = 200
_START_S = 600  # kept data may have to be migrated first


@dataclass(slots=True)
class Target:
    """A server that is up: where it answers, what it consists of, which database it keeps."""

    name: str
    base: str
    tree: Tree = field(default_factory=lambda: Tree(None, None))
    database: Database | None = None
    processes: list[subprocess.Popen[Any]] = field(default_factory=list)
    cluster: Cluster | None = None
    empty_bytes: dict[str, int] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.base)
        return parts.hostname or "127.0.0.1", parts.port or 80

    @property
    def host(self) -> str:
        """What a Host header says."""
        return urlsplit(self.base).netloc

    @property
    def prefix(self) -> str:
        """The path of the base."""
        return urlsplit(self.base).path.rstrip("/")

    def stop(self) -> None:
        """Stop what was started for it."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(40)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        if self.cluster is not None:
            self.cluster.stop()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a bulk load took."""

    resources: int
    seconds: float
    cpu: Cpu


def start_ours(folder: Path, name: str, *, workers: int, threads: int) -> Target:
    """Start `serve` on free ports with its data in `folder` and return it once it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    log = open(folder.parent / f"{folder.name}.log", "ab")  # noqa: SIM115
    with log:
        process = subprocess.Popen(
            [*_command("serve", folder), "--port", "0", "--dimse-port", "0", "--json",
             "--workers", str(workers), "--threads", str(threads)],
            stdout=subprocess.PIPE, stderr=log, env=_environment(), cwd=_ROOT,
        )  # fmt: skip
    target = Target(name, "", processes=[process])
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], _START_S)
        line = process.stdout.readline() if ready else b""
        if not line:
            raise RuntimeError(f"the server did not start; see {log.name}")
        target.base = json.loads(line)["base_url"]
        target.tree = Tree(process.pid, postmaster_under(process.pid))
        socket = _socket_folder(folder)
        url = f"postgresql:///xinglin?host={quote(str(socket), safe='')}&user=postgres"
        target.database = Database(url)
        target.empty_bytes = target.database.bytes_by_relation()
    except BaseException:
        target.stop()
        raise
    return target


def load_ours(target: Target, folder: Path, ndjson: Path, count: int) -> Loaded:
    """Run `load` beside the running server; its own CPU counts as the server's."""
    before, used, started = target.tree.cpu_when_idle(), _children_ms(), time.perf_counter()
    done = subprocess.run(
        [*_command("load", folder), str(ndjson), "--jobs", "2", "--json",
         "--rejected", str(folder.parent / "rejected.tsv")],
        stdout=subprocess.PIPE, env=_environment(), cwd=_ROOT, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    report = json.loads(done.stdout or b"{}")
    if done.returncode != 0 or report.get("created") != count:
        raise RuntimeError(f"the load did not store all of {count} resources: {report}")
    cpu = target.tree.cpu_when_idle(longest_s=20) - before
    return Loaded(count, seconds, Cpu(cpu.server_ms + _children_ms() - used, cpu.database_ms))


def start_floor(folder: Path, ours: Target | None, name: str, *, workers: int, threads: int) -> Target:
    """Start the floor's Postgres, with the settings of ours, and the floor on granian."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    settings = ours.database.settings() if ours is not None and ours.database is not None else {}
    cluster = Cluster(folder, settings, None)
    target = Target(name, f"http://127.0.0.1:{_free_port()}/fhir", cluster=cluster)
    try:
        cluster.start()
        target.database = Database(cluster.url)
        if not target.database.rows("SELECT 1 FROM pg_tables WHERE tablename = 'observation'"):
            target.database.rows(floor.SCHEMA)
        environment = {"FLOOR_DATABASE": cluster.url, "FLOOR_THREADS": str(threads)}
        process = start_granian("thirty.queries:app", target.address[1], folder / "floor.log",
                                workers=workers, threads=threads, environment=environment)  # fmt: skip
        target.processes.append(process)
        _answers(target, "/fhir/Patient/0", 404)
        assert cluster.process is not None
        target.tree = Tree(process.pid, cluster.process.pid)
        target.empty_bytes = target.database.bytes_by_relation()
    except BaseException:
        target.stop()
        raise
    return target


def start_hello(folder: Path, *, workers: int, threads: int) -> Target:
    """Start the bare WSGI application on the floor's kind of server."""
    target = Target("hello", f"http://127.0.0.1:{_free_port()}")
    process = start_granian("floor:hello", target.address[1], folder / "hello.log", workers=workers,
                            threads=threads, environment={})  # fmt: skip
    target.processes.append(process)
    target.tree = Tree(process.pid, None)
    try:
        _answers(target, "/", 200)
    except BaseException:
        target.stop()
        raise
    return target


def load_floor(target: Target, resources: Iterator[dict[str, Any]], count: int) -> Loaded:
    """Store the resources straight into the floor's tables."""
    import psycopg2

    assert target.database is not None
    before, cpu, started = target.tree.cpu_when_idle(), time.process_time(), time.perf_counter()
    connection = psycopg2.connect(target.database.url)
    with connection, connection.cursor() as cursor:  # an earlier load may have ended half way
        cursor.execute("TRUNCATE patient, patient_identifier, observation, other")
    rows: list[tuple[str, str, str]] = []
    for number, one in enumerate(resources, 1):
        rows.append((one["resourceType"], one["id"], compact(one).decode()))
        if len(rows) == 2000 or number == count:
            with connection:
                floor.store(connection, rows)
            rows.clear()
    connection.close()
    own_ms = (time.process_time() - cpu) * 1000
    used = target.tree.cpu_when_idle(longest_s=20) - before
    return Loaded(count, time.perf_counter() - started, Cpu(own_ms, used.database_ms))


def load_over_http(target: Target, resources: Iterator[dict[str, Any]]) -> Loaded:
    """PUT the resources in batches through the front door: for servers that are not ours."""
    count, before, started = 0, target.tree.cpu_when_idle(), time.perf_counter()
    entries: list[dict[str, Any]] = []

    def send() -> None:
        body = compact({"resourceType": "Bundle", "type": "batch", "entry": entries})
        answer = load.ask(target.address, load.request("POST", target.prefix or "/", body, host=target.host))
        if answer.status != 200:
            raise RuntimeError(f"{target.name} answered {answer.status} to a batch: {answer.body[:300]!r}")
        entries.clear()

    for one in resources:
        count += 1
        url = f"{one['resourceType']}/{one['id']}"
        entries.append({"resource": one, "request": {"method": "PUT", "url": url}})
        if len(entries) == _BATCH:
            send()
    if entries:
        send()
    seconds = time.perf_counter() - started
    return Loaded(count, seconds, target.tree.cpu_when_idle(longest_s=20) - before)


def start_granian(
    application: str, port: int, log: Path, *, workers: int, threads: int, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    """Start granian's WSGI server as the floor uses it: few variables, for it copies them per request."""
    clean = {name: os.environ[name] for name in ("PATH", "HOME", "VIRTUAL_ENV") if name in os.environ}
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws", "--http", "1",
             "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers),
             "--blocking-threads", str(threads), f"conformance.benchmarks.{application}"],
            stdout=file, stderr=file, cwd=_ROOT, env={**clean, **environment},
        )  # fmt: skip


def _answers(target: Target, path: str, status: int) -> None:
    """Wait until a server that was just started answers as it should."""
    request = load.request("GET", path, host=target.host)
    wait_for(lambda: load.ask(target.address, request).status == status, target.name)


def _command(name: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", "fhir_server", name, "--data-dir", str(folder)]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("XINGLIN_")}


def _socket_folder(folder: Path) -> Path:
    note = folder / "postgres.socket"
    return Path(note.read_text()) if note.exists() else folder.absolute() / "postgres"


def _children_ms() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
