"""The checks of `doctor` on the DICOM node: files and rows that belong together, and what waits too long."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2

from dicom_node.files import journal
from dicom_node.files.store import FileStore
from fhir_server.cli.checks import Finding
from fhir_server.config import Config
from fhir_server.database.engine import Connection

AT_A_TIME = 5000
SHOWN = 3
_LATE = timedelta(hours=1)


def files(config: Config, url: str) -> Iterator[Finding]:
    """Whether every file of the store has a row, and every row its file in full length."""
    root = config.data_dir / "dicom"
    with closing(_connect(url)) as connection:
        if not root.exists() or not _has(connection, "dicom_removed"):
            return
        store = FileStore(root)
        count, strays = 0, []
        for some in _batches(store.kept):
            count += len(some)
            strays += _without_row(connection, some)
        # what came meanwhile has a record in the journal, or its row by now
        open_ones = journal.open_digests(store)
        strays = [digest for digest in _without_row(connection, strays) if digest not in open_ones]
        missing, rows = _without_file(connection, store)
    if strays:
        says = f"{len(strays)} of {count} files have no row ({', '.join(strays[:SHOWN])} …): a power failure"
        yield Finding("DICOM files", "advice", f"{says} leaves such, nobody was told of them; move them away")
    if missing:
        says = f"{len(missing)} of {rows} instances have no whole file ({', '.join(missing[:SHOWN])} …)"
        yield Finding("DICOM index", "broken", f"{says}; restore them from a backup, or send them again")
    if not strays and not missing:
        yield Finding("DICOM files", "ok", f"{count} files, {rows} rows, and they belong together")


def waiting(config: Config, url: str) -> Iterator[Finding]:
    """What processes that died left in their journals, and whether queues move."""
    root = config.data_dir / "dicom"
    if root.exists():
        folders = [folder for folder in (root / "incoming").glob("[!.]*") if folder.is_dir()]
        left = sum(len(journal.entries(folder)) for folder in folders)
        if left:
            says = f"{left} received instances have no row yet; the running server, or the next, indexes them"
            yield Finding("DICOM journal", "advice", says)
        aside = len(list((root / "removed").glob("*.dcm"))) if (root / "removed").exists() else 0
        if aside:
            says = f"{aside} files are half removed; the worker finishes it with its next purge"
            yield Finding("DICOM journal", "advice", says)
    with closing(_connect(url)) as connection:
        if not _has(connection, "dicom_removed"):
            return
        cursor = connection.cursor()
        now = datetime.now(UTC)
        for name, says, statement in _QUEUES:
            cursor.execute(statement)
            oldest, count = cursor.fetchone()
            if count and now - oldest > _LATE:
                age = str(now - oldest).split(".", maxsplit=1)[0]
                yield Finding(
                    name, "advice", f"{count} {says}, the oldest for {age}; does the worker run, and its log?"
                )
            else:
                yield Finding(name, "ok", f"{count} {says}")


_QUEUES = (
    (
        "DICOM to FHIR",
        "studies wait to be told",
        "SELECT min(written_at), count(DISTINCT study_pk) FROM dicom_outbox",
    ),
    (
        "DICOM removals",
        "removals are ordered and not carried out",
        "SELECT min(ordered_at), count(*) FROM dicom_removal WHERE applied_at IS NULL AND lifted_at IS NULL",
    ),
    (
        "DICOM corrections",
        "corrections are ordered and not carried out",
        "SELECT min(ordered_at), count(*) FROM dicom_correction"
        " WHERE applied_at IS NULL AND superseded_at IS NULL",
    ),
)


def _batches(kept: Path) -> Iterator[list[str]]:
    """Yield the hashes that name the files of the store, some at a time."""
    names = (
        path.stem for folder in sorted(kept.iterdir()) if folder.is_dir() for path in folder.glob("*.dcm")
    )
    while some := list(itertools.islice(names, AT_A_TIME)):
        yield some


def _without_row(connection: Connection, digests: list[str]) -> list[str]:
    hashes = [digest for digest in digests if len(digest) == 64 and not set(digest) - set("0123456789abcdef")]
    cursor = connection.cursor()
    cursor.execute(
        "SELECT encode(h, 'hex') FROM unnest(%s::bytea[]) h WHERE NOT EXISTS"
        " (SELECT FROM dicom_instance i WHERE i.hash = h) AND NOT EXISTS"
        " (SELECT FROM dicom_removed x WHERE x.hash = h AND x.purged_at IS NULL)",
        ([bytes.fromhex(one) for one in hashes],),
    )
    return sorted(set(digests) - set(hashes)) + [digest for (digest,) in cursor.fetchall()]


def _without_file(connection: Connection, store: FileStore) -> tuple[list[str], int]:
    """Return SOP Instance UIDs whose file is missing or too short, and the number of rows."""
    missing: list[str] = []
    count = 0
    with connection, connection.cursor("dicom_rows") as cursor:
        cursor.itersize = AT_A_TIME
        cursor.execute("SELECT sop_uid, encode(hash, 'hex'), size_bytes FROM dicom_instance")
        for sop_uid, digest, size_bytes in cursor:
            count += 1
            if not store.holds(digest, size_bytes):
                missing.append(sop_uid)
    return missing, count


def _connect(url: str) -> Connection:
    return psycopg2.connect(url, application_name="xinglin doctor", connect_timeout=10)


def _has(connection: Connection, table: str) -> bool:
    cursor = connection.cursor()
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (table,))
    return bool(cursor.fetchone()[0])


DICOM = (files, waiting)
