"""Pages bounded by bytes: large contents are fetched one by one, until the page is full.

A page of a thousand rows is cheap while they are small; thirty of 3 MB would be held four times over
(as the database sent them, as text, in the Bundle, as bytes). So the statement of a page brings the
contents of small rows only (`COLUMNS`), and `whole` brings the others in their order as far as there is room.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fhir_server.database.unit_of_work import RunAgain, UnitOfWork
from fhir_server.schema.names import PAGE_CONTENT
from fhir_server.storage.version import COLUMNS as WHOLE
from fhir_server.storage.version import CONTENT, Version

_LEFT = ""  # no content has this text; NULL is the content of a deletion

COLUMNS = WHOLE.replace(CONTENT, PAGE_CONTENT)
"""What the statement of a page selects: like version.COLUMNS, a large content as an empty text."""

_CONTENT = "SELECT content FROM resource_version WHERE tenant = 0 AND pk = %s AND version = %s"


def whole(unit: UnitOfWork, versions: Iterable[Version], most_bytes: int | None = None) -> list[Version]:
    """Return the versions with their contents: from the first on as many as `most_bytes` hold.

    At least one, so that whoever goes on behind the last one comes to an end; all without a bound.
    """
    found: list[Version] = []
    left_bytes = most_bytes
    for version in versions:
        if version.content == _LEFT:
            version = _fetched(unit, version)
        if left_bytes is not None:
            left_bytes -= len(version.content or "")
            if left_bytes < 0 and found:
                return found
        found.append(version)
    return found


def _fetched(unit: UnitOfWork, version: Version) -> Version:
    """Return a version with its content, which never changes."""
    rows = unit.execute_prepared(_CONTENT, (version.pk, version.version))
    if not rows:
        raise RunAgain  # purged since the page was read
    return replace(version, content=rows[0][0])
