"""What can be asked at each level, where it lies in the index, and what an answer always holds.

PS3.4 C.6.1.1 and C.6.2.1 (keys by level), PS3.18 tables 10.6.3-3 to 10.6.3-5 (attributes of an answer).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dicom_node.dictionary import hex_of, tag_of, vr_of
from dicom_node.instance import KEPT, Level


@dataclass(frozen=True, slots=True)
class Column:
    """A key with a column of its own; `kind` says how its values compare."""

    sql: str
    kind: str  # uid, text, number, date, time, name


COLUMNS: Final = {
    "0020000D": Column("st.study_uid", "uid"),
    "00100010": Column("st.name_alphabetic", "name"),
    "00100020": Column("st.patient_id", "text"),
    "00100030": Column("st.birth_date", "date"),
    "00080050": Column("st.accession", "text"),
    "00080020": Column("st.study_date", "date"),
    "00080030": Column("st.study_time", "time"),
    "0020000E": Column("se.series_uid", "uid"),
    "00080060": Column("se.modality", "text"),
    "00200011": Column("se.number", "number"),
    "00080018": Column("i.sop_uid", "uid"),
    "00080016": Column("i.sop_class", "uid"),
    "00200013": Column("i.number", "number"),
}
ALIAS: Final = {Level.STUDY: "st", Level.SERIES: "se", Level.INSTANCE: "i"}

MODALITIES_IN_STUDY: Final = "00080061"
SOP_CLASSES_IN_STUDY: Final = "00080062"
COUNTED: Final = {
    Level.STUDY: ("00201206", "00201208"),  # number of series, number of instances
    Level.SERIES: ("00201209",),
    Level.INSTANCE: (),
}
RETRIEVE_URL: Final = "00081190"
AVAILABILITY: Final = "00080056"
AVAILABLE_TRANSFER_SYNTAX: Final = "00083002"
SPECIFIC_CHARACTER_SET: Final = "00080005"


def _hex(names: str) -> tuple[str, ...]:
    return tuple(hex_of(tag) for name in names.split() if (tag := tag_of(name)) is not None)


ALWAYS: Final = {
    Level.STUDY: _hex(
        "StudyDate StudyTime AccessionNumber ReferringPhysicianName PatientName PatientID"
        " PatientBirthDate PatientSex StudyInstanceUID StudyID"
    ),
    Level.SERIES: _hex("Modality SeriesInstanceUID SeriesNumber"),
    Level.INSTANCE: _hex("SOPClassUID SOPInstanceUID InstanceNumber"),
}
"""Present in every answer, without a value where the index has none."""

WHEN_KNOWN: Final = {
    Level.STUDY: _hex("TimezoneOffsetFromUTC StudyDescription"),
    Level.SERIES: _hex(
        "SeriesDescription PerformedProcedureStepStartDate PerformedProcedureStepStartTime"
        " RequestAttributesSequence"
    ),
    Level.INSTANCE: _hex("Rows Columns BitsAllocated NumberOfFrames"),
}


def level_of(name: str) -> Level | None:
    """Return the level at which an attribute is kept, or None.

    >>> level_of("00100020"), level_of("00080060"), level_of("00020010")
    (<Level.STUDY: 0>, <Level.SERIES: 1>, None)
    """
    if name in (MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY):
        return Level.STUDY
    tag = int(name, 16)
    return next((level for level in Level if tag in KEPT[level]), None)


def kind_of(name: str) -> str:
    """Return how an attribute without a column compares, by its VR."""
    kinds = {
        "UI": "uid",
        "DA": "date",
        "TM": "time",
        "PN": "name",
        "IS": "number",
        "DS": "number",
        "US": "number",
    }
    return kinds.get(vr_of(int(name, 16)), "text")
