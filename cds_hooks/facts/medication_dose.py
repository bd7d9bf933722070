"""The daily dose of one ingredient in one dosage instruction (R4/dosage.html).

Always the most that the instruction allows, with a note where that was a choice. A strength that is
not known, a unit that is missing or does not fit the product, a dose in words: Unknown, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from cds_hooks.facts.medication_products import LIQUID, MASS, PATCH, SPRAY, Ingredient
from cds_hooks.facts.medication_timing import Often, Unknown, Window, often, window
from cds_hooks.facts.units import UCUM, UnitError, convert, shown

PIECES = "http://terminology.hl7.org/CodeSystem/v3-orderableDrugForm"

MG_A_DAY, UG_AN_HOUR = "mg/d", "ug/h"

NOTES: Mapping[str, str] = {
    "range-maximum": "of a range the upper end was taken",
    "prn-maximum": "as needed: counted at the most that is allowed",
    "capped-by-maximum": "held down to the maximum per period that the order states",
    "maximum-unreadable": "the maximum per period that the order states cannot be read and was left out",
    "alternatives-maximum": "the dose is stated in several ways: the greatest was taken",
    "timing-contradictory": "the timing is stated in several ways: the most frequent was taken",
    "averaged-over-days": "not taken every day: the average of a day",
    "all-in-one-day": "a number of doses without a time: all counted on one day",
    "single-dates": "for single dates only: the fullest day",
    "patches-one-at-a-time": "what the patches worn at one time release",
    "patch-interval-not-said": "how often the patch is changed is not said",
    "parallel-instructions": "several instructions at the same time: added",
    "steps-in-sequence": "steps one after another: the highest that runs now or later",
    "from-later-on": "the highest dose begins later",
    "limit-taken": "counted at the maximum per period that the order states",
}
"""What may have been decided on the way to a dose, for the card."""

_PIECE_NAMES: Mapping[str, frozenset[str]] = {
    MASS: frozenset({
        "tablet", "tablets", "tab", "tabs", "tbl", "tbls", "caplet", "caplets", "capsule", "capsules", "cap",
        "caps", "film", "films", "lozenge", "lozenges", "troche", "troches", "suppository", "suppositories",
    }),
    PATCH: frozenset({"patch", "patches"}),
    SPRAY: frozenset({"spray", "sprays", "actuat", "actuation", "actuations", "puff", "puffs"}),
}  # fmt: skip
_PIECE_CODES: Mapping[str, frozenset[str]] = {
    MASS: frozenset({
        "TAB", "ORTAB", "BUCTAB", "SRBUCTAB", "CAPLET", "CHEWTAB", "CPTAB", "DISINTAB", "DRTAB", "ECTAB",
        "ERECTAB", "ERTAB", "ERTAB12", "ERTAB24", "SLTAB", "CAP", "ORCAP", "ENTCAP", "ERENTCAP", "ERCAP",
        "ERCAP12", "ERCAP24", "ERECCAP", "ORTROCHE", "SUPP", "RECSUPP",
    }),
    PATCH: frozenset({"PATCH", "TPATCH", "TPATH16", "TPATH24", "TPATH2WK", "TPATH72", "TPATHWK"}),
    SPRAY: frozenset({"PUFF", "SPRY", "NASSPRY"}),
}  # fmt: skip
NO_PIECES = frozenset(
    {
        "Pack",
        "Drug Implant",
        "Injection",
        "Injectable Solution",
        "Prefilled Syringe",
        "Cartridge",
        "Auto-Injector",
    }
)
"""Forms of which "one" is not one dose."""


@dataclass(frozen=True, slots=True)
class Course:
    """What one instruction gives of one ingredient while its window is open."""

    amount: float
    unit: str
    window: Window
    sequence: int | None = None
    notes: tuple[str, ...] = ()


def course(dosage: Any, ingredient: Ingredient) -> Course | Unknown:
    """Return the most of an ingredient that an instruction gives in a day (a patch: in an hour).

    >>> from cds_hooks.facts.medication_products import of_code
    >>> tablet = of_code("856999")[0]
    >>> dose = {"doseQuantity": {"value": 1, "system": UCUM, "code": "{tablet}"}}
    >>> timing = {"repeat": {"frequency": 4, "period": 1, "periodUnit": "d"}}
    >>> course({"timing": timing, "doseAndRate": [dose]}, tablet).amount
    40.0
    """
    if not isinstance(dosage, dict):
        return Unknown("dosage-missing", "there is no dosage")
    timing = dosage.get("timing")
    when, number = window(timing), dosage.get("sequence")
    sequence = number if isinstance(number, int) and not isinstance(number, bool) else None
    is_patch = ingredient.strength is not None and ingredient.strength.unit == PATCH
    found = _patch(dosage, ingredient) if is_patch else _daily(dosage, ingredient)
    if isinstance(found, Unknown):
        return found
    amount, notes = found
    return Course(amount, UG_AN_HOUR if is_patch else MG_A_DAY, when, sequence, tuple(dict.fromkeys(notes)))


_Found = tuple[float, list[str]]


# Doses ------------------------------------------------------------------------------------------
def _daily(dosage: Mapping[str, Any], ingredient: Ingredient) -> _Found | Unknown:
    """Return mg a day."""
    needed = bool(dosage.get("asNeededBoolean")) or isinstance(dosage.get("asNeededCodeableConcept"), dict)
    rate = _rate(dosage, ingredient)
    if rate is not None:
        return rate
    cap, limit = _cap(dosage, ingredient), [*(["prn-maximum"] if needed else []), "limit-taken"]
    frequency = often(dosage.get("timing"))
    if isinstance(frequency, Often):
        found = _dose(dosage, ingredient)
        if isinstance(found, Unknown):
            return (cap, limit) if isinstance(cap, float) else found
        dose, notes = found
        amount = dose * frequency.per_day
        notes = [*notes, *frequency.notes, *(["prn-maximum"] if needed else [])]
        if isinstance(cap, float) and cap < amount:
            return cap, [*notes, "capped-by-maximum"]
        return amount, [*notes, "maximum-unreadable"] if isinstance(cap, Unknown) else notes
    if isinstance(cap, float):
        return cap, limit
    if needed and frequency is None:
        return Unknown("prn-without-limit", "as needed, without a frequency or a maximum per period")
    if frequency is not None:
        return frequency
    if not dosage.get("doseAndRate") and not dosage.get("timing"):
        return Unknown("dosage-in-words", "the dosage is in words only") if dosage.get("text") else _MISSING
    return Unknown("timing-missing", "how often is not said")


_MISSING = Unknown("dosage-missing", "there is no dosage")


def _dose(dosage: Mapping[str, Any], ingredient: Ingredient) -> _Found | Unknown:
    """Return the greatest single dose in mg (a patch: in mg/h)."""
    told = [
        (quantity, notes)
        for entry in _list(dosage.get("doseAndRate"))
        for quantity, notes in _upper(entry, "dose")
    ]
    if not told:
        return Unknown("dose-missing", "no dose is given in numbers")
    read = [(_amount(quantity, ingredient), notes) for quantity, notes in told]
    known = [(amount, notes) for amount, notes in read if isinstance(amount, float)]
    if not known:
        return next(amount for amount, _ in read if isinstance(amount, Unknown))
    amount, notes = max(known, key=lambda entry: entry[0])
    return amount, [*notes, *(["alternatives-maximum"] if len(told) > 1 else [])]


def _upper(entry: Any, stem: str) -> Iterator[tuple[Any, list[str]]]:
    """Give the quantity of a doseAndRate, or the upper end of its range."""
    if not isinstance(entry, dict):
        return
    if isinstance(entry.get(f"{stem}Quantity"), dict):
        yield entry[f"{stem}Quantity"], []
    if isinstance(entry.get(f"{stem}Range"), dict):
        yield entry[f"{stem}Range"].get("high"), ["range-maximum"]


def _amount(quantity: Any, ingredient: Ingredient) -> float | Unknown:
    """Return how much of the ingredient a quantity of the product holds, in mg (a patch: mg/h)."""
    if not isinstance(quantity, dict):
        return Unknown("dose-without-end", "the range of the dose has no upper end")
    value = quantity.get("value")
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)) or not 0 < float(value) < 1e9:
        return Unknown("dose-not-a-number", "the dose is no number above 0")
    if "comparator" in quantity:
        return Unknown("dose-not-a-number", "the dose is only known as a bound")
    system, code = quantity.get("system"), quantity.get("code")
    if not isinstance(code, str) or not code or system not in (UCUM, PIECES):
        return Unknown("unit-missing", "the dose has no coded unit")
    strength = ingredient.strength
    pieces = _is_piece(system, code, ingredient)
    if pieces:
        assert strength is not None
        return float(value) * strength.value
    if system == UCUM and strength is not None and strength.unit == PATCH:
        return _converted(quantity, PATCH, "unit-unusable")
    if system == UCUM and _measures(quantity, "mg"):
        if ingredient.parts > 1:
            return Unknown("dose-of-combination", "milligrams of a product with several ingredients")
        return _converted(quantity, "mg", "unit-unusable")
    if strength is None:
        return Unknown("strength-unknown", f"the strength is not known and the dose is in {shown(code)}")
    if system == UCUM and strength.unit == LIQUID and _measures(quantity, "mL"):
        volume = _converted(quantity, "mL", "unit-unusable")
        return volume * strength.value if isinstance(volume, float) else volume
    return Unknown("unit-unusable", f"the dose is in {shown(code)}, the strength in {strength.unit}")


def _is_piece(system: Any, code: str, ingredient: Ingredient) -> bool:
    """Say whether a unit counts pieces of this product: `{tablet}`, `1`, TAB."""
    unit = ingredient.strength.unit if ingredient.strength else ""
    if unit not in _PIECE_NAMES or ingredient.form in NO_PIECES:
        return False
    if system == PIECES:
        return code in _PIECE_CODES[unit]
    name = code[1:-1].strip().lower() if code.startswith("{") and code.endswith("}") else ""
    return code == "1" or name in _PIECE_NAMES[unit]


def _measures(quantity: Mapping[str, Any], unit: str) -> bool:
    try:
        convert(quantity, unit)
    except UnitError:
        return False
    return True


def _converted(quantity: Mapping[str, Any], unit: str, code: str) -> float | Unknown:
    try:
        return convert(quantity, unit)
    except UnitError as error:
        return Unknown(code, str(error))


# Limits and rates -------------------------------------------------------------------------------
def _cap(dosage: Mapping[str, Any], ingredient: Ingredient) -> float | Unknown | None:
    """Return maxDosePerPeriod in mg a day; None where there is none."""
    ratio = dosage.get("maxDosePerPeriod")
    if not isinstance(ratio, dict):
        return None
    amount = _amount(ratio.get("numerator"), ingredient)
    days = _time(ratio.get("denominator"))
    if isinstance(amount, Unknown) or days is None:
        return Unknown("maximum-unreadable", "the maximum per period cannot be read")
    return amount / days


def _time(quantity: Any) -> float | None:
    """Return a length of time in days, or None."""
    try:
        days = convert(quantity, "d")
    except UnitError:
        return None
    return days if days > 0 else None


def _rate(dosage: Mapping[str, Any], ingredient: Ingredient) -> _Found | Unknown | None:
    """Return mg a day of an infusion or another rate; None where no rate is given."""
    entries = _list(dosage.get("doseAndRate"))
    told = [found for entry in entries for found in _upper(entry, "rate")]
    ratios = [entry["rateRatio"] for entry in entries if isinstance(entry.get("rateRatio"), dict)]
    if not told and not ratios:
        return None
    rates = [(_per_day(quantity, ingredient), notes) for quantity, notes in told]
    for ratio in ratios:
        amount, days = _amount(ratio.get("numerator"), ingredient), _time(ratio.get("denominator"))
        usable = isinstance(amount, float) and days is not None
        rates.append((amount / days if usable else None, []))  # type: ignore[operator]
    known = [(rate, notes) for rate, notes in rates if rate is not None]
    if not known:
        return Unknown("rate-unusable", "the rate has no unit that fits the product")
    rate, notes = max(known, key=lambda entry: entry[0])
    timing = dosage.get("timing")
    repeat = timing.get("repeat") if isinstance(timing, dict) else None
    often_ = often(timing)
    if often_ is None:
        return rate, notes
    lasts = _lasts(repeat if isinstance(repeat, dict) else {})
    if isinstance(often_, Unknown) or lasts is None:
        return Unknown("rate-without-duration", "a rate that is given at times, without how long")
    return rate * min(1.0, lasts * often_.per_day), [*notes, *often_.notes]


def _per_day(quantity: Any, ingredient: Ingredient) -> float | None:
    """Return a rate as mg a day, from a mass or a volume by time."""
    strength = ingredient.strength
    for unit, factor in (("mg/d", 1.0), ("mL/d", strength.value if strength else 0.0)):
        if factor and isinstance(quantity, dict) and _measures(quantity, unit):
            if unit == "mL/d" and (strength is None or strength.unit != LIQUID):
                continue
            rate = convert(quantity, unit)
            return rate * factor if rate > 0 else None
    return None


def _lasts(repeat: Mapping[str, Any]) -> float | None:
    value = repeat.get("durationMax", repeat.get("duration"))
    return _time({"value": value, "system": UCUM, "code": repeat.get("durationUnit")})


# Patches ----------------------------------------------------------------------------------------
def _patch(dosage: Mapping[str, Any], ingredient: Ingredient) -> _Found | Unknown:
    """Return what the patches worn at one time release, in ug/h."""
    notes = ["patches-one-at-a-time"]
    rates = [found for entry in _list(dosage.get("doseAndRate")) for found in _upper(entry, "rate")]
    if rates:
        converted = [(_converted(quantity, PATCH, "rate-unusable"), more) for quantity, more in rates]
        usable = [(rate, more) for rate, more in converted if isinstance(rate, float) and rate > 0]
        if not usable:
            return Unknown("rate-unusable", "the rate has no unit that fits a patch")
        rate, more = max(usable, key=lambda entry: entry[0])
        return rate * 1000, [*notes, *more]
    frequency = often(dosage.get("timing"))
    if isinstance(frequency, Unknown):
        return frequency
    if frequency is not None and frequency.per_day > 0.5 + 1e-9:
        return Unknown(
            "patch-too-often", "a patch more often than every 48 hours: how many are worn is not known"
        )
    dose = _dose(dosage, ingredient)
    if isinstance(dose, Unknown):
        return dose
    more = ["patch-interval-not-said"] if frequency is None else list(frequency.notes)
    return dose[0] * 1000, [*notes, *dose[1], *(note for note in more if note != "averaged-over-days")]


def _list(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


# Several instructions ---------------------------------------------------------------------------
def placed(courses: list[Course], begun: datetime | None) -> list[Course]:
    """Return the courses of one order with lengths turned into windows, counted from `begun`.

    Steps of a sequence follow each other; a step after one without a length begins when the order
    does, so that it is not lost. The last one ends a day later: the first dose may be on the day after.
    """
    steps = sorted({entry.sequence for entry in courses if entry.sequence is not None})
    offsets: dict[int | None, timedelta] = {None: timedelta()}
    offset: timedelta | None = timedelta()
    for step in steps:
        offsets[step] = offset or timedelta()
        lengths = [entry.window.lasts for entry in courses if entry.sequence == step]
        longest = max((length for length in lengths if length is not None), default=None)
        offset = None if offset is None or longest is None else offset + longest
    last = max(steps, default=None)
    return [
        _placed(entry, begun, offsets[entry.sequence], timedelta(days=entry.sequence in (None, last)))
        for entry in courses
    ]


def _placed(entry: Course, begun: datetime | None, offset: timedelta, late: timedelta) -> Course:
    lasts = entry.window.lasts
    if lasts is None or begun is None:
        return entry
    start, lasts = begun + offset, lasts + late
    return Course(entry.amount, entry.unit, Window(start, start + lasts), entry.sequence, entry.notes)
