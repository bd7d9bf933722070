"""Orthanc (Debian) as a DICOMweb peer, client and server, on free loopback ports."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import wait_for

PROGRAM = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def free_port() -> int:
    """Return a port of the loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Orthanc:
    """A running Orthanc."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def call(self, path: str, body: bytes | None = None, content_type: str = "application/json") -> Any:
        """Return what Orthanc answers, as JSON where it is."""
        request = urllib.request.Request(
            f"{self.url}{path}", data=body, headers={"Content-Type": content_type} if body else {}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            raw = answer.read()
        return json.loads(raw) if raw[:1] in (b"{", b"[") else raw


@contextmanager
def running(folder: Path, **servers: str) -> Iterator[Orthanc]:
    """Run Orthanc; `servers` are DICOMweb servers by name and address. Skips where it is not installed."""
    if not Path(PROGRAM).exists() or not DICOMWEB.exists():
        pytest.skip("Orthanc with its DICOMweb plugin is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    settings = {
        "Name": "PEER",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": port,
        "DicomPort": free_port(),
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(DICOMWEB)],
        "DicomWeb": {
            "Enable": True,
            "Root": "/dicom-web/",
            "Servers": {name: {"Url": url, "ChunkedTransfers": True} for name, url in servers.items()},
        },
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(settings))
    with open(folder / "orthanc.log", "wb") as log:
        process = subprocess.Popen([PROGRAM, str(path)], stdout=log, stderr=log)
    peer = Orthanc(port)

    def up() -> bool:
        assert process.poll() is None, (folder / "orthanc.log").read_text()[-2000:]
        try:
            return bool(peer.call("/system"))
        except (urllib.error.URLError, OSError):
            return False

    try:
        wait_for(up)
        yield peer
    finally:
        process.terminate()
        process.wait(30)
