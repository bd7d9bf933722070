r"""Attributes of the DICOM JSON model, built and read by their keywords.

What is written fits its VR: texts lose control characters and backslashes and are cut to the length that
PS3.5 table 6.2-1 allows; a value that would be another one when cut (an identifier, a UID) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from dicom_node.attributes import Attributes
from dicom_node.dictionary import hex_of, tag_of, vr_of

LONGEST = {"AE": 16, "CS": 16, "SH": 16, "LO": 64, "ST": 1024, "LT": 10_240, "UI": 64}
_CUT = frozenset({"LO", "ST", "LT"})
"""Texts for people. SH holds identifiers as often; who wants one cut cuts it himself."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_UID = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))+")


def name_of(keyword: str) -> str:
    """Return the eight digits of an attribute.

    >>> name_of("PatientID")
    '00100020'
    """
    tag = tag_of(keyword)
    assert tag is not None, keyword
    return hex_of(tag)


def element(keyword: str, values: Iterable[Any]) -> dict[str, Any]:
    """Return an element with those of the values that fit.

    >>> element("PatientID", ["P1"]), element("AccessionNumber", ["longer than sixteen"])
    ({'vr': 'LO', 'Value': ['P1']}, {'vr': 'SH'})
    """
    vr = vr_of(tag_of(keyword) or 0)
    fitting = [fit for value in values if value not in (None, "", {}) and (fit := _fitting(vr, value)) != ""]
    return {"vr": vr, "Value": fitting} if fitting else {"vr": vr}


def attributes(**values: Any) -> Attributes:
    """Return attributes by keyword; a list is several values, None and the empty text are no value.

    >>> attributes(PatientID="P1", PatientSex=None)
    {'00100020': {'vr': 'LO', 'Value': ['P1']}, '00100040': {'vr': 'CS'}}
    """
    return {
        name_of(keyword): element(keyword, value if isinstance(value, list) else [value])
        for keyword, value in values.items()
    }


def _fitting(vr: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if vr in ("ST", "LT", "UT", "UC"):
        text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", " ", value).strip()
    else:
        text = " ".join(_CONTROL.sub(" ", value).replace("\\", "/").split(" ")).strip()
    longest = LONGEST.get(vr, len(text))
    if len(text) > longest:
        return text[:longest].rstrip() if vr in _CUT else ""
    return text


def short(text: str | None) -> str:
    """Return a description as an SH holds it: its first sixteen characters.

    >>> short("Thorax with contrast")
    'Thorax with cont'
    """
    return " ".join(_CONTROL.sub(" ", text or "").replace("\\", "/").split())[:16].rstrip()


def values(found: Attributes, keyword: str) -> list[Any]:
    """Return the values of an attribute; none when it is empty or absent."""
    return list(found.get(name_of(keyword), {}).get("Value") or ())


def value(found: Attributes, keyword: str) -> str:
    """Return the first value of an attribute as text, or the empty string."""
    first = next(iter(values(found, keyword)), None)
    return "" if first is None or isinstance(first, dict) else str(first).strip()


def items(found: Attributes, keyword: str) -> Sequence[Attributes]:
    """Return the items of a sequence."""
    return [item for item in values(found, keyword) if isinstance(item, dict)]


def is_uid(text: str) -> bool:
    """Whether a text is a UID (PS3.5 9.1).

    >>> is_uid("1.2.840"), is_uid("1.02"), is_uid("")
    (True, False, False)
    """
    return len(text) <= 64 and _UID.fullmatch(text) is not None
