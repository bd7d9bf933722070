"""A study as a whole, for those who speak of it elsewhere: the bridge to FHIR, the console.

Plain values, read in one snapshot; the pages of the console may use them as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dicom_node.attributes import Attributes
from dicom_node.dictionary import hex_of, tag_of
from dicom_node.index.query import Found, Match, Question, find
from dicom_node.instance import Level


@dataclass(frozen=True, slots=True)
class Named:
    """A patient as instances of a study name him. `issuer` is told in `index/writer.issuer_of`."""

    patient_id: str
    issuer: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """A current instance of a series."""

    sop_uid: str
    sop_class: str
    number: int | None
    frames: int
    attributes: Attributes
    digest: str = ""
    calling_ae: str = ""


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A series with its current instances, in reading order."""

    series_uid: str
    number: int | None
    modality: str
    attributes: Attributes
    instances: Sequence[InstanceRow]


@dataclass(frozen=True, slots=True)
class Study:
    """A study with all that is current in it, and every patient that its current instances name."""

    pk: int
    study_uid: str
    accession: str
    issuer: str
    attributes: Attributes
    patients: Sequence[Named]
    series: Sequence[SeriesRow]
    received_at: datetime

    @property
    def instance_count(self) -> int:
        """Return how many instances are current."""
        return sum(len(series.instances) for series in self.series)


def study(connection: Any, pk: int) -> Study | None:
    """Return a study by its key, or None when it is gone."""
    cursor = connection.cursor()
    cursor.execute(
        "SELECT study_uid, accession, issuer, attributes, received_at FROM dicom_study WHERE pk = %s", (pk,)
    )
    row = cursor.fetchone()
    if row is None:
        return None
    cursor.execute(
        "SELECT patient_id, issuer, attributes FROM dicom_study_patient p WHERE study_pk = %s AND EXISTS"
        " (SELECT FROM dicom_instance i WHERE i.study_pk = p.study_pk AND i.current AND i.patient_pk = p.pk)"
        " ORDER BY pk",
        (pk,),
    )
    patients = [Named(*one) for one in cursor.fetchall()]
    cursor.execute(
        "SELECT pk, series_uid, number, modality, attributes FROM dicom_series WHERE study_pk = %s"
        " ORDER BY number NULLS LAST, pk",
        (pk,),
    )
    series_rows = cursor.fetchall()
    cursor.execute(
        "SELECT series_pk, sop_uid, sop_class, number, frames, attributes, encode(hash, 'hex'), calling_ae"
        " FROM dicom_instance"
        " WHERE study_pk = %s AND current ORDER BY number NULLS LAST, sop_uid",
        (pk,),
    )
    instances: dict[int, list[InstanceRow]] = {}
    for series_pk, *columns in cursor.fetchall():
        instances.setdefault(series_pk, []).append(InstanceRow(*columns))
    series = [
        SeriesRow(uid, number, modality, attributes, instances[series_pk])
        for series_pk, uid, number, modality, attributes in series_rows
        if series_pk in instances
    ]
    return Study(pk, row[0], row[1], row[2], row[3], patients, series, row[4])


def study_of(connection: Any, study_uid: str) -> Study | None:
    """Return a study by its UID, or None when it is not kept here."""
    cursor = connection.cursor()
    cursor.execute("SELECT pk FROM dicom_study WHERE study_uid = %s", (study_uid,))
    row = cursor.fetchone()
    return None if row is None else study(connection, row[0])


def studies(connection: Any, *, limit: int = 50, offset: int = 0, **matches: str) -> list[Found]:
    """Return a page of studies, the newest first: `studies(connection, PatientID="P1")`."""
    keys = [Match((hex_of(tag_of(name) or 0),), value) for name, value in matches.items()]
    return find(connection, Question(Level.STUDY, keys, limit, offset))
