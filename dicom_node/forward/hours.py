"""The hours in which a rule sends: 19:00-06:00, in the time zone of the installation."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from fhir_server.outcome import Invalid

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def checked(hours: str) -> str:
    """Return hours as they were written; raises Invalid for what are none.

    >>> checked("19:00-06:00"), checked("")
    ('19:00-06:00', '')
    """
    match = _HOURS.fullmatch(hours)
    if hours and (match is None or match.group(1, 2) == match.group(3, 4)):
        raise Invalid(f"{hours!r} are no hours; write for example 19:00-06:00, or nothing for always")
    return hours


def opening(hours: str, moment: datetime, zone: ZoneInfo) -> datetime:
    """Return `moment` when it lies within the hours, else when they begin next.

    >>> from datetime import UTC
    >>> noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    >>> opening("19:00-06:00", noon, ZoneInfo("UTC")).isoformat()
    '2026-01-02T19:00:00+00:00'
    >>> opening("11:30-13:00", noon, ZoneInfo("UTC")) == opening("", noon, ZoneInfo("UTC")) == noon
    True
    """
    match = _HOURS.fullmatch(hours)
    if match is None:
        return moment
    begin, end = time(int(match[1]), int(match[2])), time(int(match[3]), int(match[4]))
    local = moment.astimezone(zone)
    now = local.time()
    inside = begin <= now < end if begin < end else now >= begin or now < end
    if inside:
        return moment
    day = local.date() if now < begin else local.date() + timedelta(days=1)
    return datetime.combine(day, begin, zone).astimezone(moment.tzinfo)
