"""What could not be understood: kept as it came, with the reason and the status that its sender got.

Two files each, `<day>/<id>.dcm` (the bytes behind the file meta information that we could make) and
`<id>.json`. Nothing of it is in the index; a person looks at it, or a later release reads it again.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from dicom_node.files.store import FileStore, sync_folder

_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Refused:
    """One object in quarantine; `verdict` names a Verdict of ingest."""

    id: str
    reason: str
    verdict: str
    calling_ae: str
    transfer_syntax: str
    received_at: str


def put(files: FileStore, incoming: Path, refused: Refused) -> Path:
    """Move a durable file into quarantine; return where it lies."""
    folder = files.quarantine / refused.received_at[:10]
    folder.mkdir(exist_ok=True)
    target = folder / f"{refused.id}.dcm"
    (folder / f"{refused.id}.json").write_text(json.dumps(asdict(refused), ensure_ascii=False) + "\n")
    os.rename(incoming, target)
    sync_folder(folder)
    sync_folder(files.quarantine)
    return target


def refused(files: FileStore) -> Iterator[Refused]:
    """Yield what lies in quarantine, the newest first."""
    for folder in sorted(files.quarantine.iterdir(), reverse=True):
        for note in sorted(folder.glob("*.json"), reverse=True):
            yield Refused(**json.loads(note.read_text()))


def find(files: FileStore, id_: str) -> tuple[Refused, Path] | None:
    """Return an object of this id and where it lies, or None."""
    if not _ID.fullmatch(id_):
        return None
    path = files.quarantine / f"{id_[:4]}-{id_[4:6]}-{id_[6:8]}" / f"{id_}.dcm"
    try:
        return Refused(**json.loads(path.with_suffix(".json").read_text())), path
    except FileNotFoundError:
        return None


def new_id(at: datetime) -> str:
    """Return an id for an object received at this moment; ids sort by time.

    >>> new_id(datetime(2026, 1, 2, 3, 4, 5))[:15]
    '20260102T030405'
    """
    return f"{at:%Y%m%dT%H%M%S}-{secrets.token_hex(6)}"
