"""What the data dictionary knows of a tag: its VR and its keyword (PS3.6 chapter 6).

The table is pydicom's; a tag is an int (0x00100010), as a text it has eight upper-case hexadecimal digits.
"""

from __future__ import annotations

from functools import lru_cache

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR, keyword_dict


@lru_cache(maxsize=16_384)
def vr_of(tag: int) -> str:
    """Return the VR of a tag; UN when nobody but its maker can know it.

    Where the dictionary leaves a choice ("US or SS", "OB or OW") the first stands that reads any
    value: US for numbers, OW for bulk.

    >>> vr_of(0x00100010), vr_of(0x00280106), vr_of(0x7FE00010), vr_of(0x00091001), vr_of(0x00090010)
    ('PN', 'US', 'OW', 'UN', 'LO')
    """
    if (tag >> 16) & 1:  # PS3.5 7.8.1: the element that reserves a private block is LO
        return "LO" if 0x0010 <= tag & 0xFFFF <= 0x00FF else "UN"
    if not tag & 0xFFFF:
        return "UL"
    entry = DicomDictionary.get(tag)
    if entry is not None:
        vr = str(entry[0])
    else:
        try:
            vr = str(dictionary_VR(tag))  # repeating groups, 60xx and the like
        except KeyError:
            return "UN"
    if " or " in vr:
        return "OW" if "OW" in vr else "US"
    return vr if len(vr) == 2 else "UN"


@lru_cache(maxsize=1024)
def signed_by_pixels(tag: int) -> bool:
    """Whether (0028,0103) Pixel Representation decides between US and SS for this tag.

    >>> signed_by_pixels(0x00280106), signed_by_pixels(0x00280010)
    (True, False)
    """
    entry = DicomDictionary.get(tag)
    return entry is not None and "US or SS" in entry[0]


def tag_of(name: str) -> int | None:
    """Return the tag named by a keyword or by eight hexadecimal digits, or None.

    >>> tag_of("PatientID") == tag_of("00100020") == 0x00100020
    True
    >>> tag_of("Nonsense") is None
    True
    """
    known = keyword_dict.get(name)
    if known is not None:
        return int(known)
    if len(name) == 8:
        try:
            return int(name, 16)
        except ValueError:
            return None
    return None


def hex_of(tag: int) -> str:
    """Return the tag as the DICOM JSON model writes it (PS3.18 F.2.2).

    >>> hex_of(0x0020000D)
    '0020000D'
    """
    return f"{tag:08X}"


@lru_cache(maxsize=4096)
def keyword_of(tag: int) -> str:
    """Return the keyword of a tag, empty where the dictionary has none.

    >>> keyword_of(0x00100020), keyword_of(0x00091001)
    ('PatientID', '')
    """
    entry = DicomDictionary.get(tag)
    return str(entry[4]) if entry is not None else ""
