"""Dates and times of DICOM → date, dateTime and instant of FHIR, always with a zone where there is a time.

PS3.5 6.2 (DA, TM, DT), PS3.3 C.12.1.1.8 (Timezone Offset From UTC); R4/datatypes.html#dateTime.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from dicom_node.attributes import Attributes
from dicom_node.index.matching import read_date, read_time
from dicom_node.instance import first

_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")
_DT = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(?:\.(\d{1,6}))?([+-]\d{4})?")
TIMEZONE = "00080201"


def moment(found: Attributes, date_name: str, time_name: str, zone: ZoneInfo) -> str | None:
    """Return a date, or a dateTime with its zone, of two DICOM values.

    >>> moment({"00080020": {"Value": ["20260102"]}, "00080030": {"Value": ["0304"]}},
    ...        "00080020", "00080030", ZoneInfo("UTC"))
    '2026-01-02T03:04:00+00:00'
    """
    day = read_date(first(found, date_name))
    if day is None or day.year < 1:
        return None
    time = read_time(first(found, time_name))
    if time is None:
        return day.isoformat()
    return _zoned(datetime.combine(day, time), first(found, TIMEZONE), zone).isoformat()


def date_time(value: Any, found: Attributes, zone: ZoneInfo) -> str | None:
    """Return a DT value as a dateTime; `found` has the data set's zone, None for what is none.

    >>> date_time("202601", {}, ZoneInfo("UTC")), date_time("20260102030405.5+0100", {}, ZoneInfo("UTC"))
    ('2026-01', '2026-01-02T03:04:05.500000+01:00')
    """
    match = _DT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    if hour is None:
        try:
            datetime(int(year), int(month or 1), int(day or 1))
        except ValueError:
            return None
        return "-".join(part for part in (year, month, day) if part)
    try:
        at = datetime(
            int(year), int(month), int(day), int(hour), int(minute or 0), min(int(second or 0), 59),
            int((fraction or "").ljust(6, "0")),
        )  # fmt: skip
    except ValueError:
        return None
    return _zoned(at, offset or first(found, TIMEZONE), zone).isoformat()


def instant(text: str | None) -> str | None:
    """Return a dateTime if it is exact enough for an instant.

    >>> instant("2026-01-02"), instant("2026-01-02T03:04:05+00:00")
    (None, '2026-01-02T03:04:05+00:00')
    """
    return text if text is not None and len(text) >= 25 else None


def _zoned(at: datetime, offset: Any, zone: ZoneInfo) -> datetime:
    match = _OFFSET.fullmatch(str(offset or ""))
    if match and int(match[2]) <= 14 and int(match[3]) < 60:
        span = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return at.replace(tzinfo=timezone(-span if match[1] == "-" else span))
    return at.replace(tzinfo=zone)
