"""renal-and-interaction: what labels and one published list say against an order, for this patient.

Three checks of every order that is about to be made: kidney function against sentences of labels,
fifteen pairs of drug classes, allergies by ingredient. On a new allergy the running drugs are checked.
Pure arithmetic and tables; the service warns and never suggests: which of the other ways is right is
the prescriber's to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cds_hooks.cards import Card
from cds_hooks.facts import demographics, interactions
from cds_hooks.facts.allergies import Allergy, allergies, allergy, cross, match
from cds_hooks.facts.chart import Resource
from cds_hooks.facts.cross_reactions import CrossReaction
from cds_hooks.facts.interactions import Pair
from cds_hooks.facts.laboratory import Measured
from cds_hooks.facts.prescribing import Prescribed, prescribed
from cds_hooks.facts.renal import Kidney, kidney
from cds_hooks.facts.subjects import of_order
from cds_hooks.hooks.table import HOOKS
from cds_hooks.service import Decision, Facts, Service
from cds_hooks.services import renal_and_interaction_cards as cards
from cds_hooks.services.renal_and_interaction_rules import APIXABAN, EGFR, MEASURES, RULES, Rule

ID = "renal-and-interaction"
NEW_ALLERGY = "allergyintolerance-create"

_RUNNING = "active,on-hold,draft,unknown"
PREFETCH: Mapping[str, str] = {
    "patient": "Patient/{{context.patientId}}",
    "creatinine": "Observation?patient={{context.patientId}}&code=http://loinc.org|2160-0"
    ",http://loinc.org|14682-9,http://loinc.org|38483-4&_sort=-date&_count=20",
    "weight": "Observation?patient={{context.patientId}}&code=http://loinc.org|29463-7&_sort=-date&_count=5",
    "requests": f"MedicationRequest?patient={{{{context.patientId}}}}&status={_RUNNING}",
    "statements": "MedicationStatement?patient={{context.patientId}}&status=active,intended,unknown",
    "allergies": "AllergyIntolerance?patient={{context.patientId}}",
    "conditions": "Condition?patient={{context.patientId}}&clinical-status=active,recurrence,relapse",
    "dialysis": "Procedure?patient={{context.patientId}}&code="
    + ",".join(
        f"http://snomed.info/sct|{code}" for code in ("108241001", "265764009", "302497006", "71192002")
    ),
}


def service() -> Service:
    """Return the service."""
    return Service(
        id=ID,
        hooks=("order-select", "order-sign", NEW_ALLERGY),
        title="Kidney function, interactions and allergies of an order",
        description="Compares orders with eGFR (CKD-EPI 2021) or creatinine clearance (Cockcroft-Gault) by"
        " sentences of US labels, with the 15 pairs of the ONC high-priority list, and with allergies by"
        " ingredient. Not complete: absence of an alert is not evidence of safety.",
        prefetch=PREFETCH,
        decide=decide,
        usage_requirements="Adults. Needs a creatinine with UCUM unit and time, for clearances also a body"
        " weight; drugs as RxNorm codes (names are read where codes are unknown). No time-critical alarms.",
        evidence="US prescribing labels; Phansalkar et al., J Am Med Inform Assoc 2012;19:735; Inker et al.,"
        " N Engl J Med 2021;385:1737; Cockcroft and Gault, Nephron 1976;16:31",
    )


def decide(facts: Facts) -> Decision:
    """Return the cards on the orders of a call, or on a new allergy; else why there is none."""
    patient = facts.chart.patient
    if patient is None:
        return Decision(("patient-unknown",))
    if demographics.deceased(facts.chart):
        return Decision(("deceased",))
    carried = HOOKS[facts.hook].carried(facts.context)
    every = prescribed(facts.chart, carried)
    if facts.hook == NEW_ALLERGY:
        return _on_allergy(facts, carried, every)
    orders = tuple(entry for entry in every if _is_ordered(entry, carried, facts.context))
    if not orders:
        return Decision(("no-medication-order",))
    return _on_orders(facts, orders, every)


def _is_ordered(entry: Prescribed, carried: Sequence[Resource], context: Mapping[str, Any]) -> bool:
    """Say whether a drug is one of the orders of the call; on order-select, one that is selected."""
    if not any(entry.drug.resource is draft or entry.drug.resource == draft for draft in carried):
        return False
    if "selections" not in context:
        return True
    selected = {"/".join(str(reference).split("/")[-2:]) for reference in context["selections"]}
    resource = entry.drug.resource
    return f"{resource['resourceType']}/{resource.get('id')}" in selected


# Orders -----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Findings:
    """What the three checks found for the orders of a call, before it becomes cards."""

    renal: tuple[tuple[Prescribed, Rule, float], ...]
    unanswered: Mapping[str, tuple[str, ...]]
    pairs: tuple[tuple[Prescribed, Pair, tuple[tuple[Prescribed, str, str], ...]], ...]
    allergic: tuple[tuple[Prescribed, Allergy, str], ...]
    crossing: tuple[tuple[Prescribed, Allergy, CrossReaction], ...]

    def orders(self) -> Iterator[tuple[Prescribed, Iterable[str]]]:
        """Give for each finding, in the order of their cards, the order and the drugs in it it is about."""
        yield from ((order, {shared} & order.names or order.names) for order, _, shared in self.allergic)
        yield from ((order, order.names) for order, _, _ in self.crossing)
        yield from ((order, {mine for _, mine, _ in others}) for order, _, others in self.pairs)
        yield from ((order, rule.drugs) for order, rule, _ in self.renal)


def _on_orders(facts: Facts, orders: Sequence[Prescribed], every: Sequence[Prescribed]) -> Decision:
    known = kidney(facts.chart)
    listed = allergies(facts.chart)
    renal, unanswered = _renal(orders, every, known)
    found = Findings(
        renal, unanswered, _pairs(orders, every), _allergic(orders, listed), _crossing(orders, listed)
    )
    unchecked = cards.Unchecked(
        tuple(entry.drug.label for entry in every if not entry.is_known),
        tuple(entry.label for entry in listed if not entry.is_known),
        bool(facts.chart.all("AllergyIntolerance")),
    )
    made: list[Card] = [
        *(cards.allergy(facts, *entry, unchecked) for entry in found.allergic),
        *(cards.cross_reaction(facts, *entry, unchecked) for entry in found.crossing),
        *(cards.interaction(facts, *entry, unchecked) for entry in found.pairs),
        *(cards.renal(facts, *entry, known, unchecked) for entry in found.renal),
    ]
    about = [
        of_order(card.uuid, order.drug, drugs, order.codings)
        for card, (order, drugs) in zip(made, found.orders(), strict=True)
    ]
    if unanswered:
        made.append(cards.renal_unknown(facts, unanswered, _codes(unanswered, known), known, unchecked))
    reasons = _reasons(found, orders, known, made)
    return Decision(reasons, tuple(made), _inputs(orders, every, known, listed), _output(found, known, about))


def _renal(
    orders: Sequence[Prescribed], every: Sequence[Prescribed], known: Kidney
) -> tuple[tuple[tuple[Prescribed, Rule, float], ...], dict[str, tuple[str, ...]]]:
    """Return the rules that hold, and by drug the measures that a rule needs and nobody knows."""
    held: list[tuple[Prescribed, Rule, float]] = []
    unanswered: dict[str, set[str]] = {}
    for order in orders:
        for rule in RULES:
            if not set(rule.drugs) <= order.names or not _concerns(rule, order, every):
                continue
            value = MEASURES[rule.measure](known)
            if value is None:
                unanswered.setdefault(" and ".join(rule.drugs), set()).add(rule.measure)
            elif rule.range.holds(value):
                held.append((order, rule, value))
    return tuple(held), {drug: tuple(sorted(needed)) for drug, needed in unanswered.items()}


def _concerns(rule: Rule, order: Prescribed, every: Sequence[Prescribed]) -> bool:
    """Say whether a rule on new, or on running, treatment concerns an order."""
    runs = any(set(rule.drugs) <= entry.names for entry in every if not entry.drug.draft)
    return not rule.only or (rule.only == "running") == runs


def _codes(unanswered: Mapping[str, tuple[str, ...]], known: Kidney) -> dict[str, str]:
    """Return why the measures that are needed are not known, as codes and sentences."""
    needed = {measure for measures in unanswered.values() for measure in measures}
    return dict(known.refusals) if needed == {EGFR} else dict(known.clearance_refusals)


def _pairs(
    orders: Sequence[Prescribed], every: Sequence[Prescribed]
) -> tuple[tuple[Prescribed, Pair, tuple[tuple[Prescribed, str, str], ...]], ...]:
    """Return by order and pair the drugs that an order meets; two orders of a call are told once."""
    found: dict[tuple[int, str], tuple[Prescribed, Pair, list[tuple[Prescribed, str, str]]]] = {}
    told: set[tuple[str, frozenset[int]]] = set()
    for order in orders:
        for other in every:
            if other is order:
                continue
            for pair, mine, theirs in interactions.between(order.names, other.names):
                seen = (pair.id, frozenset((id(order.drug.resource), id(other.drug.resource))))
                if seen in told:
                    continue
                told.add(seen)
                entry = found.setdefault((id(order.drug.resource), pair.id), (order, pair, []))
                entry[2].append((other, mine, theirs))
    return tuple((order, pair, tuple(others)) for order, pair, others in found.values())


def _allergic(
    orders: Sequence[Prescribed], listed: Sequence[Allergy]
) -> tuple[tuple[Prescribed, Allergy, str], ...]:
    return tuple(
        (order, entry, shared)
        for order in orders
        for entry in listed
        if (shared := match(entry, order.names, order.codings)) is not None
    )


def _crossing(
    orders: Sequence[Prescribed], listed: Sequence[Allergy]
) -> tuple[tuple[Prescribed, Allergy, CrossReaction], ...]:
    return tuple(
        (order, entry, row)
        for order in orders
        for entry in listed
        if (row := cross(entry, order)) is not None
    )


# A new allergy ----------------------------------------------------------------------------------
def _on_allergy(facts: Facts, carried: Sequence[Resource], every: Sequence[Prescribed]) -> Decision:
    entry = next((found for found in carried if found.get("resourceType") == "AllergyIntolerance"), None)
    new = None if entry is None else allergy(entry)
    if new is None:
        return Decision(("allergy-does-not-count",))
    if not new.is_known and not new.codings:
        return Decision(("allergy-unrecognised",))
    running = [drug for drug in every if match(new, drug.names, drug.codings) is not None]
    crossing = [(drug, row) for drug in every if (row := cross(new, drug)) is not None]
    inputs = {
        "allergy": {"ingredients": sorted(new.ingredients), "reference": new.reference},
        "drugs": [_told(drug) for drug in every],
    }
    unknown = tuple(drug.drug.label for drug in every if not drug.is_known)
    if not running and not crossing:
        reasons = ["nothing-found"]
        reasons += ["allergy-unrecognised"] if not new.is_known else []
        reasons += ["medication-unrecognised"] if unknown else []
        return Decision(tuple(reasons), inputs=inputs)
    unchecked = cards.Unchecked(unknown, (), True)
    made = (
        *([cards.new_allergy(facts, new, running, unchecked)] if running else []),
        *(cards.cross_reaction(facts, drug, new, row, unchecked) for drug, row in crossing),
    )
    reasons = ["shown", *(["allergy"] if running else []), *(["cross-reaction"] if crossing else [])]
    met = [drug.drug.reference for drug in (*running, *(drug for drug, _row in crossing))]
    output = {"drugs": met}
    return Decision(tuple(reasons), made, inputs, output)


# The record -------------------------------------------------------------------------------------
def _reasons(
    found: Findings, orders: Sequence[Prescribed], known: Kidney, made: Sequence[Card]
) -> tuple[str, ...]:
    codes = ["shown" if made else "nothing-found"]
    codes += ["renal-rule"] if found.renal else []
    codes += ["interaction"] if found.pairs else []
    codes += ["allergy"] if found.allergic else []
    codes += ["cross-reaction"] if found.crossing else []
    if found.unanswered:
        codes += ["kidney-function-unknown", *_codes(found.unanswered, known)]
    codes += ["medication-unrecognised"] if any(not order.is_known for order in orders) else []
    return tuple(dict.fromkeys(codes))


def _inputs(
    orders: Sequence[Prescribed], every: Sequence[Prescribed], known: Kidney, listed: Sequence[Allergy]
) -> dict[str, Any]:
    ordered = {id(order) for order in orders}
    return {
        "age": known.age_years,
        "sex": known.sex,
        "creatinine": _measured(known.creatinine),
        "weight": _measured(known.weight),
        "orders": [_told(order) for order in orders],
        "drugs": [_told(drug) for drug in every if id(drug) not in ordered],
        "allergies": [
            {"ingredients": sorted(entry.ingredients), "reference": entry.reference} for entry in listed
        ],
    }


def _measured(value: Measured | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {
        "value": round(value.value, 6),
        "unit": value.unit,
        "given": value.given,
        "time": value.at.isoformat(),
        "reference": value.reference,
    }


def _told(entry: Prescribed) -> dict[str, Any]:
    return {
        "reference": entry.drug.reference,
        "ingredients": sorted(entry.names),
        "by_name": entry.by_name and entry.is_known,
    }


def _output(found: Findings, known: Kidney, about: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    criteria = MEASURES[APIXABAN](known)
    return {
        "egfr": known.egfr,
        "clearance": known.clearance,
        "apixaban_criteria": criteria,
        "rules": [rule.id for _, rule, _ in found.renal],
        "pairs": [pair.id for _, pair, _ in found.pairs],
        "allergies": [entry.reference for _, entry, _ in found.allergic],
        **({"cross_reactions": [row.id for _, _, row in found.crossing]} if found.crossing else {}),
        **({"about": list(about)} if about else {}),
    }
