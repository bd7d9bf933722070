"""A Version: one stored state of one resource (R4/http.html#versions), as text.

The database gives a body as the text that is served, and nobody parses it on the way out: `text` puts
in front of it what stands in columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.definitions.structures import type_name

METHODS = {"C": "POST", "U": "PUT", "P": "PATCH", "D": "DELETE"}
"""The stored letter of the interaction that made a version, and its HTTP verb."""

CONTENT = "v.content"
COLUMNS = f"v.pk, v.type, r.id, v.version, v.last_updated::text, {CONTENT}, v.method::text"
"""What a statement selects (r being the head, v the version) so that `from_row` can read it."""

BODY = "resource_version AS v ON v.tenant = 0 AND v.pk = r.pk AND v.version = r.version"
"""What a statement joins to have the current version of r."""

META = '{"meta":{'
"""How a stored body begins that has anything in meta beside what stands in columns."""


@dataclass(slots=True)
class Version:
    """One version: `content` is None when the version is a deletion.

    `last_updated` is a FHIR instant with milliseconds in UTC; `method` is POST, PUT, PATCH or
    DELETE, empty where it was not asked for; `content` is what resource_version has.
    """

    pk: int
    type_name: str
    id: str
    version: int
    last_updated: str
    method: str
    content: str | None

    @property
    def deleted(self) -> bool:
        """Say whether this version is a deletion."""
        return self.content is None

    @property
    def address(self) -> str:
        """Return the relative address, for instance Patient/7."""
        return f"{self.type_name}/{self.id}"

    def text(self) -> str:
        """Return the whole resource as JSON text.

        >>> Version(1, "Patient", "7", 2, "2026-01-02T03:04:05.678Z", "PUT", '{"active":true}').text()
        '{"resourceType":"Patient","id":"7","meta":{"versionId":"2",\
"lastUpdated":"2026-01-02T03:04:05.678Z"},"active":true}'
        """
        content = self.content
        if content is None:
            raise ValueError(f"{self.address} version {self.version} is a deletion and has no body")
        return whole(self.type_name, self.id, self.version, self.last_updated, content)


def whole(type_name: str, id_: str, version: int, last_updated: str, content: str) -> str:
    """Return a resource as JSON text: `content` and what stands in columns.

    >>> whole("Basic", "7", 1, "2026-01-02T03:04:05.678Z", '{"meta":{"source":"urn:a"}}')
    '{"resourceType":"Basic","id":"7","meta":{"versionId":"1",\
"lastUpdated":"2026-01-02T03:04:05.678Z","source":"urn:a"}}'
    """
    if content.startswith(META):
        rest = f'",{content[len(META) :]}'
    else:
        rest = f'"}},{content[1:]}' if len(content) > 2 else '"}}'
    return (
        f'{{"resourceType":"{type_name}","id":"{id_}","meta":{{"versionId":"{version}",'
        f'"lastUpdated":"{last_updated}{rest}'
    )


def instant(text: str) -> str:
    """Return a timestamptz as Postgres writes it (ISO, UTC) as a FHIR instant with milliseconds.

    >>> instant("2026-01-02 03:04:05.678+00"), instant("2026-01-02 03:04:05+00")
    ('2026-01-02T03:04:05.678Z', '2026-01-02T03:04:05.000Z')
    >>> instant("2026-01-02 03:04:05.6+00")
    '2026-01-02T03:04:05.600Z'
    """
    if len(text) == 26:
        return f"{text[:10]}T{text[11:23]}Z"
    moment, _, fraction = text.removesuffix("+00").partition(".")
    return f"{moment[:10]}T{moment[11:]}.{fraction:0<3}Z"


def from_row(row: Sequence[Any]) -> Version:
    """Return the version that a row of `COLUMNS` holds; further columns are left alone."""
    found = from_search(row)
    found.method = METHODS[row[6]]
    return found


def from_search(row: Sequence[Any]) -> Version:
    """Return the version that a row of a search holds, which does not tell the method."""
    pk, type_code, id_, version, updated, content = row[:6]
    updated = f"{updated[:10]}T{updated[11:23]}Z" if len(updated) == 26 else instant(updated)
    return Version(pk, type_name(type_code), id_, version, updated, "", content)
