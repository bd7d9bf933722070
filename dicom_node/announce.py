"""The way out: a row in the outbox says that a study changed.

Written in the transaction of the index, so a study in the index is told to FHIR sooner or later,
and nothing else is. An appended row, not a counter in the study: senders of one study must not
queue behind each other. One row a batch and study is enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fhir_server.database import prepared


def changed(cursor: Any, study_pk: int, at: datetime) -> None:
    """Note on the caller's transaction that a study got an instance or lost one."""
    all_changed(cursor, {study_pk: at})


def removed(cursor: Any, study_pk: int, study_uid: str, at: datetime) -> None:
    """Note on the caller's transaction that a study lost instances, perhaps its last one."""
    cursor.execute(
        "INSERT INTO dicom_outbox (study_pk, written_at, study_uid) VALUES (%s, %s, %s)",
        (study_pk, at, study_uid),
    )


def all_changed(cursor: Any, studies: Mapping[int, datetime]) -> None:
    """Note on the caller's transaction which studies changed, and when."""
    if studies:
        prepared.ask(
            cursor,
            "INSERT INTO dicom_outbox (study_pk, written_at)"
            " SELECT * FROM unnest(%s::bigint[], %s::timestamptz[])",
            (list(studies), list(studies.values())),
        )
