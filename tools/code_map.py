"""Writes docs/code-map.md from the captions of the rooms: `make docs`.

A module's docstring begins with its caption, so the plan of the house is read off the house.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "code-map.md"
PACKAGES = ("fhir_server", "terminology", "dicom_node", "cds_hooks", "conformance")

_HEAD = """\
# The plan of the house

Generated from the modules' own captions by `make docs`; do not edit. Who may look into whom stands in
`setup.cfg` and is checked by `lint-imports`.

    doors    rest  console       dicom_node        cds_hooks       cli
               |                    | (bridge)        | (prefetch)  |
    decide   interactions  <--------+-----------------+-------------+
    guard    authorization            every caller with a Grant, in one unit of work
    keep     storage                  the only rooms that run SQL on resources
    think    validation > search > fhirpath > model          pure: values in, values out
    know     definitions  schema  database  outcome  config  observability

## Three journeys
**A search.** `rest/door` finds the route, `rest/negotiation` the media type;
`interactions/search_type` conducts: `search/parse` makes a Query of the text,
`authorization/permit` narrows it, `search/compile` makes one statement of it, the unit of work
runs it, `search/include` adds what `_include` asks for, `interactions/bundle` puts the stored
texts into a searchset. Nothing stored is parsed on the way out.

**A transaction.** `interactions/requests` reads the entries, `interactions/conditions` locks and
looks up every condition, `interactions/links` rewrites references, `validation` and
`search/index` work on each resource, and `storage/writer` writes all of it with one statement a
table. One COMMIT, or nothing.

**An image.** `dicom_node/dimse/store` hands the bytes to `ingest`: file and record in the
journal, both synced, then the status. `indexer` follows behind with batches: rows and outbox in one
transaction. The worker's `bridge/drain` makes an ImagingStudy of a study that has become quiet,
through the same interactions as everybody.
"""


def page() -> str:
    """Return the text of the page."""
    return _HEAD + "".join(_package(ROOT / name, 2) for name in PACKAGES)


def _package(folder: Path, level: int) -> str:
    modules = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    inner = sorted(path.parent for path in folder.glob("*/__init__.py"))
    if not modules and not any(each.glob("*.py") for each in inner):
        return ""
    text = f"\n{'#' * level} {folder.relative_to(ROOT)}\n{_caption(folder / '__init__.py')}\n"
    if modules:
        text += "\n| room | what it is |\n|---|---|\n"
        text += "".join(f"| `{path.stem}` | {_caption(path)} |\n" for path in modules)
    return text + "".join(_package(each, level + 1) for each in inner)


def _caption(path: Path) -> str:
    """Return the first paragraph of a module's docstring on one line."""
    words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(words.split("\n\n")[0].split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
