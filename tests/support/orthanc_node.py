"""Orthanc (Debian) as a DIMSE peer on free ports of this machine; it knows our node as NODE."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tests.support.dicom_peers import free_port, listening, program


@contextmanager
def orthanc(folder: Path, node_port: int) -> Iterator[tuple[int, str]]:
    """Give the DICOM port and the address of the API of an Orthanc that knows us as NODE."""
    port, http = free_port(), free_port()
    folder.mkdir()
    settings = {
        "StorageDirectory": str(folder), "IndexDirectory": str(folder), "DicomAet": "ORTHANC",
        "DicomPort": port, "HttpPort": http, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True, "Plugins": [],
        "DicomModalities": {"NODE": ["XINGLIN", "127.0.0.1", node_port]},
    }  # fmt: skip
    file = folder / "orthanc.json"
    file.write_text(json.dumps(settings))
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([program("Orthanc"), str(file)], stdout=out, stderr=subprocess.STDOUT)
    try:
        listening(port, process, log)
        listening(http, process, log)
        yield port, f"http://127.0.0.1:{http}"
    finally:
        process.terminate()
        process.wait(20)


def call(address: str, body: Any = None) -> Any:
    """GET, or POST a JSON body."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(address, data), timeout=60) as response:
        return json.load(response)
