"""Texts of searches and of resources, read a second time: escapes, dates, numbers, words."""

from __future__ import annotations

import calendar
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
NEVER = datetime(1, 1, 1, tzinfo=UTC)
INFINITE = float("inf")


def pieces(text: str, separator: str) -> list[str]:
    """Cut at separators without a backslash before them, counting backslashes from the left."""
    found = [""]
    skip = False
    for sign in text:
        if skip:
            found[-1] += sign
            skip = False
        elif sign == "\\":
            found[-1] += sign
            skip = True
        elif sign == separator:
            found.append("")
        else:
            found[-1] += sign
    return found


def plain(text: str) -> str:
    """Take the backslashes away."""
    return re.sub(r"\\([\\,$|])", r"\1", text)


@dataclass(frozen=True)
class Span:
    """From low to high; for dates the end is outside, for numbers the meaning depends."""

    low: Any
    high: Any


def date_span(text: str) -> Span:
    """Return what a date covers; zone-less is UTC."""
    found = re.fullmatch(
        r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(\.\d+)?)?(Z|[-+]\d\d:\d\d)?)?)?)?", text
    )
    if not found:
        raise ValueError(text)
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    if month is None:
        return Span(datetime(int(year), 1, 1, tzinfo=UTC), datetime(int(year) + 1, 1, 1, tzinfo=UTC))
    if day is None:
        first = datetime(int(year), int(month), 1, tzinfo=UTC)
        return Span(first, first + timedelta(days=calendar.monthrange(int(year), int(month))[1]))
    if hour is None:
        start = datetime(int(year), int(month), int(day), tzinfo=UTC)
        return Span(start, start + timedelta(days=1))
    shift = timedelta(0)
    if zone and zone != "Z":
        shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6])) * (-1 if zone[0] == "-" else 1)
    start = datetime(
        int(year), int(month), int(day), int(hour), int(minute), int(second or 0), tzinfo=timezone(shift)
    )
    if second is None:
        length = timedelta(minutes=1)
    elif fraction is None:
        length = timedelta(seconds=1)
    else:
        start += timedelta(microseconds=round(float(fraction) * 1_000_000))
        length = timedelta(microseconds=max(1, 10 ** (7 - len(fraction))))
    return Span(start.astimezone(UTC), (start + length).astimezone(UTC))


def period_span(period: dict[str, Any]) -> Span | None:
    """Return what a Period covers, None for one without ends."""
    if "start" not in period and "end" not in period:
        return None
    low = date_span(period["start"]).low if "start" in period else NEVER
    high = date_span(period["end"]).high if "end" in period else FOREVER
    return Span(low, high)


def date_matches(prefix: str, asked: Span, stored: Span, now: datetime) -> bool:
    """Say whether a stored span fits, in the words of the prefix table of R4/search.html."""
    contains = asked.low <= stored.low and stored.high <= asked.high
    if prefix == "eq":
        return contains
    if prefix == "ne":
        return not contains
    above = stored.high > asked.high
    below = stored.low < asked.low
    if prefix == "gt":
        return above
    if prefix == "lt":
        return below
    if prefix == "ge":
        return above or contains
    if prefix == "le":
        return below or contains
    if prefix == "sa":
        return stored.low >= asked.high
    if prefix == "eb":
        return stored.high <= asked.low
    gap = abs(now - (asked.low + (asked.high - asked.low) / 2)) / 10
    return stored.low < asked.high + gap and stored.high > asked.low - gap


@dataclass(frozen=True)
class Number:
    """A written number: its value, and the span that its digits leave open."""

    value: Fraction
    span: Span


def written_number(text: str) -> Number:
    """Return a search's number with the width of half its last digit."""
    mantissa, _, exponent = text.lower().partition("e")
    if not re.fullmatch(r"[-+]?(\d+(\.\d*)?|\.\d+)", mantissa):
        raise ValueError(text)
    scale = Fraction(10) ** int(exponent or 0)
    decimals = len(mantissa.partition(".")[2])
    half = Fraction(1, 2) / Fraction(10) ** decimals * scale
    digits = mantissa.lstrip("+-").replace(".", "").lstrip("0")
    if exponent and len(digits) <= 1:
        half /= 10  # the specification prints [95, 105) for 1e2
    value = Fraction(mantissa.rstrip(".")) * scale
    return Number(value, Span(value - half, value + half))


def number_matches(prefix: str, asked: Number, stored: Span) -> bool:
    """Say whether a stored [low, high], ends included, fits."""
    contained = asked.span.low <= stored.low and stored.high < asked.span.high
    if prefix == "eq":
        return contained
    if prefix == "ne":
        return not contained
    if prefix in ("gt", "ge"):
        return stored.high > asked.value or (prefix == "ge" and stored.high == asked.value)
    if prefix in ("lt", "le"):
        return stored.low < asked.value or (prefix == "le" and stored.low == asked.value)
    if prefix == "sa":
        return stored.low > asked.value
    if prefix == "eb":
        return stored.high < asked.value
    tenth = abs(asked.value) / 10
    return not (stored.high < asked.value - tenth or stored.low > asked.value + tenth)


def prefix_of(text: str) -> tuple[str, str]:
    """Part a prefix from the value."""
    return (text[:2], text[2:]) if text[:2] in PREFIXES else ("eq", text)


def folded(text: str) -> str:
    """Return a text without case, accents and repeated blanks."""
    bare = [
        sign for sign in unicodedata.normalize("NFKD", text.casefold()) if unicodedata.category(sign) != "Mn"
    ]
    text = unicodedata.normalize("NFC", "".join(bare).casefold())
    for sign, instead in (
        ("ø", "o"),
        ("ł", "l"),
        ("đ", "d"),
        ("ð", "d"),
        ("æ", "ae"),
        ("œ", "oe"),
        ("þ", "th"),
    ):
        text = text.replace(sign, instead)
    return " ".join(text.split())
