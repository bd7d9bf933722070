"""Rows of the index → what the pages show. Pure: no SQL, no HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dicom_node.attributes import Attributes
from dicom_node.index.query import Found

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Preset:
    """A window by name; `window` is center,width in Hounsfield units, "" as the file says."""

    name: str
    window: str


PRESETS = (
    Preset("As recorded", ""),
    Preset("Brain", "40,80"),
    Preset("Stroke", "40,40"),
    Preset("Subdural", "75,215"),
    Preset("Soft tissue", "50,400"),
    Preset("Bone", "600,2800"),
    Preset("Lung", "-600,1500"),
)
"""Windows that radiologists use for CT."""


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One line of the list of studies."""

    uid: str
    description: str
    modalities: str
    date: str
    time: str
    patient: str
    patient_id: str
    series: int
    images: int


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One series of a study."""

    uid: str
    number: str
    modality: str
    description: str
    images: int
    made_by: str
    body_part: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture: `path` is its address below the instances of its series."""

    sop_uid: str
    number: int

    @property
    def path(self) -> str:
        """Return instance and frame as DICOMweb names them."""
        return f"{self.sop_uid}/frames/{self.number}"


def study_row(found: Found) -> StudyRow:
    """Return the list line of a study."""
    study = found.study
    series, images = (*found.counts, 0, 0)[:2]
    return StudyRow(
        uid=text(study, "0020000D"),
        description=text(study, "00081030") or f"{', '.join(found.modalities) or 'Imaging'} study",
        modalities=", ".join(found.modalities),
        date=day(text(study, "00080020")),
        time=clock(text(study, "00080030")),
        patient=person(study.get("00100010")) or "(no name)",
        patient_id=text(study, "00100020"),
        series=series,
        images=images,
    )


def series_row(found: Found) -> SeriesRow:
    """Return the line of a series."""
    series = found.series
    number = text(series, "00200011")
    made_by = " ".join(filter(None, (text(series, "00080070"), text(series, "00081090"))))
    return SeriesRow(
        uid=text(series, "0020000E"),
        number=number,
        modality=text(series, "00080060"),
        description=text(series, "0008103E") or text(series, "00181030") or f"Series {number or '?'}",
        images=(*found.counts, 0)[0],
        made_by=made_by,
        body_part=text(series, "00180015").lower(),
    )


def frames(instances: Sequence[Found]) -> list[Frame]:
    """Return every picture of a series in order; instances without one are left out."""
    return [
        Frame(text(found.instance, "00080018"), number)
        for found in instances
        if text(found.instance, "00280010")  # Rows: without them there is no picture
        for number in range(1, _count(found.instance) + 1)
    ]


def facts(found: Found, series: SeriesRow) -> list[tuple[str, str]]:
    """Return labelled lines about a study and the series that is shown."""
    study = found.study
    pairs = (
        ("Study date", f"{day(text(study, '00080020'))} {clock(text(study, '00080030'))}".strip()),
        ("Patient ID", text(study, "00100020")),
        ("Birth date", day(text(study, "00100030"))),
        ("Accession number", text(study, "00080050")),
        ("Referring physician", person(study.get("00080090"))),
        ("Made by", series.made_by),
        ("Body part", series.body_part),
    )
    return [(label, value) for label, value in pairs if value]


def _count(instance: Attributes) -> int:
    number = text(instance, "00280008")
    return max(1, min(int(number), 10_000)) if number.isdigit() else 1


def text(attributes: Attributes, tag: str) -> str:
    """Return the first value of an attribute as text, "" without one.

    >>> text({"00080060": {"vr": "CS", "Value": ["CT"]}}, "00080060")
    'CT'
    """
    values = (attributes.get(tag) or {}).get("Value")
    first = values[0] if isinstance(values, list) and values else None
    return "" if first is None or isinstance(first, dict) else str(first)


def person(attribute: Any) -> str:
    """Return a PN value as people say it: prefix, given, middle, family, suffix.

    >>> person({"vr": "PN", "Value": [{"Alphabetic": "Ramirez^Richard^Robert"}]})
    'Richard Robert Ramirez'
    """
    values = (attribute or {}).get("Value")
    first = values[0] if isinstance(values, list) and values else None
    if not isinstance(first, dict):
        return ""
    name = next(
        (str(first[group]) for group in ("Alphabetic", "Ideographic", "Phonetic") if group in first), ""
    )
    family, given, middle, prefix, suffix = ([part.strip() for part in name.split("^")] + [""] * 5)[:5]
    return " ".join(filter(None, (prefix, given, middle, family, suffix)))


def day(value: str) -> str:
    """Return a DA value as people write it; what is none is given back as it is.

    >>> day("20260115"), day("soon")
    ('15 Jan 2026', 'soon')
    """
    digits = value.replace(".", "")
    if len(digits) == 8 and digits.isdigit() and 1 <= int(digits[4:6]) <= 12:
        return f"{int(digits[6:])} {_MONTHS[int(digits[4:6]) - 1]} {digits[:4]}"
    return value


def clock(value: str) -> str:
    """Return a TM value to the minute.

    >>> clock("084210.5")
    '08:42'
    """
    digits = value.replace(":", "")
    return f"{digits[:2]}:{digits[2:4]}" if digits[:4].isdigit() and len(digits) >= 4 else ""
