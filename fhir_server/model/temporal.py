"""Dates and times as the intervals that they name (R4/datatypes.html#dateTime, R4/search.html#date).

`2020` is a year long, `2020-01-15T10:30:00Z` a second. A text without a zone is meant in the zone of
the installation.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache

from fhir_server.outcome import Invalid

# The earliest and the latest moment that Python, Postgres and JSON all can say.
EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)

_FORM = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(Z|[+-]\d\d:\d\d)?)?)?)?",
    re.ASCII,
)


@lru_cache(maxsize=1024)
def interval(text: str, zone: tzinfo = UTC) -> tuple[datetime, datetime]:
    """Return the half-open [low, high) in UTC that a date, dateTime or instant names.

    Its precision is what is written: year, month, day, minute (allowed in searches), second or a
    decimal fraction of it, down to a microsecond; finer digits are cut off. `zone` counts where the
    text has none. A leap second is the first second of the next minute, as Postgres has it.

    >>> [moment.isoformat() for moment in interval("2020-02")]
    ['2020-02-01T00:00:00+00:00', '2020-03-01T00:00:00+00:00']
    >>> [moment.isoformat() for moment in interval("2016-12-31T18:59:60.5-05:00")]
    ['2017-01-01T00:00:00.500000+00:00', '2017-01-01T00:00:00.600000+00:00']

    Raises Invalid when the text is none of these or names a moment that does not exist (24:00 too).
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise Invalid(
            f"{text!r} is no date or time; expected YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ssZ"
        )
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    try:
        if hour is None:
            return _calendar(int(year), int(month) if month else None, int(day) if day else None, zone)
        if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 60:
            raise ValueError(f"{hour}:{minute}:{second or '00'} is no time of a day; midnight is 00:00:00")
        low = datetime(int(year), int(month), int(day), int(hour), int(minute), tzinfo=_zone(offset, zone))
    except ValueError as error:
        raise Invalid(f"{text!r} names no moment: {error}") from None
    low = _moved(
        _utc(low), timedelta(seconds=int(second or 0), microseconds=int((fraction or "0")[:6].ljust(6, "0")))
    )
    if second is None:
        return low, _moved(low, timedelta(minutes=1))
    if fraction is None:
        return low, _moved(low, timedelta(seconds=1))
    return low, _moved(low, timedelta(microseconds=10 ** max(0, 6 - len(fraction))))


def instant(moment: datetime) -> str:
    """Return an aware datetime as a FHIR instant in UTC, in milliseconds.

    >>> instant(datetime(2020, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))))
    '2020-01-01T10:00:00.000Z'
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _calendar(year: int, month: int | None, day: int | None, zone: tzinfo) -> tuple[datetime, datetime]:
    low = datetime(year, 1 if month is None else month, 1 if day is None else day, tzinfo=zone)
    # The end is found on the calendar and then put into the zone: a day may have 23 hours.
    try:
        if month is None:
            high = datetime(year + 1, 1, 1, tzinfo=zone)
        elif day is None:
            high = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=zone)
        else:
            high = low + timedelta(days=1)
    except (ValueError, OverflowError):
        return _utc(low), LATEST  # the year 9999 has no end that could be written
    return _utc(low), _utc(high)


def _zone(offset: str | None, zone: tzinfo) -> tzinfo:
    if offset is None:
        return zone
    if offset == "Z":
        return UTC
    hours, minutes = int(offset[1:3]), int(offset[4:6])
    if hours > 14 or minutes > 59 or (hours == 14 and minutes):
        raise ValueError(f"{offset} is no zone; they reach from -14:00 to +14:00")
    distance = timedelta(hours=hours, minutes=minutes)
    return timezone(-distance if offset[0] == "-" else distance)


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return EARLIEST if moment.year == 1 else LATEST


def _moved(moment: datetime, distance: timedelta) -> datetime:
    try:
        return moment + distance
    except OverflowError:
        return LATEST
