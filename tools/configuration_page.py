"""Writes docs/configuration.md from the fields of Config: `make docs`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from fhir_server.cli.main import COMMANDS
from fhir_server.config import Config, variable

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"

_HEAD = """\
# Settings

Generated from `fhir_server/config.py` by `make docs`; do not edit.

A flag wins over the variable, the variable over the file, the file over the default. The file is TOML and
is named by `--config` or `XINGLIN_CONFIG`:

    port = 9000
    data_dir = "/srv/xinglin"
    base_url = ["https://fhir.example.org/fhir"]

    [load]           # flags of one command: `xinglin load --jobs 4`, or XINGLIN_LOAD_JOBS=4
    jobs = 4

Commands with a table of their own: {commands}.

| setting | variable | default | what it is |
|---|---|---|---|
"""


def page() -> str:
    """Return the text of the page."""
    rows = [
        f"| `{field.name}` | `{variable(field.name)}` | {_shown(field.default)} "
        f"| {field.metadata['reason']} |"
        for field in fields(Config)
    ]
    commands = ", ".join(f"`{name}`" for name in COMMANDS)
    return _HEAD.format(commands=commands) + "\n".join(rows) + "\n"


def _shown(value: object) -> str:
    """Write a default as a person would put it into the file.

    >>> _shown(True), _shown(""), _shown(Path("data"))
    ('`true`', '', '`data`')
    """
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    PAGE.write_text(page())
