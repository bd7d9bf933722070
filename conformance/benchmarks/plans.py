"""Plans: how many rows and buffers the statements of a request touch, and by which way.

The plans are those of the server's own statements: auto_explain writes them into the log of its
Postgres while a few requests are answered.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from conformance.benchmarks import load
from conformance.benchmarks.journeys import Journey
from conformance.benchmarks.postgres import Database, explaining
from conformance.benchmarks.targets import Target

_EXPLAINED = 20
_BACKGROUND_S = 6.0
"""How long the log is watched for what a server does without being asked: that is not counted."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a request's statements did, on the average."""

    statements: float
    rows: float
    buffers: float
    plan: str = ""


def explain(journeys: Sequence[Journey], side: Target, *, most: int = _EXPLAINED) -> list[Work]:
    """Return what the statements of each journey do, from their plans with ANALYZE and BUFFERS."""
    database = side.database
    assert database is not None
    found = []
    with explaining(database):
        mark = _log_mark(database.log_folder())
        time.sleep(_BACKGROUND_S)
        background = {_begins(text) for text, _ in _plans(database.log_folder(), mark)}
        for journey in journeys:
            requests = journey.requests(side.host, side.prefix)[:most]
            for request in requests:  # once before: caches, and the first connections
                load.ask(side.address, request)
            mark = _log_mark(database.log_folder())
            for request in requests:
                load.ask(side.address, request)
            logged = _plans(database.log_folder(), mark)
            own = [plan for text, plan in logged if _begins(text) not in background]
            found.append(_work(own, len(requests)))
    return found


def explain_by_hand(
    database: Database, statements: Sequence[tuple[str, dict[str, Any]]], requests: int
) -> Work:
    """Return what given statements do, which belong to `requests` requests."""
    plans = []
    with closing(psycopg2.connect(database.url)) as connection, connection.cursor() as cursor:
        for sql, values in statements:
            cursor.execute("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) " + sql, values)
            plans.append(cursor.fetchone()[0][0]["Plan"])
    return _work(plans, requests)


def _work(plans: list[dict[str, Any]], requests: int) -> Work:
    heaviest = max(plans, key=_buffers, default=None)
    return Work(
        len(plans) / requests,
        sum(_rows(plan) for plan in plans) / requests,
        sum(_buffers(plan) for plan in plans) / requests,
        "" if heaviest is None else in_a_line(heaviest),
    )


def in_a_line(plan: dict[str, Any]) -> str:
    """Return the nodes of a plan that read or reorder most, with what they read, from the top down.

    >>> in_a_line({"Node Type": "Sort", "Plans": [{"Node Type": "Seq Scan", "Relation Name": "t",
    ...     "Actual Rows": 5, "Actual Loops": 2, "Shared Hit Blocks": 7}]})
    'Sort > Seq Scan t (10 rows, 7 buffers)'
    """
    words = str(plan["Node Type"])
    name = plan.get("Index Name") or plan.get("Relation Name")
    if name:
        rows = float(plan.get("Actual Rows", 0)) * float(plan.get("Actual Loops", 1))
        removed = sum(float(plan.get(one, 0)) for one in _REMOVED) * float(plan.get("Actual Loops", 1))
        dropped = f", {removed:.0f} dropped" if removed else ""
        words += f" {name} ({rows:.0f} rows{dropped}, {_buffers(plan):.0f} buffers)"
    below = sorted(plan.get("Plans", ()), key=_buffers, reverse=True)
    heavy = [one for one in below if _buffers(one) >= 0.2 * _buffers(plan)] or below[:1]
    parts = [in_a_line(one) for one in heavy[:3]]
    if not parts:
        return words
    return f"{words} > {parts[0]}" if len(parts) == 1 else f"{words} > [{'; '.join(parts)}]"


def _log_mark(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in folder.glob("*.log")}


def _begins(text: str) -> str:
    """Return by what a statement is known again, whatever its values."""
    return " ".join(text.split())[:60]


def _plans(folder: Path, mark: dict[Path, int]) -> list[tuple[str, dict[str, Any]]]:
    """Return statements and plans written since `mark`: JSON on lines that begin with a tab."""
    found = []
    for path in sorted(folder.glob("*.log")):
        with path.open("rb") as file:
            file.seek(mark.get(path, 0))
            lines = file.read().decode(errors="replace").splitlines()
        for number, line in enumerate(lines):
            if line.endswith("plan:"):
                body = []
                for more in lines[number + 1 :]:
                    if not more.startswith("\t"):
                        break
                    body.append(more[1:])
                logged = json.loads("\n".join(body))
                found.append((str(logged.get("Query Text", "")), logged["Plan"]))
    return found


def _rows(plan: dict[str, Any]) -> float:
    """Return how many rows (or index entries) the scans of a plan touched."""
    total = 0.0
    if "Scan" in plan["Node Type"]:
        removed = sum(float(plan.get(name, 0)) for name in _REMOVED)
        total += (float(plan["Actual Rows"]) + removed) * float(plan["Actual Loops"])
    return total + sum(_rows(child) for child in plan.get("Plans", ()))


_REMOVED = ("Rows Removed by Filter", "Rows Removed by Index Recheck")


def _buffers(plan: dict[str, Any]) -> float:
    return float(plan.get("Shared Hit Blocks", 0)) + float(plan.get("Shared Read Blocks", 0))
