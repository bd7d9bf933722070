"""Writes docs/cds-requirements.md from the table of requirements on a CDS service. `make docs`."""

from __future__ import annotations

from pathlib import Path

from tools.cds_requirements import ROWS

PAGE = Path(__file__).parent.parent / "docs" / "cds-requirements.md"
_HEAD = """\
# Requirements on a CDS service

Generated from `tools/cds_requirements.py` by `make docs`; do not edit.

The numbers are the rows of the published list of requirements on CDS Hooks 2.0 services (Inferno's
`cds-hooks_2.0_requirements`, those whose actor is the service); the words are ours. Of {all} rows {asked} are
asked by tests; {left} ask nothing of a service and say why.

| row | what is required | test, or why there is none |
|---|---|---|
"""


def page() -> str:
    """Return the text of the page."""
    left = sum(not row.tests for row in ROWS.values())
    lines = []
    for number, row in sorted(ROWS.items()):
        shown = "<br>".join(f"`{test.removesuffix('::')}`" for test in row.tests) or row.because
        lines.append(f"| {number} | {row.words} | {shown} |\n")
    return _HEAD.format(asked=len(ROWS) - left, all=len(ROWS), left=left) + "".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
