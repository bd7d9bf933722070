"""stroke-early-aspirin: the card and its arithmetic, and every refusal."""

from __future__ import annotations

from datetime import timedelta

import pytest

from conformance.samples import stroke
from tests.support.cds import NOW, decide
from tests.support.stroke_chart import (
    AGO,
    ICD10,
    RXNORM,
    SUBJECT,
    Resource,
    concept,
    deficits,
    drug,
    resource,
    sample,
)

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
        "a warfarin tablet by its code alone",
        "anticoagulation",
        [*sample(), drug("MedicationRequest", "855332", authoredOn=AGO[400])],
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
    (
        "alteplase in another hospital, ICD-10-CM",
        "thrombolysis",
        [*sample(), resource("Condition", code=concept(ICD10, "Z92.82"))],
    ),
    (
        "a stroke by venous thrombosis",
        "venous-thrombosis",
        [*sample(), resource("Condition", code=concept(ICD10, "I63.6"))],
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
    (
        "an allergy of a code that nobody knows",
        "allergy-unreadable",
        [
            *sample(),
            {
                "resourceType": "AllergyIntolerance",
                "id": "more",
                "patient": SUBJECT,
                "code": concept("urn:local", "4711"),
            },
        ],
    ),
    (
        "an allergy without a code",
        "allergy-unreadable",
        [*sample(), {"resourceType": "AllergyIntolerance", "id": "more", "patient": SUBJECT}],
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
            "code": concept("http://snomed.info/sct", "716186003"),
        },
        {
            "resourceType": "AllergyIntolerance",
            "id": "m",
            "patient": SUBJECT,
            "category": ["food"],
            "code": concept("urn:local", "4711"),
        },
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
