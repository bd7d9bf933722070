"""A study of the index → an ImagingStudy (R4/imagingstudy.html).

Pure: values in, a resource out. The same index rows always give the same resource, so sending it again
makes no version. UIDs that FHIR's `id` type cannot hold are left out of the lists but counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from dicom_node.attributes import Attributes
from dicom_node.bridge.codes import (
    body_site,
    clean,
    concepts,
    items,
    text,
    universal_system,
    without_gaps,
)
from dicom_node.bridge.moments import TIMEZONE, moment
from dicom_node.bridge.people import named
from dicom_node.coding_schemes import DCM
from dicom_node.index.studies import InstanceRow, SeriesRow, Study
from dicom_node.instance import first

IDENTIFIER_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0203"
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
UID_SYSTEM = "urn:dicom:uid"
_ISSUER = "urn:xinglin:issuer:"
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What FHIR says beside the study itself: references, the zone of times that name none.

    `accession_system` is the identifier system of an accession number that names no issuer.
    """

    subject: str
    zone: ZoneInfo = ZoneInfo("UTC")
    endpoint: str = ""
    based_on: Sequence[str] = ()
    accession_system: str = ""


def study_identifier(study_uid: str) -> str:
    """Return the value of the identifier with system urn:dicom:uid.

    >>> study_identifier("1.2.3")
    'urn:oid:1.2.3'
    """
    return f"urn:oid:{study_uid}"


def imaging_study(study: Study, told: Told) -> Resource:
    """Return the ImagingStudy of a study."""
    found = study.attributes
    series = [one for one in study.series if _ID.fullmatch(one.series_uid)]
    endpoint = [{"reference": told.endpoint}] if told.endpoint else []
    shown = [_series(one, found, told.zone, endpoint) for one in series]
    started = moment(found, "00080020", "00080030", told.zone)
    identifier = {"system": UID_SYSTEM, "value": study_identifier(study.study_uid)}
    accession = accession_identifier(found, study.accession, told.accession_system)
    return without_gaps(
        {
            "resourceType": "ImagingStudy",
            "identifier": [identifier, *([accession] if accession else [])],
            "status": "available" if study.instance_count else "cancelled",
            "modality": [
                modality(code) for code in sorted({one.modality for one in study.series if one.modality})
            ],
            "subject": {"reference": told.subject},
            "started": started or min((one["started"] for one in shown if "started" in one), default=None),
            "basedOn": [{"reference": reference} for reference in told.based_on],
            "referrer": next(iter(named(found, "00080090")), None),
            "interpreter": named(found, "00081060"),
            "endpoint": endpoint,
            "numberOfSeries": len(study.series),
            "numberOfInstances": study.instance_count,
            "procedureCode": concepts(found, "00081032")
            or _unique(_requested(study, "00321064", "00321060")),
            "location": _location(study),
            "reasonCode": _unique(
                [*concepts(found, "00401012"), *_requested(study, "0040100A", "00401002"), *_admitted(found)]
            ),
            "description": text(found, "00081030"),
            "series": shown,
        }
    )


def withdrawn(present: Resource, status: str) -> Resource:
    """Return the ImagingStudy of a study of which nothing is left here."""
    gone = ("series", "endpoint", "modality", "text")
    kept = {name: value for name, value in present.items() if name not in gone}
    return {**kept, "status": status, "numberOfSeries": 0, "numberOfInstances": 0}


def modality(code: str) -> Resource:
    """Return a modality as a Coding."""
    return {"system": DCM, "code": re.sub(r"\s+", " ", clean(code)) or "OT"}


def accession_identifier(found: Attributes, number: str, accession_system: str) -> Resource | None:
    """Return an accession number with its issuer, None when it is empty (PS3.3 table 10-17, HL7 ACSN).

    `found` may hold the Issuer of Accession Number Sequence (0008,0051).
    """
    value = clean(number)
    if not value:
        return None
    issuer = next(iter(items(found, "00080051")), {})
    local, universal = text(issuer, "00400031"), text(issuer, "00400032")
    system = accession_system
    if universal:
        system = universal_system(text(issuer, "00400033"), universal)
    elif local:
        system = f"{_ISSUER}{quote(local, safe='')}"
    return without_gaps(
        {
            "type": {"coding": [{"system": IDENTIFIER_TYPE, "code": "ACSN"}]},
            "system": system,
            "value": value,
            "assigner": {"display": local} if local else None,
        }
    )


def _requested(study: Study, code_name: str, text_name: str) -> list[Resource]:
    """Return what the orders of its series say, by code or by text (PS3.3 10.6 Request Attributes)."""
    found: list[Resource] = []
    for series in study.series:
        for item in items(series.attributes, "00400275"):
            coded = concepts(item, code_name)
            said = text(item, text_name)
            found += coded or ([{"text": said}] if said else [])
    return found


def _admitted(found: Attributes) -> list[Resource]:
    said = [clean(str(value)) for value in found.get("00081080", {}).get("Value", []) if value]
    return [{"text": one} for one in said if one]


def _location(study: Study) -> Resource | None:
    """Return where it was made, by name: department and institution, when all series agree."""
    places = {
        ", ".join(filter(None, (text(one.attributes, "00081040"), text(one.attributes, "00080080"))))
        for one in study.series
    } - {""}
    return {"display": places.pop()} if len(places) == 1 else None


def _series(series: SeriesRow, study: Attributes, zone: ZoneInfo, endpoint: list[Resource]) -> Resource:
    found = series.attributes
    zoned = {**found, **{name: study[name] for name in (TIMEZONE,) if name in study}}
    site, laterality = body_site(found)
    return without_gaps(
        {
            "uid": series.series_uid,
            "number": _unsigned(series.number),
            "modality": modality(series.modality or "OT"),
            "description": text(found, "0008103E"),
            "numberOfInstances": len(series.instances),
            "endpoint": endpoint,
            "bodySite": site,
            "laterality": laterality,
            "specimen": _specimens(found),
            "started": moment(zoned, "00080021", "00080031", zone)
            or moment(zoned, "00400244", "00400245", zone),
            "performer": _performers(found),
            "instance": [_instance(one) for one in series.instances if _ID.fullmatch(one.sop_uid)],
        }
    )


def _specimens(found: Attributes) -> list[Resource]:
    """Return the specimens of a series by their identifiers (PS3.3 C.7.6.22)."""
    specimens: list[Resource] = []
    for item in items(found, "00400560"):
        uid, number = text(item, "00400554"), text(item, "00400551")
        identifier = {"system": UID_SYSTEM, "value": f"urn:oid:{uid}"} if uid else {"value": number}
        if uid or number:
            specimens.append(without_gaps({"type": "Specimen", "identifier": identifier, "display": number}))
    return specimens


def _performers(found: Attributes) -> list[Resource]:
    """Return who made a series: physicians, operators, and the device."""
    function = {"coding": [{"system": PARTICIPATION, "code": "PRF"}]}
    people = [*named(found, "00081050"), *named(found, "00081070")]
    device = " ".join(filter(None, (text(found, "00080070"), text(found, "00081090"))))
    serial = text(found, "00181000")
    machine = {
        "type": "Device",
        "identifier": {"type": {"coding": [{"system": IDENTIFIER_TYPE, "code": "SNO"}]}, "value": serial}
        if serial
        else None,
        "display": ", ".join(filter(None, (device, text(found, "00081010")))),
    }
    actors = [*people, *([without_gaps(machine)] if machine["display"] or serial else [])]
    return [{"function": function, "actor": actor} for actor in actors]


def _instance(instance: InstanceRow) -> Resource:
    return without_gaps(
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
    if isinstance(concept, dict) and (meaning := text(concept, "00080104")):
        return meaning
    if title := text(found, "00420010"):
        return title
    kinds = [str(value) for value in found.get("00080008", {}).get("Value", []) if value]
    return clean(" ".join(kinds))


def _unique(found: list[Resource]) -> list[Resource]:
    return [one for place, one in enumerate(found) if one not in found[:place]]


def _unsigned(number: int | None) -> int | None:
    return number if number is not None and 0 <= number < 2**31 else None
