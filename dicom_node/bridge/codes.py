"""Codes of DICOM → codes of FHIR: coding schemes to systems, code items to CodeableConcepts.

PS3.16 chapter 8 (coding scheme designators), PS3.3 table 8.8-1 (code sequence macro),
PS3.16 Annex L (Body Part Examined and the codes that say the same).
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

from dicom_node.attributes import Attributes
from dicom_node.coding_schemes import SNOMED, SYSTEMS
from dicom_node.instance import first

Resource = dict[str, Any]

_BODY_PARTS: Final = """
ABDOMEN 818981001|ABDOMENPELVIS 818982008|ADRENAL 23451007|ANKLE 70258002|AORTA 15825003|ARM 53120007
AXILLA 91470000|BILEDUCT 28273000|BRAIN 12738006|BREAST 76752008|BRONCHUS 955009|BUTTOCK 46862004
CALCANEUS 80144004|CAROTID 69105007|CHEST 816094009|CLAVICLE 51299004|COCCYX 64688005|COLON 71854001
CSPINE 122494005|DUODENUM 38848004|EAR 117590005|ELBOW 16953009|ESOPHAGUS 32849002|EXTREMITY 66019005
EYE 81745001|FACE 89545001|FEMUR 71341001|FIBULA 87342007|FINGER 7569003|FOOT 56459004|FOREARM 14975008
GALLBLADDER 28231008|HAND 85562004|HEAD 69536005|HEADNECK 774007|HEART 80891009|HIP 24136001
HUMERUS 85050009|KIDNEY 64033007|KNEE 72696002|LARYNX 4596009|LEG 61685007|LIVER 10200004|LSPINE 122496007
LUNG 39607008|MANDIBLE 91609006|MEDIASTINUM 72410000|NECK 45048000|NOSE 45206002|ORBIT 363654007
OVARY 15497006|PANCREAS 15776009|PAROTID 45289007|PATELLA 64234005|PELVIS 816092008|PHARYNX 54066008
PROSTATE 41216001|RADIUS 131190003|RECTUM 34402009|RIB 113197003|SACRUM 54735007|SCAPULA 79601000
SHOULDER 16982005|SIJOINT 39723000|SINUS 2095001|SKULL 89546000|SPINE 421060004|SPLEEN 78961009
STERNUM 56873002|STOMACH 69695003|TESTIS 40689003|THIGH 68367000|THORAX 816094009|THYROID 69748006
TIBIA 12611008|TMJ 53620006|TOE 29707007|TRACHEA 44567001|TSPINE 122495006|ULNA 23416004|UTERUS 35039007
WHOLEBODY 38266002|WRIST 74670003|ZYGOMA 13881006
"""
BODY_PARTS: Final = dict(pair.split(" ") for pair in _BODY_PARTS.replace("\n", "|").split("|") if pair)
_LATERALITY: Final = {
    "R": ("24028007", "Right"),
    "L": ("7771000", "Left"),
    "B": ("51440002", "Right and left"),
}


def coding(item: Any) -> Resource | None:
    """Return the Coding of a code item, None when it has no code.

    >>> coding({"00080100": {"Value": ["T-04000"]}, "00080102": {"Value": ["SRT"]}})
    {'system': 'http://snomed.info/srt', 'code': 'T-04000'}
    """
    if not isinstance(item, dict):
        return None
    code = _code(text(item, "00080100") or text(item, "00080119"))  # code value, long code value
    url = text(item, "00080120")  # URN code value
    if not code and url:
        code = _code(url)
    if not code:
        return None
    designator = text(item, "00080102")
    system = SYSTEMS.get(designator)
    if system is None and designator:
        system = text(item, "0008010C") or f"urn:xinglin:coding-scheme:{_NO_URI.sub('-', designator)}"
        if OID.fullmatch(system):  # a coding scheme UID
            system = f"urn:oid:{system}"
    return without_gaps(
        {
            "system": system,
            "version": text(item, "00080103") if system not in (SNOMED, None) else None,
            "code": code,
            "display": text(item, "00080104"),
        }
    )


def concept(item: Any) -> Resource | None:
    """Return the CodeableConcept of a code item, None when it says nothing."""
    if not isinstance(item, dict):
        return None
    found, meaning = coding(item), text(item, "00080104")
    return without_gaps({"coding": [found] if found else [], "text": meaning}) or None


def concepts(found: Attributes, name: str) -> list[Resource]:
    """Return the CodeableConcepts of a code sequence."""
    return [one for item in items(found, name) if (one := concept(item))]


def body_site(found: Attributes) -> tuple[Resource | None, Resource | None]:
    """Return body site and laterality of a series, as Codings.

    Of the Anatomic Region Sequence and its modifiers, else of Body Part Examined and Laterality.

    >>> body_site({"00180015": {"Value": ["KNEE"]}, "00200060": {"Value": ["L"]}})[0]["code"]
    '72696002'
    """
    region = next(iter(items(found, "00082218")), None)
    site = coding(region) if region else None
    examined = text(found, "00180015")
    if site is None and examined:
        code = BODY_PARTS.get(re.sub(r"[\s_^-]", "", examined.upper()))
        site = {"system": SNOMED, "code": code, "display": examined} if code else {"display": examined}
    side = _LATERALITY.get(text(found, "00200060").upper())
    for modifier in items(region, "00082220") if region else []:
        code = text(modifier, "00080100")
        side = next((one for one in _LATERALITY.values() if one[0] == code), side)
    laterality = {"system": SNOMED, "code": side[0], "display": side[1]} if side else None
    return site, laterality


def items(found: Attributes, name: str) -> list[Attributes]:
    """Return the items of a sequence."""
    return [item for item in found.get(name, {}).get("Value", []) if isinstance(item, dict)]


def text(found: Attributes, name: str) -> str:
    """Return the first value of an attribute as FHIR's string takes it, "" for none."""
    value = first(found, name)
    return clean(value) if isinstance(value, str) else ""


def clean(value: str) -> str:
    """Return a text as FHIR's string takes it: no control characters, no space around it."""
    return "".join(sign for sign in value if sign >= " " or sign in "\t\n\r").strip()


def without_gaps(resource: Resource) -> Resource:
    """Return a resource without its empty elements."""
    return {name: value for name, value in resource.items() if value not in (None, "", [], {})}


def _code(value: str) -> str:
    return re.sub(r"\s+", " ", value).strip()


OID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")
"""The text of an OID as FHIR takes it (R4/datatypes.html#oid)."""


def universal_system(kind: str, name: str) -> str:
    """Return the identifier system of a universal entity (PS3.3 table 10-17: its type and id).

    What is none of its type is kept, in a system of ours: a wrong OID must not keep a study from FHIR.

    >>> universal_system("ISO", "1.2.3"), universal_system("ISO", "9.9")
    ('urn:oid:1.2.3', 'urn:xinglin:issuer:9.9')
    """
    if kind == "ISO" and OID.fullmatch(name):
        return f"urn:oid:{name}"
    if kind == "UUID" and _UUID.fullmatch(name.lower()):
        return f"urn:uuid:{name.lower()}"
    if kind == "URI" and _URI.fullmatch(name):
        return name
    return f"urn:xinglin:issuer:{quote(name, safe='')}"


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
_NO_URI = re.compile(r"[^A-Za-z0-9._~-]+")
