"""Measured values of a chart: the newest relevant one, in one unit, or what is wrong with it.

A measurement is described once: its LOINC codes, its unit, the units that may be given, the range
outside of which it is a mistake of writing or of unit rather than a patient. The newest value
decides: where it cannot be used, no older one steps in unseen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cds_hooks.facts.chart import Chart, Resource, day, local_reference, observations, taken_at
from cds_hooks.facts.units import (
    CHOLESTEROL,
    CREATININE,
    GLUCOSE,
    POTASSIUM,
    TRIGLYCERIDES,
    UREA,
    UREA_NITROGEN,
    Analyte,
    UnitError,
    convert,
)
from cds_hooks.facts.value_sets import LOINC, CodeSet


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is measured, how it is coded, in which unit we think and which units may be given.

    `name` begins the codes of its problems (`creatinine-missing`); `low` and `high` are the
    plausible range in `unit`, ends included.
    """

    name: str
    codes: CodeSet
    unit: str
    allowed: tuple[str, ...]
    low: float
    high: float
    analyte: Analyte | None = None


_CHOLESTEROL_UNITS = ("mg/dL", "mg/L", "g/L", "mmol/L")

CREATININE_IN_SERUM = Measurement(
    "creatinine",
    CodeSet("creatinine in serum or blood", {LOINC: ("2160-0", "14682-9", "38483-4")}),
    "mg/dL",
    ("mg/dL", "mg/L", "umol/L", "mmol/L"),
    0.1,
    30.0,
    CREATININE,
)
POTASSIUM_IN_SERUM = Measurement(
    "potassium",
    CodeSet("potassium in serum or blood", {LOINC: ("2823-3", "6298-4")}),
    "mmol/L",
    ("mmol/L", "meq/L"),
    1.0,
    12.0,
    POTASSIUM,
)
GLUCOSE_IN_BLOOD = Measurement(
    "glucose",
    CodeSet("glucose in serum or blood", {LOINC: ("2345-7", "14749-6", "2339-0")}),
    "mg/dL",
    ("mg/dL", "mg/L", "g/L", "mmol/L"),
    5.0,
    2500.0,
    GLUCOSE,
)
UREA_IN_SERUM = Measurement(
    "urea",
    CodeSet("urea in serum", {LOINC: ("22664-7", "3091-6")}),
    "mmol/L",
    ("mmol/L", "mg/dL", "mg/L", "g/L"),
    0.3,
    120.0,
    UREA,
)
UREA_NITROGEN_IN_SERUM = Measurement(
    "urea-nitrogen",
    CodeSet("urea nitrogen in serum", {LOINC: ("3094-0", "14937-7")}),
    "mg/dL",
    ("mg/dL", "mg/L", "mmol/L"),
    1.0,
    330.0,
    UREA_NITROGEN,
)
TOTAL_CHOLESTEROL = Measurement(
    "total-cholesterol",
    CodeSet("total cholesterol in serum", {LOINC: ("2093-3", "14647-2")}),
    "mg/dL",
    _CHOLESTEROL_UNITS,
    30.0,
    1500.0,
    CHOLESTEROL,
)
HDL_CHOLESTEROL = Measurement(
    "hdl-cholesterol",
    CodeSet("HDL cholesterol in serum", {LOINC: ("2085-9", "14646-4")}),
    "mg/dL",
    _CHOLESTEROL_UNITS,
    3.0,
    250.0,
    CHOLESTEROL,
)
TRIGLYCERIDES_IN_SERUM = Measurement(
    "triglycerides",
    CodeSet("triglycerides in serum", {LOINC: ("2571-8", "14927-8")}),
    "mg/dL",
    _CHOLESTEROL_UNITS,
    5.0,
    15000.0,
    TRIGLYCERIDES,
)
SYSTOLIC_PRESSURE = Measurement(
    "systolic-pressure", CodeSet("systolic blood pressure", {LOINC: ("8480-6",)}), "mm[Hg]",
    ("mm[Hg]", "kPa"), 40.0, 320.0,
)  # fmt: skip
BODY_WEIGHT = Measurement(
    "weight", CodeSet("body weight", {LOINC: ("29463-7",)}), "kg", ("kg", "g", "[lb_av]"), 20.0, 400.0
)  # an adult's: the services here compute for adults
BODY_HEIGHT = Measurement(
    "height", CodeSet("body height", {LOINC: ("8302-2",)}), "cm", ("cm", "m", "[in_i]"), 60.0, 260.0
)
BODY_TEMPERATURE = Measurement(
    "temperature",
    CodeSet("body temperature", {LOINC: ("8310-5",)}),
    "Cel",
    ("Cel", "[degF]", "K"),
    20.0,
    45.0,
)

MEASUREMENTS = (
    CREATININE_IN_SERUM,
    POTASSIUM_IN_SERUM,
    GLUCOSE_IN_BLOOD,
    UREA_IN_SERUM,
    UREA_NITROGEN_IN_SERUM,
    TOTAL_CHOLESTEROL,
    HDL_CHOLESTEROL,
    TRIGLYCERIDES_IN_SERUM,
    SYSTOLIC_PRESSURE,
    BODY_WEIGHT,
    BODY_HEIGHT,
    BODY_TEMPERATURE,
)


@dataclass(frozen=True, slots=True)
class Measured:
    """A usable value: in the unit of its measurement, with its time and `Observation/id`.

    `given` is what stood in the record, where that was in another unit.
    """

    value: float
    unit: str
    at: datetime
    reference: str | None
    given: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no usable value: a code (`creatinine-implausible`) and a sentence without the value."""

    code: str
    text: str
    at: datetime | None = None
    reference: str | None = None


def observed(chart: Chart, measurement: Measurement, since: datetime) -> Measured | Problem:
    """Return the newest value made between `since` and now, or the reason why there is none.

    Final, amended and corrected Observations with a time of day count, components as well. Codes
    of a Problem, each after the measurement's name: `-missing` (none at all), `-old` (none since),
    `-undated` (only some without a time), `-unreadable` (number or unit), `-implausible` (outside
    of the range), `-conflicting` (two values of one time that differ).
    """
    newest: tuple[datetime, Measured | Problem] | None = None
    for made, resource, part in observations(chart, measurement.codes, since):
        if newest is not None and made < newest[0]:
            break
        if _says_nothing(part):
            continue
        found = _read(measurement, made, resource, part)
        if newest is None:
            newest = made, found
        elif _differ(newest[1], found):
            return Problem(
                f"{measurement.name}-conflicting",
                f"two values of {measurement.codes.name} at one time differ",
                made,
                local_reference(resource),
            )
    return newest[1] if newest is not None else _absent(chart, measurement, since)


def history(chart: Chart, measurement: Measurement, since: datetime) -> Iterator[Measured]:
    """Give every usable value made between `since` and now, newest first; for trends, not for decisions."""
    for made, resource, part in observations(chart, measurement.codes, since):
        if not _says_nothing(part):
            found = _read(measurement, made, resource, part)
            if isinstance(found, Measured):
                yield found


def _says_nothing(part: Resource) -> bool:
    """Say whether a result was expected and is absent for a reason that the laboratory gives."""
    return "dataAbsentReason" in part and not any(key.startswith("value") for key in part)


def _read(measurement: Measurement, made: datetime, resource: Resource, part: Resource) -> Measured | Problem:
    reference = local_reference(resource)
    quantity = part.get("valueQuantity")
    try:
        value = convert(quantity, measurement.unit, analyte=measurement.analyte, allowed=measurement.allowed)
    except UnitError as error:
        text = f"{measurement.codes.name}: {error}"
        return Problem(f"{measurement.name}-unreadable", text, made, reference)
    if not measurement.low <= value <= measurement.high:
        text = (
            f"{measurement.codes.name}: the newest value is outside {measurement.low:g} to"
            f" {measurement.high:g} {measurement.unit}"
        )
        return Problem(f"{measurement.name}-implausible", text, made, reference)
    return Measured(value, measurement.unit, made, reference, _given(quantity, measurement.unit))


def _given(quantity: Any, unit: str) -> str:
    code = quantity["code"]
    return "" if code == unit else f"{quantity['value']} {code}"


def _differ(one: Measured | Problem, other: Measured | Problem) -> bool:
    """Say whether two readings of one time cannot both be meant: more apart than units round."""
    if isinstance(one, Problem) or isinstance(other, Problem):
        return True
    return abs(one.value - other.value) > 0.02 * max(abs(one.value), abs(other.value))


def _absent(chart: Chart, measurement: Measurement, since: datetime) -> Problem:
    name, what = measurement.name, measurement.codes.name
    undated: Resource | None = None
    older: datetime | None = None
    for resource in chart.all("Observation"):
        components = resource.get("component")
        parts = (resource, *(components if isinstance(components, list) else ()))
        if not any(isinstance(p, dict) and measurement.codes.holds_code(p.get("code")) for p in parts):
            continue
        made = taken_at(resource)
        if made is None and (when := day(resource.get("effectiveDateTime"))) is not None:
            undated = resource if when >= since.date() else undated
        elif made is None:
            undated = resource
        elif made < since and (older is None or made > older):
            older = made
    if undated is not None:
        text = f"{what}: an Observation does not say at what time it was made"
        return Problem(f"{name}-undated", text, None, local_reference(undated))
    if older is not None:
        return Problem(f"{name}-old", f"{what}: the newest value is older than {since.isoformat()}", older)
    return Problem(f"{name}-missing", f"{what}: no final value with a unit and a time is known")
