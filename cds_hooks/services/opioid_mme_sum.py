"""The sum of morphine milligram equivalents over a chart: lines, what stands for what, the highest day.

The sum at a moment is that of all orders that run then; what counts is the highest moment from now on.
So another drug can only raise it, and the order of the resources does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from math import fsum
from typing import Any

from cds_hooks.facts.chart import Resource
from cds_hooks.facts.medication import (
    STATEMENTS,
    UNNAMED,
    Course,
    DailyDose,
    Drug,
    Ingredient,
    Unknown,
    dosages,
    highest,
    moments,
    supply_until,
    total_at,
)
from cds_hooks.facts.value_sets import SNOMED, codings
from cds_hooks.services.opioid_mme_rules import (
    CLOSED,
    FACTORS,
    FORMS,
    IMPLAUSIBLE,
    NAMES,
    ORAL,
    ORAL_ROUTE,
    Factor,
)


@dataclass(frozen=True, slots=True)
class Line:
    """One opioid of one order: what it adds, or why it does not (`codes` of NOT_COUNTED).

    `mme` is the line's own highest day, whether it counts or stands behind another (`behind`); `share` is
    what it adds on the highest day of the sum.
    """

    drug: Drug
    name: str
    factor: Factor | None = None
    dose: DailyDose | None = None
    mme: float = 0.0
    courses: tuple[Course, ...] = field(default=(), repr=False)
    problems: tuple[Unknown, ...] = ()
    notes: tuple[str, ...] = ()
    behind: str = ""
    share: float = 0.0

    @property
    def counts(self) -> bool:
        """Say whether the line may add to the sum."""
        return bool(self.courses) and not self.behind

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of NOT_COUNTED that stand against this line."""
        return (*(problem.code for problem in self.problems), *((self.behind,) if self.behind else ()))

    def mme_at(self, at: datetime) -> float:
        """Return MME a day of this line at a moment."""
        return total_at(self.courses, at) * self.factor.value if self.factor else 0.0


@dataclass(frozen=True, slots=True)
class Sum:
    """`total` is the highest day from now on (`day`: which, None for today), `before` that without drafts.

    `apart` is the total if orders of the same opioid at the same dose, which nothing ties together, were one.
    """

    total: float
    before: float
    apart: float
    day: date | None
    lines: tuple[Line, ...]

    @property
    def is_whole(self) -> bool:
        """Say whether every opioid that may be taken is in the sum."""
        return not any(code not in CLOSED for line in self.lines for code in line.codes)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found: the sum, the drugs, whether naloxone may be offered ("" or the reason why not).

    `level` is one of `mme-90`, `mme-50`, `not-all-counted`, `below-50`, or "" where no opioid is drafted.
    """

    sum: Sum
    opioids: tuple[Drug, ...]
    benzodiazepines: tuple[Drug, ...]
    no_naloxone: str
    age_unknown: bool
    level: str

    @property
    def overlap(self) -> bool:
        """Say whether opioids and benzodiazepines come together, at least one of them in a draft."""
        return bool(self.opioids and self.benzodiazepines)

    @property
    def offers_naloxone(self) -> bool:
        """Say whether a draft of naloxone is offered."""
        return not self.no_naloxone and (self.level in ("mme-50", "mme-90") or self.overlap)


def add(drugs: Iterable[Drug], now: datetime, refills: Sequence[Resource] = ()) -> Sum:
    """Return the sum over the opioids among requests and statements, those that do not run included.

    `refills` are the drafts that ask for a refill.
    """
    lines = sorted((line for entry in drugs for line in _lines(entry, now)), key=_place)
    before, _ = _highest(_Counted.of([line for line in lines if not line.drug.draft], refills), now)
    lines = _without_replaced(lines)
    counted = _Counted.of(lines, refills)
    total, at = _highest(counted, now)
    apart, _ = _highest(counted.once(), now)
    lines = [counted.shown(line, at) for line in lines]
    return Sum(total, before, apart, at.date() if at > now else None, tuple(sorted(lines, key=_place)))


def _place(line: Line) -> tuple[Any, ...]:
    return (not line.drug.draft, -line.mme, line.name, line.drug.label, line.drug.reference or "")


# Lines ------------------------------------------------------------------------------------------
def _lines(drug: Drug, now: datetime) -> Iterator[Line]:
    opioids = drug.of_kind("opioid")
    for ingredient in opioids:
        yield _line(drug, ingredient, now)
    if not opioids and not drug.ingredients and not drug.inactive:
        if NAMES["opioid"].search(drug.label):
            yield Line(drug, drug.label, problems=(Unknown("not-coded", ""),))
        elif drug.label == UNNAMED:
            yield Line(drug, drug.label, problems=(Unknown("drug-unknown", ""),))


def _line(drug: Drug, ingredient: Ingredient, now: datetime) -> Line:
    name = ingredient.name
    line = Line(drug, name)
    if drug.inactive:
        return replace(line, problems=(Unknown(drug.inactive, ""),))
    if name == "buprenorphine":
        return replace(line, problems=(Unknown("buprenorphine", ""),))
    factor = FACTORS.get(name)
    if factor is None:
        return replace(line, problems=(Unknown("no-factor", ""),))
    if not drug.disagree:
        if ingredient.form and ingredient.form not in FORMS[factor.form]:
            return replace(line, problems=(Unknown("no-factor-for-form", f"form: {ingredient.form}"),))
        if not ingredient.form and not (factor.form == ORAL and _is_oral(drug.resource)):
            return replace(line, problems=(Unknown("form-unknown", ""),))
    courses, problems = drug.courses(name, now)
    dose = highest(courses, problems, now)
    if isinstance(dose, Unknown):
        return replace(line, problems=(dose,))
    if dose.unit != factor.unit:
        return replace(line, problems=(Unknown("no-factor-for-form", f"a dose in {dose.unit}"),))
    notes = list(dose.notes)
    until = supply_until(drug.resource)
    if until is not None and until <= now and not drug.draft:
        notes.append("supply-over")
    mme = round(dose.value * factor.value, 6)
    if mme >= IMPLAUSIBLE:
        notes.append("implausible")
    return replace(
        line,
        factor=factor,
        dose=dose,
        mme=mme,
        courses=tuple(courses),
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _is_oral(resource: Resource) -> bool:
    told = [set(codings(dosage.get("route"))) for dosage in dosages(resource)]
    return bool(told) and all((SNOMED, ORAL_ROUTE) in codes for codes in told)


# What stands for what ---------------------------------------------------------------------------
def _without_replaced(lines: list[Line]) -> list[Line]:
    """Mark the stored orders that a draft of the call takes the place of."""
    return [
        replace(line, behind="replaced")
        if line.courses and not line.drug.draft and any(_replaces(other, line) for other in lines)
        else line
        for line in lines
    ]


def _replaces(draft: Line, stored: Line) -> bool:
    """Say whether a draft takes the place of a stored order of the same opioid."""
    if not draft.drug.draft or draft.name != stored.name or draft.drug is stored.drug:
        return False
    new, old = draft.drug.resource, stored.drug.resource
    same_id = new.get("id") is not None and _key(new) == _key(old)
    prior = new.get("priorPrescription")
    return same_id or _names(prior, old) or bool(_identifiers(new) & _identifiers(old))


def _same_order(one: Line, other: Line) -> bool:
    """Say whether two lines are one order: one made from the other, or under one business identifier."""
    new, old = one.drug.resource, other.drug.resource
    based = any(_names(entry, old) for entry in new.get("basedOn") or ())
    return one.name == other.name and (based or bool(_identifiers(new) & _identifiers(old)))


def _refill_of(one: Line, other: Line, refills: Sequence[Resource]) -> bool:
    """Say whether a draft asks for a refill of a running order of the same product."""
    if one.name != other.name or not any(one.drug.resource == entry for entry in refills) or other.drug.draft:
        return False
    return one.drug.ingredient(one.name) == other.drug.ingredient(other.name)


def _key(resource: Resource) -> tuple[Any, Any]:
    return resource.get("resourceType"), resource.get("id")


def _names(reference: Any, resource: Resource) -> bool:
    text = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(text, str) or resource.get("id") is None:
        return False
    return text.split("/_history/")[0].split("/")[-2:] == [resource.get("resourceType"), resource.get("id")]


def _identifiers(resource: Resource) -> set[tuple[str, str]]:
    listed = resource.get("identifier")
    return {
        (entry["system"], entry["value"])
        for entry in (listed if isinstance(listed, list) else ())
        if isinstance(entry, dict)
        and isinstance(entry.get("system"), str)
        and isinstance(entry.get("value"), str)
    }


# The highest day --------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Counted:
    """Lines that count, by opioid: orders in groups that are one order, and statements.

    Of a group the greatest counts; of what is ordered and what is stated of one opioid the greater.
    """

    orders: Mapping[str, tuple[tuple[Line, ...], ...]]
    stated: Mapping[str, tuple[Line, ...]]

    @classmethod
    def of(cls, lines: Iterable[Line], refills: Sequence[Resource]) -> _Counted:
        """Sort the lines that count."""
        orders: dict[str, list[list[Line]]] = {}
        stated: dict[str, list[Line]] = {}
        for line in lines:
            if not line.counts:
                continue
            if line.drug.resource["resourceType"] == STATEMENTS:
                stated.setdefault(line.name, []).append(line)
                continue
            groups = orders.setdefault(line.name, [])
            tied = [group for group in groups if any(_tied(line, other, refills) for other in group)]
            groups[:] = [group for group in groups if group not in tied]
            groups.append([entry for group in tied for entry in group] + [line])
        return cls(
            {name: tuple(tuple(group) for group in groups) for name, groups in orders.items()},
            {name: tuple(found) for name, found in stated.items()},
        )

    def lines(self) -> Iterator[Line]:
        """Give every line that may count."""
        for groups in self.orders.values():
            for group in groups:
                yield from group
        for found in self.stated.values():
            yield from found

    def ordered_at(self, name: str, at: datetime) -> float:
        """Return what is ordered of an opioid at a moment, in MME a day."""
        return fsum(max(line.mme_at(at) for line in group) for group in self.orders.get(name, ()))

    def stated_at(self, name: str, at: datetime) -> float:
        """Return what is stated as taken of an opioid at a moment, in MME a day."""
        return max((line.mme_at(at) for line in self.stated.get(name, ())), default=0.0)

    def total_at(self, at: datetime) -> float:
        """Return the sum at a moment."""
        names = {**self.orders, **self.stated}
        return fsum(max(self.ordered_at(name, at), self.stated_at(name, at)) for name in names)

    def once(self) -> _Counted:
        """Return the same with orders left out that repeat another's opioid, product and dose."""
        kept: dict[str, tuple[tuple[Line, ...], ...]] = {}
        for name, groups in self.orders.items():
            greatest = [max(group, key=lambda line: line.mme) for group in groups]
            first = {(line.mme, line.drug.ingredient(name)): (line,) for line in greatest}
            kept[name] = tuple(first.values())
        return _Counted(kept, self.stated)

    def shown(self, line: Line, at: datetime) -> Line:
        """Return a line with its share of the sum at a moment, or behind what it stands."""
        if self._is_covered(line):
            return replace(line, problems=(), behind="stated-and-ordered")
        if not line.counts:
            return line
        share = line.mme_at(at)
        is_stated = line.drug.resource["resourceType"] == STATEMENTS
        ordered, stated = self.ordered_at(line.name, at), self.stated_at(line.name, at)
        if is_stated:
            first = next(e for e in self.stated[line.name] if e.mme_at(at) == stated)
            if (ordered >= stated and self.orders.get(line.name)) or first is not line:
                return replace(line, behind="stated-and-ordered")
        elif stated > ordered:
            return replace(line, behind="stated-and-ordered")
        else:
            group = next(found for found in self.orders[line.name] if any(line is entry for entry in found))
            first = max(group, key=lambda entry: entry.mme_at(at))
            if first is not line:
                return replace(line, behind="same-order")
        return replace(line, share=round(share, 6))

    def _is_covered(self, line: Line) -> bool:
        """Say whether a statement without a dose that can be read stands beside an order that counts."""
        stated = line.drug.resource["resourceType"] == STATEMENTS
        return stated and not line.drug.inactive and not line.courses and bool(self.orders.get(line.name))


def _tied(one: Line, other: Line, refills: Sequence[Resource]) -> bool:
    if one.drug is other.drug:
        return False
    ties = (_same_order, lambda a, b: _refill_of(a, b, refills))
    return any(tie(one, other) or tie(other, one) for tie in ties)


def _highest(counted: _Counted, now: datetime) -> tuple[float, datetime]:
    """Return the highest sum from now on and when it begins."""
    starts = moments((entry for line in counted.lines() for entry in line.courses), now)
    sums = [(round(counted.total_at(at), 6), at) for at in starts]
    return max(sums, key=lambda entry: (entry[0], -entry[1].timestamp()))
