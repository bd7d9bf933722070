"""Other people's application entities on free ports of this machine: dcmtk's storescp and its like."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset


@dataclass
class Receiver:
    """A running receiver of instances: where it listens, where it puts what it gets, what it logged."""

    title: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes]
    log: Path

    def files(self) -> list[Path]:
        """Return the files that have come."""
        return sorted(path for path in self.folder.iterdir() if path.is_file())

    def datasets(self) -> list[FileDataset]:
        """Return what has come, by pydicom."""
        return [dcmread(path, force=True) for path in self.files()]


def program(name: str) -> str:
    """Return the path of a program of Debian's; skip the test where it is not installed.

    The folder of our Python is passed over: pynetdicom puts programs of the same names there.
    """
    ours = Path(sys.executable).parent
    folders = [folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder) != ours]
    found = shutil.which(name, path=os.pathsep.join([*folders, "/usr/bin", "/usr/sbin"]))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def storescp(*options: str, title: str = "DEST", port: int = 0) -> Iterator[Receiver]:
    """Give dcmtk's storescp; without other options it takes every transfer syntax, byte for byte."""
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="storescp-") as name:
        folder, log = Path(name) / "out", Path(name) / "log"
        folder.mkdir()
        command = [
            program("storescp"),
            "-v",
            "-aet",
            title,
            *(options or ("+B", "+xa")),
            "-od",
            str(folder),
            str(port),
        ]
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            listening(port, process, log)
            yield Receiver(title, port, folder, process, log)
        finally:
            process.kill()
            process.wait(10)


def listening(port: int, process: subprocess.Popen[bytes], log: Path, within_s: float = 20.0) -> None:
    """Wait until somebody listens on a port."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the peer ended at once: {log.read_text()}"
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"nobody listens on {port}")


@contextmanager
def cutting(port: int, after_bytes: int) -> Iterator[int]:
    """Give the port of a relay to `port` that cuts its first connection after so many bytes."""
    cuts = [after_bytes]
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):  # the listener is closed
                while True:
                    client, _ = listener.accept()
                    server = socket.create_connection(("127.0.0.1", port))
                    limit = cuts.pop() if cuts else None
                    for way in ((client, server, limit), (server, client, None)):
                        threading.Thread(target=_pump, args=way, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield int(listener.getsockname()[1])


def _pump(source: socket.socket, target: socket.socket, limit: int | None) -> None:
    passed = 0
    with suppress(OSError):
        while data := source.recv(8192):
            passed += len(data)
            if limit is not None and passed > limit:
                break
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
