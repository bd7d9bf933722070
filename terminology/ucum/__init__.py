"""Units of measure (UCUM 2.2): is it a unit, what is it called, and how much is it in another.

Pure and exact: factors are fractions, only pH, decibels and the like go through 50 digits.

>>> str(convert(Decimal("6.3"), "mm", "cm"))
'0.63'
>>> problem("ug(8hr)")
"'ug(8hr)': expected . or / before '(8hr)'"
"""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache

from terminology.ucum.expressions import Unit, UnitError, display, parse
from terminology.ucum.special import from_special, to_special

__all__ = ["UnitError", "canonical", "convert", "display", "measures_like", "problem", "product", "quotient"]

_DIGITS = Context(prec=50)
Dimensions = tuple[tuple[str, int], ...]


def problem(code: str) -> str | None:
    """Return what is wrong with a unit, or None when nothing is.

    >>> problem("mg/dL"), problem("[iIU]")
    (None, "'[iIU]' is no unit of UCUM")
    """
    try:
        parse(code)
    except UnitError as error:
        return str(error)
    return None


def _unit(code: str) -> Unit | None:
    try:
        return parse(code)
    except UnitError:
        return None


def canonical(value: Decimal | int, code: str) -> tuple[Fraction, Dimensions] | None:
    """Return an amount in base units, with their exponents; None when `code` is no unit.

    >>> canonical(4, "g") == canonical(4000, "mg"), canonical(1, "cm")[1]
    (True, (('m', 1),))
    """
    unit = _unit(code)
    if unit is None:
        return None
    amount = Fraction(value)
    if unit.special is not None:
        amount = from_special(unit.special, amount * unit.scale)
    return amount * unit.factor, unit.dimensions


def measures_like(code: str, other: str) -> bool | None:
    """Return whether a unit measures what another does; None when the other is no unit.

    >>> measures_like("min", "a"), measures_like("m", "a"), measures_like("x", "a"), measures_like("a", "x")
    (True, False, False, None)
    """
    unit, wanted = _unit(code), _unit(other)
    if wanted is None:
        return None
    return unit is not None and unit.dimensions == wanted.dimensions


def convert(value: Decimal | int, source: str, target: str) -> Decimal | None:
    """Return an amount of `source` in `target`; None when they do not measure the same.

    >>> str(convert(Decimal("37.0"), "Cel", "[degF]")), convert(1, "cm", "s")
    ('98.6', None)
    """
    if (ratio := _ratio(source, target)) is not None:
        numerator, denominator = value.as_integer_ratio()
        return _DIGITS.divide(Decimal(numerator * ratio[0]), Decimal(denominator * ratio[1]))
    here = canonical(value, source)
    unit = _unit(target)
    if here is None or unit is None or here[1] != unit.dimensions:
        return None
    amount = here[0] / unit.factor
    if unit.special is not None:
        amount = to_special(unit.special, amount) / unit.scale
    return _decimal(amount)


@lru_cache(maxsize=16_384)
def _ratio(source: str, target: str) -> tuple[int, int] | None:
    """Return how many of `target` one of `source` is, as a fraction; None where only `convert` can tell."""
    one, other = _unit(source), _unit(target)
    if one is None or other is None or one.dimensions != other.dimensions or one.special or other.special:
        return None
    return (one.factor / other.factor).as_integer_ratio()


def _decimal(amount: Fraction) -> Decimal:
    return _DIGITS.divide(Decimal(amount.numerator), Decimal(amount.denominator))


def product(one: str, other: str) -> str:
    """Return the unit of a product.

    >>> product("kg", "m/s2"), product("1", "m")
    ('kg.m/s2', 'm')
    """
    if one == "1" or other == "1":
        return other if one == "1" else one
    return f"{one}.{_grouped(other) if other.startswith('/') else other}"


def quotient(one: str, other: str) -> str:
    """Return the unit of a quotient.

    >>> quotient("g", "m"), quotient("m", "m"), quotient("mol", "kg.s")
    ('g/m', '1', 'mol/(kg.s)')
    """
    if one == other:
        return "1"
    if other == "1":
        return one
    return f"{'' if one == '1' else one}/{_grouped(other)}"


def _grouped(code: str) -> str:
    return f"({code})" if "." in code or "/" in code else code
