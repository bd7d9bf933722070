"""The nodes of a run: ours as `serve` starts it, Orthanc as Debian ships it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import conformance
from conformance.benchmarks.postgres import Database
from conformance.benchmarks.processes import Tree, postmaster_under

ORTHANC = Path("/usr/sbin/Orthanc")
_ROOT = Path(conformance.__file__).resolve().parent.parent
_START_S = 120


@dataclass(slots=True)
class Node:
    """A node that is up: its port and title, what it consists of, how many instances it knows."""

    name: str
    title: str
    port: int
    tree: Tree
    stored: Callable[[], int]
    process: subprocess.Popen[Any]
    database: Database | None = None

    def stop(self) -> None:
        """Stop it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def start_ours(folder: Path, *, worker: bool = False) -> Node:
    """Start our server with its data in `folder`; one HTTP worker, DIMSE as it is set by default.

    `worker` lets the background worker run too, which makes FHIR resources and metadata of what has come.
    """
    data = folder / "ours"
    data.mkdir(parents=True)
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
    port = int(json.loads(line)["dimse_port"])
    note = data / "postgres.socket"
    where = note.read_text() if note.exists() else str(data.absolute() / "postgres")
    database = Database(f"postgresql:///xinglin?host={quote(where, safe='')}&user=postgres")

    def stored() -> int:
        return int(database.value("SELECT count(*) FROM dicom_instance"))

    tree = Tree(process.pid, postmaster_under(process.pid))
    return Node("ours", "XINGLIN", port, tree, stored, process, database)


def start_orthanc(folder: Path, port: int, http_port: int) -> Node:
    """Start Orthanc with SQLite and its default storage, all else as it is."""
    data = folder / "orthanc"
    data.mkdir(parents=True)
    settings = {
        "StorageDirectory": str(data), "IndexDirectory": str(data), "DicomPort": port, "HttpPort": http_port,
        "DicomAet": "ORTHANC", "Plugins": [], "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True, "StorageCompression": False,
    }  # fmt: skip
    configured = folder / "orthanc.json"
    configured.write_text(json.dumps(settings))
    with open(folder / "orthanc.log", "ab") as log:
        process = subprocess.Popen([str(ORTHANC), str(configured)], stdout=log, stderr=log)

    def stored() -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/statistics", timeout=30) as answer:
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
    return Node("Orthanc", "ORTHANC", port, Tree(process.pid, None), stored, process)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody uses at this moment."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return found
