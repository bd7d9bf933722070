"""The packages that are installed: one row each, and their definitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.database.unit_of_work import UnitOfWork
from fhir_server.definitions.package import Definition, Package
from fhir_server.definitions.structures import type_code
from fhir_server.model import json_format
from fhir_server.storage import definitions

LOCK = "definitions"
"""The advisory lock under which packages come and go: one at a time."""

PAGE_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Installed:
    """A package that is installed; `counts` are its definitions by type."""

    pk: int
    name: str
    version: str
    digest: bytes
    installed_at: str
    installed_by: str
    counts: dict[str, int]
    dependencies: dict[str, str]


def installed(unit: UnitOfWork, name: str | None = None, version: str | None = None) -> list[Installed]:
    """Return the packages, all or those of a name or a name and version, by name and time of installation."""
    rows = unit.execute(
        "SELECT pk, name, version, digest, "
        "to_char(installed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), installed_by, "
        "counts::text, dependencies::text FROM package WHERE tenant = 0 AND coalesce(name = %s, true) "
        "AND coalesce(version = %s, true) ORDER BY name, installed_at, pk",
        (name, version),
    )
    return [_from_row(row) for row in rows]


def _from_row(row: Sequence[Any]) -> Installed:
    pk, name, version, digest, at, by, counts, dependencies = row
    return Installed(pk, name, version, bytes(digest), at, by, _parsed(counts), _parsed(dependencies))


def put(unit: UnitOfWork, package: Package, taken: list[Definition], now: str, actor: str) -> None:
    """Install the definitions `taken` of a package; what stood under its name and version goes."""
    unit.defer(
        "DELETE FROM package WHERE tenant = 0 AND name = %s AND version = %s", (package.name, package.version)
    )
    counts: dict[str, int] = {}
    for each in taken:
        counts[each.type_name] = counts.get(each.type_name, 0) + 1
    rows = unit.execute(
        "INSERT INTO package (name, version, digest, installed_at, installed_by, counts, dependencies) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING pk",
        (package.name, package.version, package.digest, now, actor, _text(dict(sorted(counts.items()))),
         _text(dict(package.dependencies))),
    )  # fmt: skip
    pk = rows[0][0]
    page: list[bytes] = []
    size = 0
    for each in taken:
        of = type_code(each.profile_of) if each.profile_of else None
        page.append(
            unit.cursor.mogrify(
                "(%s, %s, %s, %s, %s, %s, %s)",
                (pk, type_code(each.type_name), of, each.url, each.version, each.name, each.content.decode()),
            )
        )
        size += len(each.content)
        if size > PAGE_BYTES:
            unit.execute(_INSERT + b",".join(page))
            page, size = [], 0
    if page:
        unit.execute(_INSERT + b",".join(page))
    definitions.changed(unit)


_INSERT = b"INSERT INTO definition (package, type, profile_of, url, version, name, content) VALUES "


def remove(unit: UnitOfWork, pks: list[int]) -> None:
    """Take packages away, with their definitions."""
    unit.defer("DELETE FROM package WHERE tenant = 0 AND pk = ANY(%s)", (pks,))
    definitions.changed(unit)


def _text(value: dict[str, Any]) -> str:
    return json_format.encode(value).decode()


def _parsed(text: str) -> Any:
    return json_format.parse(text.encode())
