"""Encapsulated documents and key objects → DocumentReferences (R4/documentreference.html).

Pure. A PDF, CDA or other encapsulated document: its address in DICOMweb, with media type, size and
SHA-1, so that a client fetches and verifies it without knowing DICOM. A Key Object Selection is a document
as well (so has IHE XDS-I.b it): its address is that of the object, and `context.related` names each
instance that it selects. It is no List, since an entry of a List refers to a resource and an instance is
none in R4; and R4 has nothing like R5's ImagingSelection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from dicom_node.attributes import Attributes
from dicom_node.bridge.codes import concept, items, text, without_gaps
from dicom_node.bridge.source import LOINC, UID_SYSTEM, Source
from dicom_node.structured_report.content import item_of, meaning

_ENCAPSULATED: Final = "1.2.840.10008.5.1.4.1.1.104."
MEDIA_TYPES: Final = {
    f"{_ENCAPSULATED}1": "application/pdf",
    f"{_ENCAPSULATED}2": "text/xml",  # CDA
    f"{_ENCAPSULATED}3": "model/stl",
    f"{_ENCAPSULATED}4": "model/obj",
    f"{_ENCAPSULATED}5": "model/mtl",
}
KEY_OBJECTS: Final = "1.2.840.10008.5.1.4.1.1.88.59"
MOST_SELECTED: Final = 2000

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Attached:
    """The bytes of an encapsulated document: where they can be fetched, how many, their SHA-1 in base64."""

    url: str
    size_bytes: int
    sha1: str


def document(source: Source, attached: Attached) -> Resource:
    """Return the DocumentReference of an encapsulated document."""
    found = source.attributes
    title = text(found, "00420010")
    attachment = {
        "contentType": text(found, "00420012") or MEDIA_TYPES.get(source.sop_class),
        "url": attached.url,
        "size": attached.size_bytes if attached.size_bytes < 2**31 else None,
        "hash": attached.sha1,
        "title": title,
        "creation": source.made,
    }
    kind = concept(item_of(found, "0040A043")) or {"text": title or "Document"}
    return _reference(source, kind, title, attachment, [])


def key_objects(source: Source) -> Resource:
    """Return the DocumentReference of a Key Object Selection."""
    found = source.attributes
    name = item_of(found, "0040A043")
    kind = concept(name) or {"text": "Key objects"}
    said = next(
        (
            text(item, "0040A160")
            for item in items(found, "0040A730")
            if text(item_of(item, "0040A043") or {}, "00080100") == "113012"
        ),
        "",
    )
    title = meaning(name) or "Key objects"
    attachment = {
        "contentType": "application/dicom",
        "url": source.address,
        "title": title,
        "creation": source.made,
    }
    return _reference(source, kind, said or title, attachment, _selected(found))


def _reference(
    source: Source, kind: Resource, description: str, attachment: Resource, related: list[Resource]
) -> Resource:
    studies = [{"reference": source.imaging}]
    return without_gaps(
        {
            "resourceType": "DocumentReference",
            "masterIdentifier": source.identifier,
            "status": "current",
            "type": kind,
            "category": [
                {"coding": [{"system": LOINC, "code": "18748-4", "display": "Diagnostic imaging study"}]}
            ],
            "subject": {"reference": source.subject},
            "date": source.issued,
            "description": description,
            "content": [{"attachment": without_gaps(attachment)}],
            "context": {
                "sourcePatientInfo": {"reference": source.subject},
                "related": [*studies, *({"reference": one} for one in source.based_on), *related],
            },
        }
    )


def _selected(found: Attributes) -> list[Resource]:
    """Return what a Key Object Selection selects, each instance by its UID (PS3.3 C.17.6.2)."""
    selected: list[Resource] = []
    for item in items(found, "0040A730"):
        for reference in items(item, "00081199"):
            uid = text(reference, "00081155")
            frames = [str(one) for one in reference.get("00081160", {}).get("Value", [])]
            shown = f", frame {', '.join(frames)}" if frames else ""
            if uid and len(selected) < MOST_SELECTED:
                selected.append(
                    {
                        "identifier": {"system": UID_SYSTEM, "value": f"urn:oid:{uid}"},
                        "display": f"DICOM instance {uid}{shown}",
                    }
                )
    return list({one["display"]: one for one in selected}.values())
