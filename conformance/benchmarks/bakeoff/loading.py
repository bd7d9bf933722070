"""Loading in interleaved rounds: every layout takes the same chunk, one after another, in transactions of 500."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any

import orjson

from conformance.benchmarks.bakeoff.cluster import Cluster
from conformance.benchmarks.bakeoff.extraction import TYPE_CODE, index, rid
from conformance.benchmarks.bakeoff.layouts import Stored, copies

BATCH = 500
START = datetime(2025, 1, 1, tzinfo=timezone.utc)  # noqa: UP017


@dataclass
class Cost:
    """What one layout spent on one chunk."""

    resources: int = 0
    wall_s: float = 0.0
    client_s: float = 0.0
    server_s: float = 0.0


@dataclass
class Seen:
    """What the questions are asked about: a reservoir of patients and identifiers met while loading."""

    patients: dict[str, list[int]] = field(default_factory=dict)  # Patient/id → [resources, last pk]
    identifiers: list[tuple[str, str]] = field(default_factory=list)
    ids: list[tuple[str, str]] = field(default_factory=list)
    json_bytes: int = 0


def stored(resource: dict[str, Any], pk: int, seen: Seen) -> Stored:
    rows = index(resource)
    name, identity = resource["resourceType"], resource["id"]
    seen.json_bytes += len(orjson.dumps(resource))
    subject = resource.get("subject") or resource.get("patient")
    if subject:
        entry = seen.patients.setdefault(subject["reference"], [0, 0])
        entry[0] += 1
        entry[1] = pk
    elif name == "Patient":
        seen.identifiers.append((resource["identifier"][0]["system"], resource["identifier"][0]["value"]))
    if pk % 997 == 0:
        seen.ids.append((name, identity))
    content = {k: v for k, v in resource.items() if k not in ("resourceType", "id", "meta")}
    updated = (START + timedelta(seconds=pk)).isoformat()
    return Stored(
        TYPE_CODE[name], pk, rid(f"{name}/{identity}"), identity, updated,
        orjson.dumps(resource["meta"]).decode(), orjson.dumps(content).decode(), rows,
    )  # fmt: skip


def chunk(stream: Iterator[dict[str, Any]], size: int, first: int, seen: Seen) -> list[Stored]:
    return [
        stored(resource, pk, seen) for pk, resource in zip(range(first, first + size), stream, strict=False)
    ]


def load(cluster: Cluster, layout: str, rows: list[Stored]) -> Cost:
    connection = cluster.connect()
    cost = Cost(resources=len(rows))
    wall, client, server = time.perf_counter(), time.process_time(), cluster.cpu_s()
    with connection.cursor() as cursor:
        for start in range(0, len(rows), BATCH):
            for lines in copies(layout, rows[start : start + BATCH]):
                cursor.copy_expert(f"copy {lines.table} from stdin", io.StringIO(lines.text))
            connection.commit()
    cost.wall_s = time.perf_counter() - wall
    cost.client_s = time.process_time() - client
    connection.close()
    cost.server_s = cluster.cpu_s() - server
    return cost


def order(layouts: tuple[str, ...], number: int) -> list[str]:
    """A new order each round, so that no layout always meets the checkpoint of its neighbour."""
    shuffled = list(layouts)
    Random(number).shuffle(shuffled)
    return shuffled
