"""Orthanc (Debian) as a peer over DIMSE and DICOMweb, on free ports of the loopback."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.dicom_peers import free_port, listening, program

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc of the AE title ORTHANC: its DICOM port and its REST address."""

    dicom: int
    url: str

    def call(
        self, path: str, body: Any = None, content_type: str = "application/json", method: str | None = None
    ) -> Any:
        """GET, or POST what is bytes already or goes as JSON; return the answer, as JSON where it is."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": content_type} if data else {}
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            raw = answer.read()
        return json.loads(raw) if raw[:1] in (b"{", b"[") else raw


@contextmanager
def orthanc(
    folder: Path, node_port: int | None = None, servers: Mapping[str, str] | None = None
) -> Iterator[Orthanc]:
    """Run Orthanc; it knows our node, where its port is given, as NODE.

    `servers` are DICOMweb servers by name and address; with them the DICOMweb plugin is loaded. Skips the
    test where Orthanc or the plugin is not installed.
    """
    if servers is not None and not DICOMWEB.exists():
        pytest.skip("Orthanc's DICOMweb plugin is not installed")
    dicom, http = free_port(), free_port()
    folder.mkdir(parents=True)
    settings: dict[str, Any] = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "DicomAet": "ORTHANC",
        "DicomPort": dicom,
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomCheckModalityHost": False,
        "DicomAlwaysAllowStore": True,
        "DicomModalities": {"NODE": ["XINGLIN", "127.0.0.1", node_port]} if node_port else {},
        "Plugins": [str(DICOMWEB)] if servers is not None else [],
        "DicomWeb": {
            "Enable": True,
            "Root": "/dicom-web/",
            "Servers": {
                name: {"Url": url, "ChunkedTransfers": True} for name, url in (servers or {}).items()
            },
        },
    }
    file, log = folder / "orthanc.json", folder / "log"
    file.write_text(json.dumps(settings))
    with log.open("wb") as out:
        process = subprocess.Popen([program("Orthanc"), str(file)], stdout=out, stderr=subprocess.STDOUT)
    try:
        listening(dicom, process, log)
        listening(http, process, log)
        yield Orthanc(dicom, f"http://127.0.0.1:{http}")
    finally:
        process.terminate()
        process.wait(30)
