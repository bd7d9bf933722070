"""Codes of FHIR as code sequence items, and back (PS3.3 8.8, R4/datatypes.html#Coding).

A system that DICOM has no designator for gets 99LOCAL, which PS3.16 chapter 8 leaves to sites; its URI goes
along where it is an OID.
"""

from __future__ import annotations

from typing import Any

from dicom_node.attributes import Attributes
from dicom_node.coding_schemes import DESIGNATORS, SYSTEMS
from dicom_node.workflow.elements import attributes, is_uid, value

LOCAL = "99LOCAL"

Resource = dict[str, Any]


def code_item(coding: Resource, text: str = "") -> Attributes | None:
    """Return a Coding as a code sequence item, or None when it has no code.

    >>> code_item({"system": "http://loinc.org", "code": "30746-2", "display": "CT Chest"})["00080102"]
    {'vr': 'SH', 'Value': ['LN']}
    """
    code, system = str(coding.get("code", "")).strip(), str(coding.get("system", ""))
    if not code:
        return None
    item = attributes(**{"CodeValue" if len(code) <= 16 else "LongCodeValue": code})
    item |= attributes(CodingSchemeDesignator=DESIGNATORS.get(system, LOCAL))
    if version := coding.get("version"):
        item |= attributes(CodingSchemeVersion=str(version)[:16])
    uid = system.removeprefix("urn:oid:")
    if uid != system and is_uid(uid) and system not in DESIGNATORS:
        item |= attributes(CodingSchemeUID=uid)
    return item | attributes(CodeMeaning=coding.get("display") or text or code)


def code_items(concept: Resource) -> list[Attributes]:
    """Return the codings of a CodeableConcept as items."""
    made = (code_item(coding, str(concept.get("text", ""))) for coding in concept.get("coding", ()))
    return [item for item in made if item is not None]


def text_of(concept: Resource | None) -> str:
    """Return what a CodeableConcept says to people.

    >>> text_of({"coding": [{"code": "X", "display": "Chest"}]})
    'Chest'
    """
    if not concept:
        return ""
    if text := str(concept.get("text", "")).strip():
        return text
    shown = (str(coding.get("display") or "") for coding in concept.get("coding", ()))
    coded = (str(coding.get("code") or "") for coding in concept.get("coding", ()))
    return next((one for one in (*shown, *coded) if one), "")


def coding_of(item: Attributes) -> Resource:
    """Return a code sequence item as a Coding; empty when it has no code.

    >>> coding_of(attributes(CodeValue="110514", CodingSchemeDesignator="DCM", CodeMeaning="Wrong entry"))
    {'system': 'http://dicom.nema.org/resources/ontology/DCM', 'code': '110514', 'display': 'Wrong entry'}
    """
    code = value(item, "CodeValue") or value(item, "LongCodeValue") or value(item, "URNCodeValue")
    if not code:
        return {}
    code = " ".join(code.split())
    designator, uid = value(item, "CodingSchemeDesignator"), value(item, "CodingSchemeUID")
    system = SYSTEMS.get(designator) or (f"urn:oid:{uid}" if is_uid(uid) else "")
    found = {"system": system, "code": code, "display": value(item, "CodeMeaning")}
    return {name: text for name, text in found.items() if text}
