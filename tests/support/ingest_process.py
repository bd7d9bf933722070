"""A process that stores instances, for tests that kill it: prints a line for each that it was told is stored.

python -m tests.support.ingest_process DATABASE_URL DATA_DIR '{"series": 1, "count": 100, "threads": 2}'
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from dicom_node.files.store import FileStore
from dicom_node.ingest import Durability, Ingest
from fhir_server.database.engine import Engine
from tests.support.dicom_data import ct, encoded

ROOT = Path(__file__).parents[2]
EXPLICIT = "1.2.840.10008.1.2.1"
PIXELS = 32


def instance(series: int, number: int, **changes: Any) -> tuple[str, bytes]:
    """Return the UID and the data set that every process makes for these numbers."""
    dataset = ct(series=series, number=number, pixels=PIXELS, **changes)
    return str(dataset.SOPInstanceUID), encoded(dataset)


def main(database_url: str, data_dir: str, plan: str) -> None:
    """Store what the plan says and wait for the end of the input."""
    wanted: dict[str, Any] = json.loads(plan)
    engine = Engine(database_url, size=4)
    mode = Durability(wanted.get("durability", "journal"))
    ingest = Ingest(FileStore(Path(data_dir)), engine, lambda: datetime.now(UTC), mode)
    ingest.recover()
    said = threading.Lock()

    def say(line: str) -> None:
        with said:
            os.write(1, line.encode() + b"\n")

    def store(thread: int, threads: int) -> None:
        for number in range(1 + thread, 1 + wanted["count"], threads):
            uid, data = instance(wanted["series"], number)
            outcome = ingest.store([data[:3000], data[3000:]], EXPLICIT, "CT1")
            say(f"{outcome.verdict.name} {uid}")

    threads = [
        threading.Thread(target=store, args=(each, wanted["threads"])) for each in range(wanted["threads"])
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    ingest.settle(60)
    say("END")
    sys.stdin.read()
    ingest.close()


@contextmanager
def running(
    database_url: str, data_dir: Path, before: tuple[str, ...] = (), **plan: Any
) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Give the process and its output; it ends with the block at the latest."""
    command = [*before, sys.executable, "-m", "tests.support.ingest_process"]
    process = subprocess.Popen(
        [*command, database_url, str(data_dir), json.dumps(plan)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield process, process.stdout
    finally:
        process.stdin.close()
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
