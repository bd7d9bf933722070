"""The nodes of a run: ours as `serve` starts it, Orthanc as Debian ships it."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import conformance
from conformance.benchmarks.postgres import Database
from conformance.benchmarks.processes import Tree, postmaster_under
from conformance.benchmarks.rounds import Differ

ORTHANC = Path("/usr/sbin/Orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
STORESCU, FINDSCU = Path("/usr/bin/storescu"), Path("/usr/bin/findscu")
"""dcmtk's: a virtual environment may hold pynetdicom's, which are other ones."""

TMPFS = Path("/dev/shm")
OURS, OTHER = "ours", "Orthanc"
_ROOT = Path(conformance.__file__).resolve().parent.parent
_START_S = 120
_SETTLE_S = 60
_REST_S = 4.0


@dataclass(slots=True)
class Node:
    """A node that is up: where it is, what it consists of, how many instances it knows."""

    name: str
    title: str
    port: int
    web: str
    """The address of its DICOMweb services."""

    tree: Tree
    stored: Callable[[], int]
    process: subprocess.Popen[Any]
    database: Database | None = None
    idle: float = 0.0
    """Milliseconds of CPU a second while nobody asks."""

    def rest(self) -> None:
        """Measure `idle`, once it is quiet."""
        before, begun = self.tree.cpu_when_idle(longest_s=30), time.monotonic()
        time.sleep(_REST_S)
        self.idle = (self.tree.cpu() - before).total_ms / (time.monotonic() - begun)

    def receive(self, folders: Sequence[Path]) -> None:
        """Send it the files in some folders, an association each, and wait until it knows all of them."""
        count = sum(len(list(folder.glob("*.dcm"))) for folder in folders)
        before = self.stored()
        senders = [sending(self, folder, nodelay=True) for folder in folders]
        failed = [sender.communicate()[1] for sender in senders]
        if any(sender.returncode for sender in senders):
            raise Differ(f"storescu to {self.name} failed: {b' '.join(failed)[:300]!r}")
        self.wait_for(before + count)

    def wait_for(self, count: int) -> None:
        """Wait until it knows so many instances; the index may follow the answers."""
        until = time.monotonic() + _SETTLE_S
        while (stored := self.stored()) != count:
            if time.monotonic() > until:
                raise Differ(f"{self.name} has {stored} instances; it was sent {count}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def sending(node: Node, folder: Path, *, nodelay: bool) -> subprocess.Popen[bytes]:
    """Begin to send the files in a folder over one association.

    Without `nodelay` storescu is as Debian ships it: with Nagle's algorithm.
    """
    environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    if nodelay:
        environment["TCP_NODELAY"] = "1"
    command = [str(STORESCU), "-aec", node.title, "+sd", "127.0.0.1", str(node.port), str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def absent(*, web: bool) -> str:
    """Say why nothing can be measured beside Orthanc here, or nothing."""
    for program, what in ((STORESCU, "dcmtk"), (ORTHANC, "Orthanc"), (PLUGIN, "Orthanc's DICOMweb plug-in")):
        if not program.exists() and (web or program != PLUGIN):
            return f"{what} is not installed ({program})"
    return ""


@contextmanager
def pair(
    place: Path, *, web: bool = False, worker: bool = False, keep: bool = False, alone: bool = False
) -> Iterator[list[Node]]:
    """Give both nodes, new, with their files in `place`; ours alone where there is no Orthanc, or if asked.

    With `keep`, `place` is their folder and stays: what was stored there before is there again.
    """
    folder = place if keep else Path(tempfile.mkdtemp(prefix="xinglin-bench-", dir=place))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # an unprivileged Postgres must find its way through
    try:
        with ExitStack() as stack:
            nodes = [start_ours(folder, worker=worker)]
            stack.callback(nodes[0].stop)
            if not alone and not absent(web=web):
                nodes.append(start_orthanc(folder, web=web))
                stack.callback(nodes[1].stop)
            yield nodes
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def start_ours(folder: Path, *, worker: bool = False) -> Node:
    """Start our server with its data in `folder`; one HTTP worker, DIMSE as it is set by default.

    `worker` lets the background worker run too, which makes FHIR resources and metadata of what has come.
    """
    data = folder / "ours"
    data.mkdir(parents=True, exist_ok=True)
    with open(folder / "ours.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fhir_server", "serve", "--data-dir", str(data), "--port", "0",
             "--dimse-port", "0", "--workers", "1", "--json", "--worker" if worker else "--no-worker"],
            stdout=subprocess.PIPE, stderr=log, cwd=_ROOT,
            env={**os.environ, "XINGLIN_PATIENT_ID_SYSTEM": "urn:benchmark:patients"},
        )  # fmt: skip
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _START_S)
    line = process.stdout.readline() if ready else b""
    if not line:
        process.kill()
        raise RuntimeError(f"the server did not start; see {log.name}")
    facts = json.loads(line)
    note = data / "postgres.socket"
    where = note.read_text() if note.exists() else str(data.absolute() / "postgres")
    database = Database(f"postgresql:///xinglin?host={quote(where, safe='')}&user=postgres")

    def stored() -> int:
        return int(database.value("SELECT count(*) FROM dicom_instance"))

    tree = Tree(process.pid, postmaster_under(process.pid))
    web = f"http://127.0.0.1:{facts['port']}/dicom-web"
    return Node(OURS, "XINGLIN", int(facts["dimse_port"]), web, tree, stored, process, database)


def start_orthanc(folder: Path, *, web: bool = False, settings: Mapping[str, Any] | None = None) -> Node:
    """Start Orthanc with SQLite and its default storage, all else as it is; `web` adds its DICOMweb plug-in.

    The limits of its answers are taken away.
    """
    data = folder / "orthanc"
    data.mkdir(parents=True, exist_ok=True)
    port, http_port = free_ports(2)
    configuration = {
        "StorageDirectory": str(data), "IndexDirectory": str(data), "DicomPort": port, "HttpPort": http_port,
        "DicomAet": "ORTHANC", "Plugins": [str(PLUGIN)] if web else [], "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False, "DicomAlwaysAllowStore": True, "DicomAlwaysAllowFind": True,
        "StorageCompression": False, "LimitFindResults": 0, "LimitFindInstances": 0,
        **({"DicomWeb": {"Enable": True, "Root": "/dicom-web/"}} if web else {}), **(settings or {}),
    }  # fmt: skip
    configured = folder / "orthanc.json"
    configured.write_text(json.dumps(configuration))
    with open(folder / "orthanc.log", "ab") as log:
        process = subprocess.Popen([str(ORTHANC), str(configured)], stdout=log, stderr=log)
    address = f"http://127.0.0.1:{http_port}"

    def stored() -> int:
        with urllib.request.urlopen(f"{address}/statistics", timeout=30) as answer:
            return int(json.load(answer)["CountInstances"])

    until = time.monotonic() + _START_S
    while True:
        with suppress(OSError):
            stored()
            break
        if time.monotonic() > until or process.poll() is not None:
            process.kill()
            raise RuntimeError(f"Orthanc did not start; see {log.name}")
        time.sleep(0.05)
    return Node(OTHER, "ORTHANC", port, f"{address}/dicom-web", Tree(process.pid, None), stored, process)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody uses at this moment."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return found
