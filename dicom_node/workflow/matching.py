"""Does an answer match an identifier, and what of it was asked for: on the DICOM JSON model (PS3.4 C.2.2.2).

Single value, list of UIDs, universal, wild card, range and sequence matching of any depth. Names compare
without case and accents, group by group; everything else as it is written.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from dicom_node.attributes import Attributes
from dicom_node.index.matching import fold, read_date, read_time
from dicom_node.workflow.elements import name_of

_NOT_MATCHED: Final = frozenset({"00080005", "00080201"})
STATION: Final = name_of("ScheduledStationAETitle")
START_DATE: Final = name_of("ScheduledProcedureStepStartDate")
START_TIME: Final = name_of("ScheduledProcedureStepStartTime")
_NEVER_WILD: Final = frozenset({"DA", "TM", "DT", "UI", "IS", "DS", "US", "SS", "UL", "SL", "FL", "FD"})
_NUMBERS: Final = frozenset({"IS", "DS", "US", "SS", "UL", "SL", "FL", "FD"})


def matches(identifier: Attributes, candidate: Attributes) -> bool:
    """Whether an answer matches all keys of an identifier.

    >>> answer = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jörg"}]}}
    >>> matches({"00100010": {"vr": "PN", "Value": [{"Alphabetic": "mul*"}]}}, answer)
    True
    """
    if not _start_matches(identifier, candidate):
        return False
    return all(
        _matches_one(name, key, candidate.get(name, {}))
        for name, key in identifier.items()
        if name not in _NOT_MATCHED and not (name in (START_DATE, START_TIME) and _is_combined(identifier))
    )


def _matches_one(name: str, key: dict[str, Any], element: dict[str, Any]) -> bool:
    wanted = [value for value in key.get("Value", ()) if value not in (None, "", {})]
    if not wanted:
        return True
    present = element.get("Value") or []
    vr = str(key.get("vr", ""))
    if vr == "SQ":
        return all(
            any(matches(item, candidate) for candidate in present or [{}] if isinstance(candidate, dict))
            for item in wanted[:1]
            if isinstance(item, dict)
        )
    if name == STATION and not present:
        return True  # a step that no station was chosen for may be taken by any
    return any(_equal(vr, value, one) for value in wanted for one in present)


def _equal(vr: str, wanted: Any, present: Any) -> bool:
    if vr == "PN":
        return _name_matches(wanted, present)
    if vr == "DA":
        return _in_range(str(wanted), str(present), _days)
    if vr == "TM":
        return _in_range(str(wanted), str(present), _times)
    if vr in _NUMBERS:
        try:
            return bool(float(wanted) == float(present))
        except (TypeError, ValueError):
            return False
    asked, written = str(wanted).strip(), str(present).strip()
    if vr not in _NEVER_WILD and ("*" in asked or "?" in asked):
        return pattern(asked).fullmatch(written) is not None
    return asked == written


def _name_matches(wanted: Any, present: Any) -> bool:
    """Match each group that is asked for; a key of one group matches any group (PS3.4 C.2.2.2.1)."""
    if not isinstance(wanted, dict) or not isinstance(present, dict):
        return False
    if list(wanted) == ["Alphabetic"]:
        return any(_group_matches(wanted["Alphabetic"], group) for group in present.values())
    return all(_group_matches(text, present.get(group, "")) for group, text in wanted.items())


def _group_matches(wanted: str, present: str) -> bool:
    asked, written = fold(wanted).rstrip("^ "), fold(present).rstrip("^ ")
    if "*" in asked or "?" in asked:
        return pattern(asked).fullmatch(written) is not None
    return asked == written


@lru_cache(maxsize=256)
def pattern(text: str) -> re.Pattern[str]:
    """Return a wild card pattern as a regular expression (PS3.4 C.2.2.2.4).

    >>> bool(pattern("A*^?B").fullmatch("Abel^xB")), bool(pattern("a.c").fullmatch("abc"))
    (True, False)
    """
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(sign, re.escape(sign)) for sign in text), re.DOTALL)


def bounds(text: str) -> tuple[str, str]:
    """Return the two ends of a range; a single value is both (PS3.4 C.2.2.2.5).

    >>> bounds("20260101-20260131"), bounds("-0900"), bounds("20260102")
    (('20260101', '20260131'), ('', '0900'), ('20260102', '20260102'))
    """
    if "-" not in text:
        return text.strip(), text.strip()
    low, _, high = text.partition("-")
    return low.strip(), high.strip()


def _days(text: str, latest: bool) -> Any:
    return read_date(text)


def _times(text: str, latest: bool) -> Any:
    return read_time(text, latest=latest)


def _in_range(wanted: str, present: str, read: Any) -> bool:
    low, high = bounds(wanted)
    value = read(present, False)
    lowest, highest = (read(low, False) if low else None), (read(high, True) if high else None)
    if value is None or (low and lowest is None) or (high and highest is None):
        return False
    return (not low or lowest <= value) and (not high or value <= highest)


def _is_combined(identifier: Attributes) -> bool:
    """Whether both keys of the start are ranges: then they are one range of moments (table K.6-1)."""
    return all(
        "-" in str((identifier.get(name, {}).get("Value") or [""])[0]) for name in (START_DATE, START_TIME)
    )


def _start_matches(identifier: Attributes, candidate: Attributes) -> bool:
    if not _is_combined(identifier):
        return True
    day = read_date((candidate.get(START_DATE, {}).get("Value") or [None])[0])
    at = read_time((candidate.get(START_TIME, {}).get("Value") or [None])[0])
    if day is None or at is None:
        return False
    first_day, last_day = map(read_date, bounds(str(identifier[START_DATE]["Value"][0])))
    low, high = bounds(str(identifier[START_TIME]["Value"][0]))
    first, last = read_time(low), read_time(high, latest=True)
    if first_day is not None and (day < first_day or (day == first_day and first is not None and at < first)):
        return False
    return last_day is None or day < last_day or (day == last_day and (last is None or at <= last))


def selected(identifier: Attributes, candidate: Attributes) -> Attributes:
    """Return what of an answer was asked for; what it does not have is there without a value.

    A sequence without keys in it is answered whole (PS3.4 C.2.2.2.6).

    >>> answer = {"00100020": {"vr": "LO", "Value": ["7"]}, "00100040": {"vr": "CS"}}
    >>> selected({"00100020": {"vr": "LO"}}, answer)
    {'00100020': {'vr': 'LO', 'Value': ['7']}}
    """
    found: Attributes = {}
    for name, key in identifier.items():
        if name == "00080005":
            continue
        element = candidate.get(name)
        if element is None:
            found[name] = {"vr": key.get("vr", "UN")}
        elif key.get("vr") == "SQ" and (asked := _keys_within(key)):
            parts = [selected(asked, item) for item in element.get("Value", ())]
            found[name] = {"vr": "SQ", "Value": parts} if parts else {"vr": "SQ"}
        else:
            found[name] = element
    return found


def _keys_within(key: dict[str, Any]) -> Attributes:
    items = key.get("Value") or [{}]
    return items[0] if isinstance(items[0], dict) else {}
