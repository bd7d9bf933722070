"""What a backup contains, so that a restore can tell whether it is whole.

DIR/database.dump      pg_dump, custom format
DIR/files/…            dicom/store, dicom/quarantine and models of the data folder
DIR/files.ndjson       one line a file: path, size_bytes, blake2b
DIR/manifest.json      when, of what release and schema, the tables' sums, the hashes of the above
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from fhir_server.cli.command import Refused
from fhir_server.database.dump import TableSum

FORMAT = 1
DUMP, FILES, LISTING, MANIFEST = "database.dump", "files", "files.ndjson", "manifest.json"
PARTS = ("dicom/store", "dicom/quarantine", "models")
"""The folders under the data folder that a backup takes along; files there are written once."""

_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """One file of a backup."""

    path: str
    size_bytes: int
    blake2b: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The first page of a backup."""

    format: int
    made_at: str
    release: str
    schema: str | None
    postgres: int
    tables: dict[str, TableSum]
    files: int
    file_bytes: int
    dump_bytes: int
    dump_blake2b: str
    listing_blake2b: str

    def write(self, folder: Path) -> None:
        """Write the manifest; last, for it says that the backup is complete."""
        path = folder / MANIFEST
        with open(path, "w") as file:
            json.dump(asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a backup. Raises Refused when there is none that we understand."""
        try:
            document = json.loads((folder / MANIFEST).read_text())
        except FileNotFoundError:
            raise Refused(f"{folder} is no complete backup: it has no {MANIFEST}") from None
        except ValueError as error:
            raise Refused(f"{folder / MANIFEST} is damaged: {error}") from None
        if document.get("format") != FORMAT:
            raise Refused(f"{folder} has format {document.get('format')}; this release reads {FORMAT}")
        document["tables"] = {name: TableSum(**entry) for name, entry in document["tables"].items()}
        return cls(**document)


def copy(source: Path, target: Path) -> tuple[int, str]:
    """Copy a file durably and return its size and hash."""
    digest, size = hashlib.blake2b(digest_size=32), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with open(source, "rb") as reading, open(part, "wb") as writing:
        while piece := reading.read(_PIECE_BYTES):
            digest.update(piece)
            size += writing.write(piece)
        writing.flush()
        os.fdatasync(writing.fileno())
    part.rename(target)
    return size, digest.hexdigest()


def hashed(path: Path) -> str:
    """Return the hash of a file as it is on disk."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()


def walk(root: Path) -> Iterator[str]:
    """Give the paths of all finished files under PARTS of `root`, relative to it."""
    for part in PARTS:
        for folder, _, names in sorted(os.walk(root / part)):
            for name in sorted(names):
                if not name.endswith(".part"):
                    yield str(Path(folder, name).relative_to(root))


def listing(folder: Path) -> Iterator[Kept]:
    """Give the files that a backup lists."""
    with open(folder / LISTING) as file:
        for line in file:
            yield Kept(**json.loads(line))


def verify(folder: Path) -> Manifest:
    """Read every byte of a backup again and return its manifest. Raises Refused at the first difference."""
    manifest = Manifest.read(folder)
    for name, expected in ((DUMP, manifest.dump_blake2b), (LISTING, manifest.listing_blake2b)):
        if not (folder / name).exists() or hashed(folder / name) != expected:
            raise Refused(f"{folder / name} is not what the manifest says; take another backup")
    count = 0
    for kept in listing(folder):
        path = folder / FILES / kept.path
        if not path.exists() or hashed(path) != kept.blake2b:
            raise Refused(f"{path} is not what the manifest says; take another backup")
        count += 1
    if count != manifest.files:
        raise Refused(f"{folder} lists {count} files, its manifest says {manifest.files}")
    return manifest
