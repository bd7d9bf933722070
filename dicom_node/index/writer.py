"""Instance → rows of patient, study and series: found, made, filled, corrected.

The first instance of a study says what the study is, later ones fill what it left open; one that was
sent again with other bytes corrects it. Batches of instances are `index/batch.py`.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from dicom_node.attributes import Attributes
from dicom_node.index.matching import fold_name, read_date, read_time
from dicom_node.instance import Instance, first

_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Patient(NamedTuple):
    """Who an instance says its patient is; the name folded in two texts, the birth date ISO or empty."""

    patient_id: str
    issuer: str
    alphabetic: str
    other: str
    birth_date: str


class Place(NamedTuple):
    """The rows to which an instance belongs."""

    study_pk: int
    series_pk: int
    patient_pk: int


def place(cursor: Any, instance: Instance, patient: Patient, received_at: datetime) -> Place:
    """Return the rows of an instance's study, series and patient, made or filled where they need it."""
    study_pk, is_new = _find_or_insert(
        cursor,
        "SELECT pk FROM dicom_study WHERE study_uid = %s",
        (instance.study_uid,),
        "INSERT INTO dicom_study (received_at, study_uid, patient_id, issuer, name_alphabetic, name_other,"
        " birth_date, accession, study_date, study_time, attributes)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING pk",
        (received_at, instance.study_uid, *_study_columns(instance.study, patient)),
    )
    if not is_new:
        _fill_study(cursor, study_pk, instance, patient)
    named = (study_pk, patient.patient_id, patient.issuer, patient.alphabetic, patient.birth_date or None)
    patient_pk, _ = _find_or_insert(
        cursor,
        "SELECT pk FROM dicom_study_patient WHERE study_pk = %s AND patient_id = %s AND issuer = %s"
        " AND name_alphabetic = %s AND birth_date IS NOT DISTINCT FROM %s",
        named,
        "INSERT INTO dicom_study_patient (study_pk, patient_id, issuer, name_alphabetic, birth_date,"
        " attributes) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING pk",
        (*named, as_json({name: value for name, value in instance.study.items() if name.startswith("0010")})),
    )
    series_pk, is_new = _find_or_insert(
        cursor,
        "SELECT pk FROM dicom_series WHERE study_pk = %s AND series_uid = %s",
        (study_pk, instance.series_uid),
        "INSERT INTO dicom_series (number, modality, attributes, study_pk, series_uid)"
        " VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING pk",
        (*_series_columns(instance.series), study_pk, instance.series_uid),
    )
    if not is_new:
        _fill_series(cursor, series_pk, instance)
    return Place(study_pk, series_pk, patient_pk)


def _find_or_insert(cursor: Any, select: str, key: Any, insert: str, values: Any) -> tuple[int, bool]:
    """Return the key of a row and whether it is new."""
    cursor.execute(select, key)
    row = cursor.fetchone()
    if row is None:
        cursor.execute(insert, values)
        if (row := cursor.fetchone()) is not None:
            return row[0], True
        cursor.execute(select, key)  # somebody else was faster; his row is committed now
        row = cursor.fetchone()
    return row[0], False


def _fill_study(cursor: Any, pk: int, instance: Instance, patient: Patient) -> None:
    """Add to a study what this instance says and none before it did."""
    cursor.execute("SELECT attributes, issuer FROM dicom_study WHERE pk = %s", (pk,))
    if not _gaps(cursor.fetchone()[0], instance.study):
        return
    cursor.execute("SELECT attributes, issuer FROM dicom_study WHERE pk = %s FOR UPDATE", (pk,))
    present, issuer = cursor.fetchone()
    filled = {**present, **_gaps(present, instance.study)}
    if not _text(present, "00100020"):
        issuer = patient.issuer
    _update_study(cursor, pk, filled, issuer)


def _fill_series(cursor: Any, pk: int, instance: Instance) -> None:
    cursor.execute("SELECT attributes FROM dicom_series WHERE pk = %s", (pk,))
    if not _gaps(cursor.fetchone()[0], instance.series):
        return
    cursor.execute("SELECT attributes FROM dicom_series WHERE pk = %s FOR UPDATE", (pk,))
    present = cursor.fetchone()[0]
    _update_series(cursor, pk, {**present, **_gaps(present, instance.series)})


def correct(cursor: Any, known: Place, patient: Patient, instance: Instance) -> None:
    """Let a corrected instance, sent again under its old UID, correct study and series too."""
    cursor.execute("SELECT attributes FROM dicom_study WHERE pk = %s FOR UPDATE", (known.study_pk,))
    corrected = {**cursor.fetchone()[0], **_said(instance.study)}
    _update_study(cursor, known.study_pk, corrected, patient.issuer)
    cursor.execute("SELECT attributes FROM dicom_series WHERE pk = %s FOR UPDATE", (known.series_pk,))
    _update_series(cursor, known.series_pk, {**cursor.fetchone()[0], **_said(instance.series)})


def _update_study(cursor: Any, pk: int, attributes: Attributes, issuer: str) -> None:
    cursor.execute(
        "UPDATE dicom_study SET patient_id = %s, issuer = %s, name_alphabetic = %s, name_other = %s,"
        " birth_date = %s, accession = %s, study_date = %s, study_time = %s, attributes = %s WHERE pk = %s",
        (*_study_columns(attributes, patient_of(attributes, issuer)), pk),
    )


def _update_series(cursor: Any, pk: int, attributes: Attributes) -> None:
    cursor.execute(
        "UPDATE dicom_series SET number = %s, modality = %s, attributes = %s WHERE pk = %s",
        (*_series_columns(attributes), pk),
    )


def _gaps(present: Attributes, new: Attributes) -> Attributes:
    """Return what `new` says and `present` does not."""
    said = _said(present)
    return {name: element for name, element in _said(new).items() if name not in said}


def _said(attributes: Attributes) -> Attributes:
    return {name: element for name, element in attributes.items() if element.get("Value")}


def _study_columns(study: Attributes, patient: Patient) -> tuple[Any, ...]:
    return (
        patient.patient_id,
        patient.issuer,
        patient.alphabetic,
        patient.other,
        patient.birth_date or None,
        _text(study, "00080050"),
        read_date(first(study, "00080020")),
        read_time(first(study, "00080030")),
        as_json(study),
    )


def _series_columns(series: Attributes) -> tuple[Any, ...]:
    return whole(first(series, "00200011")), _text(series, "00080060"), as_json(series)


def patient_of(study: Attributes, issuer: str) -> Patient:
    """Return who a study says its patient is."""
    alphabetic, other = fold_name(first(study, "00100010"))
    birth_date = read_date(first(study, "00100030"))
    iso = birth_date.isoformat() if birth_date else ""
    return Patient(_text(study, "00100020"), issuer[:512], alphabetic[:512], other, iso)


def issuer_of(study: Attributes, calling_ae: str) -> str:
    """Return who issued the PatientID, as text with its kind in front.

    The universal id of (0010,0024), else the local name of (0010,0021), else the AE that sent it.

    >>> issuer_of({"00100021": {"vr": "LO", "Value": ["HOSPITAL"]}}, "CT1")
    'local:HOSPITAL'
    >>> issuer_of({}, "CT1")
    'ae:CT1'
    """
    qualifiers = first(study, "00100024")
    if isinstance(qualifiers, dict) and (universal := _text(qualifiers, "00400032")):
        return f"{_text(qualifiers, '00400033') or 'universal'}:{universal}"
    local = _text(study, "00100021")
    return f"local:{local}" if local else f"ae:{calling_ae}"


def _text(attributes: Attributes, name: str) -> str:
    value = first(attributes, name)
    # PS3.5 6.2 allows 64 characters; what is longer must still fit into an index page
    return value[:512] if isinstance(value, str) else ""


def as_json(attributes: Attributes) -> str:
    """Return attributes as the database takes them."""
    return _ENCODE(attributes)


def whole(value: Any) -> int | None:
    """Return a whole number that fits into a bigint, or None."""
    return value if isinstance(value, int) and abs(value) < 2**63 else None
