"""Instance → rows of study, series and instance, and the row in the outbox, in one transaction.

Two rules keep senders from waiting for each other: no row is updated by every instance (counts are
counted when asked for), and rows of study and series that this process has seen committed are
not looked up again.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any, NamedTuple

import psycopg2
from psycopg2 import errors

from dicom_node import announce
from dicom_node.attributes import Attributes
from dicom_node.index import tombstones
from dicom_node.index.matching import fold_name, read_date, read_time
from dicom_node.instance import Instance, first
from fhir_server.database.engine import Engine
from fhir_server.outcome import Unavailable

KNOWN_SERIES = 20_000
TRIES = 5
_PASSING = (
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.UniqueViolation,
    errors.ForeignKeyViolation,
)


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A durable file and how it came."""

    digest: str
    size_bytes: int
    calling_ae: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Written:
    """What became of an instance in the index: `version` counts from 1; new false: it was there.

    `removed` says that it stays out: it was deleted or rejected, and nobody has restored it.
    """

    new: bool
    version: int
    removed: bool = False


class NotIndexable(ValueError):
    """The database refuses what the data set says; trying again would not help."""


class _Patient(NamedTuple):
    """Who an instance says its patient is; the name folded in two texts, the birth date ISO or empty."""

    patient_id: str
    issuer: str
    alphabetic: str
    other: str
    birth_date: str


@dataclass(frozen=True, slots=True)
class _Known:
    """A series whose rows are committed, and what they said when we last looked."""

    study_pk: int
    series_pk: int
    patient_pk: int
    marks: tuple[int, int]
    patient: _Patient


class IndexWriter:
    """Writes instances into the index; one for a process, used by all its threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._lock = Lock()

    def write(self, instance: Instance, file: KeptFile) -> Written:
        """Put an instance into the index and commit.

        Raises Unavailable when the database is not there, or others were faster too often;
        NotIndexable when the values cannot be kept.
        """
        for _ in range(TRIES):
            try:
                with self._engine.connection() as connection:
                    return self._write(connection, instance, file)
            except _PASSING:
                with self._lock:  # a study that was deleted meanwhile is known no more
                    self._known.pop((instance.study_uid, instance.series_uid), None)
            except psycopg2.DataError as error:
                raise NotIndexable("the attributes cannot be kept in the index") from error
            except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
                raise Unavailable("the index cannot be written right now; send the instance again") from error
        raise Unavailable(f"the index row was contested {TRIES} times; send the instance again")

    def _write(self, connection: Any, instance: Instance, file: KeptFile) -> Written:
        cursor = connection.cursor()
        key = (instance.study_uid, instance.series_uid)
        patient = _patient(instance.study, issuer_of(instance.study, file.calling_ae))
        marks = (_mark(instance.study), _mark(instance.series))
        uids = (instance.study_uid, instance.series_uid, instance.sop_uid)
        if covered := tombstones.covering(cursor, [uids]):
            tombstones.put_aside(cursor, covered[0], instance, file, patient)
            connection.commit()
            return Written(False, 0, removed=True)
        with self._lock:
            known = self._known.get(key)
        if known is None or known.marks != marks or known.patient != patient:
            known = _study_and_series(cursor, instance, patient, marks, file)
        written = _instance(cursor, known, instance, file)
        if written.new:
            if written.version > 1:
                _correct(cursor, known, instance)
            announce.changed(cursor, known.study_pk, file.received_at)
        connection.commit()
        with self._lock:
            self._known[key] = known
            if len(self._known) > KNOWN_SERIES:
                self._known.popitem(last=False)
        return written


def _study_and_series(
    cursor: Any, instance: Instance, patient: _Patient, marks: tuple[int, int], file: KeptFile
) -> _Known:
    study_pk, is_new = _find_or_insert(
        cursor,
        "SELECT pk FROM dicom_study WHERE study_uid = %s",
        (instance.study_uid,),
        "INSERT INTO dicom_study (received_at, study_uid, patient_id, issuer, name_alphabetic, name_other,"
        " birth_date, accession, study_date, study_time, attributes)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING pk",
        (file.received_at, instance.study_uid, *_study_columns(instance.study, patient)),
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
        (*named, _json({name: value for name, value in instance.study.items() if name.startswith("0010")})),
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
    return _Known(study_pk, series_pk, patient_pk, marks, patient)


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


def _instance(cursor: Any, known: _Known, instance: Instance, file: KeptFile) -> Written:
    digest = bytes.fromhex(file.digest)
    cursor.execute("SELECT version FROM dicom_instance WHERE hash = %s", (digest,))
    if (row := cursor.fetchone()) is not None:
        return Written(False, row[0])
    cursor.execute(
        "SELECT pk, version FROM dicom_instance WHERE series_pk = %s AND sop_uid = %s AND current FOR UPDATE",
        (known.series_pk, instance.sop_uid),
    )
    version = 1
    if (row := cursor.fetchone()) is not None:
        version = row[1] + 1
        cursor.execute("UPDATE dicom_instance SET current = false WHERE pk = %s", (row[0],))
    found = instance.instance
    cursor.execute(
        "INSERT INTO dicom_instance (series_pk, study_pk, patient_pk, received_at, size_bytes, number,"
        " version, frames, current, hash, sop_uid, sop_class, transfer_syntax, calling_ae, problem,"
        " attributes)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, true, %s, %s, %s, %s, %s, %s, %s)",
        (
            known.series_pk,
            known.study_pk,
            known.patient_pk,
            file.received_at,
            file.size_bytes,
            _int8(first(found, "00200013")),
            version,
            max(1, _int4(first(found, "00280008")) or 1),
            digest,
            instance.sop_uid,
            instance.sop_class,
            instance.transfer_syntax,
            file.calling_ae,
            instance.problem,
            _json(found),
        ),
    )
    return Written(True, version)


def _fill_study(cursor: Any, pk: int, instance: Instance, patient: _Patient) -> None:
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


def _correct(cursor: Any, known: _Known, instance: Instance) -> None:
    """Let a corrected instance, sent again under its old UID, correct study and series too."""
    cursor.execute("SELECT attributes FROM dicom_study WHERE pk = %s FOR UPDATE", (known.study_pk,))
    corrected = {**cursor.fetchone()[0], **_said(instance.study)}
    _update_study(cursor, known.study_pk, corrected, known.patient.issuer)
    cursor.execute("SELECT attributes FROM dicom_series WHERE pk = %s FOR UPDATE", (known.series_pk,))
    _update_series(cursor, known.series_pk, {**cursor.fetchone()[0], **_said(instance.series)})


def _update_study(cursor: Any, pk: int, attributes: Attributes, issuer: str) -> None:
    cursor.execute(
        "UPDATE dicom_study SET patient_id = %s, issuer = %s, name_alphabetic = %s, name_other = %s,"
        " birth_date = %s, accession = %s, study_date = %s, study_time = %s, attributes = %s WHERE pk = %s",
        (*_study_columns(attributes, _patient(attributes, issuer)), pk),
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


def _study_columns(study: Attributes, patient: _Patient) -> tuple[Any, ...]:
    return (
        patient.patient_id,
        patient.issuer,
        patient.alphabetic,
        patient.other,
        patient.birth_date or None,
        _text(study, "00080050"),
        read_date(first(study, "00080020")),
        read_time(first(study, "00080030")),
        _json(study),
    )


def _series_columns(series: Attributes) -> tuple[Any, ...]:
    return _int8(first(series, "00200011")), _text(series, "00080060"), _json(series)


def _patient(study: Attributes, issuer: str) -> _Patient:
    alphabetic, other = fold_name(first(study, "00100010"))
    birth_date = read_date(first(study, "00100030"))
    iso = birth_date.isoformat() if birth_date else ""
    return _Patient(_text(study, "00100020"), issuer[:512], alphabetic[:512], other, iso)


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


def _mark(attributes: Attributes) -> int:
    return hash(json.dumps(attributes, sort_keys=True))


def _text(attributes: Attributes, name: str) -> str:
    value = first(attributes, name)
    # PS3.5 6.2 allows 64 characters; what is longer must still fit into an index page
    return value[:512] if isinstance(value, str) else ""


def _json(attributes: Attributes) -> str:
    return json.dumps(attributes, ensure_ascii=False)


def _int8(value: Any) -> int | None:
    return value if isinstance(value, int) and abs(value) < 2**63 else None


def _int4(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**31 else None
