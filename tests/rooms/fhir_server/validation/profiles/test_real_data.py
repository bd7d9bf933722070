"""US Core's own examples, Inferno's and Synthea's patients against the profiles that they claim."""

import bz2
import gzip
import json
import statistics
import time

import pytest

from fhir_server.definitions.conformance import Conformance
from fhir_server.definitions.core import Core
from fhir_server.model import json_format
from fhir_server.validation.knowledge import Knowledge, Task
from fhir_server.validation.profiles.check import check
from fhir_server.validation.validator import validate

from .packages import Package

VERSIONS = ("3.1.1", "6.1.0", "7.0.0")

# What really breaks a rule: (id, rule) → why.
KNOWN = {
    ("908", "http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient#Patient.gender"): "no gender",
    # A Coding since US Core 8, a code before.
    ("908", "http://hl7.org/fhir/us/core/StructureDefinition/us-core-sex#Extension.value[x]"): "of version 8",
}
# Synthea writes category survey, which US Core asked for before version 4 …
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
SMOKING = f"{US_CORE}us-core-smokingstatus#Observation.category:SocialHistory"
# … and lists an Observation of that category among the results of a laboratory.
RESULTS = f"{US_CORE}us-core-diagnosticreport-lab#DiagnosticReport.result"


@pytest.fixture(scope="module", params=VERSIONS)
def us_core(request, shared):
    return Package(shared(f"data/packages/hl7.fhir.us.core-{request.param}.tgz"), request.param)


@pytest.fixture(scope="module")
def knowledge(us_core):
    return Knowledge(Conformance([us_core, Core()]))


def errors(resource, knowledge):
    task = Task(knowledge=knowledge, claims=True)
    found = [issue for issue in check(resource, task) if issue.severity == "error"]
    return [f"{one.expression}: {one.diagnostics} ({one.rule})" for one in found if not known(resource, one)]


def known(resource, issue):
    return (resource.get("id"), issue.rule) in KNOWN or issue.rule == SMOKING


def test_examples_of_us_core(us_core, knowledge):
    assert len(us_core.examples) > 50
    found = {name: errors(one, knowledge) for name, one in us_core.examples.items()}
    assert {name: one for name, one in found.items() if one} == {}


def test_patients_of_inferno(shared, us_core, knowledge):
    if us_core.version == "3.1.1":
        pytest.skip("they are written for later versions")
    for file in sorted(shared("data/us-core-patients").glob("*.json.gz")):
        bundle = json_format.parse(gzip.decompress(file.read_bytes()))
        resources = [entry["resource"] for entry in bundle.get("entry", ())] or [bundle]
        there = {f"{one['resourceType']}/{one.get('id')}": one for one in resources}
        knows = Knowledge(knowledge.conformance, resolve=there.get)
        for one in resources:
            assert errors(one, knows) == [], (file.name, one["resourceType"], one.get("id"))


def synthea(shared, patients):
    files = sorted(shared("data/synthea").glob("*.json.bz2"))[2 : 2 + patients]
    for file in files:
        yield json_format.parse(bz2.decompress(file.read_bytes()))


def test_patients_of_synthea(shared, knowledge):
    for bundle in synthea(shared, 3):
        for entry in bundle["entry"]:
            assert errors(entry["resource"], knowledge) == []


def test_a_bundle_as_a_whole(shared, knowledge):
    """References of the entries lead to each other, and each target is looked at once."""
    bundle = next(synthea(shared, 1))
    found = check(bundle, Task(knowledge=knowledge, claims=True))
    assert [one for one in found if one.severity == "error" and one.rule not in (SMOKING, RESULTS)] == []


def test_speed(shared, knowledge):
    """Medians of each type are below 40 times json.loads (measured: 12); twice that is allowed here."""
    ratios: dict[str, list[float]] = {}
    for entry in next(synthea(shared, 1))["entry"]:
        found = ratios.setdefault(entry["resource"]["resourceType"], [])
        if len(found) < 10:
            found.append(ratio(entry["resource"], Task(knowledge=knowledge, claims=True)))
    medians = {name: statistics.median(found) for name, found in ratios.items()}
    assert {name: one for name, one in medians.items() if one > 80} == {}


def ratio(resource, task):
    data = json_format.encode(resource)
    return best(lambda: list(check(resource, task))) / best(lambda: json.loads(data))


def best(run):
    found = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


@pytest.mark.parametrize(
    ("name", "change", "rule"),
    [
        ("Patient-example.json", lambda r: r.pop("identifier"), "us-core-patient#Patient.identifier"),
        ("Patient-example.json", lambda r: r["name"][0].clear(), "us-core-patient#us-core-"),
        (
            "Patient-example.json",
            lambda r: r["extension"][0]["extension"].pop(-1),
            "us-core-race#Extension.extension:text",
        ),
        (
            "Observation-blood-pressure.json",
            lambda r: r["component"].pop(0),
            "#Observation.component:",
        ),
        (
            "Observation-blood-pressure.json",
            lambda r: r.pop("effectiveDateTime"),
            "#Observation.effective[x]",
        ),
        ("Observation-blood-pressure.json", lambda r: r.pop("category"), "#Observation.category"),
    ],
)
def test_what_is_taken_away_is_missed(us_core, knowledge, name, change, rule):
    resource = json_format.parse(json_format.encode(us_core.examples[f"example/{name}"]))
    change(resource)
    found = check(resource, Task(knowledge=knowledge, claims=True, vital_signs=True))
    assert any(rule in one.rule for one in found if one.severity == "error")


def test_whatever_is_required_is_missed(us_core, knowledge):
    """Of each example every element is taken away that its profile requires."""
    missed = []
    for name, resource in sorted(us_core.examples.items())[::4]:
        for canonical in resource.get("meta", {}).get("profile", ()):
            definition = us_core.find("StructureDefinition", canonical.partition("|")[0], None)
            for element in definition["snapshot"]["element"] if definition else ():
                if element["min"] and ":" not in element["id"] and "." in element["path"]:
                    less = json_format.parse(json_format.encode(resource))
                    if taken(less, element["path"].split(".")[1:]) and validate(
                        less, Task(knowledge=knowledge, claims=True)
                    ) == validate(resource, Task(knowledge=knowledge, claims=True)):
                        missed.append((name, element["path"]))
    assert missed == []


def taken(node, names):
    """Take the elements at the end of a path away, and return whether there were any."""
    if isinstance(node, list):
        return sum(taken(one, names) for one in node) > 0
    first, *rest = names
    stem = first.removesuffix("[x]")
    keys = [key for key in node if key == stem or (stem != first and key.startswith(stem))]
    if rest:
        return sum(taken(node[key], rest) for key in keys if isinstance(node[key], dict | list)) > 0
    for key in keys:
        del node[key]
        node.pop(f"_{key}", None)
    return bool(keys)
