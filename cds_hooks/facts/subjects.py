"""What a card is about, as the record of its call keeps it, and what became of that in later prescriptions.

A card on an order is about one draft and the drugs in it that it speaks of; a card that asks to discuss a
treatment is about its beginning. Later on the MedicationRequests of the patient (R4 medicationrequest.html)
say what was ordered: the drug as drafted, the drug with other instructions, or not that drug. Why, and
whether the card had a part in it, they do not say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from cds_hooks.facts import cardiovascular
from cds_hooks.facts.chart import Chart, Resource, drug
from cds_hooks.facts.medication import Drug, ingredients
from cds_hooks.facts.medication_timing import first_moment
from cds_hooks.facts.prescribing import named
from cds_hooks.facts.value_sets import ANTICOAGULANT, CodeSet, codings, texts
from fhir_server.model import json_format

AS_DRAFTED, OTHERWISE, NOT_ORDERED = "as-drafted", "otherwise", "not-ordered"
STARTED, NOT_STARTED, OPEN = "started", "not-started", "open"
ENDINGS: Final = (AS_DRAFTED, OTHERWISE, NOT_ORDERED, STARTED, NOT_STARTED, OPEN)
TREATMENTS: Final[Mapping[str, CodeSet]] = {
    found.name: found for found in (cardiovascular.STATIN, ANTICOAGULANT)
}
ORDERED_WITHIN: Final = timedelta(days=7)
"""How long after a call an order may come that is taken for the draft of that call."""
STARTED_WITHIN: Final = timedelta(days=90)
"""How long after a call a treatment may begin that its card spoke of."""
_DAY = timedelta(days=1)
_GIVEN_UP = frozenset({"draft", "cancelled", "entered-in-error", "unknown"})
_NO_ORDERS = frozenset({"proposal", "plan", "option"})


def of_order(
    card: str, order: Drug, about: Iterable[str], codes: Iterable[tuple[str, str]]
) -> dict[str, Any]:
    """Return that a card is about the draft of an order: of its drugs those that the card speaks of."""
    return {
        "card": card,
        "order": order.reference,
        "drugs": sorted(about),
        "codes": sorted(f"{system}|{code}" for system, code in codes),
        "dosage": _dosage(order.resource),
    }


def of_start(card: str, treatment: CodeSet) -> dict[str, Any]:
    """Return that a card is about beginning a treatment."""
    return {"card": card, "treatment": treatment.name}


def became(
    subject: Mapping[str, Any], requests: Sequence[Resource], medications: Sequence[Resource], at: datetime,
    now: datetime,
) -> str:  # fmt: skip
    """Return what became, until now, of what a card of a call at a time was about: one of ENDINGS.

    `requests` are the patient's MedicationRequests, `medications` the Medications that they refer to. An
    order counts that was written on the day of the call or after it and came into the store after the call;
    one that was cancelled or is none (a proposal, a plan) does not.
    """
    treatment = subject.get("treatment")
    until = at + (ORDERED_WITHIN if treatment is None else STARTED_WITHIN)
    chart = Chart("", now, {"Medication": tuple(medications)})
    later = [
        (request, concept)
        for request in requests
        if _is_an_order(request, at, min(until, now)) and (concept := drug(chart, request)) is not None
    ]
    if treatment is not None:
        if any(TREATMENTS[treatment].holds(concept) for _, concept in later):
            return STARTED
        return OPEN if now < until else NOT_STARTED
    same = [request for request, concept in later if _is_of(subject, concept)]
    if any(_dosage(request) == subject["dosage"] for request in same):
        return AS_DRAFTED
    if same:
        return OTHERWISE
    return OPEN if now < until else NOT_ORDERED


def _is_an_order(request: Resource, at: datetime, until: datetime) -> bool:
    if (
        request.get("status") in _GIVEN_UP
        or request.get("intent") in _NO_ORDERS
        or request.get("doNotPerform")
    ):
        return False
    written = first_moment(request.get("authoredOn"))
    meta = request.get("meta")
    stored = first_moment(meta.get("lastUpdated")) if isinstance(meta, Mapping) else None
    if written is None:
        return stored is not None and at <= stored <= until
    return at - _DAY <= written <= until and (stored is None or stored >= at)


def _is_of(subject: Mapping[str, Any], concept: Mapping[str, Any]) -> bool:
    pairs = {f"{system}|{code}" for system, code in codings(concept)}
    if pairs & set(subject["codes"]):
        return True
    names = {entry.name for entry in ingredients(concept)}
    names |= {name for text in texts(concept) for name in named(text)}
    return bool(subject["drugs"]) and set(subject["drugs"]) <= names


def _dosage(request: Resource) -> str:
    """Return what tells two instructions apart, without saying them."""
    told = json_format.encode({"dosage": _plain(request.get("dosageInstruction") or [])})
    return hashlib.sha256(told).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """Return JSON in one form: members by name, numbers by value; ids of elements are left out."""
    if isinstance(value, Mapping):
        return {name: _plain(value[name]) for name in sorted(value) if name != "id"}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return str(Decimal(str(value)).normalize())
    return value
