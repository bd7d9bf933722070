"""A second reader for what our own cannot place: pydicom, in a process of its own with bounds.

It is asked only when an instance would go to quarantine, so it may be slow; it must not be able to hang,
to fill the memory or to take the receiving process with it. The process is started with the first odd
file, lives as long as it behaves, and is killed when an answer takes too long.

python -m dicom_node.second_reader      reads paths, a line each, and answers with JSON, a line each
"""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from dicom_node.attributes import Attributes
from dicom_node.instance import Instance, usable_uid

LONGEST_S: Final = 0.8
"""For one file, the wait for another one's turn included: a sender waits no longer than a second."""

START_S: Final = 20.0
MOST_MEMORY_BYTES: Final = 1024 * 1024 * 1024
_LONGEST_ANSWER_BYTES: Final = 64 * 1024


_FIELDS: Final = {
    "StudyInstanceUID": ("study_uid", "study", "0020000D"),
    "SeriesInstanceUID": ("series_uid", "series", "0020000E"),
    "SOPInstanceUID": ("sop_uid", "instance", "00080018"),
    "SOPClassUID": ("sop_class", "instance", "00080016"),
}


class SecondReader:
    """The process and the way to ask it; thread-safe. Nothing is started before it is needed."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False

    def helped(self, instance: Instance, path: Path, longest_s: float = LONGEST_S) -> Instance:
        """Return an instance with the UIDs that our own reader did not find, and a note of it."""
        if not (missing := instance.missing()):
            return instance
        found = self.uids(path, longest_s)
        changes: dict[str, Any] = {}
        for keyword in missing:
            if uid := usable_uid(found.get(keyword, "")):
                name, level, tag = _FIELDS[keyword]
                present: Attributes = changes.get(level, getattr(instance, level))
                changes[name] = uid
                changes[level] = {**present, tag: {"vr": "UI", "Value": [uid]}}
        if not changes:
            return instance
        problem = instance.problem or "its elements are not where they belong"
        return replace(instance, problem=f"{problem}; read by pydicom", **changes)

    def uids(self, path: Path, longest_s: float = LONGEST_S) -> dict[str, str]:
        """Return the UIDs of the instance in a file, by keyword; empty where this reader fails too.

        On a busy machine its start may take longer than that; then the first odd files go unread.
        """
        deadline = time.monotonic() + longest_s
        if not self._turn.acquire(timeout=longest_s):
            return {}
        try:
            if self._process is None:
                self._start()
            assert self._process is not None
            if not self._ready and self._line(deadline) != b"ready\n":
                return {}
            self._ready = True
            assert self._process.stdin is not None
            self._process.stdin.write(os.fsencode(path) + b"\n")
            answer = self._line(deadline)
            if answer:
                return dict(json.loads(answer))
            self._kill()  # too slow, too large or dead: the next odd file gets a new one
        except (OSError, ValueError):
            self._kill()
        finally:
            self._turn.release()
        return {}

    def close(self) -> None:
        """End the process."""
        with self._turn:
            self._kill()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dicom_node.second_reader"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=Path(__file__).parents[1],
        )
        self._since = time.monotonic()

    def _line(self, deadline: float) -> bytes:
        """Return the next line of the process; nothing where it does not come in time."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = b""
        while not line.endswith(b"\n") and len(line) < _LONGEST_ANSWER_BYTES:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([self._process.stdout], [], [], left_s)[0]:
                if not self._ready and time.monotonic() - self._since < START_S:
                    return b""
                self._kill()
                return b""
            more = self._process.stdout.read(4096)
            if not more:
                self._kill()
                return b""
            line += more
        return line

    def _kill(self) -> None:
        process, self._process, self._ready = self._process, None, False
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def main() -> None:
    """Answer until the input ends."""
    warnings.simplefilter("ignore")
    import pydicom.config

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.buffer.flush()
    for line in sys.stdin.buffer:
        try:
            found = read(Path(os.fsdecode(line[:-1])))
        except Exception:  # whatever pydicom may raise: the answer is that it cannot read it either
            found = {}
        sys.stdout.buffer.write(json.dumps(found).encode() + b"\n")
        sys.stdout.buffer.flush()


def read(path: Path) -> dict[str, str]:
    """Return the UIDs that pydicom finds in a file, wherever at the top they stand."""
    import pydicom

    with open(path, "rb") as file:
        dataset: Any = pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=[*_FIELDS])
    return {
        name: str(value).strip("\0 ")
        for name in _FIELDS
        if (value := dataset.get(name)) and isinstance(value, str)
    }


if __name__ == "__main__":
    main()
