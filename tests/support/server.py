"""A real server for tests: `xinglin serve` in a process of its own, on ports that are free."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0

T = TypeVar("T")


def wait_for(condition: Callable[[], T], seconds: float = PATIENCE_S) -> T:
    """Return the first true value of `condition`; fail when there is none in `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)
    return found


def xinglin(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "fhir_server", *arguments],
        cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, timeout=PATIENCE_S,
        check=False,
    )  # fmt: skip


class Server:
    """A running server: its answer to --json, its lines, its processes."""

    def __init__(self, data_dir: Path, *arguments: str, **variables: str) -> None:
        self.log = data_dir.parent / f"{data_dir.name}.stderr"
        with open(self.log, "w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fhir_server", "serve", "--data-dir", str(data_dir), "--port", "0",
                 "--dimse-port", "0", "--json", *arguments],
                cwd=ROOT, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=stderr, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        document = self.process.stdout.readline()
        assert document, f"the server did not start:\n{self.log.read_text()}"
        self.facts: dict[str, Any] = json.loads(document)
        self.url = f"http://127.0.0.1:{self.facts['port']}"

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the log's lines of one event so far."""
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def pid(self, name: str) -> int:
        """Return the pid of a process, as it was last started."""
        return int([line for line in self.lines("process-started") if line["name"] == name][-1]["pid"])

    def get(self, path: str) -> tuple[int, str]:
        """Ask over a new connection; return status and body."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode
