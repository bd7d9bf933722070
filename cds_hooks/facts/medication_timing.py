"""How often a dose is due, and between which moments: Timing (R4/datatypes.html#Timing).

Always the most that the words allow: of a range the upper end, of two statements the greater. What
cannot be known (a timing in words alone, "at meals" without a number) comes back as Unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from cds_hooks.facts.chart import moment

GTS = "http://terminology.hl7.org/CodeSystem/v3-GTSAbbreviation"

PER_DAY: Mapping[str, float] = {
    "BID": 2, "TID": 3, "QID": 4, "AM": 1, "PM": 1, "BED": 1,
    "QD": 1, "QOD": 1 / 2, "WK": 1 / 7, "MO": 1 / 30,
    "Q1H": 24, "Q2H": 12, "Q3H": 8, "Q4H": 6, "Q6H": 4, "Q8H": 3,
}  # fmt: skip
"""Every code of the value set timing-abbreviation (R4), as times a day; a month has 30 days."""

DAYS: Mapping[str, float] = {
    "s": 1 / 86400, "min": 1 / 1440, "h": 1 / 24, "d": 1, "wk": 7, "mo": 30, "a": 365,
}  # fmt: skip
"""Units of time in days; a month has 30 days and a year 365."""

_ONCE_A_DAY = frozenset({
    "MORN", "MORN.early", "MORN.late", "NOON", "AFT", "AFT.early", "AFT.late", "EVE", "EVE.early", "EVE.late",
    "NIGHT", "PHS", "HS", "WAKE", "ACM", "ACD", "ACV", "CM", "CD", "CV", "PCM", "PCD", "PCV",
})  # fmt: skip
"""Events that come once a day. C, AC and PC (at every meal) do not say how many meals there are."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """What cannot be known about a dose: a code for the record, and a text for the card."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Often:
    """At most how many times a day, and what was decided on the way (see NOTES of medication_dose)."""

    per_day: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` to `end` (not included); None is open. `lasts`: for a length without a start."""

    start: datetime | None = None
    end: datetime | None = None
    lasts: timedelta | None = None

    def holds(self, at: datetime) -> bool:
        """Say whether the window is open at a moment."""
        return (self.start is None or self.start <= at) and (self.end is None or at < self.end)


# How often --------------------------------------------------------------------------------------
def often(timing: Any) -> Often | Unknown | None:
    """Return the most times a day; None where the timing says nothing of it.

    >>> often({"repeat": {"frequency": 1, "frequencyMax": 2, "period": 8, "periodUnit": "h"}})
    Often(per_day=6.0, notes=('range-maximum',))
    >>> often({"code": {"coding": [{"system": GTS, "code": "TID"}]}}).per_day
    3
    >>> often({"code": {"text": "with food"}}).code
    'timing-in-words'
    """
    if not isinstance(timing, dict):
        return None
    repeat = timing.get("repeat")
    told = _repeat(repeat) if isinstance(repeat, dict) else None
    coded = _code(timing.get("code"))
    if isinstance(told, Often) and isinstance(coded, Often):
        if abs(told.per_day - coded.per_day) < 1e-9:
            return told
        greater = max(told, coded, key=lambda entry: entry.per_day)
        return Often(greater.per_day, (*greater.notes, "timing-contradictory"))
    for found in (told, coded):
        if isinstance(found, Often):
            return found
    return told or _events(timing.get("event")) or coded


def _code(concept: Any) -> Often | Unknown | None:
    if not isinstance(concept, dict):
        return None
    for coding in concept.get("coding") or ():
        if isinstance(coding, dict) and coding.get("system") == GTS and coding.get("code") in PER_DAY:
            return _averaged(PER_DAY[coding["code"]])
    return Unknown("timing-in-words", "how often is said in words or in a code that is not known here")


def _events(events: Any) -> Often | None:
    """Single dates: as often as on the fullest of them."""
    days = Counter(event[:10] for event in events or () if isinstance(event, str))
    return Often(max(days.values()), ("single-dates",)) if days else None


def _repeat(repeat: Mapping[str, Any]) -> Often | Unknown | None:
    notes: list[str] = []
    frequency = _most(repeat, "frequency", notes)
    period = _number(repeat.get("period"))
    clock = len(repeat.get("timeOfDay") or ())
    whens = [code for code in repeat.get("when") or () if isinstance(code, str)]
    unknown_when = [code for code in whens if code not in _ONCE_A_DAY]
    day_times = max(clock, len(whens) - len(unknown_when))
    if "period" in repeat:
        days = DAYS.get(str(repeat.get("periodUnit")))
        if days is None or period is None or period <= 0:
            return Unknown("timing-unclear", "the period of the timing is not usable")
        if "frequency" in repeat and frequency is None:
            return Unknown("timing-unclear", "the frequency of the timing is not usable")
        if "periodMax" in repeat:
            notes.append("range-maximum")
        times = frequency or 1.0  # none stated: once per period (R4/datatypes.html#Timing)
        if day_times > times:
            times = float(day_times)
            notes.append("timing-contradictory")
        found = _averaged(times / (period * days), notes)
    elif unknown_when and frequency is None:
        return Unknown("timing-unclear", "the timing names meals or an event, not how many times a day")
    elif frequency is not None:
        return Unknown("timing-unclear", "a number of times is given, not in which time")
    elif day_times:
        found = Often(float(day_times), tuple(notes))
    elif repeat.get("dayOfWeek"):
        found = Often(1.0, tuple(notes))
    else:
        count = _most(repeat, "count", notes)
        return Often(count, (*notes, "all-in-one-day")) if count else None
    count = _most(repeat, "count", notes)
    return Often(count, found.notes) if count is not None and count < found.per_day else found


def _most(repeat: Mapping[str, Any], name: str, notes: list[str]) -> float | None:
    low, high = _number(repeat.get(name)), _number(repeat.get(f"{name}Max"))
    if high is not None and (low is None or high > low):
        notes.append("range-maximum")
        return high
    return low if low is None or low > 0 else None


def _averaged(per_day: float, notes: list[str] | tuple[str, ...] = ()) -> Often:
    return Often(per_day, (*notes, "averaged-over-days") if per_day < 1 else tuple(notes))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    number = float(value)
    return number if 0 <= number < 1e9 else None


# From when to when ------------------------------------------------------------------------------
def window(timing: Any) -> Window:
    """Return when the dose runs, by the bounds of the timing or its single dates.

    A date without a time is a day of nobody knows which zone; it is taken to begin and to end as late as
    it does anywhere (12 hours behind UTC), so that no order ends early. What begins late is still ahead.

    >>> window({"repeat": {"boundsPeriod": {"end": "2026-11-30"}}}).end.isoformat()
    '2026-12-01T12:00:00+00:00'
    >>> window({"repeat": {"boundsDuration": {"value": 7, "code": "d"}}}).lasts.days
    7
    """
    if not isinstance(timing, dict):
        return Window()
    repeat = timing.get("repeat")
    if isinstance(repeat, dict):
        period = repeat.get("boundsPeriod")
        if isinstance(period, dict):
            return Window(_begin(period.get("start")), _past(period.get("end")))
        for length in (repeat.get("boundsDuration"), _high(repeat.get("boundsRange"))):
            if isinstance(length, dict) and (lasts := duration(length)) is not None:
                return Window(lasts=lasts)
    events = sorted(
        event for event in timing.get("event") or () if isinstance(event, str) and first_moment(event)
    )
    if events and not isinstance(repeat, dict):
        return Window(_begin(events[0][:10]), _past(events[-1][:10]))
    return Window()


def _high(value: Any) -> Any:
    return value.get("high") if isinstance(value, dict) else None


def duration(quantity: Mapping[str, Any]) -> timedelta | None:
    """Return a Duration as a length of time, or None when its unit or number is not usable."""
    value, days = _number(quantity.get("value")), DAYS.get(str(quantity.get("code")))
    if value is None or days is None or value * days > 36500:
        return None
    return timedelta(days=value * days)


def first_moment(text: Any) -> datetime | None:
    """Return the first moment of a dateTime of any precision, in UTC; None for something else.

    >>> first_moment("2026-11").isoformat(), first_moment("soon")
    ('2026-11-01T00:00:00+00:00', None)
    """
    if not isinstance(text, str):
        return None
    if "T" in text:
        return moment(text)
    try:
        return datetime.fromisoformat(
            (text + "-01-01")[:10] if len(text) == 4 else (text + "-01")[:10]
        ).replace(tzinfo=UTC)
    except ValueError:
        return None


LATEST = timedelta(hours=12)
"""How much later a day ends where it ends last."""


def _begin(text: Any) -> datetime | None:
    begin = first_moment(text)
    return begin if begin is None or "T" in str(text) else begin + LATEST


def _past(text: Any) -> datetime | None:
    """Return the first moment after a dateTime of any precision: the end of a Period is included."""
    begin = first_moment(text)
    if begin is None or "T" in str(text):
        return begin
    if begin.year == 9999:
        return None  # how some systems write "without end"
    if len(str(text)) >= 10:
        return begin + timedelta(days=1) + LATEST
    month = begin.month - 1 + (12 if len(str(text)) == 4 else 1)
    return begin.replace(year=begin.year + month // 12, month=month % 12 + 1) + LATEST
