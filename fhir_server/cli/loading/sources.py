"""Paths → documents: folders, NDJSON, JSON, XML, and these inside .gz .bz2 .xz .zip .tar.*, as they are.

A document is the bytes of one JSON text and where it stood; XML is read into JSON. Archives are read as
streams; nothing is unpacked onto the disk.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fhir_server.model import json_format, xml_format
from fhir_server.outcome import FhirError

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

TARS = (".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")

LONGEST_LINE = 256 * 1024 * 1024
"""Bytes of one document; a longer one is rejected instead of filling the memory."""


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON text; `source` is its file (with the member of an archive), `line` its line in NDJSON."""

    source: str
    line: int | None
    data: bytes

    @property
    def place(self) -> str:
        """Return where it stood, for people."""
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file or member that gave no documents, and why."""

    place: str
    reason: str


def files(paths: list[Path]) -> list[Path]:
    """Return the files that the paths name; folders give theirs, sorted, whatever their depth.

    Raises FileNotFoundError for a path that is not there.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(inner for inner in path.rglob("*") if inner.is_file() and _is_known(inner.name))
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"{path} is not there")
    return found


def documents(path: Path) -> Iterator[Document | Unreadable]:
    """Yield the documents of one file; what cannot be read does not stop the rest."""
    try:
        with path.open("rb") as stream:
            yield from _documents(path.name, str(path), stream)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError) as error:
        yield Unreadable(str(path), f"{type(error).__name__}: {error}")


def _documents(name: str, source: str, stream: IO[bytes]) -> Iterator[Document | Unreadable]:
    lower = name.lower()
    if lower.endswith(TARS):
        with tarfile.open(fileobj=stream, mode="r|*") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None and _is_known(member.name):
                    yield from _documents(member.name, f"{source}!{member.name}", content)
    elif lower.endswith(".zip"):
        with zipfile.ZipFile(stream) as archive:
            for info in archive.infolist():
                if not info.is_dir() and _is_known(info.filename):
                    with archive.open(info) as content:
                        yield from _documents(info.filename, f"{source}!{info.filename}", content)
    elif (suffix := Path(lower).suffix) in OPENERS:
        with OPENERS[suffix](stream) as content:
            yield from _documents(name[: -len(suffix)], source, content)
    elif lower.endswith((".ndjson", ".jsonl")):
        yield from _lines(source, stream)
    else:
        data = stream.read(LONGEST_LINE + 1)
        if len(data) > LONGEST_LINE:
            yield Unreadable(source, f"longer than {LONGEST_LINE} bytes; split it or write it as NDJSON")
        elif lower.endswith(".xml"):
            yield _of_xml(source, data)
        else:
            yield Document(source, None, data)


def _of_xml(source: str, data: bytes) -> Document | Unreadable:
    """Return a resource that stands as FHIR XML in the form of JSON (R4/xml.html); nothing of it is lost."""
    try:
        return Document(source, None, json_format.encode(xml_format.parse(data)))
    except FhirError as error:
        return Unreadable(source, "; ".join(issue.diagnostics for issue in error.issues))


def _lines(source: str, stream: IO[bytes]) -> Iterator[Document | Unreadable]:
    for number, line in enumerate(io.BufferedReader(stream, 1 << 20), start=1):  # type: ignore[type-var]
        if len(line) > LONGEST_LINE:
            yield Unreadable(f"{source}:{number}", f"a line of more than {LONGEST_LINE} bytes")
        elif line.strip():
            yield Document(source, number, line.rstrip())


def _is_known(name: str) -> bool:
    """Say whether a file of a folder or archive looks like one that holds resources.

    >>> _is_known("a.json.bz2"), _is_known("package/.index.json"), _is_known("readme.md")
    (True, False, False)
    """
    lower = Path(name).name.lower()
    if lower.startswith("."):
        return False
    while Path(lower).suffix in OPENERS:
        lower = lower[: -len(Path(lower).suffix)]
    return lower.endswith((".json", ".ndjson", ".jsonl", ".xml", ".zip", *TARS))
