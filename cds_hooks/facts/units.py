"""Units of what we read: any UCUM unit that measures the same, refusal on everything else.

A value without a unit, or with one that we do not understand, is no value: guessing would turn
22 kPa into 22 mmHg. `terminology/ucum` knows the units; what it cannot know is said here, because
to UCUM a mole is a pure number and an annotation is nothing:

- mass and amount of substance are exchanged for a named analyte only (1 mg of what?);
- a mole, an equivalent, an osmole, an enzyme unit and a plain count are five different things;
- an annotation (`mL/min/{1.73_m2}`) changes what is meant, so it is never dropped: the same
  annotations have to stand in both units, unless `allowed` names the code as it stands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from typing import Any

from terminology import ucum
from terminology.ucum.expressions import parse

UCUM = "http://unitsofmeasure.org"

_DIGITS, _EXPONENT = 40, 30
"""More than any measurement has; beyond it exact arithmetic would only cost time."""


class UnitError(ValueError):
    """A quantity whose number or unit cannot be used; the message names the unit, never the value."""


@dataclass(frozen=True, slots=True)
class Analyte:
    """A substance whose mass and amount may be exchanged: grams per mole, and equivalents per mole."""

    name: str
    grams_per_mole: Fraction
    valence: int | None = None


# Clinical chemistry states these as factors (µmol/L in 1 mg/dL and the like); the molar mass follows.
CREATININE = Analyte("creatinine", 10_000 / Fraction("88.42"))  # 1 mg/dL = 88.42 µmol/L
GLUCOSE = Analyte("glucose", Fraction("180.16"))  # 1 mmol/L = 18.016 mg/dL
CHOLESTEROL = Analyte("cholesterol", Fraction("386.7"))  # 1 mmol/L = 38.67 mg/dL, HDL and LDL as well
TRIGLYCERIDES = Analyte("triglycerides", Fraction("885.7"))  # 1 mmol/L = 88.57 mg/dL, as triolein
UREA = Analyte("urea", Fraction("60.06"))  # 1 mmol/L = 6.006 mg/dL
UREA_NITROGEN = Analyte("urea nitrogen", Fraction("28.014"))  # two nitrogens for one urea
POTASSIUM = Analyte("potassium", Fraction("39.098"), valence=1)


def convert(
    quantity: Any, unit: str, *, analyte: Analyte | None = None, allowed: Collection[str] | None = None
) -> float:
    """Return the value of a Quantity in `unit` (a UCUM code).

    `allowed`: the codes that may be given (`l` and `L` are one); None for all that measure the same.

    >>> convert({"value": 160, "system": UCUM, "code": "mm[Hg]"}, "mm[Hg]")
    160.0
    >>> round(convert({"value": 20, "system": UCUM, "code": "kPa"}, "mm[Hg]"), 1)
    150.0
    >>> convert({"value": 1, "system": UCUM, "code": "mg/dL"}, "umol/L", analyte=CREATININE)
    88.42
    >>> convert({"value": 160, "unit": "mmHg"}, "mm[Hg]")
    Traceback (most recent call last):
    cds_hooks.facts.units.UnitError: the unit has no UCUM code; expected is mm[Hg] of http://unitsofmeasure.org

    Raises UnitError for a value that is no finite number, a comparator (`<`), a unit that is missing,
    unknown, not allowed or of another kind.
    """
    value = _number(quantity)
    code = quantity.get("code")
    if quantity.get("system") != UCUM or not isinstance(code, str) or not code:
        raise UnitError(f"the unit has no UCUM code; expected is {unit} of {UCUM}")
    factor = _factor(code, unit, analyte, None if allowed is None else _litres(tuple(allowed)))
    if code == unit:
        return float(value) + 0.0  # a negative zero becomes a plain one, as a fraction would
    if _is_on_a_scale(code, unit):
        return float(ucum.convert(value, code, unit) or 0)
    try:
        result = float(Fraction(value) * factor)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise UnitError(f"no measurement is that large in {unit}")
    return result


def shown(code: str) -> str:
    """Return a unit of somebody else as it may stand in a text: short, printable, on one line.

    >>> shown("mg/dL"), shown("µmol/L | x")
    ("'mg/dL'", "'\\\\xb5mol/L \\\\x7c x'")
    """
    return ascii(code[:30]).replace("|", "\\x7c").replace("`", "\\x60")


def _number(quantity: Any) -> Decimal:
    given = quantity.get("value") if isinstance(quantity, dict) else None
    if not isinstance(given, (int, float, Decimal)) or isinstance(given, bool):
        raise UnitError("no number is given")
    if "comparator" in quantity:
        raise UnitError("the value is only known as a bound (it has a comparator)")
    try:
        value = given if isinstance(given, Decimal) else Decimal(str(given))
    except (InvalidOperation, ValueError):
        raise UnitError("no number is given") from None
    if not value.is_finite() or abs(value.adjusted()) > _EXPONENT or len(value.as_tuple().digits) > _DIGITS:
        raise UnitError("the number is none that a measurement can have")
    return value


# Units ------------------------------------------------------------------------------------------
_ANNOTATION = re.compile(r"\{[^{}]*\}")
_BRACKETS = re.compile(r"\[[^][]*\]")
_COUNTED = re.compile(
    r"(?:^|(?<=[./(]))(?:da|[YZEPTGMkhdcmunpfazy])?(mol|eq|osm|kat|U)(?=[-+]?\d*(?:[./){]|$))"
)


@lru_cache(maxsize=256)
def _litres(allowed: tuple[str, ...]) -> frozenset[str]:
    return frozenset(_with_one_litre(code) for code in allowed)


def _with_one_litre(code: str) -> str:
    """Return the code with `l` written `L`: UCUM has both for the litre.

    >>> _with_one_litre("mmol/l"), _with_one_litre("mg/dl"), _with_one_litre("Cel")
    ('mmol/L', 'mg/dL', 'Cel')
    """
    return re.sub(r"(^|[./(])(da|[munpdchk])?l(?=$|[./)\d-])", r"\1\2L", code)


@lru_cache(maxsize=4096)
def _factor(code: str, unit: str, analyte: Analyte | None, allowed: frozenset[str] | None) -> Fraction:
    """Return what one `code` is in `unit`; raises UnitError."""
    if allowed is not None and _with_one_litre(code) not in allowed:
        raise UnitError(f"the unit is {shown(code)}; accepted are {', '.join(sorted(allowed))}")
    if code == unit:
        return Fraction(1)
    here, there = ucum.canonical(1, code), ucum.canonical(1, unit)
    if here is None or there is None:
        raise UnitError(f"the unit {shown(code)} is no unit of UCUM; expected is {unit}")
    if allowed is None and _ANNOTATION.findall(code) != _ANNOTATION.findall(unit):
        raise UnitError(f"the unit is {shown(code)}; its annotation is not that of {unit}")
    if _counted(code) != _counted(unit):
        try:
            here, there = _in_grams(code, here, analyte), _in_grams(unit, there, analyte)
        except UnitError as error:
            raise UnitError(f"the unit is {shown(code)}, not {unit}: {error}") from None
    if here[1] != there[1]:
        raise UnitError(f"the unit is {shown(code)}, which does not measure what {unit} does")
    return here[0] / there[0]


def _counted(code: str) -> tuple[str, ...]:
    """Return what a unit counts: moles, equivalents, osmoles, or enzymes by what they turn over.

    >>> _counted("mmol/L"), _counted("U/L") == _counted("ukat/L"), _counted("m[Hg]")
    (('mol',), True, ())
    """
    plain = _BRACKETS.sub("[]", _ANNOTATION.sub("", code))
    return tuple("kat" if name in ("kat", "U") else name for name in _COUNTED.findall(plain))


_Amount = tuple[Fraction, tuple[tuple[str, int], ...]]


def _in_grams(code: str, amount: _Amount, analyte: Analyte | None) -> _Amount:
    """Return an amount of substance of the analyte as its mass; a mass as it is."""
    counted = _counted(code)
    if not counted:
        return amount
    leads = _COUNTED.match(code)
    if analyte is None or len(counted) > 1 or leads is None or counted[0] not in ("mol", "eq"):
        raise UnitError("they count different things")
    moles = amount[0] / _avogadro()
    if counted[0] == "eq":
        if analyte.valence is None:
            raise UnitError(f"{analyte.name} has no equivalents")
        moles /= analyte.valence
    powers = dict(amount[1])
    powers["g"] = powers.get("g", 0) + 1
    return moles * analyte.grams_per_mole, tuple(sorted((b, e) for b, e in powers.items() if e))


@lru_cache(maxsize=1)
def _avogadro() -> Fraction:
    mole = ucum.canonical(1, "mol")
    assert mole is not None
    return mole[0]


_TEMPERATURES = frozenset({"Cel", "degF", "degRe"})


@lru_cache(maxsize=4096)
def _is_on_a_scale(code: str, unit: str) -> bool:
    """Say whether a temperature with a zero of its own is meant, so that a factor will not do.

    Raises UnitError for pH, decibels and their like: none is measured in two units here.
    """
    scales = {parse(text).special for text in (code, unit)} - {None}
    if scales - _TEMPERATURES:
        raise UnitError(f"the unit is {shown(code)}; it is not converted to {unit}")
    return bool(scales)
