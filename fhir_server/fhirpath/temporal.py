"""Date, DateTime and Time with their precision and zone (N1 §2.1.21–2.1.24, §6.2, §6.6.7).

A value is the interval of instants that its digits leave open: 2018-03 is a whole month. Two
values compare when their intervals say so for certain, or when both are equally precise;
otherwise the answer is empty. Seconds with and without a fraction are one precision.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import ClassVar

_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?")
_TIME = re.compile(r"(\d\d)(?::(\d\d)(?::(\d\d(?:\.\d+)?))?)?")
_ZONE = re.compile(r"(Z|[+-]\d\d:\d\d)$")
PRECISIONS = ("year", "month", "day", "hour", "minute", "second")
_EPOCH = datetime(1, 1, 1)
# Nowhere is a clock further from UTC than these: local - 14 h … local + 12 h.
_EAST, _WEST = 14 * 3600, 12 * 3600


@dataclass(frozen=True, slots=True)
class Temporal:
    """A Date, DateTime or Time: as many leading parts as are known, and the zone in minutes.

    `parts` are year, month, day, hour, minute (int) and second (Decimal); a Time begins at hour.
    """

    parts: tuple[int | Decimal, ...]
    zone: int | None = None
    name: ClassVar[str] = ""
    start: ClassVar[int] = 0
    full: ClassVar[int] = 6

    @property
    def precision(self) -> str:
        """The name of the finest part that is known."""
        return PRECISIONS[self.start + len(self.parts) - 1]

    @property
    def digits(self) -> int:
        """How many digits are written, as precision() counts them (a fraction counts at least three)."""
        count = 0
        for place, part in enumerate(self.parts, self.start):
            count += 4 if place == 0 else 2
            if place == 5 and isinstance(part, Decimal):
                count += -int(part.as_tuple().exponent)
        return count

    def seconds(self) -> tuple[Decimal, Decimal]:
        """Return the half-open interval of local seconds that the value leaves open."""
        low = _local_seconds(self._filled(False))
        if self.precision == "second":
            return low, low
        return low, _local_seconds(self._filled(True)) + 1

    def _filled(self, upwards: bool) -> tuple[int, int, int, int, int, Decimal]:
        known = self.parts if self.start == 0 else (1, 1, 1, *self.parts)
        year = int(known[0])
        month = int(known[1]) if len(known) > 1 else (12 if upwards else 1)
        last_day = calendar.monthrange(year, month)[1]
        day = int(known[2]) if len(known) > 2 else (last_day if upwards else 1)
        hour = int(known[3]) if len(known) > 3 else (23 if upwards else 0)
        minute = int(known[4]) if len(known) > 4 else (59 if upwards else 0)
        second = Decimal(known[5]) if len(known) > 5 else Decimal(59 if upwards else 0)
        return year, month, day, hour, minute, second

    def key(self) -> tuple[object, ...]:
        """Return what is equal for equal values, to be looked up in sets."""
        shift = 60 * self.zone if self.zone is not None else 0
        return (self.start, self.precision, self.seconds()[0] - shift, self.zone is None)

    def __str__(self) -> str:
        words = []
        for place, part in enumerate(self.parts, self.start):
            if place == 0:
                words.append(f"{part:04d}")
            elif place == 5:
                whole, dot, fraction = format(Decimal(part), "f").partition(".")
                words.append(f":{whole:0>2}{dot}{fraction}")
            else:
                mark = "" if place == self.start else "--T:"[place - 1]
                words.append(f"{mark}{int(part):02d}")
        return "".join(words) + self._zone_text()

    def _zone_text(self) -> str:
        if self.zone is None:
            return ""
        if self.zone == 0:
            return "Z"
        sign = "+" if self.zone > 0 else "-"
        return f"{sign}{abs(self.zone) // 60:02d}:{abs(self.zone) % 60:02d}"


@dataclass(frozen=True, slots=True)
class Date(Temporal):
    """A date: year, month, day."""

    name: ClassVar[str] = "Date"
    full: ClassVar[int] = 3


@dataclass(frozen=True, slots=True)
class DateTime(Temporal):
    """A date with time, perhaps with a zone; perhaps only a date."""

    name: ClassVar[str] = "DateTime"


@dataclass(frozen=True, slots=True)
class Time(Temporal):
    """A time of day; never with a zone."""

    name: ClassVar[str] = "Time"
    start: ClassVar[int] = 3
    full: ClassVar[int] = 3


def _local_seconds(parts: tuple[int, int, int, int, int, Decimal]) -> Decimal:
    year, month, day, hour, minute, second = parts
    days = (datetime(year, month, day) - _EPOCH).days
    return ((days * 24 + hour) * 60 + minute) * 60 + second


def parse_date(text: str) -> Date | None:
    """Return the Date that `text` writes, or None.

    >>> str(parse_date("2015-02")), parse_date("2015-02-30")
    ('2015-02', None)
    """
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    parts = tuple(int(part) for part in match.groups() if part is not None)
    return Date(parts) if _exists(parts) else None


def parse_date_time(text: str) -> DateTime | None:
    """Return the DateTime that `text` writes, or None; a date alone is one, too.

    >>> str(parse_date_time("2015-02-04T14:34:28.10+10:00")), parse_date_time("2015T10")
    ('2015-02-04T14:34:28.10+10:00', None)
    """
    date_text, _, rest = text.partition("T")
    date = parse_date(date_text)
    if date is None:
        return None
    if not rest:
        return DateTime(date.parts)
    zone = None
    found = _ZONE.search(rest)
    if found is not None:
        zone = _minutes(found.group())
        rest = rest[: found.start()]
    time = parse_time(rest)
    if time is None or len(date.parts) < 3 or (zone is not None and abs(zone) > 14 * 60):
        return None
    return DateTime((*date.parts, *time.parts), zone)


def parse_time(text: str) -> Time | None:
    """Return the Time that `text` writes (without T), or None.

    >>> str(parse_time("14:34:28.123")), parse_time("25:00")
    ('14:34:28.123', None)
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hour, minute, second = match.groups()
    parts: tuple[int | Decimal, ...] = (int(hour),)
    if minute is not None:
        parts = (*parts, int(minute))
    if second is not None:
        parts = (*parts, Decimal(second))
    limits = (23, 59, 60)
    return Time(parts) if all(part <= limit for part, limit in zip(parts, limits, strict=False)) else None


def _exists(parts: tuple[int, ...]) -> bool:
    if parts[0] < 1:
        return False
    if len(parts) > 1 and not 1 <= parts[1] <= 12:
        return False
    return len(parts) < 3 or 1 <= parts[2] <= calendar.monthrange(parts[0], parts[1])[1]


def _minutes(zone: str) -> int:
    if zone == "Z":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[4:6])
    return -minutes if zone[0] == "-" else minutes


def of_instant(moment: datetime) -> DateTime:
    """Return an aware datetime as a DateTime to the millisecond, in its own zone.

    >>> str(of_instant(datetime(2020, 1, 31, 10, 30, 0, 5000, tzinfo=UTC)))
    '2020-01-31T10:30:00.005Z'
    """
    offset = moment.utcoffset() or timedelta()
    second = Decimal(moment.second * 1000 + moment.microsecond // 1000).scaleb(-3)
    parts = (moment.year, moment.month, moment.day, moment.hour, moment.minute, second)
    return DateTime(parts, int(offset.total_seconds()) // 60)


def compare(left: Temporal, right: Temporal) -> int | None:
    """Return -1, 0 or 1, or None when the precisions or zones leave it open.

    A value without time is taken as written, whatever the zone of the other. Where only one of
    two times has a zone, the answer counts if it holds for every zone on earth.

    >>> compare(parse_date("2018-03"), parse_date("2018-03-01")) is None
    True
    >>> compare(parse_date_time("2012-04-15T15:00:00+02:00"), parse_date_time("2012-04-15T13:00:00Z"))
    0
    """
    left_low, left_high = left.seconds()
    right_low, right_high = right.seconds()
    has_times = left.start == 0 and len(left.parts) > 3 and len(right.parts) > 3
    if has_times and left.zone is not None and right.zone is not None:
        left_low, left_high = left_low - 60 * left.zone, left_high - 60 * left.zone
        right_low, right_high = right_low - 60 * right.zone, right_high - 60 * right.zone
    elif has_times and left.zone != right.zone:
        left_low, left_high = _anywhere(left, left_low, left_high)
        right_low, right_high = _anywhere(right, right_low, right_high)
        return -1 if left_high < right_low else 1 if right_high < left_low else None
    if left.precision == right.precision:
        return (left_low > right_low) - (left_low < right_low)
    if left_high <= right_low and left_low < right_low:
        return -1
    return 1 if right_high <= left_low and right_low < left_low else None


def _anywhere(value: Temporal, low: Decimal, high: Decimal) -> tuple[Decimal, Decimal]:
    if value.zone is None:
        return low - _EAST, high + _WEST
    return low - 60 * value.zone, high - 60 * value.zone


# How many of the finer unit make one of the coarser, where the calendar does not say (N1 §6.6.7).
_SECONDS = {"week": 604_800, "day": 86_400, "hour": 3600, "minute": 60, "second": 1}


def add(value: Temporal, amount: Decimal, unit: str) -> Temporal | None:
    """Return `value` moved by `amount` calendar units; None when it leaves the years 1–9999.

    The fraction of every unit above seconds is ignored. A unit finer than the value's precision
    is converted to it first, so @2014 + 24 months is @2016.

    >>> str(add(parse_date("2016-02-29"), Decimal(1), "year"))
    '2017-02-28'
    >>> str(add(parse_time("23:30"), Decimal("45"), "minute"))
    '00:15'
    """
    if unit == "millisecond":
        amount, unit = amount / 1000, "second"
    elif unit != "second":
        amount = amount.to_integral_value(ROUND_DOWN)
    if value.start == 3:
        return _add_to_time(value, amount, unit)
    if unit in ("year", "month"):
        return _add_months(value, int(amount) * (12 if unit == "year" else 1))
    if len(value.parts) < 3:
        days = int(amount * _SECONDS[unit] / 86_400)
        months = int(days / 30) if len(value.parts) == 2 else int(days / 365) * 12
        return _add_months(value, months)
    return _add_seconds(value, amount * _SECONDS[unit])


def _add_to_time(value: Temporal, amount: Decimal, unit: str) -> Temporal | None:
    if unit not in ("hour", "minute", "second"):
        return None
    seconds = amount * _SECONDS[unit]
    step = 3600 if len(value.parts) == 1 else 60 if len(value.parts) == 2 else None
    if step is not None:
        seconds = (seconds / step).to_integral_value(ROUND_DOWN) * step
    total = (value.seconds()[0] + seconds) % 86_400
    return Time(_clock(total, value)[: len(value.parts)])


def _add_months(value: Temporal, months: int) -> Temporal | None:
    if len(value.parts) == 1:
        year, month = int(value.parts[0]) + int(months / 12), 1
    else:
        count = int(value.parts[0]) * 12 + int(value.parts[1]) - 1 + months
        year, month = divmod(count, 12)
        month += 1
    if not 1 <= year <= 9999:
        return None
    parts: tuple[int | Decimal, ...] = (year, month)[: len(value.parts)]
    if len(value.parts) > 2:
        day = min(int(value.parts[2]), calendar.monthrange(year, month)[1])
        parts = (year, month, day, *value.parts[3:])
    return type(value)(parts, value.zone)


def _add_seconds(value: Temporal, seconds: Decimal) -> Temporal | None:
    step = {3: 86_400, 4: 3600, 5: 60}.get(len(value.parts))
    if step is not None:
        seconds = (seconds / step).to_integral_value(ROUND_DOWN) * step
    total = value.seconds()[0] + seconds
    days = int(total // 86_400)
    try:
        day = _EPOCH + timedelta(days=days)
    except OverflowError:
        return None
    parts = (day.year, day.month, day.day, *_clock(total - days * 86_400, value))
    return type(value)(parts[: len(value.parts)], value.zone)


def _clock(total: Decimal, value: Temporal) -> tuple[int, int, Decimal]:
    minutes, second = divmod(total, 60)
    written = value.parts[-1]
    exponent = written.as_tuple().exponent if isinstance(written, Decimal) else 0
    if isinstance(exponent, int) and second.as_tuple().exponent > exponent:  # type: ignore[operator]
        second = second.quantize(Decimal(1).scaleb(exponent))  # keep the zeros that were written
    return int(minutes) // 60, int(minutes) % 60, second


def boundary(value: Temporal, precision: int, upwards: bool) -> Temporal | None:
    """Return the first or last value of `precision` digits within `value` (N1, lowBoundary()).

    An unknown zone is the one that lies furthest out: +14:00 for the first, -12:00 for the last.

    >>> str(boundary(parse_date("2014"), 6, True)), str(boundary(parse_time("10:30"), 9, True))
    ('2014-12', '10:30:59.999')
    """
    lengths = {4: 1, 6: 2, 8: 3, 10: 4, 12: 5, 14: 6, 17: 6}
    if value.start == 3:
        lengths = {2: 1, 4: 2, 6: 3, 9: 3}
    length = lengths.get(precision)
    if length is None or (isinstance(value, Date) and length > 3):
        return None
    parts: tuple[int | Decimal, ...] = value._filled(upwards)[value.start :]
    if precision in (17, 9):
        known_second = len(value.parts) == value.full
        second = Decimal(parts[-1])
        if not known_second or second == second.to_integral_value():
            fraction = Decimal("0.999" if upwards else "0.000")
            second = second.to_integral_value() + fraction
        parts = (*parts[:-1], second.quantize(Decimal("0.001"), ROUND_DOWN))
    elif length == value.full:
        parts = (*parts[:-1], Decimal(parts[-1]).to_integral_value(ROUND_DOWN))
    zone = value.zone
    if zone is None and length > 3 and value.start == 0:
        zone = -12 * 60 if upwards else 14 * 60
    return type(value)(parts[:length], zone if length > 3 else None)


def now() -> datetime:
    """Return this moment in UTC."""
    return datetime.now(UTC)
