"""A study of the index → an ImagingStudy (R4/imagingstudy.html).

Pure: values in, a resource out. The same index rows always give the same resource, so sending it again
makes no version. UIDs that FHIR's `id` type cannot hold are left out of the lists but counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from dicom_node.attributes import Attributes
from dicom_node.index.matching import read_date, read_time
from dicom_node.index.studies import InstanceRow, SeriesRow, Study
from dicom_node.instance import first

DCM = "http://dicom.nema.org/resources/ontology/DCM"
IDENTIFIER_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0203"
UID_SYSTEM = "urn:dicom:uid"
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")
_CODE_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "SRT": "http://snomed.info/srt",
    "LN": "http://loinc.org",
    "DCM": DCM,
    "RADLEX": "http://radlex.org",
    "C4": "http://www.ama-assn.org/go/cpt",
    "I10": "http://hl7.org/fhir/sid/icd-10",
}

Resource = dict[str, Any]


def study_identifier(study_uid: str) -> str:
    """Return the value of the identifier with system urn:dicom:uid.

    >>> study_identifier("1.2.3")
    'urn:oid:1.2.3'
    """
    return f"urn:oid:{study_uid}"


def imaging_study(
    study: Study, subject: str, zone: ZoneInfo, *, endpoint: str = "", based_on: Sequence[str] = ()
) -> Resource:
    """Return the ImagingStudy of a study.

    `subject`, `endpoint` and `based_on` are references such as Patient/7; `zone` is that of
    times for which the data set names none.
    """
    found = study.attributes
    resource: Resource = {
        "resourceType": "ImagingStudy",
        "identifier": [{"system": UID_SYSTEM, "value": study_identifier(study.study_uid)}],
        "status": "available" if study.instance_count else "cancelled",
        "modality": [
            _modality(code) for code in sorted({one.modality for one in study.series if one.modality})
        ],
        "subject": {"reference": subject},
        "started": _moment(found, "00080020", "00080030", zone),
        "basedOn": [{"reference": reference} for reference in based_on],
        "referrer": _named(found, "00080090"),
        "endpoint": [{"reference": endpoint}] if endpoint else [],
        "numberOfSeries": len(study.series),
        "numberOfInstances": study.instance_count,
        "procedureCode": [
            code for item in found.get("00081032", {}).get("Value", []) if (code := _concept(item))
        ],
        "description": _text(found, "00081030"),
        "series": [_series(one, found, zone) for one in study.series if _ID.fullmatch(one.series_uid)],
    }
    if study.accession.strip():
        resource["identifier"].append(
            {
                "type": {"coding": [{"system": IDENTIFIER_TYPE, "code": "ACSN"}]},
                "value": clean(study.accession),
            }
        )
    return _without_gaps(resource)


def _series(series: SeriesRow, study: Attributes, zone: ZoneInfo) -> Resource:
    found = series.attributes
    zoned = {**found, **{name: study[name] for name in ("00080201",) if name in study}}
    return _without_gaps(
        {
            "uid": series.series_uid,
            "number": _unsigned(series.number),
            "modality": _modality(series.modality or "OT"),
            "description": _text(found, "0008103E"),
            "numberOfInstances": len(series.instances),
            "bodySite": {"display": text} if (text := _text(found, "00180015")) else None,
            "started": _moment(zoned, "00080021", "00080031", zone),
            "performer": [{"actor": name} for name in [_named(found, "00081050")] if name],
            "instance": [_instance(one) for one in series.instances if _ID.fullmatch(one.sop_uid)],
        }
    )


def _instance(instance: InstanceRow) -> Resource:
    return _without_gaps(
        {
            "uid": instance.sop_uid,
            "sopClass": {"system": "urn:ietf:rfc3986", "code": f"urn:oid:{instance.sop_class}"},
            "number": _unsigned(instance.number),
            "title": _title(instance.attributes),
        }
    )


def _title(found: Attributes) -> str:
    """Return what an instance is called: its document title or concept name, else its image type."""
    concept = first(found, "0040A043")
    if isinstance(concept, dict) and (meaning := _text(concept, "00080104")):
        return meaning
    if title := _text(found, "00420010"):
        return title
    kinds = [str(value) for value in found.get("00080008", {}).get("Value", []) if value]
    return clean(" ".join(kinds))


def _modality(code: str) -> Resource:
    return {"system": DCM, "code": re.sub(r"\s+", " ", clean(code)) or "OT"}


def _moment(found: Attributes, date_name: str, time_name: str, zone: ZoneInfo) -> str | None:
    """Return a date, or a dateTime with its zone, of two DICOM values.

    >>> _moment({"00080020": {"Value": ["20260102"]}, "00080030": {"Value": ["0304"]}},
    ...         "00080020", "00080030", ZoneInfo("UTC"))
    '2026-01-02T03:04:00+00:00'
    """
    day = read_date(first(found, date_name))
    if day is None:
        return None
    time = read_time(first(found, time_name))
    if time is None:
        return day.isoformat()
    moment = datetime.combine(day, time)
    match = _OFFSET.fullmatch(str(first(found, "00080201") or ""))
    if match and int(match[2]) <= 14 and int(match[3]) < 60:
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return moment.replace(tzinfo=timezone(-offset if match[1] == "-" else offset)).isoformat()
    return moment.replace(tzinfo=zone).isoformat()


def _concept(item: Attributes) -> Resource | None:
    code, meaning = _text(item, "00080100"), _text(item, "00080104")
    system = _CODE_SYSTEMS.get(_text(item, "00080102"))
    if not code and not meaning:
        return None
    coding = _without_gaps({"system": system, "code": re.sub(r"\s+", " ", code), "display": meaning})
    return _without_gaps({"coding": [coding] if code else [], "text": meaning})


def _named(found: Attributes, name: str) -> Resource | None:
    """Return a reference that only says a person's name."""
    value = first(found, name)
    text = clean(readable(value)) if isinstance(value, dict) else ""
    return {"display": text} if text else None


def readable(name: dict[str, Any]) -> str:
    """Return a PN value as people write it: prefix given middle family suffix.

    >>> readable({"Alphabetic": "Doe^John^Q^Dr"})
    'Dr John Q Doe'
    """
    family, given, middle, prefix, suffix, *_ = [*str(name.get("Alphabetic", "")).split("^"), *[""] * 5]
    return " ".join(part.strip() for part in (prefix, given, middle, family, suffix) if part.strip())


def _text(found: Attributes, name: str) -> str:
    value = first(found, name)
    return clean(value) if isinstance(value, str) else ""


def clean(text: str) -> str:
    """Return a text as FHIR's string takes it: no control characters, no space around it."""
    return "".join(sign for sign in text if sign >= " " or sign in "\t\n\r").strip()


def _unsigned(number: int | None) -> int | None:
    return number if number is not None and 0 <= number < 2**31 else None


def _without_gaps(resource: Resource) -> Resource:
    return {name: value for name, value in resource.items() if value not in (None, "", [], {})}
