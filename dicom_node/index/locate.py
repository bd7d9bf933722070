"""Where the instances of a study, a series or a UID lie: what a retrieval needs of the index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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


_SQL = """
SELECT st.study_uid, se.series_uid, i.sop_uid, i.sop_class, i.transfer_syntax, encode(i.hash, 'hex'),
    i.size_bytes, i.frames
FROM dicom_instance i JOIN dicom_series se ON se.pk = i.series_pk JOIN dicom_study st ON st.pk = se.study_pk
WHERE i.current AND st.study_uid = %s {series} {instance}
ORDER BY se.number NULLS LAST, se.pk, i.number NULLS LAST, i.sop_uid
"""


def located(connection: Any, study_uid: str, series_uid: str = "", sop_uid: str = "") -> list[Located]:
    """Return the current instances of a study, of one of its series, or one instance, in reading order."""
    values = [study_uid, *filter(None, (series_uid, sop_uid))]
    sql = _SQL.format(
        series="AND se.series_uid = %s" if series_uid else "",
        instance="AND i.sop_uid = %s" if sop_uid else "",
    )
    cursor = connection.cursor()
    cursor.execute(sql, values)
    return [Located(*row) for row in cursor.fetchall()]
