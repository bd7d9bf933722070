"""The workloads by which servers are publicly compared, in our own words: crud and search.

crud writes a small graph of nine types, each resource pointing at those before it, and then reads,
changes and deletes every one; search asks one question a parameter type. Import of Synthea's
Bundles is a journey (journeys.writing).
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from conformance.benchmarks.data import Resource, compact
from conformance.benchmarks.processes import Cpu
from conformance.benchmarks.rounds import Differ
from conformance.benchmarks.targets import Target
from conformance.samples.people import hospital
from conformance.samples.record import Record

CLIENTS = 8
_JSON = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
_CURRENCY = "USD"


@dataclass(slots=True)
class Crud:
    """One side's crud: latencies in ms by interaction, duration and CPU of all of it."""

    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    seconds: float = 0.0
    cpu: Cpu = field(default_factory=lambda: Cpu(0, 0))

    @property
    def requests(self) -> int:
        """How many requests were answered."""
        return sum(len(found) for found in self.latencies.values())

    def percentile(self, interaction: str, share: float) -> float:
        """Return the latency that `share` of an interaction's requests did not exceed."""
        ordered = sorted(self.latencies[interaction])
        return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0

    def line(self, name: str) -> str:
        """Return it for people."""
        parts = ", ".join(
            f"{interaction} {self.percentile(interaction, 0.5):.2f}/{self.percentile(interaction, 0.99):.2f}"
            for interaction in self.latencies
        )
        each = self.cpu.total_ms / max(1, self.requests)
        speed = self.requests / max(self.seconds, 1e-9)
        return f"  {name:10} {speed:.0f} requests/s, CPU {each:.2f} ms; p50/p99 {parts}"

    def document(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "requests": self.requests, "seconds": self.seconds, "cpu_ms": self.cpu.total_ms,
            "interactions": {
                name: {"count": len(found), **{f"p{share * 100:.0f}_ms": self.percentile(name, share)
                                               for share in (0.5, 0.95, 0.99)}}
                for name, found in self.latencies.items()
            },
        }  # fmt: skip


def graph(seed: int) -> list[Resource]:
    """Return nine resources, one a type; `{Type}` in a reference stands for the id that a server gives."""
    house = hospital(seed)
    known: dict[str, Resource] = {one["resourceType"]: one for one in house.resources}
    for batch in Record(seed, 1, house).encounters():
        for one in batch:
            known.setdefault(one["resourceType"], one)
        if {"Observation", "MedicationRequest"} <= known.keys():
            break
    text = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/processpriority", "code": "normal"}]}
    kind = {
        "coding": [{"system": "http://terminology.hl7.org/CodeSystem/claim-type", "code": "institutional"}]
    }
    visit = {"coding": [{"system": "http://snomed.info/sct", "code": "185349003"}]}
    item = {"sequence": 1, "productOrService": visit, "encounter": [_to("Encounter")]}
    claimed = {
        "type": kind,
        "use": "claim",
        "patient": _to("Patient"),
        "created": "2025-01-01",
        "status": "active",
    }
    insured = {"sequence": 1, "focal": True, "coverage": {"display": "Massachusetts Health"}}
    known["Claim"] = {
        "resourceType": "Claim", **claimed, "provider": _to("Organization"), "priority": text,
        "prescription": _to("MedicationRequest"), "insurance": [insured], "item": [item],
        "total": {"value": 129.16, "currency": _CURRENCY},
    }  # fmt: skip
    known["ExplanationOfBenefit"] = {
        "resourceType": "ExplanationOfBenefit", **claimed, "insurer": {"display": "Massachusetts Health"},
        "provider": _to("Practitioner"), "claim": _to("Claim"), "outcome": "complete", "item": [item],
        "insurance": [{"focal": True, "coverage": {"display": "Massachusetts Health"}}],
        "payment": {"amount": {"value": 103.33, "currency": _CURRENCY}},
    }  # fmt: skip
    return [_pointed({name: value for name, value in known[kind].items() if name != "id"}) for kind in ORDER]


ORDER = (
    "Organization", "Location", "Practitioner", "Patient", "Encounter", "Observation", "MedicationRequest",
    "Claim", "ExplanationOfBenefit",
)  # fmt: skip


def _to(kind: str) -> dict[str, str]:
    return {"reference": f"{kind}/{{{kind}}}"}


def _pointed(value: Any) -> Any:
    """Let every reference to one of the nine types point at the graph's own resource of that type."""
    if isinstance(value, dict):
        target = str(value.get("reference", "")).partition("/")[0]
        if "reference" in value and target in ORDER:
            return {**value, **_to(target)}
        return {name: _pointed(child) for name, child in value.items()
                if name != "diagnosis"}  # fmt: skip
    return [_pointed(child) for child in value] if isinstance(value, list) else value


def changed(resource: Resource, number: int) -> Resource:
    """Return the resource with one thing different."""
    return {**resource, "language": ("en-US", "en-GB")[number % 2]}


def crud(side: Target, seed: int, *, graphs: int, clients: int = CLIENTS) -> Crud:
    """Run `graphs` graphs through create, read, update and delete, `clients` at a time."""
    made = [compact(one).decode() for one in graph(seed)]
    found, failures, lock = Crud(), list[Exception](), threading.Lock()
    left = iter(range(graphs))

    def work() -> None:
        connection = http.client.HTTPConnection(*side.address, timeout=30)
        try:
            while True:
                with lock:
                    number = next(left, None)
                if number is None or failures:
                    return
                _one_graph(connection, side, made, number, found, lock)
        except (OSError, http.client.HTTPException, Differ, ValueError) as error:
            failures.append(error)
        finally:
            connection.close()

    before, started = side.tree.cpu_when_idle(), time.perf_counter()
    workers = [threading.Thread(target=work) for _ in range(clients)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found.seconds = time.perf_counter() - started
    found.cpu = side.tree.cpu_when_idle() - before
    if failures:
        raise Differ(f"{side.name}, crud: {failures[0]}")
    return found


def _one_graph(
    connection: http.client.HTTPConnection, side: Target, made: list[str], number: int, found: Crud, lock: Any
) -> None:
    times: list[tuple[str, float]] = []

    def send(interaction: str, method: str, path: str, body: str | None, expected: tuple[int, ...]) -> bytes:
        started = time.perf_counter()
        encoded = None if body is None else body.encode()
        connection.request(method, side.prefix + path, encoded, _JSON if body is not None else {})
        answer = connection.getresponse()
        content = answer.read()
        times.append((interaction, (time.perf_counter() - started) * 1000))
        if answer.status not in expected:
            raise Differ(f"{interaction} {path.rpartition('/')[0]}: {answer.status} {content[:300]!r}")
        return content

    stored: list[Resource] = []
    for kind, text in zip(ORDER, made, strict=True):
        for one in stored:
            text = text.replace(f"{{{one['resourceType']}}}", one["id"])
        stored.append(json.loads(send("create", "POST", f"/{kind}", text, (201,))))
    for one in stored:
        send("read", "GET", f"/{one['resourceType']}/{one['id']}", None, (200,))
    for one in stored:
        body = compact(changed(one, number)).decode()
        send("update", "PUT", f"/{one['resourceType']}/{one['id']}", body, (200,))
    for one in reversed(stored):
        send("delete", "DELETE", f"/{one['resourceType']}/{one['id']}", None, (200, 202, 204))
    with lock:
        for interaction, took in times:
            found.latencies[interaction].append(took)
