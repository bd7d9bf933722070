"""Workitems in Postgres: made, found, locked and changed on the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dicom_node.attributes import Attributes
from dicom_node.workitems.content import PATIENT_ID, STARTS, STATE, text
from dicom_node.workitems.matching import Key, condition
from fhir_server.outcome import Conflict, NotFound


@dataclass(frozen=True, slots=True)
class Workitem:
    """A workitem as it is kept; `lock` is the Transaction UID of who claimed it."""

    pk: int
    uid: str
    lock: str
    attributes: Attributes

    @property
    def state(self) -> str:
        """Return its state."""
        return text(self.attributes, STATE)


def insert(cursor: Any, uid: str, attributes: Attributes, now: datetime) -> Workitem:
    """Keep a new workitem. Raises Conflict (409) when one of this UID is here."""
    cursor.execute(
        "INSERT INTO dicom_workitem (created_at, changed_at, uid, state, transaction_uid, starts_at,"
        " patient_id, attributes) VALUES (%s, %s, %s, %s, '', %s, %s, %s) ON CONFLICT DO NOTHING"
        " RETURNING pk",
        (now, now, uid, *_columns(attributes), _json(attributes)),
    )
    if (row := cursor.fetchone()) is None:
        raise Conflict(f"there is a workitem {uid} already; update it, or leave the UID out to get a new one")
    return Workitem(row[0], uid, "", attributes)


def read(cursor: Any, uid: str, *, lock: bool = False) -> Workitem:
    """Return a workitem; with `lock` nobody else changes it in the meantime. Raises NotFound."""
    cursor.execute(
        "SELECT pk, uid, transaction_uid, attributes FROM dicom_workitem WHERE uid = %s"
        + (" FOR UPDATE" if lock else ""),
        (uid,),
    )
    if (row := cursor.fetchone()) is None:
        raise NotFound(f"there is no workitem {uid[:80]} here")
    return Workitem(*row)


def write(cursor: Any, pk: int, lock: str, attributes: Attributes, now: datetime) -> None:
    """Keep what has become of a workitem."""
    cursor.execute(
        "UPDATE dicom_workitem SET changed_at = %s, state = %s, starts_at = %s, patient_id = %s,"
        " transaction_uid = %s, attributes = %s WHERE pk = %s",
        (now, *_columns(attributes), lock, _json(attributes), pk),
    )


def search(cursor: Any, keys: Sequence[Key], limit: int, offset: int) -> tuple[list[Attributes], int]:
    """Return a page of what matches, the earliest start first, and how many lie behind the page."""
    where, values = condition(keys, "w.attributes")
    where, values = _by_column(keys, where, values)
    cursor.execute(
        f"SELECT w.attributes FROM dicom_workitem w WHERE {where}"
        " ORDER BY w.starts_at, w.pk LIMIT %s OFFSET %s",
        (*values, limit, offset),
    )
    found = [row[0] for row in cursor.fetchall()]
    if len(found) < limit:
        return found, 0
    cursor.execute(f"SELECT count(*) FROM dicom_workitem w WHERE {where}", values)
    return found, max(0, int(cursor.fetchone()[0]) - offset - len(found))


_SQL_COLUMNS: dict[tuple[str, ...], str] = {
    ("00741000",): "w.state",
    (PATIENT_ID,): "w.patient_id",
    ("00080018",): "w.uid",
}


def _by_column(keys: Sequence[Key], where: str, values: list[Any]) -> tuple[str, list[Any]]:
    """Add what the columns with an index can narrow down: single values of the commonest keys."""
    parts, more = [], list[Any]()
    for one in keys:
        value = one.value.strip()
        if (column := _SQL_COLUMNS.get(one.path)) and value and not set(value) & set("*?\\,"):
            parts.append(f"{column} = %s")
            more.append(value)
    return " AND ".join([*parts, where]), [*more, *values]


def _columns(attributes: Attributes) -> tuple[str, str, str]:
    return text(attributes, STATE), text(attributes, STARTS)[:64], text(attributes, PATIENT_ID)[:512]


def _json(attributes: Attributes) -> str:
    """Return a document as the database takes it: without NUL and lone surrogates."""
    return json.dumps(_clean(attributes), ensure_ascii=False)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_clean(one) for one in value]
    return {_clean(name): _clean(one) for name, one in value.items()} if isinstance(value, dict) else value
