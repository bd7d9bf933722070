"""A run as a page in Markdown: machine, data, goals, the questions; short enough to be read."""

from __future__ import annotations

from math import isnan

from conformance.benchmarks.report import Report
from conformance.benchmarks.thirty.asking import Answered
from conformance.benchmarks.thirty.report import Thirty


def page(report: Report) -> str:
    """Return the page."""
    parts = [_head(report), _goals(report), *(_thirty(part) for part in report.thirty), _rest(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(report: Report) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    settings = ", ".join(f"{name} {value}" for name, value in report.settings.items())
    sizes = "; ".join(f"{name}: {disk.resources:,} resources of {disk.json_bytes:,.0f} bytes"
                      for name, disk in report.disk.items())  # fmt: skip
    return f"# A run of the benchmark\n\n{machine}.\n{settings}.\n{sizes}."


def _goals(report: Report) -> str:
    lines = ["## Goals", "| goal | found | limit | |", "|---|---|---|---|"]
    for one in report.verdicts():
        word = "met" if one.met else "**missed**"
        lines.append(f"| {one.what} | {one.figure()} | {one.limit:g} | {word} |")
    return "\n".join(lines)


def _thirty(part: Thirty) -> str:
    """Return a line a question: p50 and work of each size, CPU against the SQL by hand at the largest."""
    sides = [side for side, _ in part.pairs]
    others = [side for side in part.sides() if side not in {name for pair in part.pairs for name in pair}]
    heads = [head for side in sides for head in (f"{side}: hits", "p50, p95, p99, ms", "rows / buffers")]
    heads += ["CPU ×", *(f"{other}: p50, ms" for other in others)]
    lines = [f"## {part.title.capitalize()}", _row(["question", *heads]), _row(["---"] * (len(heads) + 1))]
    for one in part.answered:
        cells = [one.question.name]
        for side in sides:
            cells += _cells(part, one, side)
        cells.append(_figure(part.ratio(one, *part.pairs[-1], "cpu_ms")))
        cells += [_other(part, one, other) for other in others]
        lines.append(_row(cells))
    for side, works in part.deep.items():
        told = ", ".join(f"page {number} {work.buffers:.0f}" for number, work in works.items())
        lines.append(f"\nBuffers of a page deep in {side}: {told}.")
    return "\n".join(lines)


def _cells(part: Thirty, one: Answered, side: str) -> list[str]:
    compared = one.compared[side]
    if compared.verdict != "equal":
        return [compared.verdict, "", ""]
    times = ", ".join(_figure(part.middle(one, side, name)) for name in ("p50_ms", "p95_ms", "p99_ms"))
    work = one.work.get(side)
    return [f"{compared.hits:,.0f}", times, f"{work.rows:,.0f} / {work.buffers:,.0f}" if work else ""]


def _other(part: Thirty, one: Answered, side: str) -> str:
    compared = one.compared[side]
    return _figure(part.middle(one, side, "p50_ms")) if compared.verdict == "equal" else compared.verdict


def _rest(report: Report) -> str:
    lines = ["## Load, disk, memory"]
    for name, loaded in report.loads.items():
        each = loaded.cpu.total_ms / loaded.resources
        speed = loaded.resources / loaded.seconds
        lines.append(f"- load, {name}: {speed:,.0f} a second, {each:.3f} ms CPU a resource")
    for name, disk in report.disk.items():
        tables, indexes = sum(disk.tables.values()), sum(disk.indexes.values())
        lines.append(
            f"- disk, {name}: {disk.total:,.0f} bytes a resource (tables {tables:,.0f}, indexes "
            f"{indexes:,.0f}), {disk.times_json:.2f} × JSON; full text {disk.full_text:,.0f}"
        )
    if report.further_version:
        lines.append(f"- a further version: {report.further_version:.2f} × its JSON")
    lines += [f"- crud, {one.line(name).strip()}" for name, one in report.crud.items()]
    if report.memory is not None:
        found, samples = report.memory, report.memory.samples
        told = " → ".join(f"{samples[at]:.0f}" for at in (0, len(samples) // 2, -1))
        lines.append(f"- PSS of the largest worker over {found.requests:,} mixed requests: {told} MiB")
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(value: float) -> str:
    return "" if isnan(value) else f"{value:.2f}" if value < 10 else f"{value:.0f}"
