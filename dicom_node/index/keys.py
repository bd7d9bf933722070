"""What can be asked at each level, where it lies in the index, and what an answer always holds.

PS3.4 C.6.1.1 and C.6.2.1 (keys by level), PS3.18 tables 10.6.3-3 to 10.6.3-5 (attributes of an answer).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dicom_node.dictionary import hex_of, tag_of, vr_of
from dicom_node.instance import KEPT, LEVEL_OF, Level


@dataclass(frozen=True, slots=True)
class Column:
    """A key with a column of its own; `kind` says how its values compare."""

    sql: str
    kind: str  # uid, text, number, date, time, name; within JSON also moment


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

STUDY_UID, SERIES_UID, SOP_UID = "0020000D", "0020000E", "00080018"
PATIENT_ID: Final = "00100020"
ACCESSION: Final = "00080050"
MODALITIES_IN_STUDY: Final = "00080061"
SOP_CLASSES_IN_STUDY: Final = "00080062"
STUDIES_OF_PATIENT, SERIES_OF_PATIENT, INSTANCES_OF_PATIENT = "00201200", "00201202", "00201204"
SERIES_OF_STUDY, INSTANCES_OF_STUDY, INSTANCES_OF_SERIES = "00201206", "00201208", "00201209"
COUNTED: Final = {
    Level.STUDY: (SERIES_OF_STUDY, INSTANCES_OF_STUDY),
    Level.SERIES: (INSTANCES_OF_SERIES,),
    Level.INSTANCE: (),
}
RETRIEVE_URL: Final = "00081190"
AVAILABILITY: Final = "00080056"
RETRIEVE_AE_TITLE: Final = "00080054"
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


COMPUTED: Final = {
    MODALITIES_IN_STUDY: Level.STUDY,
    SOP_CLASSES_IN_STUDY: Level.STUDY,
    STUDIES_OF_PATIENT: Level.STUDY,
    SERIES_OF_PATIENT: Level.STUDY,
    INSTANCES_OF_PATIENT: Level.STUDY,
    SERIES_OF_STUDY: Level.STUDY,
    INSTANCES_OF_STUDY: Level.STUDY,
    INSTANCES_OF_SERIES: Level.SERIES,
}
"""What no instance says, but the index can tell."""

PATIENT: Final = frozenset(name for name in LEVEL_OF if name.startswith("0010")) | {
    "00100021", STUDIES_OF_PATIENT, SERIES_OF_PATIENT, INSTANCES_OF_PATIENT
}  # fmt: skip
"""What is the patient's and not the study's, where the two are levels of their own."""


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
    return _KINDS.get(vr_of(int(name, 16)), "text")


_KINDS: Final = {
    "UI": "uid",
    "DA": "date",
    "TM": "time",
    "DT": "moment",
    "PN": "name",
    **dict.fromkeys(("IS", "DS", "US", "SS", "UL", "SL", "FL", "FD", "UV", "SV"), "number"),
}
