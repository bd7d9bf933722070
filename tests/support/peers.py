"""The programs of others that tests talk to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

FIELD: Mapping[str, str] = {}
"""The environment of senders in the field: dcmtk as Debian builds it, Nagle's algorithm on."""

NO_DELAY: Mapping[str, str] = {"TCP_NODELAY": "1"}


def dcmtk(tool: str) -> str:
    """Return the path of a program of dcmtk; skips where it is missing."""
    return _installed(tool, "dcmtk")


def gdcm(tool: str) -> str:
    """Return the path of a program of gdcm."""
    return _installed(tool, "gdcm")


def run(
    *command: str | Path, environment: Mapping[str, str] = FIELD, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


def _installed(tool: str, package: str) -> str:
    path = f"/usr/bin/{tool}"  # not the first on the path: other packages have programs of these names
    if not os.access(path, os.X_OK):
        pytest.skip(f"{package}'s {tool} is not installed")
    return path
