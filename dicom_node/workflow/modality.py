"""Which modality an order is for (PS3.16 CID 29): what its codes say, in the order of their trust.

A DCM code is the modality. SNOMED CT techniques and departments of HL7 (v2-0074) stand for one; a LOINC
radiology name begins with it ("CT Chest W contrast"), by LOINC's own rule for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from dicom_node.coding_schemes import DCM, LOINC, SNOMED

V2_DEPARTMENT: Final = "http://terminology.hl7.org/CodeSystem/v2-0074"
RADLEX: Final = ("http://www.radlex.org", "http://radlex.org")

MODALITIES: Final = frozenset(
    {
        "AR", "AS", "BDUS", "BI", "BMD", "CFM", "CP", "CR", "CS", "CT", "DD", "DF", "DG", "DM", "DS", "DX",
        "EC", "ECG", "EEG", "EMG", "EOG", "EPS", "ES", "FA", "FS", "GM", "HC", "HD", "IO", "IVOCT", "IVUS",
        "KER", "LEN", "LP", "LS", "MA", "MG", "MR", "NM", "OAM", "OCT", "OP", "OPM", "OPR", "OPT", "OPTBSV",
        "OPTENF", "OPV", "OSS", "OT", "PA", "POS", "PT", "PX", "RESP", "RF", "RG", "RTIMAGE", "SM", "SRF",
        "ST", "TG", "US", "VA", "VF", "VL", "XA", "XC",
    }
)  # fmt: skip
"""Modalities that acquire something (CID 29, with retired ones that are still asked for); no SR, no KO."""

_SNOMED: Final = {
    "77477000": "CT",
    "113091000": "MR",
    "363680008": "DX",
    "168537006": "DX",
    "16310003": "US",
    "40701008": "US",
    "71651007": "MG",
    "44491008": "RF",
    "82918005": "PT",
    "373205008": "NM",
    "77343006": "XA",
    "33367005": "XA",
    "312681000": "BMD",
    "29303009": "ECG",
}
_DEPARTMENTS: Final = {
    "CT": "CT",
    "NMR": "MR",
    "NMS": "NM",
    "RUS": "US",
    "VUS": "US",
    "OUS": "US",
    "CUS": "US",
    "RX": "DX",
    "XRC": "RF",
}
_NAMES: Final = {
    "CT": "CT", "CTA": "CT", "MR": "MR", "MRI": "MR", "MRA": "MR", "US": "US", "XR": "DX", "DXA": "BMD",
    "MG": "MG", "NM": "NM", "SPECT": "NM", "PT": "PT", "PET": "PT", "RF": "RF", "XA": "XA", "RFA": "XA",
}  # fmt: skip
_CATEGORIES: Final = {
    (SNOMED, "363679005"),
    (V2_DEPARTMENT, "RAD"),
    ("http://terminology.hl7.org/CodeSystem/observation-category", "imaging"),
    (LOINC, "18748-4"),
    (LOINC, "LP29684-5"),
}

Resource = dict[str, Any]


def modality_of(concepts: Iterable[Resource], *, imaging: bool = False) -> str:
    """Return the modality that the first telling one of the concepts says, or the empty string.

    A LOINC name counts only in what is known as `imaging`: PT is prothrombin time in a laboratory.

    >>> modality_of([{"text": "urgent"}, {"coding": [{"system": DCM, "code": "MR"}]}])
    'MR'
    >>> chest = {"coding": [{"system": LOINC, "code": "30745-4", "display": "XR Chest Views"}]}
    >>> modality_of([chest], imaging=True), modality_of([chest])
    ('DX', '')
    """
    for concept in concepts:
        for coding in concept.get("coding", ()):
            if found := _of_coding(coding, imaging):
                return found
    return ""


def is_imaging(categories: Iterable[Resource]) -> bool:
    """Whether a category says imaging: SNOMED CT 363679005, RAD of v2-0074, imaging, LOINC 18748-4.

    >>> is_imaging([{"coding": [{"system": SNOMED, "code": "363679005"}]}]), is_imaging([])
    (True, False)
    """
    return any(
        (coding.get("system"), coding.get("code")) in _CATEGORIES
        for concept in categories
        for coding in concept.get("coding", ())
    )


def _of_coding(coding: Resource, imaging: bool) -> str:
    code, system = str(coding.get("code", "")), coding.get("system")
    if system == DCM:
        return code if code in MODALITIES else ""
    if system == SNOMED:
        return _SNOMED.get(code, "")
    if system == V2_DEPARTMENT:
        return _DEPARTMENTS.get(code, "")
    if (system == LOINC and imaging) or system in RADLEX:
        first = re.match(r"[A-Z]+", str(coding.get("display", "")))
        return _NAMES.get(first[0], "") if first else ""
    return ""
