"""What a cardiovascular risk has to know from a chart: history, smoking, treatment, race.

Codes were read with their displays in the sources that `value_sets` names (statin, smoking and
cerebrovascular value sets of the quality measures, IPS, US Core). A history counts whatever its
clinical status: an infarction that is over is still one. Words only ever lead to a refusal or to a
range; a point of a score is given for a code alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cds_hooks.facts.chart import (
    Chart,
    Resource,
    drug,
    local_reference,
    observations,
    status_codes,
    with_ingredients,
)
from cds_hooks.facts.laboratory import Measurement
from cds_hooks.facts.medication import Drug, drugs
from cds_hooks.facts.units import CHOLESTEROL
from cds_hooks.facts.value_sets import (
    ACUTE_STROKE,
    ATRIAL_FIBRILLATION,
    LOINC,
    RXNORM,
    SNOMED,
    CodeSet,
    codings,
    texts,
)

# Conditions -------------------------------------------------------------------------------------
DIABETES = CodeSet(
    "diabetes",
    {
        SNOMED: (
            "73211009",  # diabetes mellitus
            "44054006",  # type 2
            "46635009",  # type 1
            "11530004",  # brittle
            "237599002",  # insulin treated type 2
        )
    },
    icd10=("E10", "E11", "E13"),
    words=r"^(?!.*(insipid|gestation|family|risk of|screening|pre-?diabet|history)).*\bdiabet(es|ic)\b",
)
MYOCARDIAL_INFARCTION = CodeSet(
    "myocardial infarction",
    {SNOMED: ("22298006", "1755008", "399211009")},  # infarction, old infarction, history of infarction
    icd10=("I21", "I22", "I252"),
)
CORONARY_DISEASE = CodeSet(
    "coronary heart disease",
    {
        SNOMED: (
            "53741008",  # coronary arteriosclerosis
            "414545008",  # ischaemic heart disease
            "233970002",  # coronary artery stenosis
            "194828000",  # angina
            "233819005",  # stable angina
            "4557003",  # preinfarction syndrome
            "429559004",  # typical angina
            "394659003",  # acute coronary syndrome
            "399261000",  # history of coronary bypass
            "415070008",  # percutaneous coronary intervention
            "232717009",  # coronary bypass
            "81266008",  # heart revascularisation
        )
    },
    icd10=("I20", "I24", "I25", "Z951", "Z955"),
)
STROKE_OR_EMBOLISM = CodeSet(
    "stroke, TIA or arterial embolism",
    {
        SNOMED: (
            *ACUTE_STROKE.codes[SNOMED],
            "266257000",  # transient ischaemic attack
            "275526006",  # history of stroke
            "161511000",  # history of transient ischaemic attack
            "427296003",  # thalamic infarction
            "195230003",  # infarction due to venous thrombosis
        )
    },
    icd10=("I63", "I64", "I693", "G450", "G451", "G452", "G453", "G458", "G459", "Z8673", "I74"),
)
PERIPHERAL_DISEASE = CodeSet(
    "peripheral arterial disease or aortic plaque",
    {SNOMED: ("399957001", "63491006", "400047006")},  # arterial occlusive, claudication, vascular disease
    icd10=("I70", "I739"),
)
ASCVD = (MYOCARDIAL_INFARCTION, CORONARY_DISEASE, STROKE_OR_EMBOLISM, PERIPHERAL_DISEASE)
ASCVD_IN_WORDS = re.compile(
    r"myocardial infarct|heart attack|coronary|angina|isch(a)?emic (heart|stroke)|\bstroke\b|cerebral infarct"
    r"|transient isch|\btia\b|peripheral (arter|vasc)|claudication|bypass graft|revasculari|\bstent",
    re.IGNORECASE,
)
NOT_THE_PATIENT = re.compile(r"family|risk of|screening|fear of", re.IGNORECASE)

HEART_FAILURE = CodeSet(
    "heart failure",
    {SNOMED: ("84114007", "42343007", "88805009", "85232009", "703272007")},
    icd10=("I50", "I110", "I130", "I132"),
)
HYPERTENSION = CodeSet(
    "hypertension",
    {SNOMED: ("38341003", "59621000", "1201005", "78975002", "429457004")},
    icd10=("I10", "I11", "I12", "I13", "I15"),
)
VALVULAR = CodeSet(
    "mitral stenosis or prosthetic heart valve",
    {
        SNOMED: (
            "79619009",  # mitral valve stenosis
            "194727002",  # non-rheumatic mitral stenosis
            "699347000",  # mechanical heart valve replacement
            "174929002",  # mechanical aortic
            "431339008",  # mechanical mitral
            "174937005",  # mechanical tricuspid
            "161677002",  # history of artificial heart valve
            "17107009",  # mitral valve prosthesis
            "307279007",  # prosthetic replacement of heart valve
        )
    },
    icd10=("I050", "I052", "I342", "Z952"),
    words=r"mitral.{0,8}stenosis|mechanical.{0,20}valve|valve prosthe|prosthetic.{0,10}valve",
)
FIBRILLATION_OR_FLUTTER = CodeSet(
    "atrial fibrillation or flutter",
    {SNOMED: (*ATRIAL_FIBRILLATION.codes[SNOMED], "5370000", "425615007", "427665004", "720448006")},
    icd10=(*ATRIAL_FIBRILLATION.icd10, "I483", "I484", "I4892"),
)

# Drugs ------------------------------------------------------------------------------------------
STATIN = CodeSet(
    "statin",
    {
        RXNORM: ("83367", "301542", "36567", "42463", "6472", "41127", "861634"),
        SNOMED: ("96302009",),  # product containing a HMG-CoA reductase inhibitor
    },
    words=r"\w+vastatin\b|\bstatin\b",
)
"""Atorvastatin, rosuvastatin, simvastatin, pravastatin, lovastatin, fluvastatin, pitavastatin."""

ANTIHYPERTENSIVE = CodeSet(
    "antihypertensive",
    {
        RXNORM: (
            *("29046", "35296", "3827", "1998", "18867", "50166", "35208", "54552", "38454", "30131"),
            *("52175", "69749", "83818", "214354", "73494", "321064", "83515", "1091643"),
            *("17767", "4316", "7417", "7396", "33910", "3443", "11170"),
            *("6918", "1202", "19484", "20352", "31555", "8787", "6185", "7226", "149", "1520"),
            *("2599", "40114", "6876", "49276", "8629", "5470", "6984", "325646"),
        )
    },
    words=r"\w+pril\b|\w+sartan\b|\w+dipine\b|\w+olol\b|carvedilol|diltiazem|verapamil|thiazid|chlort(h)?alidone"
    r"|indapamide|spironolactone|eplerenone|clonidine|methyldopa|hydralazine|minoxidil|doxazosin|prazosin"
    r"|terazosin|aliskiren|antihypertensi",
)
"""ACE inhibitors; sartans; calcium channel blockers; beta blockers; others, by RxNorm ingredient."""

# Measurements -----------------------------------------------------------------------------------
LDL_CHOLESTEROL = Measurement(
    "ldl-cholesterol",
    CodeSet("LDL cholesterol in serum", {LOINC: ("2089-1", "13457-7", "18262-6", "96259-7")}),
    "mg/dL",
    ("mg/dL", "mg/L", "g/L", "mmol/L"),
    5.0,
    1000.0,
    CHOLESTEROL,
)
SMOKING_STATUS = CodeSet("tobacco smoking status", {LOINC: ("72166-2",)})
_SMOKES = frozenset({
    "77176002", "449868002", "428041000124106", "428061000124105", "428071000124103", "160603005",
    "160604004", "160605003", "160606002",
})  # fmt: skip
_DOES_NOT = frozenset({"266919005", "8517006", "160618006", "105539002", "105540000", "105541001"})
"""Never, former, current non-smoker: the equations ask for current smoking."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Yes or no with where it stands; `value` None: it cannot be known, `note` says why."""

    value: bool | None
    reference: str = ""
    time: str = ""
    note: str = ""


def ever(chart: Chart, codes: CodeSet) -> Iterator[Resource]:
    """Give each Condition or done Procedure of the set, over or not; refuted and unconfirmed ones not."""
    for condition in chart.all("Condition"):
        verified = set(status_codes(condition, "verificationStatus"))
        doubted = verified & {"refuted", "unconfirmed", "provisional", "differential"}
        if not doubted and codes.holds_code(condition.get("code")):
            yield condition
    for procedure in chart.all("Procedure"):
        if procedure.get("status") in ("completed", "in-progress") and codes.holds_code(
            procedure.get("code")
        ):
            yield procedure


def ascvd(chart: Chart) -> Iterator[str]:
    """Give where an atherosclerotic disease stands, by code or by words that name one."""
    for codes in ASCVD:
        for found in ever(chart, codes):
            yield f"{codes.name} ({local_reference(found) or found['resourceType']})"
    for name in ("Condition", "Procedure"):
        for resource in chart.all(name):
            if "refuted" in status_codes(resource, "verificationStatus"):
                continue
            words = " ".join(texts(resource.get("code")))
            if ASCVD_IN_WORDS.search(words) and not NOT_THE_PATIENT.search(words):
                yield f"in words ({local_reference(resource) or name})"


def smoking(chart: Chart, since: datetime) -> Finding:
    """Return whether the patient smokes now, by the newest smoking status with a known answer."""
    for made, resource, part in observations(chart, SMOKING_STATUS, since):
        for system, code in codings(part.get("valueCodeableConcept")):
            if system == SNOMED and (code in _SMOKES or code in _DOES_NOT):
                return Finding(code in _SMOKES, local_reference(resource) or "", made.date().isoformat())
        return Finding(
            None, local_reference(resource) or "", note="the newest smoking status is not known here"
        )
    return Finding(None, note="no smoking status since " + since.date().isoformat())


def running_drugs(chart: Chart) -> list[Drug]:
    """Return the drugs that are ordered or taken now."""
    types = ("MedicationRequest", "MedicationStatement")
    return [entry for entry in drugs(chart, types=types) if not entry.inactive]


def on(chart: Chart, codes: CodeSet) -> Finding:
    """Return whether a drug of the set runs: True by code; None by words alone, or a drug without a name."""
    unsure: Finding | None = None
    for entry in running_drugs(chart):
        concept = with_ingredients(drug(chart, entry.resource) or {})
        place = entry.reference or str(entry.resource["resourceType"])
        if codes.holds_code(concept):
            return Finding(True, place, note=entry.label)
        if codes.holds(concept):
            unsure = Finding(None, place, note=f"{entry.label}: in words only")
        elif not any(True for _ in texts(concept)) and unsure is None:
            unsure = Finding(None, place, note="a running drug has a code, but no name that is known here")
    return unsure or Finding(False, note="not among the recorded drugs")


# Race -------------------------------------------------------------------------------------------
US_CORE_RACE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"
_BLACK, _WHITE = "2054-5", "2106-3"

Race = Literal["white", "black", "other", "several", "missing"]


def race(chart: Chart) -> Race:
    """Return the race of the US Core extension, as far as the equations ask: white, black, or neither.

    `several`: more than one category; `missing`: no extension, declined or unknown. Nothing is ever
    inferred from a name, a language or an address.

    >>> from datetime import UTC
    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> black = {"url": "ombCategory", "valueCoding": {"code": "2054-5"}}
    >>> extension = [{"url": US_CORE_RACE, "extension": [black]}]
    >>> race(Chart.of("p", now, [{"resourceType": "Patient", "id": "p", "extension": extension}]))
    'black'
    """
    listed = chart.patient.get("extension") if chart.patient else None
    found: set[str] = set()
    for extension in listed if isinstance(listed, list) else ():
        if not isinstance(extension, dict) or extension.get("url") != US_CORE_RACE:
            continue
        inner = extension.get("extension")
        for part in inner if isinstance(inner, list) else ():
            coding = part.get("valueCoding") if isinstance(part, dict) else None
            if isinstance(coding, dict) and part.get("url") == "ombCategory":
                found.add(str(coding.get("code")))
    found -= {"UNK", "ASKU"}
    if len(found) > 1:
        return "several"
    names: dict[str, Race] = {_BLACK: "black", _WHITE: "white"}
    return names.get(next(iter(found)), "other") if found else "missing"
