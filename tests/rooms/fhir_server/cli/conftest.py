"""A folder that the account of the embedded Postgres can enter (pytest's own are closed to it)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="xinglin-cli-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
