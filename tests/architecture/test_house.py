"""The house keeps its own rules: walls, style, types, sizes, documented settings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import cds_requirements_page, code_map, configuration_page, conformance_page, rules_table

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "fhir_server",
    "dicom_node",
    "terminology",
    "cds_hooks",
    "migrations",
    "conformance",
    "tests",
    "tools",
)
LONGEST = 500

TOO_LONG: dict[str, int] = {}
"""Files that are longer, with the length that they may not exceed; this table only shrinks."""


def _run(*command: str) -> None:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_nobody_looks_through_a_wall():
    _run("-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())")


def test_style():
    _run("-m", "ruff", "check", "--quiet", ".")


def test_format():
    _run("-m", "ruff", "format", "--check", "--quiet", ".")


@pytest.mark.slow
def test_types():
    _run("-m", "mypy")


def _sources():
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def test_no_room_is_too_large():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in _sources()}
    assert {name: count for name, count in lengths.items() if count > TOO_LONG.get(name, LONGEST)} == {}
    assert [name for name in TOO_LONG if lengths.get(name, 0) <= LONGEST] == [], "take it off the table"


def test_every_room_has_a_caption():
    captions = ('"""', 'r"""')
    bare = [
        str(path.relative_to(ROOT))
        for path in _sources()
        if (text := path.read_text().lstrip()) and not text.startswith(captions)
    ]
    assert bare == []


def test_there_is_no_attic():
    attic = re.compile(r"(^|_)(utils?|helpers?|managers?|common|misc)$")
    assert [str(path.relative_to(ROOT)) for path in _sources() if attic.search(path.stem)] == []


@pytest.mark.parametrize(
    "made", [cds_requirements_page, configuration_page, code_map, conformance_page, rules_table]
)
def test_generated_pages_are_up_to_date(made):
    assert made.PAGE.read_text() == made.page(), "run `make docs`"


def test_make_help_explains_every_target():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("setup", "demo", "test", "lint", "types", "bench", "conformance"):
        assert re.search(rf"^  make {target} +\S", done.stdout, re.MULTILINE), target
