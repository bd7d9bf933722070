"""Drugs of a chart: what is in them, whether they run, how much of an ingredient comes in a day.

Ingredients are known by RxNorm codes alone (`medication_products`); SNOMED codes and words are never
turned into an ingredient. What cannot be known has a name (Unknown) and is for the service to say.

A service that needs the daily dose of an ingredient:

    for drug in active_drugs(chart):
        for ingredient in drug.ingredients:
            dose = drug.daily_dose(ingredient.name, chart.now)   # DailyDose or Unknown
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from math import fsum
from typing import Any

from cds_hooks.facts.chart import Chart, Resource, drug, local_reference
from cds_hooks.facts.medication_dose import MG_A_DAY, UG_AN_HOUR, Course, course, placed
from cds_hooks.facts.medication_products import Ingredient, Strength, of_code, product_name
from cds_hooks.facts.medication_timing import Unknown, duration, first_moment, window
from cds_hooks.facts.value_sets import RXNORM, codings, texts

__all__ = [
    "MG_A_DAY", "UG_AN_HOUR", "Course", "DailyDose", "Drug", "Ingredient", "Strength", "Unknown",
    "active_drugs", "drugs", "ingredients", "running", "total_at",
]  # fmt: skip

REQUESTS, STATEMENTS = "MedicationRequest", "MedicationStatement"

INACTIVE: Mapping[str, str] = {
    "entered-in-error": "entered in error",
    "ended": "completed, stopped or cancelled",
    "on-hold": "on hold",
    "not-taken": "stated as not taken",
    "not-to-be-given": "an order not to give it",
    "not-an-order": "a proposal or an option, not an order",
    "expired": "its last day is past",
}
"""Why a drug of the chart does not run."""

_ENDED = frozenset({"completed", "stopped", "cancelled", "ended"})
_NO_ORDERS = frozenset({"proposal", "plan", "option"})


# What is in it ----------------------------------------------------------------------------------
def ingredients(concept: Any) -> tuple[Ingredient, ...]:
    """Return the ingredients of a drug; () when it cannot be known (do not take that for harmless).

    Several codings of one concept are read together: an ingredient keeps its strength and form only
    where the products that are named agree on them.

    >>> [i.name for i in ingredients({"coding": [{"system": RXNORM, "code": "1049221"}]})]
    ['oxycodone', 'acetaminophen']
    >>> ingredients({"text": "Percocet"})
    ()
    """
    return _read(_codes(concept)).ingredients


def _codes(concept: Any) -> tuple[str, ...]:
    return tuple(code for system, code in codings(concept) if system == RXNORM)


@dataclass(frozen=True, slots=True)
class _Read:
    ingredients: tuple[Ingredient, ...]
    disagree: bool
    name: str


@lru_cache(maxsize=4096)
def _read(codes: tuple[str, ...]) -> _Read:
    """Read codings of one drug together; those that no table has are left out."""
    readings = [entry for entry in (of_code(code) for code in codes) if entry]
    found: dict[str, list[Ingredient]] = {}
    for reading in readings:
        for ingredient in reading:
            found.setdefault(ingredient.name, []).append(ingredient)
    told = [frozenset(entry.name for entry in reading) for reading in readings]
    name = next((product_name(code) for code in codes if product_name(code)), " / ".join(found))
    return _Read(
        tuple(_agreed(entries) for entries in found.values()),
        bool(told) and frozenset(found) not in told,
        name,
    )


def _agreed(entries: list[Ingredient]) -> Ingredient:
    products = [entry for entry in entries if entry.parts]
    if not products:
        return entries[0]
    first = products[0]
    return replace(
        first,
        strength=first.strength if {entry.strength for entry in products} == {first.strength} else None,
        form=first.form if {entry.form for entry in products} == {first.form} else "",
        parts=max(entry.parts for entry in products),
    )


# Drugs ------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class DailyDose:
    """The most of an ingredient in a day (`mg/d`), or what patches release (`ug/h`), from now on.

    `begins`: the day from which that is so, None for now. `notes` are codes of medication_dose.NOTES;
    `unread` are the instructions of the order that could not be read and are not in the value.
    """

    value: float
    unit: str
    notes: tuple[str, ...] = ()
    begins: date | None = None
    unread: tuple[Unknown, ...] = ()


@dataclass(frozen=True, slots=True)
class Drug:
    """One request or statement of a drug. `inactive` is a code of INACTIVE, "" while it runs."""

    resource: Resource
    ingredients: tuple[Ingredient, ...]
    draft: bool
    inactive: str
    label: str
    disagree: bool = False
    """The codings of the drug name ingredients that no single one of them has together."""

    @property
    def reference(self) -> str | None:
        """The resource as `Type/id`."""
        return local_reference(self.resource)

    def ingredient(self, name: str) -> Ingredient | None:
        """Return an ingredient of the drug by its name or RxNorm code."""
        return next((i for i in self.ingredients if name in (i.name, i.code) and name), None)

    def of_kind(self, kind: str) -> tuple[Ingredient, ...]:
        """Return the ingredients of a kind, such as `opioid`."""
        return tuple(entry for entry in self.ingredients if kind in entry.kinds)

    def courses(self, name: str, now: datetime) -> tuple[list[Course], list[Unknown]]:
        """Return what the instructions give of an ingredient and are not over, and what is unknown."""
        ingredient = self.ingredient(name)
        if ingredient is None:
            return [], [Unknown("ingredient-unknown", "the drug has no such ingredient")]
        if self.disagree:
            return [], [Unknown("codes-disagree", "the codes of the drug name different drugs")]
        read: list[Course] = []
        unknown: list[Unknown] = []
        for dosage in dosages(self.resource) or [{}]:
            if _is_over(dosage, now):
                continue
            found = course(dosage, ingredient)
            if isinstance(found, Unknown):
                unknown.append(found)
            else:
                read.append(found)
        begun = first_moment(self.resource.get("authoredOn")) or (now if self.draft else None)
        left = [entry for entry in placed(read, begun) if entry.window.end is None or entry.window.end > now]
        return left, unknown

    def daily_dose(self, name: str, now: datetime) -> DailyDose | Unknown:
        """Return the most of an ingredient in a day, from now on, or why it cannot be known.

        With several instructions: the highest moment from now on; those that run at one time are
        added, steps of a sequence are not. Unknown only when no instruction could be read.
        """
        return highest(*self.courses(name, now), now)


def dosages(resource: Resource) -> list[Any]:
    """Return the dosage instructions of a request or statement."""
    listed = resource.get("dosageInstruction", resource.get("dosage"))
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []


def _is_over(dosage: Mapping[str, Any], now: datetime) -> bool:
    end = window(dosage.get("timing")).end
    return end is not None and end <= now


def supply_until(resource: Resource) -> datetime | None:
    """Return when the supply of a request runs out, refills included; None when that is not said."""
    dispense = resource.get("dispenseRequest")
    if not isinstance(dispense, dict) or not isinstance(dispense.get("expectedSupplyDuration"), dict):
        return None
    length = duration(dispense["expectedSupplyDuration"])
    validity = dispense.get("validityPeriod")
    begun = first_moment(validity.get("start")) if isinstance(validity, dict) else None
    begun = begun or first_moment(resource.get("authoredOn"))
    repeats = dispense.get("numberOfRepeatsAllowed", 0)
    if length is None or begun is None or isinstance(repeats, bool) or not isinstance(repeats, int):
        return None
    try:
        return begun + length * (1 + repeats)
    except OverflowError:
        return None


# Over time --------------------------------------------------------------------------------------
def highest(courses: Sequence[Course], unread: Sequence[Unknown], now: datetime) -> DailyDose | Unknown:
    """Return the highest moment from now on of the courses of one order."""
    if not courses:
        return unread[0] if unread else Unknown("expired", INACTIVE["expired"])
    value, best = max(((total_at(courses, at), at) for at in moments(courses, now)), key=_most_and_first)
    then = running(courses, best)
    notes = [note for entry in then for note in entry.notes]
    if len(then) > 1:
        notes.append("parallel-instructions")
    if len({entry.sequence for entry in courses} - {None}) > 1:
        notes.append("steps-in-sequence")
    if best > now:
        notes.append("from-later-on")
    return DailyDose(
        round(value, 6),
        courses[0].unit,
        tuple(dict.fromkeys(notes)),
        best.date() if best > now else None,
        tuple(unread),
    )


def _most_and_first(entry: tuple[float, datetime]) -> tuple[float, float]:
    return entry[0], -entry[1].timestamp()


def moments(courses: Iterable[Course], now: datetime) -> list[datetime]:
    """Return the moments from now on at which a course begins, now included."""
    starts = {entry.window.start for entry in courses}
    return [now, *sorted(start for start in starts if start is not None and start > now)]


def running(courses: Iterable[Course], at: datetime) -> list[Course]:
    """Return the courses of one order that run at a moment: of a sequence the strongest step."""
    together: dict[int | None, list[Course]] = {}
    for entry in courses:
        if entry.window.holds(at):
            together.setdefault(entry.sequence, []).append(entry)
    always = together.pop(None, [])
    steps = sorted(together.items(), key=lambda item: (-fsum(e.amount for e in item[1]), item[0] or 0))
    return [*always, *(steps[0][1] if steps else [])]


def total_at(courses: Iterable[Course], at: datetime) -> float:
    """Return what the courses of one order give at a moment."""
    return fsum(entry.amount for entry in running(courses, at))


# Drugs of a chart -------------------------------------------------------------------------------
def active_drugs(
    chart: Chart, drafts: Sequence[Resource] = (), types: Sequence[str] = (REQUESTS,)
) -> tuple[Drug, ...]:
    """Return the drugs that run or are drafted. `drafts`: resources of the call's context."""
    return tuple(entry for entry in drugs(chart, drafts, types) if not entry.inactive)


def drugs(
    chart: Chart, drafts: Sequence[Resource] = (), types: Sequence[str] = (REQUESTS,)
) -> Iterator[Drug]:
    """Give every request or statement of the chart, also those that do not run.

    A drug that cannot be read at all has no ingredients and the label UNNAMED.
    """
    for name in types:
        for resource in chart.resources.get(name, ()):
            concept = drug(chart, resource) or {}
            read = _read(_codes(concept))
            draft = resource.get("status") == "draft" or any(
                resource is entry or resource == entry for entry in drafts
            )
            yield Drug(
                resource,
                read.ingredients,
                draft,
                _inactive(chart, resource, draft),
                label(concept),
                read.disagree,
            )


UNNAMED = "a drug that is not named"


def label(concept: Any) -> str:
    """Return a name of a drug for a card: its text, a display, what its code names, or UNNAMED."""
    named = next((text for text in texts(concept) if text.strip()), "")
    return named[:120] or _read(_codes(concept)).name or UNNAMED


def _inactive(chart: Chart, resource: Resource, draft: bool) -> str:
    status = resource.get("status")
    if status == "entered-in-error":
        return "entered-in-error"
    if status in _ENDED:
        return "ended"
    if status in ("on-hold", "not-taken"):
        return str(status)
    if resource.get("doNotPerform") is True:
        return "not-to-be-given"
    if not draft and resource.get("intent") in _NO_ORDERS:
        return "not-an-order"
    period = resource.get("effectivePeriod")
    if isinstance(period, dict):
        end = window({"repeat": {"boundsPeriod": period}}).end
        if end is not None and end <= chart.now:
            return "expired"
    listed = dosages(resource)
    if listed and all(_is_past(entry, resource, chart.now) for entry in listed):
        return "expired"
    return ""


def _is_past(dosage: Mapping[str, Any], resource: Resource, now: datetime) -> bool:
    """Say whether an instruction is surely over: by its bounds, or by a length since it was ordered."""
    found = window(dosage.get("timing"))
    if found.lasts is not None and "sequence" not in dosage:
        begun = first_moment(resource.get("authoredOn"))
        return begun is not None and begun + found.lasts <= now - timedelta(days=1)
    return found.end is not None and found.end <= now
