"""Who the patient of a chart is, as every service reads it: alive or not, sex, age in whole years."""

from __future__ import annotations

from datetime import date
from typing import Literal

from cds_hooks.facts.chart import Chart, day

Sex = Literal["female", "male"]


def deceased(chart: Chart) -> bool:
    """Say whether Patient.deceased[x] holds anything but a plain false."""
    patient = chart.patient or {}
    return bool(patient.get("deceasedDateTime") or patient.get("deceasedBoolean"))


def sex(chart: Chart) -> Sex | None:
    """Return Patient.gender where it is one of the two that published formulas know, else None."""
    gender = chart.patient.get("gender") if chart.patient else None
    return gender if gender in ("female", "male") else None


def age(chart: Chart) -> int | None:
    """Return the age in whole years, None where the birth date is not known to the day or is to come."""
    born, today = day(chart.patient.get("birthDate")) if chart.patient else None, chart.now.date()
    return None if born is None or born > today else whole_years(born, today)


def whole_years(born: date, today: date) -> int:
    """Return how many birthdays have passed; who was born on 29 February has his on 1 March.

    >>> whole_years(date(1960, 2, 29), date(2026, 2, 28)), whole_years(date(1960, 2, 29), date(2026, 3, 1))
    (65, 66)
    """
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))
