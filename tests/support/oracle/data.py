"""Resources to search: Synthea patients, small official examples, what Inferno's presets expect."""

from __future__ import annotations

import bz2
import gzip
import os
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from fhir_server.model import json_format
from fhir_server.outcome import Invalid

Resource = dict[str, Any]
SHARED = Path(os.environ.get("XINGLIN_SHARED", Path(__file__).parents[4] / "shared")) / "data"
FIRST_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
DEFINITIONS = ("StructureDefinition", "CodeSystem", "OperationDefinition", "ConceptMap", "SearchParameter")


def resources(patients: int | None) -> list[Resource]:
    """Return the resources, with ids, resolved references and a lastUpdated of their own.

    `patients` bounds the Synthea patients (None: all 60). Later ones win over earlier of the same id.
    """
    found: dict[tuple[str, str], Resource] = {}
    for each in (*_synthea(patients), *_examples(), *_us_core(), *_edges()):
        found[each["resourceType"], each["id"]] = each
    for count, each in enumerate(found.values()):
        moment = FIRST_MOMENT + timedelta(seconds=37 * count, milliseconds=count % 1000)
        meta = {**each.get("meta", {}), "lastUpdated": moment.isoformat(timespec="milliseconds")[:-6] + "Z"}
        each["meta"] = meta
    return list(found.values())


def _synthea(patients: int | None) -> Iterator[Resource]:
    folder = SHARED / "synthea"
    names = sorted(
        folder.glob("*.bz2"), key=lambda path: (not path.name.startswith("0-"), path.stat().st_size)
    )
    entries = [
        entry
        for name in names[: None if patients is None else patients + 2]
        for entry in json_format.parse(bz2.decompress(name.read_bytes()))["entry"]
    ]
    addresses: dict[str, str] = {}
    for entry in entries:
        resource = entry["resource"]
        kind = resource["resourceType"]
        resource["id"] = entry["fullUrl"].removeprefix("urn:uuid:")
        addresses[entry["fullUrl"]] = f"{kind}/{resource['id']}"
        for identifier in (
            resource.get("identifier", []) if isinstance(resource.get("identifier"), list) else []
        ):
            query = f"{kind}?identifier={identifier.get('system')}|{identifier.get('value')}"
            addresses[query] = f"{kind}/{resource['id']}"
    for entry in entries:
        _resolve(entry["resource"], addresses)
        yield entry["resource"]


def _resolve(node: Any, addresses: dict[str, str]) -> None:
    if isinstance(node, list):
        for item in node:
            _resolve(item, addresses)
    elif isinstance(node, dict):
        text = node.get("reference")
        if isinstance(text, str) and text in addresses:
            node["reference"] = addresses[text]
        for item in node.values():
            _resolve(item, addresses)


def _examples() -> Iterator[Resource]:
    """Yield the official examples below 60 kB, of the definitional types only a few."""
    archive = SHARED / "r4-examples.tar.xz"
    if not archive.exists():
        return
    taken: dict[str, int] = {}
    with tarfile.open(archive) as files:
        for member in files:
            if not member.name.endswith(".json") or member.size > 60_000:
                continue
            content = files.extractfile(member)
            assert content is not None
            try:
                resource = json_format.parse(content.read())
            except Invalid:  # a number of 10^-245, which the server refuses
                continue
            kind = resource["resourceType"]
            if "id" not in resource or kind in DEFINITIONS or taken.get(kind, 0) >= 100:
                continue
            taken[kind] = taken.get(kind, 0) + 1
            yield resource


def _edges() -> Iterator[Resource]:
    """Yield what real data seldom have: values on the bounds of intervals, odd letters, old references."""
    for text in ("90", "95", "99.5", "99.95", "100", "100.05", "100.5", "105", "110", "0.5", "-0.5"):
        number = Decimal(text)
        prediction = [{"probabilityDecimal": number}]
        yield {"resourceType": "RiskAssessment", "id": f"edge{text}", "prediction": prediction}
        quantity = {"value": number, "system": "http://unitsofmeasure.org", "code": "mg", "unit": "milligram"}
        yield {"resourceType": "Observation", "id": f"edge{text}", "valueQuantity": quantity}
    for low, high in ((100, "100.5"), (95, "105"), (None, "99.5"), ("100.5", None)):
        ends = (("low", low), ("high", high))
        span = {name: {"value": Decimal(end)} for name, end in ends if end is not None}
        prediction = [{"probabilityRange": span}]
        yield {"resourceType": "RiskAssessment", "id": f"edge{low}-{high}", "prediction": prediction}
    for number, comparator in enumerate(("<", "<=", ">", ">=")):
        quantity = {"value": 100, "comparator": comparator, "code": "mg", "unit": "mg"}
        yield {"resourceType": "Observation", "id": f"edge-compared{number}", "valueQuantity": quantity}
    for number, url in enumerate(
        ("http://edge.org/", "http://edge.org/a/", "http://edge.org/a/b", "urn:oid:1.2")
    ):
        yield {"resourceType": "ValueSet", "id": f"edge{number}", "url": url, "status": "draft"}
    for number, unit in enumerate(("g", "kg", "ug", "{score}", "Cel", "[degF]", "K")):
        for value in ("100", "0.1", "98.6", "37", "0.105"):
            quantity = {"value": Decimal(value), "system": "http://unitsofmeasure.org", "code": unit}
            yield {
                "resourceType": "Observation",
                "id": f"edge-unit{number}-{value}",
                "code": {"coding": [{"system": "urn:edge", "code": f"u{number % 3}"}]},
                "valueQuantity": quantity,
            }
    for number, whole in enumerate((None, 0, 0, 1, 3, 6, 5, 99)):  # 5 and 6 are in each other
        part = {} if whole is None else {"partOf": {"reference": f"Location/edge-place{whole}"}}
        yield {"resourceType": "Location", "id": f"edge-place{number}", **part}
        yield {
            "resourceType": "Encounter",
            "id": f"edge-stay{number}",
            "location": [{"location": {"reference": f"Location/edge-place{number}"}}],
        }
    for number, version in enumerate(("", "|1", "|1.2", "|1.2.3", "|1.20", "|2.0.0-a")):
        yield {
            "resourceType": "QuestionnaireResponse",
            "id": f"edge-version{number}",
            "questionnaire": f"http://edge.org/q{version}",
            "meta": {"profile": [f"http://edge.org/a/p{version}"], "source": f"http://edge.org/s#{number}"},
        }
    for number in range(6):
        places = range(number, 10, number + 1)
        items = [f"{start}{each}" for start in ("Patient/edge", "Observation/old") for each in places]
        yield {
            "resourceType": "List",
            "id": f"edge{number}",
            "status": "current",
            "mode": "working",
            "entry": [{"item": {"reference": item}} for item in items],
        }
    uses, loinc = "http://terminology.hl7.org/CodeSystem/list-example-use-codes", "http://loinc.org"
    kinds = (
        (uses, "problems", "current"),
        (uses, "allergies", "current"),
        (loinc, "52472-8", "retired"),
        (loinc, "48765-2", "current"),
        (uses, "plans", "current"),
        (loinc, "57828-6", "current"),
        ("urn:other", "medications", "current"),
    )
    for number, (system, code, status) in enumerate(kinds):
        places = range(number % 4, 10, number + 2)
        items = [f"{start}{each}" for start in ("Patient/edge", "Observation/old") for each in places]
        items += [f"AllergyIntolerance/edge-allergy{each}" for each in places]
        yield {
            "resourceType": "List",
            "id": f"edge-for{number}",
            "status": status,
            "mode": "working",
            "code": {"coding": [{"system": system, "code": code}]},
            "entry": [{"item": {"reference": item}} for item in items],
        }
        yield {
            "resourceType": "AllergyIntolerance",
            "id": f"edge-allergy{number}",
            "patient": {"reference": f"Patient/edge{number}"},
            "category": ["food", "medication"][number % 3 :][:2],
        }
    names = (
        "Sørensen",
        "Łukasz",
        "Weiß",
        "Müller",
        "Đặng",
        "Ægir",
        "O\u2019Neill",
        "Ｗｉｄｅ",
        "50%_x",
        "a\\b",
    )
    for number, name in enumerate(names):
        human = {"family": name, "given": [name.upper(), f" {name}  Ann "]}
        yield {"resourceType": "Patient", "id": f"edge{number}", "name": [human], "address": [{"city": name}]}
        yield {
            "resourceType": "Observation",
            "id": f"old{number}",
            "subject": {"reference": f"Patient/edge{number}/_history/{number}"},
            "effectivePeriod": {"start": "2020-01-01", "end": f"2020-01-{number + 10}"},
            "valueCodeableConcept": {"coding": [{"system": "s|t", "code": "a$b"}, {"code": "c,d"}]},
            "code": {"coding": [{"system": "s", "code": "x|y"}, {"code": "x"}, {"system": "s"}]},
        }


def _us_core() -> Iterator[Resource]:
    for name in sorted((SHARED / "us-core-patients").glob("*.json.gz")):
        document = json_format.parse(gzip.decompress(name.read_bytes()))
        entries = document["entry"] if document["resourceType"] == "Bundle" else [{"resource": document}]
        addresses = {}
        for entry in entries:
            resource = entry["resource"]
            if "id" in resource and "fullUrl" in entry:
                addresses[entry["fullUrl"]] = f"{resource['resourceType']}/{resource['id']}"
        for entry in entries:
            if "id" in entry["resource"]:
                _resolve(entry["resource"], addresses)
                yield entry["resource"]
