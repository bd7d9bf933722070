"""Which versions of Binary have their data in pieces (database/contents.py), and which ones they are.

Such a version says so itself, in an extension on `data` that gives size and hash; so two states with other
bytes differ, and a Bundle tells what it leaves out. A row of `binary_content` leads to the pieces.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from fhir_server.database.changes import Change
from fhir_server.database.contents import Content
from fhir_server.database.unit_of_work import UnitOfWork
from fhir_server.outcome import Unprocessable
from fhir_server.search.keys import rid

EXTENSION = "urn:xinglin:content"
"""The extension on Binary.data in place of a value: `sha256:…;size=…`."""

_VALUE = re.compile(r"sha256:([0-9a-f]{64});size=(\d{1,18})\Z")


def described(content: Content) -> dict[str, Any]:
    """Return what stands in a Binary for data in pieces: its member `_data`.

    >>> described(Content(1, 3, "ab" * 32))["extension"][0]["valueString"][-8:]
    'b;size=3'
    """
    text = f"sha256:{content.sha256};size={content.size_bytes}"
    return {"extension": [{"url": EXTENSION, "valueString": text}]}


def hash_in(resource: dict[str, Any]) -> str | None:
    """Return the hash of the data in pieces that a Binary speaks of, None for one with its data in it."""
    data = resource.get("_data")
    extensions = data.get("extension") if isinstance(data, dict) else None
    for extension in extensions if isinstance(extensions, list) else ():
        if isinstance(extension, dict) and extension.get("url") == EXTENSION:
            found = _VALUE.match(str(extension.get("valueString")))
            return "" if found is None else found[1]
    return None


def link(unit: UnitOfWork, pk: int, version: int, content: Content) -> None:
    """Say that a version has this content; nothing else of that content is kept from being swept."""
    unit.execute(
        "INSERT INTO binary_content (pk, version, content) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (pk, version, content.pk),
    )


_OF = (
    "SELECT c.pk, c.size_bytes, encode(c.sha256, 'hex') FROM binary_content AS b "
    "JOIN content AS c ON c.pk = b.content WHERE b.tenant = 0 AND b.pk = %s AND b.version = %s"
)


def of(unit: UnitOfWork, pk: int, version: int) -> Content | None:
    """Return the content of a version, None for one that has its data in it."""
    rows = unit.execute(_OF, (pk, version))
    return Content(*rows[0]) if rows else None


_COPY = """
INSERT INTO binary_content (pk, version, content)
SELECT r.pk, %(version)s, b.content FROM resource AS r
JOIN binary_content AS b ON b.tenant = 0 AND b.pk = r.pk
JOIN content AS c ON c.pk = b.content AND c.sha256 = decode(%(sha256)s, 'hex')
WHERE r.tenant = 0 AND r.rid = %(rid)s
ORDER BY b.version = %(version)s DESC, b.version DESC LIMIT 1
ON CONFLICT (tenant, pk, version) DO UPDATE SET content = excluded.content RETURNING content
"""


def notice(unit: UnitOfWork, changes: Collection[Change]) -> None:
    """Let a version that speaks of data in pieces have those of a former version (a listener).

    So a patch or an update of what was read from a Bundle keeps the data. Raises Unprocessable (422)
    where there are none: whoever sends only a description would lose what it describes.
    """
    for change in changes:
        if change.type_name != "Binary" or change.resource is None:
            continue
        sha256 = hash_in(change.resource)
        if sha256 is None:
            continue
        rows = unit.execute(
            _COPY, {"version": change.version, "sha256": sha256, "rid": rid("Binary", change.id)}
        )
        if not rows:
            raise Unprocessable(
                f"Binary/{change.id} describes data with the extension {EXTENSION}, and no version of it has "
                "those data; send them in data, or as the body with their own Content-Type",
                expression="Binary.data",
            )
