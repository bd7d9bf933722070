"""The features of the stroke models: one table, the only definition there is.

Each line of FEATURES maps one variable of the International Stroke Trial (IST) to the FHIR
source that says the same (resource, codes, time window, unit) and to the number that the model
sees. Training reads a row of the trial's CSV, serving reads a chart; both end in `encode`, so
they cannot drift apart. A test turns trial rows into FHIR resources and back.

Values are kept as the trial wrote them (`F`, `D`, `U`; `Y`, `N`, `C`) until `encode`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from cds_hooks.facts.chart import (
    Chart,
    Resource,
    drug_events,
    local_reference,
    moment,
    observations,
    whole_number,
)
from cds_hooks.facts.chart import active_conditions as conditions
from cds_hooks.facts.chart import day as date_of
from cds_hooks.facts.stroke import head_ct, stroke
from cds_hooks.facts.units import UnitError, convert
from cds_hooks.facts.value_sets import (
    ASPIRIN,
    ATRIAL_FIBRILLATION,
    CANNOT_ASSESS,
    CONSCIOUSNESS,
    HEPARIN,
    LOINC,
    NO,
    OWN,
    SNOMED,
    SYSTOLIC,
    YES,
    CodeSet,
    codings,
)

Value = str | float | None
"""A value as the trial codes it: a letter, a number, or None for unknown."""


class Reading(NamedTuple):
    """One value with where it came from: `time` is FHIR text, `reference` is `Type/id`."""

    value: Value
    time: str | None = None
    reference: str | None = None
    note: str | None = None


UNKNOWN = Reading(None)
REQUIRED = "required"
MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Feature:
    """One line of the table.

    `codes` maps the trial's letters to the model's numbers; None: the value is a number.
    `low` and `high` are the trial's own minimum and maximum. `unknown` is the policy for serving:
    REQUIRED (no suggestion without it), MISSING (the model was trained with gaps here) or the
    letter that is assumed and named on the card.
    """

    name: str
    label: str
    source: str
    read: Callable[[Chart], Reading] = field(repr=False, compare=False)
    codes: Mapping[str, float] | None = None
    says: Mapping[str, str] = field(default_factory=dict)
    unit: str | None = None
    low: float | None = None
    high: float | None = None
    unknown: str = REQUIRED


# Reading a chart --------------------------------------------------------------------------------
_DAY = timedelta(hours=24)
_THREE_DAYS = timedelta(days=3)


def _since(chart: Chart, window: timedelta) -> datetime:
    """Return the start of a look-back: the window, but never before the onset of the stroke."""
    found = stroke(chart)
    start = chart.now - window
    return max(start, found.onset) if found is not None and found.onset is not None else start


def _delay(chart: Chart) -> Reading:
    found = stroke(chart)
    if found is None or found.onset is None:
        return Reading(None, note="no active stroke Condition with an onset to the hour")
    hours = (chart.now - found.onset).total_seconds() / 3600
    condition = found.condition
    text = condition.get("onsetDateTime") or condition["onsetPeriod"]["start"]
    return Reading(hours, str(text), found.reference)


def _age(chart: Chart) -> Reading:
    patient = chart.patient
    born = date_of(patient.get("birthDate")) if patient else None
    if patient is None or born is None:
        return Reading(None, note="Patient.birthDate is not known to the day")
    today = chart.now.date()
    years = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    return Reading(float(years), str(patient["birthDate"]), local_reference(patient))


def _sex(chart: Chart) -> Reading:
    patient = chart.patient
    gender = patient.get("gender") if patient else None
    letter = {"male": "M", "female": "F"}.get(str(gender))
    if patient is None or letter is None:
        return Reading(None, note="Patient.gender is neither male nor female")
    return Reading(letter, None, local_reference(patient))


def _pressure(chart: Chart) -> Reading:
    for made, resource, part in observations(chart, SYSTOLIC, chart.now - _DAY):
        try:
            value = convert(part.get("valueQuantity"), "mm[Hg]")
        except UnitError as error:
            return Reading(None, made.isoformat(), local_reference(resource), str(error))
        return Reading(value, _time(resource), local_reference(resource))
    return Reading(None, note="no systolic pressure in the last 24 hours")


_AVPU = {
    (SNOMED, "248234008"): "F",  # mentally alert
    (SNOMED, "300202002"): "D",  # responds to voice
    (SNOMED, "271782001"): "D",  # drowsy
    (SNOMED, "450847001"): "U",  # responds to pain
    (SNOMED, "422768004"): "U",  # unresponsive
    (SNOMED, "418107008"): "U",  # unconscious
    (OWN, "alert"): "F",
    (OWN, "drowsy"): "D",
    (OWN, "unconscious"): "U",
}


def _consciousness(chart: Chart) -> Reading:
    for _made, resource, part in observations(chart, CONSCIOUSNESS, _since(chart, timedelta(hours=48))):
        score = whole_number(part)
        glasgow = (LOINC, "9269-2") in codings(part.get("code"))
        letter: str | None = None
        if score is not None and glasgow:
            letter = "F" if score >= 15 else "D" if score >= 9 else "U" if score >= 3 else None
        elif score is not None:
            letter = {0: "F", 1: "D", 2: "U", 3: "U"}.get(score)  # NIH Stroke Scale item 1a
        else:
            found = (_AVPU.get(pair) for pair in codings(part.get("valueCodeableConcept")))
            letter = next((one for one in found if one), None)
        if letter is not None:
            return Reading(letter, _time(resource), local_reference(resource))
    return Reading(None, note="no level of consciousness since the onset")


_NOTED_ON_WAKING = CodeSet("noted on waking", {OWN: ("noted-on-waking",)})


def _waking(chart: Chart) -> Reading:
    for _made, resource, part in observations(chart, _NOTED_ON_WAKING, chart.now - timedelta(hours=72)):
        if isinstance(part.get("valueBoolean"), bool):
            return Reading("Y" if part["valueBoolean"] else "N", _time(resource), local_reference(resource))
    return UNKNOWN


def _fibrillation(chart: Chart) -> Reading:
    unsure: Reading | None = None
    for condition, certainty in conditions(chart, ATRIAL_FIBRILLATION):
        reference = local_reference(condition)
        if certainty == "confirmed":
            return Reading("Y", None, reference)
        unsure = Reading(None, None, reference, "recorded as unconfirmed")
    return unsure or Reading("N", note="not among the active conditions")


def _ct_done(chart: Chart) -> Reading:
    found = head_ct(chart, _since(chart, timedelta(hours=72)))
    if found is None:
        return Reading("N", note="no head CT since the onset")
    return Reading("Y", _time(found.report), found.reference)


def _ct_infarct(chart: Chart) -> Reading:
    found = head_ct(chart, _since(chart, timedelta(hours=72)))
    if found is None:
        return Reading("N", note="no head CT since the onset")
    letter = {"infarct": "Y", "no haemorrhage": "N"}.get(found.finding)
    return Reading(letter, _time(found.report), found.reference)


def _drug_before(codes: CodeSet, window: timedelta, *, ordered: bool) -> Callable[[Chart], Reading]:
    """Read whether a drug was taken in the window: given, stated, or (`ordered`) on order before it."""

    def read(chart: Chart) -> Reading:
        unsure: Reading | None = None
        for resource, at in drug_events(chart, codes, ("MedicationAdministration", "MedicationStatement")):
            status = resource.get("status")
            if status == "unknown":
                unsure = Reading(None, None, local_reference(resource), "recorded as unknown")
            elif resource["resourceType"] == "MedicationAdministration":
                if status in ("completed", "in-progress") and at is not None and at >= chart.now - window:
                    return Reading("Y", _time(resource), local_reference(resource))
            elif status == "active" or (
                status == "completed" and at is not None and at >= chart.now - window
            ):
                return Reading("Y", _time(resource), local_reference(resource))
        if ordered:
            found = stroke(chart)
            for resource, at in drug_events(chart, codes, ("MedicationRequest",)):
                before = found is None or found.onset is None or at is None or at < found.onset
                if resource.get("status") == "active" and before:
                    return Reading("Y", _time(resource), local_reference(resource))
        return unsure or Reading("N", note="not among the recorded drugs")

    return read


def _planned_heparin(chart: Chart) -> Reading:
    """Read the other arm of the trial: subcutaneous heparin twice a day that is ordered now."""
    for resource, _at in drug_events(chart, HEPARIN, ("MedicationRequest",)):
        if resource.get("status") not in ("active", "draft"):
            continue
        for dosage in resource.get("dosageInstruction", ()):
            for amount in dosage.get("doseAndRate", ()):
                quantity = amount.get("doseQuantity", {})
                if quantity.get("code") in ("[iU]", "U") and quantity.get("value") is not None:
                    letter = "M" if quantity["value"] > 5000 else "L"
                    return Reading(letter, _time(resource), local_reference(resource))
        return Reading(None, _time(resource), local_reference(resource), "dose not in international units")
    return Reading("N", note="no heparin on order")


def _deficit(own: str, *items: str) -> Callable[[Chart], Reading]:
    """Read one deficit: our own yes-no-cannot Observation, else the NIH Stroke Scale items.

    The newest observation of either kind counts; an item above 0 is a deficit, and of several
    items (left and right) one is enough.
    """
    stated = CodeSet(own, {OWN: (own,)})
    scale = CodeSet(own, {LOINC: items})

    def read(chart: Chart) -> Reading:
        since = _since(chart, timedelta(hours=48))
        direct = observations(chart, stated, since)
        scored = observations(chart, scale, since)
        if direct and (not scored or direct[0][0] >= scored[0][0]):
            _made, resource, part = direct[0]
            concept = part.get("valueCodeableConcept")
            for codes, letter in ((YES, "Y"), (NO, "N"), (CANNOT_ASSESS, "C")):
                if codes.holds_code(concept):
                    return Reading(letter, _time(resource), local_reference(resource))
            return Reading(None, _time(resource), local_reference(resource), "value not understood")
        if not scored:
            return Reading(None, note="not observed since the onset")
        newest, resource, _part = scored[0]
        scores = [whole_number(part) for made, _resource, part in scored if made == newest]
        known = [score for score in scores if score is not None]
        letter = "Y" if any(score > 0 for score in known) else "N" if len(known) == len(scores) else "C"
        return Reading(letter, _time(resource), local_reference(resource), "from the NIH Stroke Scale")

    # asked for twice: as a feature of its own, and for the syndrome
    return lambda chart: chart.once(own, lambda: read(chart))


_TIMES = ("effectiveDateTime", "effectiveInstant", "performedDateTime", "issued", "authoredOn")


def _time(resource: Resource) -> str | None:
    """Return the time text of a resource as it was written."""
    for key in _TIMES:
        if moment(text := resource.get(key)) is not None:
            return str(text)
    return None


# Derived ----------------------------------------------------------------------------------------
DEFICITS = tuple(f"RDEF{number}" for number in range(1, 9))


def syndrome(letters: Mapping[str, Value]) -> str:
    """Return the clinical syndrome (Oxfordshire classification) from the eight deficits.

    The trial's own algorithm is not published; this rule gives the recorded STYPE for 98.6 % of
    its 19,435 patients (a test holds the figure). It is used when no syndrome is recorded.

    >>> syndrome({"RDEF1": "Y", "RDEF2": "Y", "RDEF3": "N", "RDEF4": "Y", "RDEF5": "Y"})
    'TACS'
    """
    present = {name: letters.get(name) == "Y" for name in DEFICITS}
    possible = {name: letters.get(name, "N") in ("Y", "C", None) for name in DEFICITS}
    if present["RDEF7"]:
        return "POCS"
    limbs = present["RDEF1"] + present["RDEF2"] + present["RDEF3"]
    higher = present["RDEF4"] or present["RDEF6"]
    higher_possible = possible["RDEF4"] or possible["RDEF6"]
    field_loss = present["RDEF5"]
    if not limbs and field_loss and not higher_possible and not present["RDEF8"]:
        return "POCS"
    if limbs >= 2 and ((higher and possible["RDEF5"]) or (field_loss and higher_possible)):
        return "TACS"
    if limbs >= 2 and not any(possible[name] for name in DEFICITS[3:]):
        return "LACS"
    if not limbs and not higher and not field_loss and present["RDEF8"]:
        return "OTH"
    return "PACS"


_SYNDROME = CodeSet("stroke syndrome", {OWN: ("syndrome",)})


def _syndrome(chart: Chart) -> Reading:
    for _made, resource, part in observations(chart, _SYNDROME, _since(chart, timedelta(hours=48))):
        for system, value in codings(part.get("valueCodeableConcept")):
            if system == OWN and value.upper() in _SYNDROMES:
                return Reading(value.upper(), _time(resource), local_reference(resource))
    readings = {feature.name: feature.read(chart) for feature in FEATURES if feature.name in DEFICITS}
    if all(reading.value is None for reading in readings.values()):
        return UNKNOWN
    letters = {name: reading.value or "C" for name, reading in readings.items()}
    return Reading(syndrome(letters), note="derived from the deficits")


# The table --------------------------------------------------------------------------------------
_YN = {"N": 0.0, "Y": 1.0}
_NCY = {"N": 0.0, "C": 0.5, "Y": 1.0}
_SYNDROMES = {"LACS": 0.0, "POCS": 1.0, "PACS": 2.0, "TACS": 3.0, "OTH": 4.0}
_SAYS_YN = {"N": "no", "Y": "yes", "C": "cannot be assessed"}


def _deficit_line(number: int, label: str, own: str, *items: str) -> Feature:
    scale = f", else NIH Stroke Scale LOINC {' '.join(items)} above 0" if items else ""
    return Feature(
        f"RDEF{number}", label, f"Observation {OWN}|{own}{scale}; newest since the onset, at most 48 h",
        _deficit(own, *items), codes=_NCY, says=_SAYS_YN, unknown="C",
    )  # fmt: skip


FEATURES: tuple[Feature, ...] = (
    Feature(
        "RDELAY", "time since onset",
        "Condition (acute stroke, active, confirmed).onset to the hour, until now",
        _delay, unit="h", low=0, high=48,
    ),
    Feature(
        "RCONSC", "consciousness",
        f"Observation {OWN}|consciousness, AVPU 67775-7, NIH Stroke Scale item 1a 70184-7 (0 F, 1 D, 2–3 U)"
        " or"
        " Glasgow total 9269-2 (15 F, 9–14 D, 3–8 U); newest since the onset, at most 48 h",
        _consciousness, codes={"F": 0.0, "D": 1.0, "U": 2.0},
        says={"F": "fully alert", "D": "drowsy", "U": "unconscious"},
    ),
    Feature(
        "SEX", "sex", "Patient.gender", _sex, codes={"M": 0.0, "F": 1.0}, says={"M": "male", "F": "female"}
    ),
    Feature("AGE", "age", "Patient.birthDate, whole years", _age, unit="a", low=16, high=99),
    Feature(
        "RSLEEP", "noted on waking", f"Observation {OWN}|noted-on-waking, valueBoolean, last 72 h",
        _waking, codes=_YN, says=_SAYS_YN, unknown="N",
    ),
    Feature(
        "RATRIAL", "atrial fibrillation", "Condition (active): confirmed Y, unconfirmed unknown, none N",
        _fibrillation, codes=_YN, says=_SAYS_YN, unknown=MISSING,
    ),
    Feature(
        "RCT", "head CT done", "DiagnosticReport (head CT) since the onset",
        _ct_done, codes=_YN, says=_SAYS_YN,
    ),
    Feature(
        "RVISINF", "infarct visible on CT",
        "DiagnosticReport (head CT).conclusionCode, newest since the onset",
        _ct_infarct, codes=_YN, says=_SAYS_YN,
    ),
    Feature(
        "RHEP24", "heparin in the last 24 h", "MedicationAdministration or MedicationStatement, last 24 h",
        _drug_before(HEPARIN, _DAY, ordered=False), codes=_YN, says=_SAYS_YN, unknown=MISSING,
    ),
    Feature(
        "RASP3", "aspirin in the last 3 days",
        "MedicationAdministration or MedicationStatement, last 3 days, or MedicationRequest active before"
        " the onset",
        _drug_before(ASPIRIN, _THREE_DAYS, ordered=True), codes=_YN, says=_SAYS_YN, unknown=MISSING,
    ),
    Feature(
        "RSBP", "systolic pressure",
        "Observation LOINC 8480-6, alone or as component; newest in the last 24 h",
        _pressure, unit="mm[Hg]", low=70, high=295,
    ),
    _deficit_line(1, "face deficit", "deficit-face", "70189-6"),
    _deficit_line(2, "arm or hand deficit", "deficit-arm", "70190-4", "70967-5"),
    _deficit_line(3, "leg or foot deficit", "deficit-leg", "70191-2", "70968-3"),
    _deficit_line(4, "dysphasia", "deficit-language", "70194-6"),
    _deficit_line(5, "hemianopia", "deficit-visual-field", "70188-8"),
    _deficit_line(6, "visuospatial disorder", "deficit-visuospatial", "70196-1"),
    _deficit_line(7, "brainstem or cerebellar signs", "deficit-brainstem", "70192-0"),
    _deficit_line(8, "other deficit", "deficit-other", "70193-8"),
    Feature(
        "STYPE", "stroke syndrome",
        f"Observation {OWN}|syndrome since the onset, else derived from the deficits",
        _syndrome, codes=_SYNDROMES,
        says={
            "LACS": "lacunar", "POCS": "posterior circulation", "PACS": "partial anterior circulation",
            "TACS": "total anterior circulation", "OTH": "other",
        },
    ),
    Feature(
        "NDEF", "number of deficits", "count of RDEF1–8 that are yes", lambda _chart: UNKNOWN, low=0, high=8
    ),
    Feature(
        "RXHEP", "heparin on order", "MedicationRequest (heparin), active or draft, dose in [iU]",
        _planned_heparin, codes={"N": 0.0, "L": 1.0, "M": 2.0, "H": 2.0},
        says={"N": "none", "L": "5,000 IU twice daily", "M": "12,500 IU twice daily"}, unknown="N",
    ),
)  # fmt: skip

NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
BY_NAME: Mapping[str, Feature] = {feature.name: feature for feature in FEATURES}


def read(chart: Chart) -> dict[str, Reading]:
    """Return what the chart says about every feature, in the order of the table."""
    readings = {feature.name: feature.read(chart) for feature in FEATURES if feature.name != "NDEF"}
    readings["NDEF"] = Reading(float(sum(readings[name].value == "Y" for name in DEFICITS)), note="counted")
    return {name: readings[name] for name in NAMES}


def assume(values: Mapping[str, Value]) -> tuple[dict[str, Value], tuple[str, ...]]:
    """Fill the gaps that the table allows; return the values and the names that were filled.

    Only for serving: a training row has no gap where a letter is assumed.
    """
    filled = dict(values)
    assumed: list[str] = []
    for feature in FEATURES:
        if filled.get(feature.name) is None and feature.unknown not in (REQUIRED, MISSING):
            filled[feature.name] = feature.unknown
            assumed.append(feature.name)
    return filled, tuple(assumed)


def encode(values: Mapping[str, Value]) -> list[float]:
    """Return the model's numbers for values in the trial's coding; unknown becomes NaN.

    >>> encode({"RCONSC": "D", "AGE": 71.0, "RDEF1": "Y", "RDEF2": "C"})[1:4]
    [1.0, nan, 71.0]

    Raises ValueError for a letter that the table does not know.
    """
    vector: list[float] = []
    for feature in FEATURES:
        value = values.get(feature.name)
        if feature.name == "NDEF":
            vector.append(float(sum(values.get(name) == "Y" for name in DEFICITS)))
        elif value is None or value == "":
            vector.append(float("nan"))
        elif feature.codes is None:
            vector.append(float(value))
        elif value in feature.codes:
            vector.append(feature.codes[str(value)])
        else:
            raise ValueError(f"{feature.name} is {value!r}; known are {', '.join(feature.codes)}")
    return vector


def schema() -> list[dict[str, Any]]:
    """Return the table as JSON: what a model card carries and what its hash is made from."""
    return [
        {
            "name": feature.name,
            "label": feature.label,
            "source": feature.source,
            "codes": dict(feature.codes) if feature.codes else None,
            "unit": feature.unit,
            "range": [feature.low, feature.high],
            "unknown": feature.unknown,
        }
        for feature in FEATURES
    ]


def schema_hash() -> str:
    """Return the SHA-256 of the table; a model refuses to load over another table."""
    return hashlib.sha256(json.dumps(schema(), sort_keys=True, ensure_ascii=False).encode()).hexdigest()
