"""The history of resources → rows that a template shows (R4/http.html#history). Pure: no SQL, no HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fhir_server.console import wording
from fhir_server.console.wording import Json, mappings


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version in the history of a resource."""

    version: str
    when: str
    what: str
    deleted: bool


def version_rows(history_bundle: Json) -> list[VersionRow]:
    """Return the versions of a history Bundle, newest first."""
    rows = []
    words = {"POST": "created", "PUT": "updated", "PATCH": "patched", "DELETE": "deleted"}
    for entry in mappings(history_bundle.get("entry")):
        method = str((entry.get("request") or {}).get("method") or "")
        response = entry.get("response") or {}
        tag = str(response.get("etag") or "").removeprefix("W/").strip('"')
        when = str(response.get("lastModified") or "")
        rows.append(
            VersionRow(
                tag,
                moment_text(when),
                "created" if tag == "1" else words.get(method, method),
                method == "DELETE",
            )
        )
    return rows


def moment_text(instant: str) -> str:
    """Return a FHIR instant as day and time.

    >>> moment_text("2026-01-02T03:04:05.678Z")
    '2 Jan 2026, 03:04:05 UTC'
    """
    try:
        moment = datetime.fromisoformat(instant)
    except ValueError:
        return instant
    zone = "UTC" if instant.endswith("Z") else f"{moment:%z}"
    return f"{wording.day_text(instant)}, {moment:%H:%M:%S} {zone}".strip()


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One line of what changed last."""

    address: str
    what: str
    when: str
    version: str


def changes(history_bundle: Json) -> list[ChangeRow]:
    """Return the entries of a system history, newest first."""
    rows = version_rows(history_bundle)
    entries = mappings(history_bundle.get("entry"))
    return [
        ChangeRow("/".join(str(entry.get("fullUrl") or "").split("/")[-2:]), row.what, row.when, row.version)
        for entry, row in zip(entries, rows, strict=True)
    ]


def duration_text(seconds: float) -> str:
    """Return a length of time in its two largest units.

    >>> duration_text(42), duration_text(3_700), duration_text(200_000)
    ('42 s', '1 h 1 min', '2 d 7 h')
    """
    whole = int(seconds)
    days, hours, minutes = whole // 86_400, whole // 3_600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
