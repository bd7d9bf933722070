"""An instance as the index knows it: who it is, and the attributes kept at each level.

PS3.3 A.1.2 (patient, study, series, instance); the attributes are those that PS3.4 C.6 and
PS3.18 10.6 let a peer ask for, and what an ImagingStudy needs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final

from dicom_node import header
from dicom_node.attributes import Attributes, read
from dicom_node.dictionary import hex_of, tag_of, vr_of
from dicom_node.header import Bytes
from dicom_node.skim import Table, Wanted, skim


class Level(IntEnum):
    """The levels of the index; the patient's attributes live with the study."""

    STUDY = 0
    SERIES = 1
    INSTANCE = 2


_KEPT: Final = {
    Level.STUDY: """
        StudyDate StudyTime AccessionNumber IssuerOfAccessionNumberSequence ReferringPhysicianName
        StudyDescription ProcedureCodeSequence NameOfPhysiciansReadingStudy PhysiciansOfRecord
        AdmittingDiagnosesDescription PatientName PatientID IssuerOfPatientID
        IssuerOfPatientIDQualifiersSequence PatientBirthDate PatientBirthTime PatientSex
        OtherPatientIDsSequence OtherPatientNames PatientAge PatientSize PatientWeight EthnicGroup
        PatientComments StudyInstanceUID StudyID TimezoneOffsetFromUTC
        ReasonForPerformedProcedureCodeSequence""",
    Level.SERIES: """
        SeriesDate SeriesTime Modality Manufacturer InstitutionName StationName SeriesDescription
        SeriesDescriptionCodeSequence InstitutionalDepartmentName PerformingPhysicianName OperatorsName
        ManufacturerModelName BodyPartExamined ProtocolName DeviceSerialNumber SoftwareVersions
        PatientPosition SeriesInstanceUID SeriesNumber Laterality FrameOfReferenceUID
        AnatomicRegionSequence PerformedProcedureStepStartDate PerformedProcedureStepStartTime
        PerformedProcedureStepID PerformedProcedureStepDescription RequestAttributesSequence
        SpecimenDescriptionSequence""",
    Level.INSTANCE: """
        ImageType SOPClassUID SOPInstanceUID InstanceCreationDate InstanceCreationTime AcquisitionDate
        ContentDate AcquisitionDateTime AcquisitionTime ContentTime AcquisitionNumber InstanceNumber
        ImagePositionPatient ImageOrientationPatient SliceLocation SliceThickness SpacingBetweenSlices
        NumberOfFrames SamplesPerPixel PhotometricInterpretation Rows Columns PixelSpacing
        BitsAllocated BitsStored HighBit PixelRepresentation WindowCenter WindowWidth RescaleIntercept
        RescaleSlope ConceptNameCodeSequence CompletionFlag VerificationFlag ContentLabel
        ContentDescription PresentationCreationDate PresentationCreationTime ContentCreatorName
        DocumentTitle""",
}


def _tags(names: str, ending: str = "") -> frozenset[int]:
    found = (tag_of(name) for name in names.split() if name.endswith(ending))
    return frozenset(tag for tag in found if tag is not None)


KEPT: Final = {level: _tags(names) for level, names in _KEPT.items()}
LEVEL_OF: Final = {hex_of(tag): level for level, tags in KEPT.items() for tag in tags}
_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_WANTED: Final = frozenset().union(*KEPT.values(), [_SPECIFIC_CHARACTER_SET])
_SEQUENCES: Final = frozenset().union(*(_tags(names, "Sequence") for names in _KEPT.values()))
_LAST: Final = max(_WANTED)
_TABLE: Final = Table(
    {tag: Wanted(level, hex_of(tag), vr_of(tag)) for level, tags in KEPT.items() for tag in tags}
)
# PS3.5 9.1 allows digits and dots; what else real senders write is kept as long as it can stand in an address
_UID: Final = re.compile(r"[0-9A-Za-z._~-]{1,128}")


@dataclass(frozen=True, slots=True)
class Instance:
    """One DICOM object: its place in study and series, and its attributes by level (JSON model).

    A UID that the data set does not give, or gives in a form that cannot be kept, is empty.
    `problem` says where the encoding breaks off, if it does.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str
    study: Attributes
    series: Attributes
    instance: Attributes
    problem: str | None = None

    def completed(self, sop_class: str, sop_uid: str) -> Instance:
        """Return the instance with the SOP UIDs that its data set does not give, and a note of it."""
        completed = replace(
            self,
            sop_class=self.sop_class or usable_uid(sop_class),
            sop_uid=self.sop_uid or usable_uid(sop_uid),
        )
        if completed == self:
            return self
        return replace(completed, problem=self.problem or "the data set does not give its SOP UIDs")

    def missing(self) -> list[str]:
        """Return the names of the UIDs without which an instance cannot be found again."""
        named = {
            "SOPInstanceUID": self.sop_uid,
            "SOPClassUID": self.sop_class,
            "StudyInstanceUID": self.study_uid,
            "SeriesInstanceUID": self.series_uid,
        }
        return [name for name, uid in named.items() if not uid]


def read_instance(data: Bytes, transfer_syntax: str, *, whole: bool = True) -> tuple[Instance, bool]:
    """Return the instance that an encoded data set describes, and whether all of it was seen.

    `whole` false means that `data` is the first part only; then a second look at all of it is
    needed when the answer is not complete.
    """
    syntax = header.syntax_of(transfer_syntax)
    if syntax.deflated:
        data = header.inflate(data)
        whole = whole or len(data) >= header.MAX_INFLATED_BYTES
    syntax = header.sniff(data, syntax)
    if syntax.little and not isinstance(data, memoryview | bytearray):
        skimmed = skim(data, syntax.implicit, _TABLE, whole=whole)
        if skimmed is not None:
            return _instance(skimmed[0], transfer_syntax, None), skimmed[1]
    reading = read(data, syntax, wanted=_WANTED, into=_SEQUENCES, last=_LAST, whole=whole)
    by_level: list[Attributes] = [{} for _ in Level]
    for name, element in reading.attributes.items():
        if (level := LEVEL_OF.get(name)) is not None:
            by_level[level][name] = element
    return _instance(by_level, transfer_syntax, reading.problem), reading.complete


def _instance(by_level: list[Attributes], transfer_syntax: str, problem: str | None) -> Instance:
    study, series, instance = by_level
    return Instance(
        study_uid=_uid(study, "0020000D"),
        series_uid=_uid(series, "0020000E"),
        sop_uid=_uid(instance, "00080018"),
        sop_class=_uid(instance, "00080016"),
        transfer_syntax=transfer_syntax,
        study=study,
        series=series,
        instance=instance,
        problem=problem,
    )


def first(attributes: Attributes, name: str) -> Any:
    """Return the first value of an attribute, or None.

    >>> first({"00080060": {"vr": "CS", "Value": ["CT"]}}, "00080060")
    'CT'
    """
    values = attributes.get(name, {}).get("Value")
    return values[0] if values else None


def _uid(found: Attributes, name: str) -> str:
    value = first(found, name)
    return usable_uid(value) if isinstance(value, str) else ""


def usable_uid(uid: str) -> str:
    """Return a UID, or nothing where it has a form that cannot be kept."""
    return uid if _UID.fullmatch(uid) else ""
