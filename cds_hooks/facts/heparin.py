"""Heparin in an order: which heparin, how many international units in a day, and what else it may be for.

Unfractionated heparin is known by RxNorm (ingredient, or a product with its strength) or SNOMED CT
alone; low-molecular-weight heparins are other drugs with other doses and are told apart. The daily
dose is the sum of what a dosage gives in 24 hours: injections by their frequency, infusions by
their rate, doses per kilogram by the recorded weight. Units are UCUM `[iU]` (also `k[iU]`, `[IU]`)
and `[USP'U]`, which has been equal to the international unit since October 2009; `U` is the enzyme
unit and is refused. Products and strengths: value sets "Low Dose Unfractionated Heparin for VTE
Prophylaxis" and "Unfractionated Heparin" of cqframework/ecqm-content-qicore-2024 (9ebd48f).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cds_hooks.facts.chart import (
    Chart,
    Resource,
    active_conditions,
    drug,
    local_reference,
    with_ingredients,
)
from cds_hooks.facts.laboratory import Measured
from cds_hooks.facts.medication import dosages
from cds_hooks.facts.medication_timing import Often, Unknown, often
from cds_hooks.facts.units import UCUM, UnitError, convert, shown
from cds_hooks.facts.value_sets import RXNORM, SNOMED, VENOUS_STROKE, CodeSet, codings, texts

INGREDIENT = "5224"

UNITS_PER_ML: Mapping[str, float] = {
    "1361226": 1000, "1361574": 20000, "1361615": 5000, "1361853": 10000, "1362831": 10000, "1658634": 10000,
    "1658637": 10000, "1658647": 1000, "1658659": 1000, "1659260": 5000, "1659263": 5000, "1798389": 5000,
    "2121591": 10000, "1361607": 40, "1658717": 100, "1659195": 50, "1659197": 50,
}  # fmt: skip
"""RxNorm products of heparin sodium, porcine: units in one millilitre."""

HEPARIN_SUBSTANCE = "372877000"
LOW_MOLECULAR_WEIGHT = CodeSet(
    "low-molecular-weight heparin or fondaparinux",
    {
        RXNORM: (
            "67108",  # enoxaparin
            "67109",  # dalteparin
            "69646",  # tinzaparin
            "67031",  # nadroparin
            "75960",  # reviparin
            "280611",  # bemiparin
            "321208",  # fondaparinux
            *("854228", "854235", "854238", "854241", "854245", "854248", "854252", "854255"),  # enoxaparin
            *("2618839", "978725", "978733", "978736", "978740", "978744", "978746", "978755", "978759"),
            "978777",  # the line above and this one: dalteparin
            *("861356", "861360", "861363", "861365"),  # fondaparinux
        )
    },
    words=r"enoxaparin|dalteparin|tinzaparin|nadroparin|certoparin|reviparin|bemiparin|fondaparinux|lovenox"
    r"|clexane|fragmin|innohep|arixtra|low.molecular",
)
_WORD = re.compile(r"\bheparin", re.IGNORECASE)

Kind = Literal["unfractionated", "low-molecular-weight", "in-words", "none"]


def kind(chart: Chart, order: Resource) -> Kind:
    """Return which heparin an order is for; `in-words`: it says heparin, but no code that we know does."""
    found = drug(chart, order)
    if found is None:
        return "none"
    concept = with_ingredients(found)
    if LOW_MOLECULAR_WEIGHT.holds(concept):
        return "low-molecular-weight"
    for system, code in codings(concept):
        if system == RXNORM and (code == INGREDIENT or code in UNITS_PER_ML):
            return "unfractionated"
        if (system, code) == (SNOMED, HEPARIN_SUBSTANCE):
            return "unfractionated"
    return "in-words" if any(_WORD.search(text) for text in texts(concept)) else "none"


# The dose ---------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Dose:
    """What an order gives: units in 24 hours, the largest single dose (None for infusions alone), how."""

    daily: float
    single: float | None
    arithmetic: tuple[str, ...]


def dose(chart: Chart, order: Resource, weight: Measured | None) -> Dose | Unknown:
    """Return the daily dose of an order of unfractionated heparin in international units.

    Dosages of one order are added (a bolus and its infusion) unless `sequence` orders them one after
    the other: then the largest counts. Of a range the upper end is taken. Unknown when one of the
    dosages cannot be read: a part of a dose must not pass for all of it.
    """
    concept = drug(chart, order) or {}
    strength = next(
        (
            UNITS_PER_ML[code]
            for system, code in codings(concept)
            if system == RXNORM and code in UNITS_PER_ML
        ),
        None,
    )
    read: list[tuple[Any, Dose]] = []
    for dosage in dosages(order):
        found = _one(dosage, strength, weight)
        if isinstance(found, Unknown):
            return found
        read.append((dosage.get("sequence"), found))
    if not read:
        return Unknown("dosage-missing", "the order has no dosage")
    steps: dict[Any, list[Dose]] = {}
    for number, found in read:
        steps.setdefault(number, []).append(found)
    sums = [
        Dose(
            sum(entry.daily for entry in together),
            max((entry.single for entry in together if entry.single is not None), default=None),
            tuple(text for entry in together for text in entry.arithmetic),
        )
        for together in steps.values()
    ]
    return max(sums, key=lambda entry: entry.daily)


def _one(dosage: Mapping[str, Any], strength: float | None, weight: Measured | None) -> Dose | Unknown:
    """Return the dose of one dosage: of several doses, or several rates, the greatest.

    R4/dosage.html lets one amount be stated in several ways (as ordered, as calculated); a dose beside a
    rate is added.
    """
    amounts = dosage.get("doseAndRate")
    told = [entry for entry in amounts if isinstance(entry, dict)] if isinstance(amounts, list) else []
    if not told:
        return Unknown("dose-missing", "no dose is given in numbers")
    doses: list[Dose] = []
    rates: list[Dose] = []
    for entry in told:
        rate = _rate(entry)
        if rate is not None:
            per_hour = _units(rate, "[iU]/h", strength, weight)
            if isinstance(per_hour, Unknown):
                return per_hour
            units, how = per_hour
            text = f"{how} × 24 h = {units * 24:,.0f} IU in 24 hours"
            rates.append(Dose(units * 24, None, (text,)))
            continue
        amount = _units(_upper(entry), "[iU]", strength, weight)
        if isinstance(amount, Unknown):
            return amount
        times = often(dosage.get("timing"))
        if not isinstance(times, Often):
            return times or Unknown("timing-missing", "how often is not said")
        units, how = amount
        text = f"{how} × {times.per_day:g} a day = {units * times.per_day:,.0f} IU in 24 hours"
        doses.append(Dose(units * times.per_day, units, (text,)))
    greatest = [max(found, key=lambda entry: entry.daily) for found in (doses, rates) if found]
    return Dose(
        sum(entry.daily for entry in greatest),
        max((entry.single for entry in greatest if entry.single is not None), default=None),
        tuple(text for entry in greatest for text in entry.arithmetic),
    )


def _rate(entry: Mapping[str, Any]) -> Any:
    if isinstance(entry.get("rateQuantity"), dict):
        return entry["rateQuantity"]
    if isinstance(entry.get("rateRange"), dict):
        return entry["rateRange"].get("high")
    ratio = entry.get("rateRatio")
    if not isinstance(ratio, dict):
        return None
    above: Mapping[str, Any] = ratio.get("numerator") or {}
    try:
        hours = convert(ratio.get("denominator"), "h")
        return {**above, "value": float(above["value"]) / hours, "code": f"{above['code']}/h"}
    except (UnitError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return {}


def _upper(entry: Mapping[str, Any]) -> Any:
    if isinstance(entry.get("doseRange"), dict):
        return entry["doseRange"].get("high")
    return entry.get("doseQuantity")


_PER_KG = re.compile(r"(?P<before>[^/]+)/kg(?P<after>/h)?")


def _units(
    quantity: Any, unit: str, strength: float | None, weight: Measured | None
) -> tuple[float, str] | Unknown:
    """Return international units (or units an hour) and how they came about."""
    if not isinstance(quantity, dict) or quantity.get("system") != UCUM:
        return Unknown("unit-missing", "the dose has no UCUM unit")
    code = str(quantity.get("code"))
    plain = code.replace("[USP'U]", "[iU]").replace("[IU]", "[iU]")
    given = {**quantity, "code": plain}
    per_hour = " an hour" if unit.endswith("/h") else ""
    try:
        if match := _PER_KG.fullmatch(plain):
            if weight is None:
                return Unknown("weight-unknown", "the dose is per kilogram and no weight is known")
            a_kg = convert({**given, "code": match["before"] + (match["after"] or "")}, unit)
            return a_kg * weight.value, f"{a_kg:g} IU per kg{per_hour} × {weight.value:g} kg"
        if strength is not None and plain.removesuffix("/h") in ("mL", "ml"):
            volume = convert(given, unit.replace("[iU]", "mL"))
            return volume * strength, f"{volume:g} mL{per_hour} × {strength:,.0f} IU/mL"
        units = convert(given, unit)
    except UnitError:
        return Unknown("unit-unusable", f"the dose is in {shown(code)}, not in international units")
    return units, f"{units:,.0f} IU{per_hour}"


# What else it may be for ------------------------------------------------------------------------
OTHER_INDICATIONS: tuple[CodeSet, ...] = (
    CodeSet(
        "venous thromboembolism",
        {
            SNOMED: (
                "59282003",  # pulmonary embolism
                "233935004",  # pulmonary thromboembolism
                "233936003",  # acute massive pulmonary embolism
                "1001000119102",  # pulmonary embolism with infarction
                "128053003",  # deep venous thrombosis
                "404223003",  # … of the lower extremity
                "234044007",  # … iliofemoral
                "132251000119101",  # … popliteal, acute
                "132291000119106",  # … femoral, acute
                "429098002",  # thromboembolism of vein
            )
        },
        icd10=("I26", "I824"),
        words=r"pulmonary (thrombo)?embol|deep (vein|venous) thrombos|\b(dvt|vte)\b",
    ),
    VENOUS_STROKE,
    CodeSet(
        "prosthetic heart valve",
        {
            SNOMED: (
                "699347000",  # mechanical heart valve replacement
                "174929002",  # … aortic
                "431339008",  # … mitral
                "174937005",  # … tricuspid
                "232923009",  # … atrioventricular
                "161677002",  # history of artificial heart valve
                "17107009",  # mitral valve prosthesis
                "307279007",  # prosthetic replacement of heart valve
            )
        },
        icd10=("Z952",),
        words=r"mechanical.{0,20}valve|valve prosthe|prosthetic.{0,10}valve|artificial heart valve",
    ),
    CodeSet(
        "acute coronary syndrome",
        {SNOMED: ("394659003", "22298006")},  # acute coronary syndrome, myocardial infarction
        icd10=("I200", "I21", "I22"),
        words=r"acute coronary syndrome|myocardial infarct|\b[n]?stemi\b",
    ),
    CodeSet(
        "thrombus in the heart",
        {SNOMED: ("91335003",)},  # mural thrombus of heart
        icd10=("I236",),
        words=r"(ventric|atri|mural|cardiac).{0,20}thromb",
    ),
    CodeSet("arterial embolism", {}, icd10=("I74",), words=r"acute limb isch|arterial embol"),
)
"""Reasons for full-dose heparin that the stroke trial does not speak about."""


def other_indications(chart: Chart, order: Resource) -> Iterator[tuple[str, str]]:
    """Give (name, where it stands) of each other reason for heparin: conditions, procedures, the order."""
    for indication in OTHER_INDICATIONS:
        for condition, _certainty in active_conditions(chart, indication):
            yield indication.name, local_reference(condition) or "Condition"
        for procedure in chart.all("Procedure"):
            if procedure.get("status") != "not-done" and indication.holds(procedure.get("code")):
                yield indication.name, local_reference(procedure) or "Procedure"
        reasons = order.get("reasonCode")
        if any(indication.holds(concept) for concept in (reasons if isinstance(reasons, list) else ())):
            yield indication.name, "reason of the order"
