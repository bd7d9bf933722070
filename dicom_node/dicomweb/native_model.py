"""The DICOM JSON model → application/dicom+xml, the Native DICOM Model (PS3.19 A.1, PS3.18 8.7.3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from dicom_node.attributes import Attributes
from dicom_node.dictionary import keyword_of

DICOM_XML = "application/dicom+xml"
_NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME_PARTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")


def encode(attributes: Attributes) -> bytes:
    """Return one data set as an XML document.

    >>> encode({"00100020": {"vr": "LO", "Value": ["P<1"]}}).partition(b"PatientID")[2][:39]
    b'"><Value number="1">P&lt;1</Value></Dic'
    """
    head = f'<?xml version="1.0" encoding="utf-8"?><NativeDicomModel xmlns={quoteattr(_NAMESPACE)}>'
    return f"{head}{''.join(_elements(attributes))}</NativeDicomModel>".encode()


def _elements(attributes: Attributes) -> Iterator[str]:
    for tag in sorted(attributes):
        element = attributes[tag]
        keyword = keyword_of(int(tag, 16))
        named = f" keyword={quoteattr(keyword)}" if keyword else ""
        yield f'<DicomAttribute tag="{tag}" vr="{element["vr"]}"{named}>'
        if "InlineBinary" in element:
            yield f"<InlineBinary>{element['InlineBinary']}</InlineBinary>"
        elif "BulkDataURI" in element:
            yield f"<BulkData uri={quoteattr(_clean(element['BulkDataURI']))}/>"
        for number, value in enumerate(element.get("Value", ()), 1):
            yield from _value(element["vr"], number, value)
        yield "</DicomAttribute>"


def _value(vr: str, number: int, value: Any) -> Iterator[str]:
    if value is None:
        return
    if vr == "SQ":
        yield f'<Item number="{number}">'
        yield from _elements(value)
        yield "</Item>"
    elif vr == "PN":
        yield f'<PersonName number="{number}">'
        for group in ("Alphabetic", "Ideographic", "Phonetic"):
            if text := value.get(group):
                parts = zip(_NAME_PARTS, str(text).split("^"), strict=False)
                inner = "".join(f"<{name}>{escape(_clean(part))}</{name}>" for name, part in parts if part)
                yield f"<{group}>{inner}</{group}>"
        yield "</PersonName>"
    else:
        yield f'<Value number="{number}">{escape(_clean(str(value)))}</Value>'


def _clean(text: str) -> str:
    return _UNWRITABLE.sub("", text)
