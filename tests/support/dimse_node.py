"""The DIMSE process by itself, for tests that kill it: prints its port and its pid and stays up.

python -m tests.support.dimse_node DATABASE_URL DATA_DIR
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_node.dimse.application_entity import serve
from fhir_server.cli.stopping import Stop
from fhir_server.config import Config, variable

ROOT = Path(__file__).parents[2]


def main(database_url: str, data_dir: str) -> None:
    """Serve until SIGTERM."""
    config = Config.read(flags={"database_url": database_url, "data_dir": Path(data_dir), "dimse_port": 0})
    serve(config, Stop(), ready=lambda port: print(port, os.getpid(), flush=True))


@contextmanager
def running(
    database_url: str, data_dir: Path, before: tuple[str, ...] = (), **settings: str
) -> Iterator[tuple[int, int]]:
    """Give the process id and the port; `before` is a command in front of it (strace)."""
    command = [*before, sys.executable, "-m", "tests.support.dimse_node", database_url, str(data_dir)]
    environment = {**os.environ, **{variable(name): value for name, value in settings.items()}}
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the DIMSE process did not come up"
    port, pid = map(int, line.split())
    try:
        yield pid, port
    finally:
        if process.poll() is None:
            os.kill(pid, signal.SIGTERM)
        process.wait(30)
        process.stdout.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
