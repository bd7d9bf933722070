"""Where the trial's data lie, if they do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def trial() -> Path:
    """The packed IST file in ../shared or XINGLIN_SHARED; the test is skipped where it is absent."""
    for folder in (os.environ.get("XINGLIN_SHARED"), ROOT.parent / "shared", ROOT.parent.parent / "shared"):
        if folder and (path := Path(folder) / "data" / "ist" / "IST_corrected.csv.xz").exists():
            return path
    pytest.skip("the International Stroke Trial's data are not here (../shared or XINGLIN_SHARED)")
