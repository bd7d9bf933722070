"""Disk: what the data take in tables, indexes and full text, and what a further version adds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from conformance.benchmarks import load
from conformance.benchmarks.data import Resource, compact, stream
from conformance.benchmarks.rounds import Differ
from conformance.benchmarks.targets import Target

_FULL_TEXT = ("idx_text",)
"""What the names of tables say that hold words of texts: they are reported apart."""

_ENTRIES = 200


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes that a load has added, a resource."""

    resources: int
    json_bytes: float
    tables: dict[str, float]
    indexes: dict[str, float]
    full_text: float

    @property
    def total(self) -> float:
        """Tables (TOAST included) and indexes, without full text."""
        return sum(self.tables.values()) + sum(self.indexes.values())

    @property
    def times_json(self) -> float:
        """The total against the compact JSON."""
        return self.total / self.json_bytes

    def lines(self, name: str) -> list[str]:
        """Return it for people."""
        largest = sorted({**self.tables, **self.indexes}.items(), key=lambda pair: -pair[1])[:9]
        return [
            f"  {name:10} {self.total:.0f} bytes a resource ({sum(self.tables.values()):.0f} tables, "
            f"{sum(self.indexes.values()):.0f} indexes), {self.times_json:.2f} times its compact JSON of "
            f"{self.json_bytes:.0f}; full text {self.full_text:.0f}",
            "             " + ", ".join(f"{relation} {size:.0f}" for relation, size in largest),
        ]


def disk_of(target: Target, resources: int, json_bytes: int) -> Disk:
    """Return what the load has added to the database since the target was empty."""
    assert target.database is not None
    tables, indexes, full_text = dict[str, float](), dict[str, float](), 0.0
    for name, (size, table) in target.database.relations().items():
        grown = (size - target.empty_bytes.get(name, 0)) / resources
        if any(word in name for word in _FULL_TEXT):
            full_text += grown
        elif grown >= 0.5:
            (tables if table else indexes)[name] = grown
    return Disk(resources, json_bytes / resources, tables, indexes, full_text)


def further_version(side: Target, seed: int, known: int, *, versions: int = 3) -> float:
    """Return the bytes that one more version of a resource adds, against its compact JSON.

    The same Observations are changed several times over, with VACUUM in between. The first change is
    not counted: it pays for room that the later ones use again.
    """
    assert side.database is not None
    changed = [one for one in stream(seed, known) if one["resourceType"] == "Observation"]
    sizes, json_bytes = [], 0
    for version in range(versions):
        json_bytes = _change(side, changed, version)
        side.database.tidy()
        sizes.append(sum(size for size, _ in side.database.relations().values()))
    return (sizes[-1] - sizes[0]) / ((versions - 1) * json_bytes)


def _change(side: Target, resources: Sequence[Resource], version: int) -> int:
    """Put each resource with another note; return how much JSON that was."""
    json_bytes = 0
    for first in range(0, len(resources), _ENTRIES):
        entries = []
        for one in resources[first : first + _ENTRIES]:
            changed = {**one, "note": [{"text": f"Looked at again, time {version}"}]}
            json_bytes += len(compact(changed))
            request = {"method": "PUT", "url": f"Observation/{one['id']}"}
            entries.append({"resource": changed, "request": request})
        body = compact({"resourceType": "Bundle", "type": "batch", "entry": entries})
        answer = load.ask(side.address, load.request("POST", side.prefix or "/", body, host=side.host))
        statuses = {entry["response"]["status"][:3] for entry in json.loads(answer.body).get("entry", ())}
        if answer.status != 200 or statuses - {"200", "201"}:
            raise Differ(f"{side.name} answered {answer.status} {statuses} to changes: {answer.body[:300]!r}")
    return json_bytes
