"""Asking: interleaved rounds, medians and 95th percentiles, and what EXPLAIN (ANALYZE, BUFFERS) says."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from random import Random
from statistics import median
from typing import Any

import psycopg2

from conformance.benchmarks.bakeoff.questions import Question

ROUNDS = 25
BUDGET_S = 2.5  # a form that is slow is asked less often


@dataclass
class Answer:
    """One form of one question at one size."""

    size: int
    question: str
    form: str
    asked: int
    p50_ms: float
    p95_ms: float
    rows: float
    buffers: float
    planning_ms: float
    plan: str


def answer(connection: Any, size: int, question: Question, rounds: int = ROUNDS) -> list[Answer]:
    times: dict[str, list[float]] = {form: [] for form in question.forms}
    rows: dict[str, list[int]] = {form: [] for form in question.forms}
    broken: dict[str, str] = {}
    with connection.cursor() as cursor:
        for number in range(rounds):
            forms = list(question.forms.items())
            Random(number).shuffle(forms)
            for form, make in forms:
                if form in broken or (len(times[form]) > 2 and sum(times[form]) > BUDGET_S):
                    continue
                statement = make(Random(number))
                began = time.perf_counter()
                try:
                    cursor.execute(statement)
                except psycopg2.errors.QueryCanceled:
                    connection.rollback()
                    cursor.execute("set statement_timeout = '20s'; set max_parallel_workers_per_gather = 0")
                    broken[form] = "over 20 s"
                    times[form].append(20.0)
                    continue
                found = cursor.fetchall()
                times[form].append(time.perf_counter() - began)
                rows[form].append(len(found) if len(found) != 1 else 1)
        made = []
        for form, make in question.forms.items():
            buffers, planning, plan = (
                _explain(cursor, make) if form not in broken else ([0.0], [0.0], "cancelled")
            )
            ordered = sorted(times[form])
            made.append(Answer(
                size, question.name, form, len(ordered), 1000 * median(ordered),
                1000 * ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
                sum(rows[form]) / max(1, len(rows[form])), median(buffers), median(planning), plan,
            ))  # fmt: skip
    connection.rollback()
    return made


def _explain(cursor: Any, make: Any) -> tuple[list[float], list[float], str]:
    buffers, planning, plan = [], [], ""
    for number in range(3):
        cursor.execute("explain (analyze, buffers, format json) " + make(Random(number)))
        told = cursor.fetchone()[0][0]
        top = told["Plan"]
        buffers.append(top["Shared Hit Blocks"] + top["Shared Read Blocks"])
        planning.append(told["Planning Time"])
        plan = " > ".join(_nodes(top))
    return buffers, planning, plan


def _nodes(plan: dict[str, Any]) -> list[str]:
    name = plan["Node Type"] + (f"({plan['Index Name']})" if "Index Name" in plan else "")
    name += f"[{plan['Plan Rows']:.0f}~{plan['Actual Rows'] * plan['Actual Loops']:.0f}]"
    return [name, *(node for child in plan.get("Plans", ()) for node in _nodes(child))]


def as_rows(answers: list[Answer]) -> list[dict[str, Any]]:
    return [asdict(a) for a in answers]
