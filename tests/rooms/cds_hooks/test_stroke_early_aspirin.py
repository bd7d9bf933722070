"""stroke-early-aspirin: the card and its arithmetic, and every refusal."""

from __future__ import annotations

import copy
import re
from datetime import timedelta
from typing import Any

import pytest

from cds_hooks.cards import SUMMARY_LIMIT
from cds_hooks.models import catalogue, features
from cds_hooks.services.stroke_early_aspirin import Effect, service
from conformance.samples import stroke
from tests.support.cds import NOW, decide

Resource = dict[str, Any]
SUBJECT = {"reference": f"Patient/{stroke.PATIENT_ID}"}
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"


def sample(**changes: Any) -> list[Resource]:
    """The stroke patient with members of single resources changed, by the end of their id; None removes."""
    found = copy.deepcopy(stroke.resources(NOW))
    names = {resource["id"].split("-")[-1]: resource for resource in found}
    names["demo"] = found[0]
    for name, change in changes.items():
        resource = names[name]
        if change is None:
            found.remove(resource)
        else:
            resource.update(change)
    return found


def concept(system: str, code: str) -> Resource:
    return {"coding": [{"system": system, "code": code}]}


def resource(kind: str, **members: Any) -> Resource:
    return {"resourceType": kind, "id": "more", "subject": SUBJECT, **members}


def drug(kind: str, code: Any, status: str = "active", **members: Any) -> Resource:
    named = code if isinstance(code, dict) else concept(RXNORM, code)
    return resource(kind, status=status, medicationCodeableConcept=named, **members)


AGO = {hours: (NOW - timedelta(hours=hours)).isoformat() for hours in (1, 3, 20, 60, 400)}


def deficits(count: int) -> list[Resource]:
    codes = ["deficit-face", "deficit-arm", "deficit-leg", "deficit-language", "deficit-visual-field"]
    return [
        {
            **resource("Observation", status="final", effectiveDateTime=AGO[3]),
            "id": code,
            "code": concept(stroke.OWN, code),
            "valueCodeableConcept": concept(stroke.SNOMED, "373066001"),
        }
        for code in codes[:count]
    ]


REFUSALS: list[tuple[str, str, list[Resource]]] = [
    # missing data
    ("no onset", "onset-unknown", sample(stroke={"onsetDateTime": None})),
    ("an onset to the day only", "onset-unknown", sample(stroke={"onsetDateTime": "2026-03-02"})),
    ("no systolic pressure", "missing-RSBP", sample(pressure=None)),
    (
        "no consciousness",
        "missing-RCONSC",
        [
            {
                **entry,
                "component": [
                    part for part in entry["component"] if part["code"]["coding"][0]["code"] != "70184-7"
                ],
            }
            if entry["id"].endswith("nihss")
            else entry
            for entry in sample(consciousness=None)
        ],
    ),
    ("no deficits", "deficits-missing", sample(nihss=None)),
    ("five of eight deficits", "deficits-missing", [*sample(nihss=None), *deficits(5)]),
    ("the total of the scale alone", "deficits-missing", sample(nihss={"component": []})),
    ("sex unknown", "missing-SEX", sample(demo={"gender": "unknown"})),
    ("no sex", "missing-SEX", sample(demo={"gender": None})),
    ("no birth date", "missing-AGE", sample(demo={"birthDate": None})),
    ("birth date to the year only", "missing-AGE", sample(demo={"birthDate": "1950"})),
    ("no patient", "patient-unknown", sample()[1:]),
    # out of range
    ("fifteen years old", "out-of-range-AGE", sample(demo={"birthDate": "2010-06-01"})),
    ("a hundred years old", "out-of-range-AGE", sample(demo={"birthDate": "1926-01-01"})),
    *(
        (
            f"systolic {value} mmHg",
            "out-of-range-RSBP",
            sample(
                pressure={
                    "component": [
                        {
                            "code": concept(stroke.LOINC, "8480-6"),
                            "valueQuantity": {"value": value, "system": stroke.UCUM, "code": "mm[Hg]"},
                        }
                    ]
                }
            ),
        )
        for value in (69, 296, 0, -1)
    ),
    (
        "pressure without a unit",
        "missing-RSBP",
        sample(
            pressure={
                "component": [
                    {
                        "code": concept(stroke.LOINC, "8480-6"),
                        "valueQuantity": {"value": 168},
                    }
                ]
            }
        ),
    ),
    (
        "onset 48 hours and a minute ago",
        "onset-over-48h",
        sample(stroke={"onsetDateTime": (NOW - timedelta(hours=48, minutes=1)).isoformat()}),
    ),
    ("onset in the future", "onset-in-future", sample(stroke={"onsetDateTime": "2026-03-02T15:01:00Z"})),
    # haemorrhage, or a CT that says nothing
    ("no CT", "ct-unknown", sample(ct=None)),
    ("a CT before the onset", "ct-unknown", sample(ct={"effectiveDateTime": AGO[60]})),
    ("a CT without coded conclusion", "ct-unknown", sample(ct={"conclusionCode": []})),
    (
        "a CT with a code that we do not know",
        "ct-unknown",
        sample(ct={"conclusionCode": [concept(stroke.OWN, "ct-no-haemorrhage"), concept("urn:local", "x")]}),
    ),
    ("a preliminary CT", "ct-unknown", sample(ct={"status": "preliminary"})),
    (
        "haemorrhage on CT",
        "haemorrhage",
        sample(ct={"conclusionCode": [concept(stroke.SNOMED, "274100004")]}),
    ),
    (
        "haemorrhage beside an infarct on CT",
        "haemorrhage",
        sample(
            ct={"conclusionCode": [concept(stroke.SNOMED, "432504007"), concept(stroke.SNOMED, "274100004")]}
        ),
    ),
    (
        "haemorrhage on CT in a word",
        "haemorrhage",
        sample(ct={"conclusionCode": [{"text": "Hemorrhagic transformation"}]}),
    ),
    (
        "haemorrhage on another study",
        "haemorrhage",
        [
            *sample(),
            resource(
                "DiagnosticReport",
                status="final",
                code={"text": "MR Brain"},
                effectiveDateTime=AGO[1],
                conclusionCode=[concept(ICD10, "I61.9")],
            ),
        ],
    ),
    (
        "haemorrhage among the conditions",
        "haemorrhage",
        [*sample(), resource("Condition", code=concept(ICD10, "I61.0"))],
    ),
    (
        "an unconfirmed haemorrhage",
        "haemorrhage",
        [
            *sample(),
            resource(
                "Condition",
                code=concept(stroke.SNOMED, "21454007"),
                verificationStatus=concept("x", "provisional"),
            ),
        ],
    ),
    (
        "a later CT that shows haemorrhage",
        "haemorrhage",
        [
            *sample(),
            {
                **resource(
                    "DiagnosticReport",
                    status="final",
                    code=concept(stroke.LOINC, "30799-1"),
                    effectiveDateTime=AGO[1],
                    conclusionCode=[concept(stroke.SNOMED, "1386000")],
                )
            },
        ],
    ),
    # thrombolysis
    (
        "alteplase given",
        "thrombolysis",
        [*sample(), drug("MedicationAdministration", "8410", "completed", effectiveDateTime=AGO[3])],
    ),
    (
        "tenecteplase ordered",
        "thrombolysis",
        [*sample(), drug("MedicationRequest", "259280", authoredOn=AGO[1])],
    ),
    (
        "alteplase as a product in words",
        "thrombolysis",
        [
            *sample(),
            drug(
                "MedicationAdministration",
                {"text": "Alteplase 100 MG Injection"},
                "completed",
                effectiveDateTime=AGO[3],
            ),
        ],
    ),
    (
        "thrombolysis as a procedure",
        "thrombolysis",
        [
            *sample(),
            resource(
                "Procedure",
                status="completed",
                code=concept(stroke.SNOMED, "472191000119101"),
                performedDateTime=AGO[3],
            ),
        ],
    ),
    (
        "thrombectomy in words, without a time",
        "thrombolysis",
        [*sample(), resource("Procedure", status="in-progress", code={"text": "Mechanical thrombectomy"})],
    ),
    # anticoagulation
    *(
        (
            f"{name} on order",
            "anticoagulation",
            [*sample(), drug("MedicationRequest", code, authoredOn=AGO[400])],
        )
        for name, code in (
            ("warfarin", "11289"),
            ("apixaban", "1364430"),
            ("dabigatran", "1037042"),
            ("rivaroxaban", "1114195"),
            ("edoxaban", "1599538"),
        )
    ),
    (
        "warfarin as a product in words",
        "anticoagulation",
        [
            *sample(),
            drug(
                "MedicationRequest",
                {"coding": [{"system": RXNORM, "code": "855332", "display": "warfarin sodium 5 MG"}]},
            ),
        ],
    ),
    (
        "enoxaparin given yesterday",
        "anticoagulation",
        [*sample(), drug("MedicationAdministration", "67108", "completed", effectiveDateTime=AGO[20])],
    ),
    ("a statement of heparin", "anticoagulation", [*sample(), drug("MedicationStatement", "5224")]),
    (
        "an anticoagulant on hold",
        "anticoagulation",
        [*sample(), drug("MedicationRequest", "11289", "on-hold")],
    ),
    (
        "an anticoagulant in a referenced Medication",
        "anticoagulation",
        [
            *sample(),
            {
                **resource("MedicationRequest", status="active"),
                "medicationReference": {"reference": "#m"},
                "contained": [{"resourceType": "Medication", "id": "m", "code": concept(RXNORM, "11289")}],
            },
        ],
    ),
    (
        "a drug that cannot be read",
        "medication-unreadable",
        [
            *sample(),
            {
                **resource("MedicationRequest", status="active"),
                "medicationReference": {"reference": "Medication/9"},
            },
        ],
    ),
    # allergy
    *(
        (
            f"allergy {code}",
            "aspirin-allergy",
            [
                *sample(),
                {"resourceType": "AllergyIntolerance", "id": "more", "patient": SUBJECT, "code": named},
            ],
        )
        for code, named in (
            ("to aspirin, RxNorm", concept(RXNORM, "1191")),
            ("to aspirin, SNOMED finding", concept(stroke.SNOMED, "293586001")),
            ("to NSAIDs", concept(stroke.SNOMED, "372665008")),
            ("in words", {"text": "Aspirin 81 MG"}),
        )
    ),
    (
        "an unconfirmed allergy",
        "aspirin-allergy",
        [
            *sample(),
            {
                "resourceType": "AllergyIntolerance",
                "id": "more",
                "patient": SUBJECT,
                "code": concept(RXNORM, "1191"),
                "verificationStatus": concept("x", "unconfirmed"),
            },
        ],
    ),
    (
        "an allergy in a reaction",
        "aspirin-allergy",
        [
            *sample(),
            {
                "resourceType": "AllergyIntolerance",
                "id": "more",
                "patient": SUBJECT,
                "code": {"text": "drug"},
                "reaction": [{"substance": concept(stroke.SNOMED, "387458008")}],
            },
        ],
    ),
    # other contraindications
    *(
        (f"{name} among the conditions", "contraindication", [*sample(), resource("Condition", code=code)])
        for name, code in (
            ("a gastric ulcer", concept(ICD10, "K25.4")),
            ("a gastrointestinal bleeding", concept(stroke.SNOMED, "74474003")),
            ("haemophilia in words", {"text": "Haemophilia A"}),
        )
    ),
    ("a patient who died", "deceased", sample(demo={"deceasedDateTime": AGO[1]})),
    # not this service's patient
    ("no stroke", "no-acute-stroke", sample(stroke=None)),
    ("a stroke that is over", "no-acute-stroke", sample(stroke={"clinicalStatus": concept("x", "resolved")})),
    ("a refuted stroke", "no-acute-stroke", sample(stroke={"verificationStatus": concept("x", "refuted")})),
    (
        "an unconfirmed stroke",
        "no-acute-stroke",
        sample(stroke={"verificationStatus": concept("x", "provisional")}),
    ),
    ("a real patient and a demonstration model", "not-test-data", sample(demo={"meta": {}})),
]


@pytest.mark.parametrize(
    ("reason", "resources"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_refused(reason: str, resources: list[Resource]) -> None:
    decision = decide(resources)
    assert decision.cards == ()
    assert reason in decision.reasons


def test_the_sample_patient_gets_one_card_with_a_draft() -> None:
    decision = decide(sample())
    assert decision.reasons == ("suggested",)
    (card,) = decision.cards
    shown = card.as_json()
    assert len(shown["summary"]) < SUMMARY_LIMIT
    assert shown["indicator"] == "info"
    assert shown["selectionBehavior"] == "at-most-one"
    (suggestion,) = shown["suggestions"]
    assert "isRecommended" not in suggestion
    (action,) = suggestion["actions"]
    order = action["resource"]
    assert (action["type"], order["status"], order["intent"]) == ("create", "draft", "proposal")
    assert order["medicationCodeableConcept"]["coding"][0]["code"] == "1191"
    assert order["dosageInstruction"][0]["doseAndRate"][0]["doseQuantity"]["value"] == 300
    assert order["subject"] == SUBJECT
    assert order["encounter"] == {"reference": f"Encounter/{stroke.ENCOUNTER_ID}"}
    assert shown["extension"]["io.xinglin.model"]["identity"].startswith("stroke-early-aspirin@1#")
    assert all(reason["display"] for reason in shown["overrideReasons"])


NINE = {
    "inputs with time and reference": r"\| systolic pressure \| 168 mmHg \| 2026-\S+ \| Observation/\S+",
    "top contributions": r"What moved it most",
    "baseline risk": r"Baseline risk .* \| [\d.]+ \|",
    "absolute benefit with interval": r"Fewer with aspirin.* \| \*\*[\d.]+\*\* \(95 % CI [\d.]+ to [\d.]+\)",
    "harm with interval": r"extracranial bleeding \| \+5\.3 \(95 % CI 2\.8 to 7\.9\)",
    "odds ratio": r"odds ratio 0\.93, 95 % CI 0\.87 to 0\.994",
    "trial, dates, citation": r"International Stroke Trial, .*1991–1996.*Lancet 1997;349:1569",
    "average, not individual": r"average effect, not an individual one",
    "vintage": r"Before thrombolysis",
    "demonstration": r"Demonstration model",
    "attribution": r"ODC Attribution License",
}


@pytest.mark.parametrize("element", NINE)
def test_the_detail_says(element: str) -> None:
    detail = decide(sample()).cards[0].detail
    assert re.search(NINE[element], detail), element
    assert "1952" not in detail, "the birth date is not shown"


def test_every_input_is_on_the_card() -> None:
    detail = decide(sample()).cards[0].detail
    for feature in features.FEATURES:
        assert f"| {feature.label} |" in detail


@pytest.mark.parametrize(("risk", "benefit"), [(0.27, 14), (0.47, 18), (0.65, 17), (0.81, 11), (0.94, 4)])
def test_benefit_by_hand(risk: float, benefit: int) -> None:
    effect = Effect.at(risk, {"odds_ratio": 0.93, "ci": [0.87, 0.994]})
    odds = risk / (1 - risk) * 0.93
    assert effect.benefit == pytest.approx(1000 * (risk - odds / (1 + odds)))
    assert round(effect.benefit) == benefit
    assert effect.ci[0] < effect.benefit < effect.ci[1]


def test_the_numbers_on_the_card_follow_from_the_recorded_risk() -> None:
    decision = decide(sample())
    risk = decision.output["risk"]
    odds = 0.93 * risk / (1 - risk)
    fewer = f"{1000 * (risk - odds / (1 + odds)):.0f}"
    assert f"on average {fewer} fewer" in decision.cards[0].summary
    assert f"| {1000 * risk:.1f} |" in decision.cards[0].detail


def test_assumed_inputs_are_named() -> None:
    decision = decide(sample(waking=None))
    assert decision.output["assumed"] == ["RSLEEP"]
    assert "| noted on waking | not known, taken as: no |" in decision.cards[0].detail


def test_at_exactly_48_hours_there_is_a_card() -> None:
    assert decide(stroke.resources(NOW, onset_hours=48.0)).cards


@pytest.mark.parametrize(
    "ordered",
    [
        drug("MedicationRequest", "1191", authoredOn=AGO[1]),
        drug("MedicationRequest", "1191", "draft"),
        drug("MedicationAdministration", "1191", "completed", effectiveDateTime=AGO[1]),
    ],
)
def test_no_order_is_suggested_when_aspirin_is_ordered_or_given(ordered: Resource) -> None:
    decision = decide([*sample(), ordered])
    assert decision.reasons == ("shown",)
    assert decision.cards[0].suggestions == ()
    assert "ordered or was given already (" in decision.cards[0].detail


@pytest.mark.parametrize(
    "harmless",
    [
        drug("MedicationAdministration", "8410", "completed", effectiveDateTime=AGO[400]),
        drug("MedicationAdministration", "8410", "not-done", effectiveDateTime=AGO[3]),
        drug("MedicationRequest", "11289", "stopped"),
        drug("MedicationStatement", "11289", "completed", effectiveDateTime=AGO[400]),
        resource("Condition", code=concept(ICD10, "I61.0"), verificationStatus=concept("x", "refuted")),
        resource("Condition", code=concept(ICD10, "I61.0"), clinicalStatus=concept("x", "resolved")),
        {"resourceType": "AllergyIntolerance", "id": "m", "patient": SUBJECT, "code": {"text": "Penicillin"}},
        {
            "resourceType": "AllergyIntolerance",
            "id": "m",
            "patient": SUBJECT,
            "code": concept(RXNORM, "1191"),
            "verificationStatus": concept("x", "refuted"),
        },
        {
            "resourceType": "AllergyIntolerance",
            "id": "m",
            "patient": SUBJECT,
            "code": concept(RXNORM, "1191"),
            "verificationStatus": concept("x", "entered-in-error"),
        },
    ],
)
def test_what_does_not_refuse(harmless: Resource) -> None:
    assert decide([*sample(), harmless]).cards


def test_without_a_model_there_is_no_card_and_the_record_says_why() -> None:
    from uuid import UUID

    from cds_hooks.facts.chart import Chart
    from cds_hooks.service import Facts

    facts = Facts(UUID(int=1), "encounter-start", {}, Chart.of(stroke.PATIENT_ID, NOW, sample()))
    decision = service(None, None).decide(facts)
    assert (decision.cards, decision.reasons) == ((), ("model-unavailable",))


def test_a_demonstration_installation_answers_for_untagged_patients() -> None:
    from uuid import UUID

    from cds_hooks.facts.chart import Chart
    from cds_hooks.service import Facts

    release = catalogue.find([catalogue.SHIPPED], "stroke-early-aspirin")
    demo = service(release, catalogue.load(release), demonstration=True)
    chart = Chart.of(stroke.PATIENT_ID, NOW, sample(demo={"meta": {}}))
    assert demo.decide(Facts(UUID(int=1), "encounter-start", {}, chart)).cards


def test_the_same_call_decides_the_same_card() -> None:
    assert decide(sample()).cards[0].as_json() == decide(sample()).cards[0].as_json()


def test_the_heavier_the_stroke_the_higher_the_risk() -> None:
    heavy = [{**part, "valueInteger": 3} for part in sample()[4]["component"]]
    mild, severe = decide(sample()).output["risk"], decide(sample(nihss={"component": heavy})).output["risk"]
    assert severe > mild
