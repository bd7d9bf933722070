"""The data of a run: what is loaded into both sides, and what can be asked about it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from conformance.samples import resources
from conformance.samples.people import Hospital, hospital, identity, person
from conformance.samples.record import LAST, Record

SIDE_BY_SIDE = 60
"""Patients open at a time: at 50,000 resources some 130 of them have 100 Observations or more."""

SEEN_FOR_EACH_REGISTERED = 9
"""A tenth of all resources are Patients who are registered and were never seen, as in any register."""

_NEW_RECORDS = 5_000_000  # numbers of patients that the loaded stream never reaches
_REGISTERED = 8_000_000
Resource = dict[str, Any]


def stream(seed: int, count: int) -> Iterator[Resource]:
    """Return the resources that are loaded: the same beginning for every `count`.

    They are the records of `conformance.samples`, and between them what some questions need much of:
    Patients that are only registered, and a RiskAssessment (a number) for every other Encounter.
    """
    return islice(_mixed(seed, count), count)


def _mixed(seed: int, count: int) -> Iterator[Resource]:
    house, rng = hospital(seed), Random(f"between-{seed}")
    encounters = 0
    for number, one in enumerate(resources(seed, count, side_by_side=SIDE_BY_SIDE), 1):
        yield one
        if one["resourceType"] == "Encounter":
            encounters += 1
            if encounters % 2 == 0:
                yield _risk(rng, one)
        if number % SEEN_FOR_EACH_REGISTERED == 0:
            yield _registered(rng, _REGISTERED + number // SEEN_FOR_EACH_REGISTERED, house)


def _registered(rng: Random, number: int, house: Hospital) -> Resource:
    return person(rng, number, house, LAST.year).patient


def _risk(rng: Random, encounter: Resource) -> Resource:
    return {
        "resourceType": "RiskAssessment", "id": identity(rng), "status": "final",
        "subject": encounter["subject"], "encounter": {"reference": f"Encounter/{encounter['id']}"},
        "occurrenceDateTime": encounter["period"]["start"],
        "prediction": [{"outcome": {"text": "Readmission within 30 days"},
                        "probabilityDecimal": round(rng.betavariate(2, 9), 4)}],
    }  # fmt: skip


def compact(resource: Resource) -> bytes:
    """Return a resource as JSON without needless spaces."""
    return json.dumps(resource, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(slots=True)
class Facts:
    """What a loaded stream contains, as far as the questions need it."""

    count: int = 0
    json_bytes: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    patients: list[str] = field(default_factory=list)
    observations: list[str] = field(default_factory=list)
    identifiers: list[tuple[str, str]] = field(default_factory=list)
    families: Counter[str] = field(default_factory=Counter)
    by_code: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_category: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_patient: Counter[str] = field(default_factory=Counter)
    effective: list[str] = field(default_factory=list)
    encounters: list[str] = field(default_factory=list)
    doctors: list[tuple[str, str]] = field(default_factory=list)
    names: Counter[str] = field(default_factory=Counter)
    conditions: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    last_seen: dict[str, int] = field(default_factory=dict)
    of_patient: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, resource: Resource, size: int) -> None:
        """Take note of one resource."""
        kind = resource["resourceType"]
        self.count += 1
        self.json_bytes += size
        self.kinds[kind] += 1
        if kind == "Patient":
            self.patients.append(resource["id"])
            first = resource["identifier"][0]
            self.identifiers.append((first["system"], first["value"]))
            family = resource["name"][0]["family"]
            self.families[family[:2].lower()] += 1
            self.names[family] += 1
        elif kind == "Observation":
            patient = resource["subject"]["reference"].removeprefix("Patient/")
            self.observations.append(resource["id"])
            self.by_patient[patient] += 1
            self.last_seen[patient] = self.count
            coding, category = resource["code"]["coding"][0], resource["category"][0]["coding"][0]
            self.by_code[patient, f"{coding['system']}|{coding['code']}"] += 1
            self.by_category[patient, f"{category['system']}|{category['code']}"] += 1
            self.codes[f"{coding['system']}|{coding['code']}"] += 1
            self.effective.append(resource["effectiveDateTime"])
        elif kind == "Encounter":
            self.encounters.append(resource["id"])
        elif kind == "Practitioner":
            self.doctors.append((resource["id"], resource["identifier"][0]["value"]))
        elif kind in ("Condition", "MedicationRequest", "Procedure", "Immunization"):
            patient = (resource.get("subject") or resource["patient"])["reference"].removeprefix("Patient/")
            self.of_patient[kind][patient] += 1
            if kind == "Condition":
                snomed = resource["code"]["coding"][0]
                self.conditions[f"{snomed['system']}|{snomed['code']}"] += 1

    def at_least(self, counts: Counter[Any], hits: int, most: int = 200) -> list[Any]:
        """Return up to `most` keys with `hits` hits or more; the fullest ones when there are few.

        >>> Facts().at_least(Counter(a=3, b=25, c=1), 20)
        ['b']
        """
        found = [key for key, number in counts.items() if number >= hits]
        return found[:most] or [key for key, _ in counts.most_common(20)]


def write_ndjson(seed: int, count: int, path: Path) -> Facts:
    """Write the stream as NDJSON and return its facts."""
    facts = Facts()
    with path.open("wb") as file:
        for resource in stream(seed, count):
            line = compact(resource)
            facts.add(resource, len(line))
            file.write(line + b"\n")
    return facts


def read_facts(path: Path) -> Facts:
    """Return the facts of an NDJSON file written before."""
    facts = Facts()
    with path.open("rb") as file:
        for line in file:
            facts.add(json.loads(line), len(line) - 1)
    return facts


def sizes_of(path: Path, count: int) -> Facts:
    """Return how much an NDJSON file of `count` resources holds, without reading it."""
    return Facts(count, path.stat().st_size - count)


def new_resources(seed: int, kind: str, count: int, facts: Facts) -> list[Resource]:
    """Return `count` resources without an id, to be created; they refer to what is loaded."""
    house, found = hospital(seed), list[Resource]()
    number = _NEW_RECORDS
    while len(found) < count:
        number += 1
        for batch in Record(seed, number, house).encounters():
            wanted = [one for one in batch if one["resourceType"] == kind]
            for resource in wanted[: count - len(found)]:
                fresh = {name: value for name, value in resource.items() if name != "id"}
                if "subject" in fresh:
                    patient = facts.patients[len(found) % len(facts.patients)]
                    fresh["subject"] = {"reference": f"Patient/{patient}"}
                    fresh.pop("encounter", None)
                found.append(fresh)
    return found


def transactions(seed: int, count: int, *, low: int = 340, high: int = 440) -> list[Resource]:
    """Return Bundles of POSTs, each one patient's record of `low` to `high` resources, linked by urn:uuid."""
    house, found = hospital(seed), list[Resource]()
    number = 2 * _NEW_RECORDS
    while len(found) < count:
        number += 1
        record = [one for batch in Record(seed, number, house).encounters() for one in batch]
        if low <= len(record) <= high:
            found.append(_transaction(record))
    return found


def _transaction(record: list[Resource]) -> Resource:
    text = json.dumps(record)
    links: dict[str, str] = defaultdict(str)
    for resource in record:
        links[f'"{resource["resourceType"]}/{resource["id"]}"'] = f'"urn:uuid:{resource["id"]}"'
    for old, new in links.items():
        text = text.replace(old, new)
    entries = []
    for resource in json.loads(text):
        kind, url = resource["resourceType"], f"urn:uuid:{resource.pop('id')}"
        entries.append({"fullUrl": url, "resource": resource, "request": {"method": "POST", "url": kind}})
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}
