"""Written numbers as intervals, and what the nine prefixes say about a stored [low, high].

R4/search.html#number and #prefix; shared by number and quantity parameters. `100` means
[99.5, 100.5); `100.00` means [99.995, 100.005): the width is half a unit of the last digit the
client wrote. With an exponent and one digit the specification prints 1e2 as [95, 105), half a
unit of the digit after it; we follow the print. Values are Decimals from end to end; a float
would lose the zeros that carry the meaning.

A stored number is a point and a stored Range an interval, both kept as [low, high], ends included;
its own digits do not widen it. With the written value x and its interval [a, b):

    eq  low >= a and high < b      ne  not so           ap  meets [x − 10 %, x + 10 %]
    gt  high > x     ge  high >= x     sa  low > x
    lt  low < x      le  low <= x      eb  high < x     (written precision is ignored by these six)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any

from fhir_server.outcome import Invalid
from fhir_server.search import values

EXACT = Context(prec=200)  # the default of 28 digits rounds the bounds of a long number away
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
LONGEST = 60  # stored numbers have at most 40 digits and exponents within 40


@dataclass(frozen=True, slots=True)
class NumberValue:
    """A number to look for: `low` and `high` bound what the written digits can mean."""

    prefix: str
    value: Decimal
    low: Decimal
    high: Decimal


def read(text: str) -> NumberValue:
    """Read a number with its prefix.

    >>> read("1e2").low, read("1e2").high
    (Decimal('95'), Decimal('105'))
    """
    prefix, written = values.prefixed(text)
    if not NUMBER.fullmatch(written) or len(written) > LONGEST:
        raise Invalid(f"{written!r} is not a number; write for example 5.4 or gt5.4")
    value = Decimal(written)
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)  # NaN and Infinity are not written by NUMBER
    if abs(exponent) > LONGEST:
        raise Invalid(f"{written!r} has an exponent beyond {LONGEST}; no stored number is so large or small")
    if len(digits) == 1 and "e" in written.lower():
        exponent -= 1
    half = Decimal((0, (5,), exponent - 1))
    return NumberValue(prefix, value, _plain(EXACT.subtract(value, half)), _plain(EXACT.add(value, half)))


def _plain(number: Decimal) -> Decimal:
    """Write 9E+1 as 90, so that a bound reads as the integer that it is."""
    return number if "E+" not in str(number) else number.quantize(Decimal(1), context=EXACT)


def compare(value: NumberValue, low: str, high: str, *, spans: bool = False) -> tuple[str, tuple[Any, ...]]:
    """Return the SQL condition on the columns `low` and `high`, with its parameters.

    With `spans` the rows are known to be no points.

    >>> compare(read("sa100"), "low", "high")
    ('low > %s', (Decimal('100'),))
    >>> compare(read("gt100"), "low", "high", spans=True)[0]
    'high > %s'
    """
    match value.prefix:
        case "eq":
            # low < b follows from high < b; it bounds the scan of an index that begins with low.
            return f"{low} >= %s and {low} < %s and {high} < %s", (value.low, value.high, value.high)
        case "ne":
            return f"({low} < %s or {high} >= %s)", (value.low, value.high)
        case "gt" | "ge":
            sign = ">" if value.prefix == "gt" else ">="
            if spans:
                return f"{high} {sign} %s", (value.value,)
            # Nearly all rows are points. Said so, an index that begins with low serves them, and
            # the few spans have one of their own. (The planner takes `low <> high` for nearly all rows.)
            span = f"sign({high} - {low}) = 1 and {high} {sign} %s"
            return f"({low} {sign} %s or {span})", (value.value, value.value)
        case "lt":
            return f"{low} < %s", (value.value,)
        case "le":
            return f"{low} <= %s", (value.value,)
        case "sa":
            return f"{low} > %s", (value.value,)
        case "eb":
            # low < x follows from high < x.
            return f"{low} < %s and {high} < %s", (value.value, value.value)
        case _:
            bounds = around(value)
            return f"{low} <= %s and {high} >= %s", (bounds[1], bounds[0])


def around(value: NumberValue) -> tuple[Decimal, Decimal]:
    """Return what `ap` asks for: the value less and more a tenth of it.

    >>> [str(bound) for bound in around(read("ap-50"))]
    ['-55.0', '-45.0']
    """
    if value.prefix == "meets":
        return value.low, value.high
    near = EXACT.multiply(abs(value.value), Decimal("0.1"))
    return EXACT.subtract(value.value, near), EXACT.add(value.value, near)


def reach(value: NumberValue) -> Decimal | None:
    """Return what the high end of a match is not below, None where nothing is said.

    >>> reach(read("gt5")), reach(read("lt5"))
    (Decimal('5'), None)
    """
    match value.prefix:
        case "gt" | "ge" | "sa":
            return value.value
        case "eq":
            return value.low
        case "ap":
            return EXACT.subtract(value.value, EXACT.multiply(abs(value.value), Decimal("0.1")))
    return None


def ceiling(value: NumberValue) -> Decimal | None:
    """Return what the low end of a match is not above, None where nothing is said.

    >>> ceiling(read("gt5")), ceiling(read("lt5")), ceiling(read("5"))
    (None, Decimal('5'), Decimal('5.5'))
    """
    match value.prefix:
        case "lt" | "le" | "eb":
            return value.value
        case "eq":
            return value.high
        case "ap":
            return EXACT.add(value.value, EXACT.multiply(abs(value.value), Decimal("0.1")))
    return None
