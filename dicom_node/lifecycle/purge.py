"""Purging: the files of removed instances are destroyed when their time has come.

A file goes only when no row of the index has its hash. The order is: taken from the store to `removed/`
(so that nobody can come to rely on it), then index and journals are asked once more, then it is
destroyed or put back. Who received the same bytes at that moment has a journal entry open, or does not
find the file and keeps his own. Killed at any point, the next turn begins with what lies in `removed/`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dicom_node.files.journal import open_digests
from dicom_node.files.store import FileStore, sync_folder
from dicom_node.lifecycle.hold import HELD
from fhir_server.database.engine import Engine

FILES_AT_A_TIME = 200

_DUE = f"""
SELECT x.pk, encode(x.hash, 'hex') FROM dicom_removed x JOIN dicom_removal r ON r.pk = x.removal_pk
WHERE x.purged_at IS NULL AND r.applied_at IS NOT NULL AND r.lifted_at IS NULL AND r.purge_at <= %s
AND NOT {HELD.format(study="x.study_uid", patient_id="x.patient_id", issuer="x.issuer")}
ORDER BY x.pk LIMIT %s FOR UPDATE OF x SKIP LOCKED
"""
_INDEXED = "SELECT encode(hash, 'hex') FROM dicom_instance WHERE hash = ANY(%s)"


def purge(engine: Engine, files: FileStore, now: datetime) -> int:
    """Destroy the files whose time has come, some at a time; return how many."""
    with engine.connection() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", (_TURN,))
        if not cursor.fetchone()[0]:
            return 0
        _settle(cursor, files)  # what a killed turn left
        cursor.execute(_DUE, (now, FILES_AT_A_TIME))
        due = {digest: pk for pk, digest in cursor.fetchall()}
        if not due:
            return 0
        busy = open_digests(files) | _indexed(cursor, list(due))
        for digest in due.keys() - busy:
            files.set_aside(digest)
        sync_folder(files.removed)
        destroyed = due.keys() - busy - _settle(cursor, files)
        gone = [due[digest] for digest in destroyed]
        cursor.execute("UPDATE dicom_removed SET purged_at = %s WHERE pk = ANY(%s)", (now, gone))
        # in the index although removed: restored, or the same bytes came before the removal was known
        back = [due[digest] for digest in _indexed(cursor, list(due)) if digest in due]
        cursor.execute("DELETE FROM dicom_removed WHERE pk = ANY(%s)", (back,))
        connection.commit()
    return len(destroyed)


def _settle(cursor: Any, files: FileStore) -> set[str]:
    """Destroy what lies in `removed/`, or put it back where somebody needs it; return what was put back."""
    aside = [path.stem for path in files.removed.glob("*.dcm")]
    if not aside:
        return set()
    needed = open_digests(files) | _indexed(cursor, aside)
    for digest in aside:
        if digest in needed:
            files.bring_back(digest)
        else:
            files.destroy(digest)
    return needed & set(aside)


def _indexed(cursor: Any, digests: list[str]) -> set[str]:
    cursor.execute(_INDEXED, ([bytes.fromhex(digest) for digest in digests],))
    return {digest for (digest,) in cursor.fetchall()}


_TURN = 0x58474C5055524745  # advisory lock: one purge at a time
