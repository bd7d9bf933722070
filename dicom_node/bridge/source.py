"""An object of a study that becomes a report or document of its own in FHIR, and what is known around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from dicom_node.attributes import Attributes
from dicom_node.bridge.moments import instant, moment

Resource = dict[str, Any]

UID_SYSTEM: Final = "urn:dicom:uid"
LOINC: Final = "http://loinc.org"


@dataclass(frozen=True, slots=True)
class Source:
    """One object: its attributes, its address in DICOMweb, whose it is and in which ImagingStudy it lies."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    attributes: Attributes
    address: str
    subject: str
    imaging: str
    zone: ZoneInfo
    based_on: tuple[str, ...] = ()
    started: str | None = None

    @property
    def identifier(self) -> Resource:
        """Return the identifier of what this object becomes."""
        return {"system": UID_SYSTEM, "value": f"urn:oid:{self.sop_uid}"}

    @property
    def made(self) -> str | None:
        """Return when its content was made, as a date or dateTime."""
        return moment(self.attributes, "00080023", "00080033", self.zone) or moment(
            self.attributes, "00080012", "00080013", self.zone
        )

    @property
    def issued(self) -> str | None:
        """Return the same as an instant, None when it is not known to the second."""
        return instant(self.made)
