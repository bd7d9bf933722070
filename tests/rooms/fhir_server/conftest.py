"""Where the test material lies that is too large for the repository."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Return a function from a path below ../shared (or XINGLIN_SHARED) to a file, or skip."""

    def find(path: str) -> Path:
        found = Path(os.environ.get("XINGLIN_SHARED", ROOT.parent / "shared")) / path
        if not found.exists():
            pytest.skip(f"{path} is not beside the project; XINGLIN_SHARED names the folder that holds it")
        return found

    return find
