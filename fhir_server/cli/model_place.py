"""Where the models of an installation are: releases on disk, states and records in its database."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cds_hooks import registry
from cds_hooks.models import catalogue, states
from cds_hooks.models.catalogue import Release
from cds_hooks.models.states import Event
from cds_hooks.records.model_log import ModelLog
from fhir_server.cli.command import Refused, say
from fhir_server.cli.installation import database, has_database
from fhir_server.config import Config
from fhir_server.database.engine import Engine

MODELS = tuple(registry.MODELS)

Document = dict[str, Any]


def folders(config: Config) -> list[Path]:
    """Return where releases lie: those of the installation, then those that come with the program."""
    return [config.data_dir / "models", catalogue.SHIPPED]


@dataclass(frozen=True)
class Place:
    """An installation with its database open."""

    engine: Engine
    log: ModelLog
    folders: list[Path]

    def release(self, model: str, version: str | None) -> Release:
        """Return a release in its live state; raises ReleaseError when there is none or it is altered."""
        found = catalogue.find(self.folders, model, version)
        return found.standing(states.standing(found, self.log.events(model)).state)

    def serving(self, model: str) -> Release:
        """Return the release that is shown; raises Refused when none is."""
        found = [release for release in catalogue.releases(self.folders) if release.model == model]
        serving = states.line(found, self.log.events(model)).serving
        if serving is None or serving.state != states.ACTIVE:
            raise Refused(f"no version of {model} is active; --version names another")
        return serving


@contextmanager
def place(config: Config) -> Iterator[Place]:
    """Open the installation's database for a command."""
    with database(config) as url:
        engine = Engine(url, size=2)
        try:
            yield Place(engine, ModelLog(engine), folders(config))
        finally:
            engine.close()


def events(config: Config) -> list[Event]:
    """Return the events of all models; none where there is no database yet."""
    if not has_database(config):
        return []
    with place(config) as here:
        return here.log.events()


def now() -> datetime:
    """Return the time of a step."""
    return datetime.now(UTC)


def progress(text: str) -> None:
    """Show a step; on a terminal the next one takes its line."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[2K{text}")
        sys.stderr.flush()
    elif "fold" not in text:
        say(text)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table for people; columns of numbers are set to the right.

    >>> print(table(["name", "n"], [["women", "12"], ["men", "7"]]))
    name    n
    women  12
    men     7
    """
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    right = [
        bool(rows) and all(row[place].lstrip("+-")[:1].isdigit() or row[place] in ("", "–") for row in rows)
        for place in range(len(head))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in [head, *rows]
    )
