"""One patient's record, encounter by encounter: what is seen, measured, concluded, ordered and written down.

The chronic diseases are drawn once and then shape everything: which laboratory panels are taken and how far their
values are off, what is prescribed, planned and billed as the reason of a visit.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any

from conformance.samples import vocabulary as V
from conformance.samples.people import Hospital, Person, Resource, identity, person, pick
from conformance.samples.vocabulary import LOINC, SNOMED, TERMINOLOGY, US_CORE, Disease, Measure, concept

LAST = datetime(2025, 6, 30, 17, 0, tzinfo=timezone(timedelta(hours=-5)))  # nothing happens after this moment


def _category(system: str, code: str, display: str) -> list[dict[str, Any]]:
    return [{"coding": [{"system": TERMINOLOGY + system, "code": code, "display": display}]}]


CATEGORIES = {
    code: _category("observation-category", code, display)
    for code, display in (("vital-signs", "Vital Signs"), ("laboratory", "Laboratory"),
                          ("social-history", "Social History"), ("survey", "Survey"))
}  # fmt: skip
PROFILES = {
    "8867-4": "us-core-heart-rate", "9279-1": "us-core-respiratory-rate", "8310-5": "us-core-body-temperature",
    "2708-6": "us-core-pulse-oximetry", "29463-7": "us-core-body-weight", "8302-2": "us-core-body-height",
    "39156-5": "us-core-bmi", "44261-6": "us-core-observation-survey",
}  # fmt: skip
OXIMETRY = {
    "system": LOINC,
    "code": "59408-5",
    "display": "Oxygen saturation in Arterial blood by Pulse oximetry",
}
FLAGS = {
    "H": {
        "coding": [{"system": TERMINOLOGY + "v3-ObservationInterpretation", "code": "H", "display": "High"}]
    },
    "L": {
        "coding": [{"system": TERMINOLOGY + "v3-ObservationInterpretation", "code": "L", "display": "Low"}]
    },
    "N": {
        "coding": [{"system": TERMINOLOGY + "v3-ObservationInterpretation", "code": "N", "display": "Normal"}]
    },
}


class Record:
    """Writes one patient's resources; `encounters()` gives them in order of time, a list an encounter."""

    def __init__(self, seed: int, number: int, house: Hospital) -> None:
        self.rng = rng = Random(f"{seed}-{number}")
        self.house = house
        self.person: Person = person(rng, number, house, LAST.year)
        self.subject = {"reference": f"Patient/{self.person.patient['id']}", "display": self.person.display}
        age = LAST.year - self.person.born
        self.diseases = [d for d in V.DISEASES if age > d.onset and rng.random() < d.share]
        # a few patients are in hospital all the time
        self.visits = min(400, int(5 + 4 * len(self.diseases) + rng.lognormvariate(1.6, 1.0)))
        self.height = (176 if self.person.sex == "male" else 163) * min(1.0, 0.45 + age / 30) + rng.gauss(
            0, 6
        )
        self.bmi = rng.gauss(25.5, 3.2) * next((1.3 for d in self.diseases if d.snomed == "414916001"), 1.0)
        self.shift: dict[str, float] = {}
        for disease in self.diseases:
            self.shift.update(disease.shifts)
        self.own = {code: rng.gauss(0, 0.7) for code in ("8480-6", "8867-4", "4548-4", "2160-0", "18262-6")}
        self.raised = 22 if any(d.snomed == "59621000" for d in self.diseases) else 0
        self.smoker = rng.choices(V.SMOKERS, (0.58, 0.28, 0.14))[0]
        self.doctor = rng.choice(house.practitioners)

    # -- the course of time ------------------------------------------------------------------------------------

    def encounters(self) -> Iterator[list[Resource]]:
        """Batches of resources that belong together; the first holds the Patient."""
        rng = self.rng
        age = LAST.year - self.person.born
        span = min(age, 4 + len(self.diseases) * 2) * 365.0
        # more visits the nearer to now
        moments = sorted(LAST - timedelta(days=span * rng.random() ** 1.6, minutes=rng.randint(0, 540))
                         for _ in range(self.visits))  # fmt: skip
        if age > 80 and rng.random() < 0.2:
            self.person.patient["deceasedDateTime"] = _date(moments[-1] + timedelta(days=3))
        first = [self.person.patient, *self._allergies(moments[0])]
        pending = list(self.diseases)
        for at in moments:
            batch, first = first, []
            due = [pending.pop()] if pending and rng.random() < 0.75 else []
            batch.extend(self._visit(at, due))
            yield batch

    def _visit(self, at: datetime, due: list[Disease]) -> list[Resource]:
        rng, house = self.rng, self.house
        kind, code, display, _, hours = pick(rng, V.VISITS, 3)
        at = at.replace(minute=rng.choice((0, 15, 30, 45)), second=rng.randint(0, 59), microsecond=0)
        end = at + timedelta(hours=hours * rng.uniform(0.6, 1.8))
        place = int(len(house.locations) * rng.random() ** 2)
        doctor = self.doctor if rng.random() < 0.6 else rng.choice(house.practitioners)
        actor = {"reference": f"Practitioner/{doctor[0]}", "display": doctor[1]}
        organization, name = house.organizations[place]
        encounter: Resource = {
            "resourceType": "Encounter", "id": identity(rng), "meta": _profile("us-core-encounter"),
            "identifier": [{"use": "official", "system": "urn:xinglin:visit", "value": f"V{rng.getrandbits(40):012X}"}],
            "status": "finished",
            "class": {"system": TERMINOLOGY + "v3-ActCode", "code": kind,
                      "display": {"AMB": "ambulatory", "EMER": "emergency", "IMP": "inpatient encounter"}[kind]},
            "type": [concept(SNOMED, code, display)],
            "subject": self.subject,
            "participant": [{"type": [{"coding": [{"system": TERMINOLOGY + "v3-ParticipationType", "code": "PPRF",
                                                   "display": "primary performer"}]}], "individual": actor}],
            "period": {"start": _moment(at), "end": _moment(end)},
            "location": [{"location": {"reference": f"Location/{house.locations[place][0]}",
                                       "display": house.locations[place][1]}}],
            "serviceProvider": {"reference": f"Organization/{organization}", "display": name},
        }  # fmt: skip
        self.at, self.actor = at, actor
        self.encounter = {"reference": f"Encounter/{encounter['id']}"}
        made = [encounter]
        fever = 0.0
        if not due and rng.random() < 0.22:
            made.extend(self._episode(encounter))
            fever = self.fever
        for disease in due:
            made.extend(self._onset(disease))
        if self.diseases:
            known = rng.choice(self.diseases)
            encounter.setdefault("reasonCode", [concept(SNOMED, known.snomed, known.display)])
            if rng.random() < 0.35 and known.drugs:
                made.append(
                    self._prescription(rng.choice(known.drugs), concept(SNOMED, known.snomed, known.display))
                )
        made.extend(self._vitals(fever))
        made.extend(self._laboratory(kind == "IMP"))
        for procedure, text, share in V.PROCEDURES:
            if rng.random() < share * (0.5 if kind == "AMB" else 1.5):
                made.append(self._procedure(procedure, text))
        for cvx, text, every, age in V.VACCINES:
            if at.year - self.person.born >= age and rng.random() < 0.22 / every:
                made.append(self._immunization(cvx, text))
        if rng.random() < 0.55:
            made.append(self._note(kind))
        return made

    # -- observations ------------------------------------------------------------------------------------------

    def _vitals(self, fever: float) -> list[Resource]:
        rng, vital = self.rng, V.VITALS
        bmi = self.bmi + rng.gauss(0, 0.6)
        made = [self._pressure()]
        for name in ("pulse", "breaths", "temperature", "saturation"):
            measure = vital[name]
            value = rng.gauss(measure.mean, measure.spread) * self.shift.get(measure.code, 1.0)
            if name == "temperature":
                value += fever
            made.append(
                self._measured(measure, min(value, 100) if name == "saturation" else value, "vital-signs")
            )
        made.append(self._measured(vital["weight"], bmi * (self.height / 100) ** 2, "vital-signs"))
        if rng.random() < 0.4:
            made.append(self._measured(vital["height"], self.height, "vital-signs"))
            made.append(self._measured(vital["bmi"], bmi, "vital-signs"))
        if rng.random() < 0.2:
            made.append(self._observation(*V.SMOKING, "social-history", "us-core-smokingstatus",
                                          {"valueCodeableConcept": concept(SNOMED, *self.smoker)}))  # fmt: skip
        return made

    def _observation(
        self, code: str, display: str, category: str, profile: str, value: dict[str, Any]
    ) -> Resource:
        at = self.at + timedelta(minutes=self.rng.randint(1, 25))
        made: Resource = {
            "resourceType": "Observation", "id": identity(self.rng), "meta": _profile(profile), "status": "final",
            "category": CATEGORIES[category],
            "code": {"coding": [{"system": LOINC, "code": code, "display": display}]},
            "subject": self.subject, "encounter": self.encounter,
            "effectiveDateTime": _moment(at), "issued": _moment(at + timedelta(minutes=40))[:-6] + ".000-05:00",
            "performer": [self.actor],
        }  # fmt: skip
        made.update(value)
        return made

    def _measured(self, measure: Measure, value: float, category: str) -> Resource:
        number = _round(value, measure.digits)
        content: dict[str, Any] = {"valueQuantity": _quantity(measure, number)}
        if measure.low is not None or measure.high is not None:
            low, high = measure.low, measure.high
            flag = (
                "L"
                if low is not None and number < low
                else "H"
                if high is not None and number > high
                else "N"
            )
            content["interpretation"] = [FLAGS[flag]]
            bounds = {name: _quantity(measure, bound) for name, bound in (("low", low), ("high", high))
                      if bound is not None}  # fmt: skip
            content["referenceRange"] = [bounds]
        profile = PROFILES.get(measure.code, "us-core-observation-lab")
        made = self._observation(measure.code, measure.display, category, profile, content)
        if measure.code == "2708-6":
            made["code"]["coding"].append(OXIMETRY)
        return made

    def _pressure(self) -> Resource:
        rng = self.rng
        systolic = round(rng.gauss(120 + self.raised + 4 * self.own["8480-6"], 9))
        diastolic = round(min(systolic - 18, rng.gauss(76 + self.raised / 2, 7)))
        parts = []
        for (code, display), value in ((V.SYSTOLIC, systolic), (V.DIASTOLIC, diastolic)):
            parts.append({
                "code": {"coding": [{"system": LOINC, "code": code, "display": display}], "text": display},
                "valueQuantity": {"value": value, "unit": "mmHg", "system": V.UCUM, "code": "mm[Hg]"},
            })  # fmt: skip
        return self._observation(*V.PRESSURE, "vital-signs", "us-core-blood-pressure", {"component": parts})

    def _laboratory(self, inpatient: bool) -> list[Resource]:
        """The panels that the diseases call for, and sometimes a general look; a report a panel."""
        rng = self.rng
        wanted: dict[str, None] = {}
        for disease in self.diseases:
            if disease.labs and rng.random() < 0.35:
                wanted.update(dict.fromkeys(disease.labs))
        if inpatient or rng.random() < 0.3:
            wanted["metabolic"] = wanted["count"] = None
        if rng.random() < (0.5 if inpatient else 0.08):
            wanted["liver"] = None
        if rng.random() < 0.06:
            wanted[rng.choice(("crp", "tsh", "vitamin-d", "lipids", "ferritin"))] = None
        made: list[Resource] = []
        for _ in range(rng.randint(2, 5) if inpatient else 1):
            for name in wanted:
                if name == "mood":
                    made.append(self._measured(V.MOOD, max(0, self._level(V.MOOD)), "survey"))
                elif name in V.PANELS:
                    code, display, measures = V.PANELS[name]
                    results = [self._measured(m, self._level(m), "laboratory") for m in measures]
                    made.extend(results)
                    made.append(self._report(code, display, results))
                else:
                    made.append(self._measured(V.SINGLES[name], self._level(V.SINGLES[name]), "laboratory"))
            self.at += timedelta(hours=18)
        return made

    def _level(self, measure: Measure) -> float:
        own = self.own.get(measure.code, 0.0)
        mean = measure.mean * self.shift.get(measure.code, 1.0) + own * measure.spread
        return max(measure.mean * 0.08, self.rng.gauss(mean, measure.spread * 0.7))

    def _report(self, code: str, display: str, results: list[Resource]) -> Resource:
        at = results[-1]["effectiveDateTime"]
        laboratory = self.house.organizations[3]
        return {
            "resourceType": "DiagnosticReport", "id": identity(self.rng),
            "meta": _profile("us-core-diagnosticreport-lab"), "status": "final",
            "category": _category("v2-0074", "LAB", "Laboratory"),
            "code": concept(LOINC, code, display), "subject": self.subject, "encounter": self.encounter,
            "effectiveDateTime": at, "issued": at[:-6] + ".000-05:00",
            "performer": [{"reference": f"Organization/{laboratory[0]}", "display": laboratory[1]}],
            "result": [{"reference": f"Observation/{r['id']}", "display": r["code"]["coding"][0]["display"]}
                       for r in results],
        }  # fmt: skip

    # -- conditions and what follows from them -----------------------------------------------------------------

    def _condition(self, code: str, display: str, icd: str, status: str, problem: bool) -> Resource:
        profile, kind, text = (
            ("us-core-condition-problems-health-concerns", "problem-list-item", "Problem List Item") if problem
            else ("us-core-condition-encounter-diagnosis", "encounter-diagnosis", "Encounter Diagnosis")
        )  # fmt: skip
        words = {"active": "Active", "resolved": "Resolved"}[status]
        made: Resource = {
            "resourceType": "Condition", "id": identity(self.rng), "meta": _profile(profile),
            "clinicalStatus": {"coding": [{"system": TERMINOLOGY + "condition-clinical", "code": status,
                                           "display": words}]},
            "verificationStatus": {"coding": [{"system": TERMINOLOGY + "condition-ver-status", "code": "confirmed",
                                               "display": "Confirmed"}]},
            "category": _category("condition-category", kind, text),
            "code": concept(SNOMED, code, display, (V.ICD10, icd, display)),
            "subject": self.subject, "encounter": self.encounter,
            "onsetDateTime": _moment(self.at), "recordedDate": _moment(self.at), "recorder": self.actor,
        }  # fmt: skip
        if status == "resolved":
            made["abatementDateTime"] = _date(self.at + timedelta(days=self.rng.randint(3, 40)))
        return made

    def _episode(self, encounter: Resource) -> list[Resource]:
        rng = self.rng
        code, display, icd, drug, self.fever = V.EPISODES[int(len(V.EPISODES) * rng.random() ** 1.8)]
        condition = self._condition(code, display, icd, "resolved", problem=False)
        encounter["reasonCode"] = [concept(SNOMED, code, display)]
        encounter["diagnosis"] = [
            {"condition": {"reference": f"Condition/{condition['id']}", "display": display}}
        ]
        made = [condition]
        if drug and rng.random() < 0.7:
            made.append(self._prescription(drug, concept(SNOMED, code, display), "completed"))
        return made

    def _onset(self, disease: Disease) -> list[Resource]:
        condition = self._condition(disease.snomed, disease.display, disease.icd, "active", problem=True)
        reason = concept(SNOMED, disease.snomed, disease.display)
        made = [condition, *(self._prescription(drug, reason) for drug in disease.drugs)]
        if disease.plan:
            made.append({
                "resourceType": "CarePlan", "id": identity(self.rng), "meta": _profile("us-core-careplan"),
                "text": {"status": "generated",
                         "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{disease.plan}</div>'},
                "status": "active", "intent": "order",
                "category": [{"coding": [{"system": "http://hl7.org/fhir/us/core/CodeSystem/careplan-category",
                                          "code": "assess-plan", "display": "Assessment and Plan of Treatment"}]}],
                "title": disease.plan, "subject": self.subject, "encounter": self.encounter,
                "period": {"start": _date(self.at)}, "created": _moment(self.at), "author": self.actor,
                "addresses": [{"reference": f"Condition/{condition['id']}", "display": disease.display}],
                "activity": [{"detail": {"status": "in-progress", "description": f"Review of {disease.display}"}}],
            })  # fmt: skip
        return made

    def _prescription(self, drug: str, reason: dict[str, Any], status: str = "") -> Resource:
        name, text, times = V.DRUGS[drug]
        recent = (LAST - self.at).days < 400
        return {
            "resourceType": "MedicationRequest", "id": identity(self.rng),
            "meta": _profile("us-core-medicationrequest"),
            "status": status or ("active" if recent else self.rng.choice(("completed", "stopped", "active"))),
            "intent": "order",
            "category": _category("medicationrequest-category", "outpatient", "Outpatient"),
            "medicationCodeableConcept": concept(V.RXNORM, drug, name),
            "subject": self.subject, "encounter": self.encounter, "authoredOn": _moment(self.at),
            "requester": self.actor, "reasonCode": [reason],
            "dosageInstruction": [{
                "sequence": 1, "text": text,
                "timing": {"repeat": {"frequency": times, "period": 1, "periodUnit": "d"}},
                "asNeededBoolean": "as needed" in text,
                "doseAndRate": [{"doseQuantity": {"value": 1, "unit": "each"}}],
            }],
            "dispenseRequest": {"numberOfRepeatsAllowed": self.rng.choice((0, 1, 3, 5)),
                                "quantity": {"value": 30 * times, "unit": "each"}},
        }  # fmt: skip

    def _procedure(self, code: str, text: str) -> Resource:
        return {
            "resourceType": "Procedure", "id": identity(self.rng), "meta": _profile("us-core-procedure"),
            "status": "completed", "code": concept(SNOMED, code, text), "subject": self.subject,
            "encounter": self.encounter,
            "performedPeriod": {"start": _moment(self.at),
                                "end": _moment(self.at + timedelta(minutes=self.rng.randint(5, 90)))},
            "performer": [{"actor": self.actor}],
        }  # fmt: skip

    def _immunization(self, code: str, text: str) -> Resource:
        return {
            "resourceType": "Immunization", "id": identity(self.rng), "meta": _profile("us-core-immunization"),
            "status": "completed", "vaccineCode": concept(V.CVX, code, text), "patient": self.subject,
            "encounter": self.encounter, "occurrenceDateTime": _moment(self.at), "primarySource": True,
            "lotNumber": f"L{self.rng.randint(1000, 9999)}",
            "performer": [{"actor": self.actor}],
        }  # fmt: skip

    def _note(self, kind: str) -> Resource:
        code, display = ("11506-3", "Progress note") if kind == "AMB" else ("18842-5", "Discharge summary")
        told = ", ".join(d.display.lower() for d in self.diseases) or "no chronic disease"
        text = (f"{display} of {_date(self.at)}. {self.person.display} is known with {told}. "
                "Findings, measurements and orders of this visit are in the record.")  # fmt: skip
        return {
            "resourceType": "DocumentReference", "id": identity(self.rng),
            "meta": _profile("us-core-documentreference"), "status": "current",
            "type": concept(LOINC, code, display),
            "category": [{"coding": [{"system": "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category",
                                      "code": "clinical-note", "display": "Clinical Note"}]}],
            "subject": self.subject, "date": _moment(self.at)[:-6] + ".000-05:00", "author": [self.actor],
            "content": [{"attachment": {"contentType": "text/plain; charset=utf-8",
                                        "data": base64.b64encode(text.encode()).decode()}}],
            "context": {"encounter": [self.encounter], "period": {"start": _moment(self.at)}},
        }  # fmt: skip

    def _allergies(self, at: datetime) -> list[Resource]:
        rng, made = self.rng, []
        for code, display, category, (reaction, shown) in V.ALLERGIES:
            if rng.random() < 0.07:
                severe = rng.random() < 0.2
                made.append({
                    "resourceType": "AllergyIntolerance", "id": identity(rng),
                    "meta": _profile("us-core-allergyintolerance"),
                    "clinicalStatus": {"coding": [{"system": TERMINOLOGY + "allergyintolerance-clinical",
                                                   "code": "active", "display": "Active"}]},
                    "verificationStatus": {"coding": [{
                        "system": TERMINOLOGY + "allergyintolerance-verification", "code": "confirmed",
                        "display": "Confirmed"}]},
                    "type": "allergy", "category": [category], "criticality": "high" if severe else "low",
                    "code": concept(SNOMED, code, display), "patient": self.subject, "recordedDate": _date(at),
                    "reaction": [{"manifestation": [concept(SNOMED, reaction, shown)],
                                  "severity": "severe" if severe else "mild"}],
                })  # fmt: skip
        return made


def _profile(name: str) -> dict[str, Any]:
    return {"profile": [US_CORE + name]}


def _quantity(measure: Measure, value: float) -> dict[str, Any]:
    return {"value": value, "unit": measure.written or measure.unit, "system": V.UCUM, "code": measure.unit}


def _round(value: float, digits: int) -> float | int:
    return round(value, digits) if digits else round(value)


def _moment(at: datetime) -> str:
    return at.isoformat()


def _date(at: datetime) -> str:
    return f"{at.year}-{at.month:02}-{at.day:02}"
