"""Units on scales that are no ratios: temperatures, pH, logarithms (UCUM §21–22).

For each: the conversion to a ratio scale, and back.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal
from fractions import Fraction
from math import atan, tan

_DIGITS = Context(prec=50)
_KELVIN, _RANKINE = Fraction("273.15"), Fraction("459.67")


def _fraction(function: Callable[[Decimal], Decimal]) -> Callable[[Fraction], Fraction]:
    def run(amount: Fraction) -> Fraction:
        return Fraction(function(_DIGITS.divide(Decimal(amount.numerator), Decimal(amount.denominator))))

    return run


def _power(base: int) -> Callable[[Fraction], Fraction]:
    return _fraction(lambda amount: _DIGITS.power(Decimal(base), amount))


def _log(base: int) -> Callable[[Fraction], Fraction]:
    return _fraction(lambda amount: _DIGITS.divide(_DIGITS.ln(amount), _DIGITS.ln(Decimal(base))))


def _potency(base: int) -> tuple[Callable[[Fraction], Fraction], Callable[[Fraction], Fraction]]:
    up, down = _power(base), _log(base)
    return lambda amount: up(-amount), lambda amount: -down(amount)


_exp = _fraction(_DIGITS.exp)
_ln = _fraction(_DIGITS.ln)
_PAIRS: dict[str, tuple[Callable[[Fraction], Fraction], Callable[[Fraction], Fraction]]] = {
    "Cel": (lambda amount: amount + _KELVIN, lambda amount: amount - _KELVIN),
    "degF": (lambda amount: amount + _RANKINE, lambda amount: amount - _RANKINE),
    "degRe": (lambda amount: amount + _KELVIN * 4 / 5, lambda amount: amount - _KELVIN * 4 / 5),
    "pH": _potency(10),
    "ln": (_exp, _ln),
    "lg": (_power(10), _log(10)),
    "lgTimes2": (lambda amount: _power(10)(amount / 2), lambda amount: _log(10)(amount) * 2),
    "ld": (_power(2), _log(2)),
    "hpX": _potency(10),
    "hpC": _potency(100),
    "hpM": _potency(1000),
    "hpQ": _potency(50_000),
    "sqrt": (lambda amount: amount * amount, _fraction(_DIGITS.sqrt)),
    "tanTimes100": (
        lambda amount: Fraction(atan(amount / 100)),
        lambda amount: Fraction(tan(amount)) * 100,
    ),
    "100tan": (
        lambda amount: Fraction(atan(amount / 100)),
        lambda amount: Fraction(tan(amount)) * 100,
    ),
}


def from_special(name: str, amount: Fraction) -> Fraction:
    """Return an amount on the ratio scale behind the conversion `name`.

    >>> from_special("Cel", Fraction(0)) == Fraction("273.15")
    True
    """
    return _PAIRS[name][0](amount)


def to_special(name: str, amount: Fraction) -> Fraction:
    """Return an amount of the ratio scale on that of the conversion `name`.

    >>> to_special("lg", Fraction(100))
    Fraction(2, 1)
    """
    return _PAIRS[name][1](amount)
