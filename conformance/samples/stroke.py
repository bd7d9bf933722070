"""A synthetic patient with an acute ischaemic stroke, and calls of the decision service about her.

Nobody in here ever lived. The patient is tagged as test data, so a model in state demonstration
answers for her: a woman of 74, seven hours after the onset of a left-hemisphere stroke.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

Resource = dict[str, Any]

PATIENT_ID = "stroke-demo"
ENCOUNTER_ID = "stroke-demo-encounter"
SERVICE_ID = "stroke-early-aspirin"
TEST_TAG = {"system": "urn:xinglin:tag", "code": "test-data", "display": "Test data"}

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
OWN = "urn:xinglin:stroke"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
UCUM = "http://unitsofmeasure.org"

# item of the NIH Stroke Scale: LOINC code, display, score (total 9)
SCALE = (
    ("70184-7", "Level of consciousness [NIH Stroke Scale]", 0),
    ("70185-4", "LOC questions [NIH Stroke Scale]", 1),
    ("70186-2", "LOC commands [NIH Stroke Scale]", 0),
    ("70187-0", "Best gaze [NIH Stroke Scale]", 0),
    ("70188-8", "Visual [NIH Stroke Scale]", 0),
    ("70189-6", "Facial palsy [NIH Stroke Scale]", 1),
    ("70190-4", "Motor arm, left arm [NIH Stroke Scale]", 0),
    ("70967-5", "Motor arm, right arm [NIH Stroke Scale]", 3),
    ("70191-2", "Motor leg, left leg [NIH Stroke Scale]", 0),
    ("70968-3", "Motor leg, right leg [NIH Stroke Scale]", 1),
    ("70192-0", "Limb ataxia [NIH Stroke Scale]", 0),
    ("70193-8", "Sensory [NIH Stroke Scale]", 1),
    ("70194-6", "Best language [NIH Stroke Scale]", 1),
    ("70195-3", "Dysarthria [NIH Stroke Scale]", 1),
    ("70196-1", "Extinction and inattention [NIH Stroke Scale]", 0),
)


def resources(now: datetime, *, patient_id: str = PATIENT_ID, onset_hours: float = 7.0) -> list[Resource]:
    """Return the resources of the stroke at `now` (aware): onset `onset_hours` ago, all data since then."""
    onset = now - timedelta(hours=onset_hours)
    arrival = now - min((now - onset) * 0.6, timedelta(hours=4))
    scanned = now - min((now - onset) * 0.4, timedelta(hours=3))
    subject = {"reference": f"Patient/{patient_id}"}
    encounter_id = ENCOUNTER_ID if patient_id == PATIENT_ID else f"{patient_id}-encounter"
    encounter = {"reference": f"Encounter/{encounter_id}"}
    seen = {"subject": subject, "encounter": encounter, "effectiveDateTime": _text(arrival)}
    patient = {
        "resourceType": "Patient",
        "id": patient_id,
        "identifier": [{"system": "urn:xinglin:demo:mrn", "value": f"MRN-{patient_id}"}],
        "name": [{"use": "official", "family": "Beispiel", "given": ["Martha"]}],
        "gender": "female",
        "birthDate": now.date().replace(year=now.year - 74, month=1, day=15).isoformat(),
    }
    return [
        _tagged(resource)
        for resource in (
            patient,
            {
                "resourceType": "Encounter",
                "id": encounter_id,
                "status": "in-progress",
                "class": {"system": f"{TERMINOLOGY}v3-ActCode", "code": "EMER", "display": "emergency"},
                "type": [_concept(SNOMED, "50849002", "Emergency room admission")],
                "subject": subject,
                "period": {"start": _text(arrival)},
            },
            _condition(
                f"{patient_id}-stroke", "422504002", "Ischemic stroke", subject, encounter, _text(onset)
            ),
            _condition(f"{patient_id}-hypertension", "38341003", "Hypertensive disorder", subject, encounter),
            _observation(
                f"{patient_id}-nihss",
                _concept(LOINC, "72089-6", "Total score [NIH Stroke Scale]"),
                "survey",
                **seen,
                valueInteger=sum(score for _code, _display, score in SCALE),
                component=[
                    {"code": _concept(LOINC, code, display), "valueInteger": score}
                    for code, display, score in SCALE
                ],
            ),
            _observation(
                f"{patient_id}-consciousness",
                _concept(LOINC, "67775-7", "Level of responsiveness"),
                "exam",
                **seen,
                valueCodeableConcept=_concept(SNOMED, "248234008", "Mentally alert"),
            ),
            _observation(
                f"{patient_id}-waking",
                _concept(OWN, "noted-on-waking", "Stroke noted on waking"),
                "survey",
                **seen,
                valueBoolean=False,
            ),
            _observation(
                f"{patient_id}-pressure",
                _concept(LOINC, "85354-9", "Blood pressure panel with all children optional"),
                "vital-signs",
                **seen,
                component=[
                    {
                        "code": _concept(LOINC, code, display),
                        "valueQuantity": {"value": value, "unit": "mmHg", "system": UCUM, "code": "mm[Hg]"},
                    }
                    for code, display, value in (
                        ("8480-6", "Systolic blood pressure", 168),
                        ("8462-4", "Diastolic blood pressure", 92),
                    )
                ],
            ),
            {
                "resourceType": "DiagnosticReport",
                "id": f"{patient_id}-ct",
                "status": "final",
                "category": [_concept(f"{TERMINOLOGY}v2-0074", "RAD", "Radiology")],
                "code": _concept(LOINC, "30799-1", "CT Head WO contrast"),
                "subject": subject,
                "encounter": encounter,
                "effectiveDateTime": _text(scanned),
                "issued": _text(scanned + timedelta(minutes=20)),
                "conclusion": "No haemorrhage. No visible infarct.",
                "conclusionCode": [_concept(OWN, "ct-no-haemorrhage", "No intracranial haemorrhage")],
            },
            {
                "resourceType": "MedicationRequest",
                "id": f"{patient_id}-ramipril",
                "status": "active",
                "intent": "order",
                "medicationCodeableConcept": _concept(
                    "http://www.nlm.nih.gov/research/umls/rxnorm", "35296", "ramipril"
                ),
                "subject": subject,
                "authoredOn": _text(now - timedelta(days=400)),
                "dosageInstruction": [{"text": "5 mg once daily"}],
            },
            {
                "resourceType": "AllergyIntolerance",
                "id": f"{patient_id}-no-allergy",
                "clinicalStatus": _concept(f"{TERMINOLOGY}allergyintolerance-clinical", "active", "Active"),
                "verificationStatus": _concept(
                    f"{TERMINOLOGY}allergyintolerance-verification", "confirmed", "Confirmed"
                ),
                "code": _concept(SNOMED, "716186003", "No known allergy"),
                "patient": subject,
            },
        )
    ]


def transaction(now: datetime, *, patient_id: str = PATIENT_ID, onset_hours: float = 7.0) -> Resource:
    """Return the same as a transaction Bundle of updates, so that a second run changes times only."""
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": f"urn:uuid:{uuid5(NAMESPACE_URL, address)}",
                "resource": resource,
                "request": {"method": "PUT", "url": address},
            }
            for resource in resources(now, patient_id=patient_id, onset_hours=onset_hours)
            for address in (f"{resource['resourceType']}/{resource['id']}",)
        ],
    }


def call(
    hook_instance: str,
    *,
    patient_id: str = PATIENT_ID,
    fhir_server: str | None = None,
    hook: str = "encounter-start",
    user: str = "Practitioner/demo",
) -> Resource:
    """Return the body of a call about the patient; with `fhir_server` the service fetches what it needs."""
    encounter_id = ENCOUNTER_ID if patient_id == PATIENT_ID else f"{patient_id}-encounter"
    context: Resource = {"userId": user, "patientId": patient_id, "encounterId": encounter_id}
    if hook == "order-select":
        draft = {
            "resourceType": "ServiceRequest",
            "id": "draft-1",
            "status": "draft",
            "intent": "order",
            "code": _concept(SNOMED, "306206005", "Referral to service"),
            "subject": {"reference": f"Patient/{patient_id}"},
        }
        context |= {
            "selections": ["ServiceRequest/draft-1"],
            "draftOrders": {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": draft}]},
        }
    body: Resource = {"hook": hook, "hookInstance": hook_instance, "context": context}
    return body | {"fhirServer": fhir_server} if fhir_server else body


def prefetch(templates: dict[str, str], given: list[Resource]) -> Resource:
    """Return what a client sends for the prefetch templates of a discovery entry, from these resources.

    Only the type of each template is looked at: its code lists are left to the service.
    """
    answer: Resource = {}
    for key, template in templates.items():
        type_name = template.partition("?")[0].partition("/")[0]
        found = [resource for resource in given if resource["resourceType"] == type_name]
        if "?" not in template:
            answer[key] = found[0] if found else None
        else:
            entries = [{"resource": resource, "search": {"mode": "match"}} for resource in found]
            answer[key] = {
                "resourceType": "Bundle",
                "type": "searchset",
                "total": len(found),
                "entry": entries,
            }
            if not entries:
                del answer[key]["entry"]
    return answer


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _concept(system: str, code: str, display: str) -> Resource:
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def _tagged(resource: Resource) -> Resource:
    return {
        "resourceType": resource["resourceType"],
        "id": resource["id"],
        "meta": {"tag": [TEST_TAG]},
        **resource,
    }


def _condition(
    identifier: str, code: str, display: str, subject: Resource, encounter: Resource, onset: str | None = None
) -> Resource:
    resource = {
        "resourceType": "Condition",
        "id": identifier,
        "clinicalStatus": _concept(f"{TERMINOLOGY}condition-clinical", "active", "Active"),
        "verificationStatus": _concept(f"{TERMINOLOGY}condition-ver-status", "confirmed", "Confirmed"),
        "category": [
            _concept(f"{TERMINOLOGY}condition-category", "encounter-diagnosis", "Encounter Diagnosis")
        ],
        "code": _concept(SNOMED, code, display),
        "subject": subject,
        "encounter": encounter,
    }
    return resource | {"onsetDateTime": onset} if onset else resource


def _observation(identifier: str, code: Resource, category: str, **more: Any) -> Resource:
    shown = {"survey": "Survey", "exam": "Exam", "vital-signs": "Vital Signs"}[category]
    return {
        "resourceType": "Observation",
        "id": identifier,
        "status": "final",
        "category": [_concept(f"{TERMINOLOGY}observation-category", category, shown)],
        "code": code,
        **more,
    }
