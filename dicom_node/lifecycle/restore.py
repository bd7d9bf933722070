"""Restoring: a removal is lifted, and what its files still hold stands in the index again.

Lifting is one transaction: the tombstones go, so that what is sent again is taken. Then each file that
was not purged yet is indexed like one that has just come, and its note of removal goes; killed in
between, the worker brings back the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from dicom_node import audit
from dicom_node.files.store import FileStore
from dicom_node.index import tombstones
from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.database.engine import Engine
from fhir_server.outcome import Conflict, NotFound

Adopt = Callable[[str, str, datetime], None]
"""Puts a kept file into the index: its hash, the AE that sent it, and when (`ingest.Ingest.adopt`)."""


def lift(engine: Engine, grant: Grant, pk: int, at: datetime, party: audit.Party | None = None) -> None:
    """End a removal: its tombstones go. Raises NotFound, Conflict when it was lifted before."""
    permit(grant, "create", "ImagingStudy")
    with engine.connection() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT lifted_at FROM dicom_removal WHERE pk = %s FOR UPDATE", (pk,))
        row = cursor.fetchone()
        if row is None:
            raise NotFound(f"there is no removal {pk}; `xinglin study removals` lists them")
        if row[0] is not None:
            raise Conflict(f"removal {pk} was lifted before")
        cursor.execute("SELECT DISTINCT study_uid FROM dicom_tombstone WHERE removal_pk = %s", (pk,))
        studies = [audit.Studied(uid) for (uid,) in cursor.fetchall()]
        cursor.execute("DELETE FROM dicom_tombstone WHERE removal_pk = %s", (pk,))
        cursor.execute(
            "UPDATE dicom_removal SET lifted_at = %s, lifted_by = %s WHERE pk = %s", (at, grant.subject, pk)
        )
        source = audit.Party(user=grant.subject, requestor=True) if party is None else party
        event = audit.Event(
            audit.Kind.ACCESSED, at, source=source, studies=studies, action="U", reason=f"removal {pk} lifted"
        )
        audit.note(cursor, event)
        connection.commit()


_NEXT = """
SELECT pk, encode(hash, 'hex'), calling_ae, received_at, study_uid, series_uid, sop_uid
FROM dicom_removed WHERE removal_pk = %s AND purged_at IS NULL AND pk > %s
ORDER BY pk LIMIT 200
"""


def bring_back(engine: Engine, files: FileStore, pk: int, adopt: Adopt) -> int:
    """Index what a lifted removal had taken out, as far as its files are there; return how many."""
    count, last = 0, 0
    while True:
        with engine.connection() as connection:
            cursor = connection.cursor()
            cursor.execute(_NEXT, (pk, last))
            rows = cursor.fetchall()
        for last, digest, calling_ae, received_at, *uids in rows:
            with engine.connection() as connection:
                cursor = connection.cursor()
                other = tombstones.covering(cursor, [(uids[0], uids[1], uids[2])])
                if other:  # removed by another order as well: it stays away, and is that order's
                    cursor.execute("UPDATE dicom_removed SET removal_pk = %s WHERE pk = %s", (other[0], last))
                    connection.commit()
                    continue
            if files.path(digest).exists():
                adopt(digest, calling_ae, received_at)
                count += 1
            with engine.connection() as connection:
                connection.cursor().execute("DELETE FROM dicom_removed WHERE pk = %s", (last,))
                connection.commit()
        if not rows:
            return count
