"""Dates and times that are matched together, and what time zones do to them.

PS3.4 C.2.2.2.5 (a range of dates and one of times as one range of moments), C.5.1.1 (dates and times
of a key that names a zone in (0008,0201) are of that zone). A time that is not known counts as midnight; a
data set that names no zone is of the zone in the settings.
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from dicom_node.attributes import Attributes
from dicom_node.dictionary import hex_of, tag_of, vr_of
from dicom_node.index.matching import ends, offset, read_date, read_time
from dicom_node.instance import first
from fhir_server.outcome import Invalid

Condition = tuple[str, list[Any]]

TIMEZONE: Final = "00080201"
_PAIRS = (
    "StudyDate StudyTime",
    "SeriesDate SeriesTime",
    "AcquisitionDate AcquisitionTime",
    "ContentDate ContentTime",
    "InstanceCreationDate InstanceCreationTime",
    "PerformedProcedureStepStartDate PerformedProcedureStepStartTime",
    "PresentationCreationDate PresentationCreationTime",
)
TIME_OF: Final = {
    hex_of(tag_of(day) or 0): hex_of(tag_of(clock) or 0) for day, clock in map(str.split, _PAIRS)
}
"""Date → the time that belongs to it. A birth date is none of these: nobody is born in another zone later."""

STUDY_DATE, STUDY_TIME = "00080020", "00080030"
DAY: Final = "coalesce(st.study_date, '0001-01-01'::date)"
CLOCK: Final = "coalesce(st.study_time, '00:00'::time)"
"""The date and the time of a study as they are indexed and ordered; no date comes last."""

_WIDEST = timedelta(days=2)  # two zones are at most 28 hours apart


@dataclass(frozen=True, slots=True)
class Zones:
    """The zone of the key as a distance to UTC (None: the key is of every data set's own zone), and ours."""

    asked: timedelta | None = None
    ours: str = "UTC"


def day_range(value: str, name: str) -> tuple[Any, Any]:
    """Return the first and the last day of a DA key, None where it is open. Raises Invalid."""
    low, high = ends(value)
    return _read(low, read_date, value, name), _read(high, read_date, value, name)


def clock_range(value: str, name: str) -> tuple[Any, Any]:
    """Return the first and the last time of a TM key, None where it is open. Raises Invalid.

    >>> clock_range("0930-10", "00080030")
    (datetime.time(9, 30), datetime.time(10, 59, 59, 999999))
    """
    low, high = ends(value)
    last = _read(high, lambda text: read_time(text, latest=True), value, name)
    return _read(low, read_time, value, name), last


def _read(text: str, reader: Any, value: str, name: str) -> Any:
    found = reader(text) if text else None
    if text and found is None:
        raise Invalid(
            f"{value!r} is no {vr_of(int(name, 16))} value or range for {name}; write for example"
            " 20260101 or 20260101-20260131 (DA), 0900-1200 (TM)"
        )
    return found


def study(day_value: str, clock_value: str, zones: Zones) -> Condition:
    """Return the condition on date and time of a study; `clock_value` may be empty."""
    first_day, last_day = day_range(day_value, STUDY_DATE)
    known = "st.study_date IS NOT NULL"
    if zones.asked is None:
        if not clock_value:
            return between(DAY, first_day, last_day, known)
        low, high = _moments(day_value, clock_value)
        conditions, values = [known], []
        for sign, moment in ((">=", low), ("<=", high)):
            if moment is not None:
                conditions.append(f"({DAY}, {CLOCK}) {sign} (%s, %s)")
                values += [moment.date(), moment.time()]
        return " AND ".join(conditions), values
    near, values = between(DAY, _moved(first_day, -_WIDEST), _moved(last_day, _WIDEST), known)
    low, high = _moments(day_value, clock_value or "-")
    local = "(st.study_date + st.study_time)"
    exact, more = _in_zone(local, f"st.attributes #>> '{{{TIMEZONE},Value,0}}'", low, high, zones)
    plain, dates = between(DAY, first_day, last_day, known)
    return (
        f"({near}) AND CASE WHEN st.study_time IS NULL THEN {plain} ELSE {exact} END",
        [*values, *dates, *more],
    )


def _in_zone(local: str, stated: str, low: datetime | None, high: datetime | None, zones: Zones) -> Condition:
    """Compare a local timestamp at the zone that stands beside it with a range in the zone of the key."""
    moment = (
        f"CASE WHEN {stated} ~ '^[+-](0\\d|1[0-4])[0-5]\\d$'"
        f" THEN ({local} - (left({stated}, 3) || ':' || right({stated}, 2))::interval) AT TIME ZONE 'UTC'"
        f" ELSE {local} AT TIME ZONE %s END"
    )
    conditions: list[str] = []
    values: list[Any] = []
    for sign, end in ((">=", low), ("<=", high)):
        if end is not None:
            conditions.append(f"({moment}) {sign} %s")
            values += [zones.ours, (end - (zones.asked or timedelta())).replace(tzinfo=UTC)]
    return " AND ".join(conditions) or "true", values


def between(sql: str, low: Any, high: Any, known: str = "") -> Condition:
    """Return the condition of a range whose ends may be open; `known` is asked for when the low one is."""
    if low is not None and high is not None:
        return f"{sql} BETWEEN %s AND %s", [low, high]
    if low is not None:
        return f"{sql} >= %s", [low]
    if high is None:
        return known or f"{sql} IS NOT NULL", []
    return (f"{sql} <= %s AND {known}" if known else f"{sql} <= %s"), [high]


def in_document(document: str, day: str, day_value: str, clock_value: str, zones: Zones) -> Condition:
    """Return the condition on a date and its time within JSON, both single valued."""
    day_range(day_value, day)
    if clock_value:
        clock_range(clock_value, TIME_OF[day])
    low, high = _moments(day_value, clock_value or "-")
    at = f"{document} #>> '{{%s,Value,0}}'"
    date_sql, time_sql = at % day, at % TIME_OF[day]
    stated = f"st.attributes #>> '{{{TIMEZONE},Value,0}}'" if zones.asked is not None else "''"
    # digits of both, without what ACR-NEMA put between them
    digits = f"replace({date_sql}, '.', '') || coalesce(replace({time_sql}, ':', ''), '')"
    local = f"(dicom_moment({digits}, 'UTC') AT TIME ZONE 'UTC')"
    own = Zones(timedelta(), "UTC") if zones.asked is None else zones
    exact, values = _in_zone(local, stated, low, high, own)
    return f"({local} IS NOT NULL AND {exact})", values


def in_text(sql: str, value: str, name: str, zones: Zones) -> Condition:
    """Return the condition that a DT value lies in a range of them (PS3.5 6.2, PS3.4 C.2.2.2.5.2)."""
    match = _RANGE_OF_DT.fullmatch(value.strip())
    if match is None or not (match[1] or match[3]):
        raise Invalid(f"{value!r} is no DT value or range for {name}; write for example 2026, 202601-202603")
    low, high = match[1], match[3] if match[2] else match[1]
    asked = "UTC"
    if zones.asked is not None:
        sign, minutes = "+-"[zones.asked < timedelta()], abs(zones.asked) // timedelta(minutes=1)
        asked = f"{sign}{minutes // 60:02d}{minutes % 60:02d}"
    conditions: list[str] = []
    values: list[Any] = []
    for comparison, end in ((">=", low), ("<=", high)):
        if not end:
            continue
        text = end if comparison == ">=" else _latest(end)
        stated = zones.asked is not None and not re.search(r"[+-]\d{4}$", text)
        conditions.append(f"dicom_moment({sql}, %s) {comparison} dicom_moment(%s, %s)")
        values += [zones.ours, text + asked if stated else text, zones.ours]
    return f"({' AND '.join(conditions)})", values


_DT = r"\d{4}(?:\d{2}){0,5}(?:\.\d{1,6})?(?:[+-](?:0\d|1[0-4])[0-5]\d)?"
_RANGE_OF_DT = re.compile(rf"({_DT})?(-)?({_DT})?")


def _latest(text: str) -> str:
    """Return a DT with what it leaves open as late as can be.

    >>> _latest("202602"), _latest("2026010203+0100")
    ('20260228235959.999999', '20260102035959.999999+0100')
    """
    bare, zone = (text[:-5], text[-5:]) if text[-5:-4] in "+-" and len(text) > 8 else (text, "")
    whole, _, fraction = bare.partition(".")
    if len(whole) == 4:
        whole += "12"
    if len(whole) == 6 and 1 <= int(whole[4:]) <= 12:
        whole += f"{monthrange(int(whole[:4]) or 1, int(whole[4:]))[1]:02d}"
    whole += "235959"[len(whole) - 8 :] if len(whole) >= 8 else ""
    return f"{whole}.{fraction.ljust(6, '9')}{zone}"


def _moments(day_value: str, clock_value: str) -> tuple[datetime | None, datetime | None]:
    first_day, last_day = day_range(day_value, STUDY_DATE)
    start, end = clock_range(clock_value, STUDY_TIME)
    low = None if first_day is None else datetime.combine(first_day, start or time.min)
    high = None if last_day is None else datetime.combine(last_day, end or time.max)
    return low, high


def _moved(day: Any, by: timedelta) -> Any:
    try:
        return None if day is None else day + by
    except OverflowError:
        return None


def shifted(attributes: Attributes, to: timedelta, stated: Any, ours: str) -> Attributes:
    """Return attributes with the dates and times that belong together told in another zone.

    `stated` is what the data set said of its own zone. A date without a time stays.

    >>> late = {"00080020": {"vr": "DA", "Value": ["20260101"]}, "00080030": {"vr": "TM", "Value": ["2330"]}}
    >>> shifted(late, timedelta(hours=2), "+0100", "UTC")["00080020"]
    {'vr': 'DA', 'Value': ['20260102']}
    """
    changed: Attributes = {}
    for day_name, clock_name in TIME_OF.items():
        day, clock = read_date(first(attributes, day_name)), read_time(first(attributes, clock_name))
        if day is None or clock is None:
            continue
        known = offset(stated)
        try:
            local = datetime.combine(day, clock)
            moment = local - known if known is not None else _utc(local, ours)
            there = moment + to
        except OverflowError:
            continue
        text = f"{there:%H%M%S}" + (f".{there.microsecond:06d}" if there.microsecond else "")
        changed[day_name] = {"vr": "DA", "Value": [f"{there.year:04d}{there:%m%d}"]}
        changed[clock_name] = {"vr": "TM", "Value": [text]}
    return {**attributes, **changed} if changed else attributes


def _utc(local: datetime, zone: str) -> datetime:
    return local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None)
