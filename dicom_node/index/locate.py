"""Where the instances of a study, a series or a UID lie, and what state a series is in: for retrieval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fhir_server.database import prepared


@dataclass(frozen=True, slots=True)
class Located:
    """A current instance and its file."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str
    digest: str
    size_bytes: int
    frames: int
    has_pixels: bool


COLUMNS: Final = """st.study_uid, se.series_uid, i.sop_uid, i.sop_class, i.transfer_syntax,
    encode(i.hash, 'hex'), i.size_bytes, i.frames, i.attributes ? '00280010'"""
"""What makes a Located, of dicom_study st, dicom_series se and dicom_instance i."""

_SQL = f"""
SELECT {COLUMNS}
FROM dicom_instance i JOIN dicom_series se ON se.pk = i.series_pk JOIN dicom_study st ON st.pk = se.study_pk
WHERE i.current AND {{conditions}}
ORDER BY st.pk, se.number NULLS LAST, se.pk, i.number NULLS LAST, i.sop_uid
"""
_KEYS: Final = {
    "00100020": "st.patient_id = ANY(%s)",
    "00100021": "st.attributes #>> '{00100021,Value,0}' = ANY(%s)",
    "0020000D": "st.study_uid = ANY(%s)",
    "0020000E": "se.series_uid = ANY(%s)",
    "00080018": "i.sop_uid = ANY(%s)",
}
"""The unique keys of the levels (PS3.4 C.6), and the issuer that makes a PatientID unique."""


def located(connection: Any, study_uid: str, series_uid: str = "", sop_uid: str = "") -> list[Located]:
    """Return the current instances of a study, of one of its series, or one instance, in reading order."""
    asked = {"st.study_uid = %s": study_uid, "se.series_uid = %s": series_uid, "i.sop_uid = %s": sop_uid}
    given = {condition: uid for condition, uid in asked.items() if uid}
    sql = _SQL.format(conditions=" AND ".join(given))
    return [Located(*row) for row in _settled(connection, sql, list(given.values()))]


def selected(connection: Any, keys: Mapping[str, Sequence[str]]) -> list[Located]:
    """Return the current instances that have one of the values of each unique key, in reading order.

    >>> selected(None, {})
    []
    """
    if not keys:
        return []
    cursor = connection.cursor()
    conditions = " AND ".join(_KEYS[name] for name in keys)
    cursor.execute(_SQL.format(conditions=conditions), [list(values) for values in keys.values()])
    return [Located(*row) for row in cursor.fetchall()]


@dataclass(frozen=True, slots=True)
class SeriesState:
    """A series and what tells one set of current instances from another.

    Every file has a key of its own, so number, sum and largest key change when an instance comes,
    gets a new version or goes.
    """

    study_uid: str
    series_uid: str
    pk: int
    count: int
    pk_sum: int
    pk_max: int


_STATES = """
SELECT st.study_uid, se.series_uid, se.pk, count(*), sum(i.pk)::text, max(i.pk)
FROM dicom_study st JOIN dicom_series se ON se.study_pk = st.pk
JOIN dicom_instance i ON i.series_pk = se.pk AND i.current
WHERE {asked} GROUP BY st.pk, se.pk ORDER BY se.number NULLS LAST, se.pk
"""


def series_states(connection: Any, study_uid: str, series_uid: str = "") -> list[SeriesState]:
    """Return the state of a series, or of each series of a study that has instances, in reading order."""
    asked = "st.study_uid = %s AND se.series_uid = %s" if series_uid else "st.study_uid = %s"
    values = [study_uid, *filter(None, (series_uid,))]
    return [_state(row) for row in _settled(connection, _STATES.format(asked=asked), values)]


def states_of(connection: Any, series_pks: list[int]) -> list[SeriesState]:
    """Return the state of each of these series that has instances."""
    cursor = connection.cursor()
    cursor.execute(_STATES.format(asked="se.pk = ANY(%s)"), (series_pks,))
    return [_state(row) for row in cursor.fetchall()]


def _state(row: Sequence[Any]) -> SeriesState:
    study_uid, series_uid, pk, count, pk_sum, pk_max = row
    return SeriesState(study_uid, series_uid, pk, count, int(pk_sum), pk_max)


def _settled(connection: Any, sql: str, values: Sequence[Any]) -> list[Any]:
    """Return the rows of a statement that has one best plan: made once a connection, it costs half."""
    cursor = connection.cursor()
    prepared.ask(cursor, sql, values)
    return list(cursor.fetchall())
