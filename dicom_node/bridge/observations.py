"""Measurements of a structured report → Observations (R4/observation.html).

A measurement is an Observation; a group is one too, which has its measurements as members, says the
finding, and what was tracked. Each is identified by its report and its place in the content tree, so
that the next version of the report updates it. Images are named by their UIDs: R4 has no resource for
one, so the references are logical ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from dicom_node.attributes import Attributes
from dicom_node.bridge.codes import clean, coding, concept, text, without_gaps
from dicom_node.bridge.moments import date_time
from dicom_node.bridge.source import UID_SYSTEM, Source
from dicom_node.coding_schemes import DCM, SNOMED, UCUM
from dicom_node.structured_report.content import coded, meaning
from dicom_node.structured_report.measurements import Found, Group, Image, Measurement, Subject

CONTENT_ITEM: Final = "urn:xinglin:content-item"
_CATEGORY: Final = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging"}]
}
_ABSENT_SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_ABSENT: Final = {
    "114000": "not-a-number",
    "114001": "negative-infinity",
    "114002": "positive-infinity",
    "114006": "error",
    "114007": "unknown",
    "114008": "unknown",
    "114009": "masked",
}
_LATERALITY: Final = {"system": SNOMED, "code": "272741003", "display": "Laterality"}
_DERIVATION: Final = {"system": DCM, "code": "121401", "display": "Derivation"}

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Made:
    """An Observation, its place in the report, and the places of its members."""

    path: str
    resource: Resource
    members: tuple[str, ...] = ()


def identifier(source: Source, path: str) -> Resource:
    """Return the identifier of what stands at a place of a report."""
    return {"system": CONTENT_ITEM, "value": f"urn:oid:{source.sop_uid}#{path}"}


def observations(source: Source, found: Found, status: str) -> list[Made]:
    """Return the Observations of a report, members before the groups that have them."""
    made = [_single(source, one, status) for one in found.single]
    for group in reversed(found.groups):
        made += [_single(source, one, status, group) for one in group.members]
        made.append(_group(source, group, status))
    return made


def _group(source: Source, group: Group, status: str) -> Made:
    members = (*(one.path for one in group.members), *group.groups)
    finding = concept(group.finding)
    resource = _common(source, group.path, group.about, group.at, status, group.images)
    if finding and group.finding is not None:
        cad = coded(group.name) != ("DCM", "125007")
        name = concept(group.name) if cad else None
        resource |= {"code": name or _FINDING, "valueCodeableConcept": finding}
    else:
        resource["code"] = concept(group.name) or _GROUP
        if not members:
            resource["dataAbsentReason"] = _absent("unknown", "")
    return Made(group.path, without_gaps(resource), members)


_FINDING: Final = {"coding": [{"system": DCM, "code": "121071", "display": "Finding"}], "text": "Finding"}
_GROUP: Final = {
    "coding": [{"system": DCM, "code": "125007", "display": "Measurement Group"}],
    "text": "Measurement Group",
}


def _single(source: Source, one: Measurement, status: str, group: Group | None = None) -> Made:
    images = one.images or (group.images if group else ())
    at = one.at or (group.at if group else "")
    resource = _common(source, one.path, one.about, at, status, images)
    resource["code"] = concept(one.name) or {"text": "Measurement"}
    if one.code is not None:
        resource["valueCodeableConcept"] = concept(one.code)
    elif one.text:
        resource["valueString"] = clean(one.text)
    elif one.value is not None:
        resource["valueQuantity"] = _quantity(one.value, one.unit)
    if not any(name.startswith("value") and resource[name] for name in resource):
        code = coded(one.absent)[1] if one.absent is not None else ""
        resource["dataAbsentReason"] = _absent(_ABSENT.get(code, "unknown"), meaning(one.absent))
    return Made(one.path, without_gaps(resource))


def _common(
    source: Source, path: str, about: Subject, at: str, status: str, images: Sequence[Image]
) -> Resource:
    tracked = []
    if about.tracking_uid:
        uid = {"system": UID_SYSTEM, "value": f"urn:oid:{clean(about.tracking_uid)}"}
        tracked.append({"type": {"text": "Tracking Unique Identifier"}, **uid})
    if about.tracking_id:
        tracked.append({"type": {"text": "Tracking Identifier"}, "value": clean(about.tracking_id)})
    return {
        "resourceType": "Observation",
        "identifier": [identifier(source, path), *tracked],
        "status": status,
        "category": [_CATEGORY],
        "subject": {"reference": source.subject},
        "basedOn": [{"reference": reference} for reference in source.based_on],
        "effectiveDateTime": date_time(at, source.attributes, source.zone) or source.started,
        "issued": source.issued,
        "bodySite": concept(about.site),
        "method": concept(about.method),
        "component": [
            {"code": {"coding": [code]}, "valueCodeableConcept": said}
            for code, value in ((_LATERALITY, about.laterality), (_DERIVATION, about.derivation))
            if (said := concept(value))
        ],
        "derivedFrom": [{"reference": source.imaging}, *map(_image, images)],
    }


def _image(image: Image) -> Resource:
    frames = f", frame {', '.join(map(str, image.frames))}" if image.frames else ""
    return {
        "type": "Media",
        "identifier": {"system": UID_SYSTEM, "value": f"urn:oid:{clean(image.sop_uid)}"},
        "display": f"DICOM instance {clean(image.sop_uid)}{frames}",
    }


def _quantity(value: float, unit: Attributes | None) -> Resource:
    """Return a number with its unit; a UCUM unit keeps its code.

    >>> mm = {"00080100": {"Value": ["mm"]}, "00080102": {"Value": ["UCUM"]}, "00080104": {"Value": ["mm"]}}
    >>> _quantity(12.0, mm)
    {'value': 12, 'unit': 'mm', 'system': 'http://unitsofmeasure.org', 'code': 'mm'}
    """
    number: int | Decimal = int(value) if value.is_integer() and abs(value) < 1e15 else Decimal(repr(value))
    found = coding(unit) if unit is not None else None
    if found is None:
        return {"value": number}
    system = found.get("system")
    said = text(unit or {}, "00080104") or found["code"]
    if system == UCUM and found["code"] == "1":
        return {"value": number, "system": UCUM, "code": "1"}
    return without_gaps(
        {"value": number, "unit": said, "system": system, "code": found["code"] if system else None}
    )


def _absent(code: str, said: str) -> Resource:
    return without_gaps({"coding": [{"system": _ABSENT_SYSTEM, "code": code}], "text": clean(said)})
