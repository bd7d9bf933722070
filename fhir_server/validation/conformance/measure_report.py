"""MeasureReport: the groups and populations of its Measure (R4/measurereport.html)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fhir_server.outcome import Issue
from fhir_server.validation.knowledge import Task

Resource = Mapping[str, Any]


def check(report: Resource, task: Task) -> Iterator[Issue]:
    """Yield where a MeasureReport does not have the form of its Measure, if that is known."""
    canonical = report.get("measure")
    measure = task.knowledge.conformance.find("Measure", canonical) if canonical else None
    if measure is None:
        return
    groups = measure.get("group", ())
    for number, group in enumerate(report.get("group", ())):
        place = f"MeasureReport.group[{number}]"
        asked = _meant(group, groups)
        if asked is None:
            if groups:
                what = f"none of the {len(groups)} groups of {canonical} has this code"
                yield Issue(
                    "error",
                    "value",
                    what,
                    f"{place}.code" if "code" in group else place,
                    "measurereport-group",
                )
            continue
        yield from _populations(group, asked, place)
        if _scoring(measure) == "cohort" and "measureScore" in group:
            yield Issue(
                "error",
                "value",
                "a cohort measure has no score",
                f"{place}.measureScore",
                "measurereport-score",
            )
    if report.get("status") == "complete" and report.get("type") != "data-collection":
        there = len(report.get("group", ()))
        if there < len(groups):
            what = f"{canonical} has {len(groups)} groups; this complete report has {there}"
            yield Issue("error", "value", what, "MeasureReport.group", "measurereport-group")


def _meant(group: Resource, groups: Any) -> Resource | None:
    if "code" not in group:
        return groups[0] if len(groups) == 1 else None
    return next((asked for asked in groups if _same(group["code"], asked.get("code"))), None) or (
        groups[0] if len(groups) == 1 and "code" not in groups[0] else None
    )


def _populations(group: Resource, asked: Resource, place: str) -> Iterator[Issue]:
    populations = asked.get("population", ())
    found: list[Resource] = []
    for number, population in enumerate(group.get("population", ())):
        here = f"{place}.population[{number}]"
        if "code" not in population:
            if len(populations) > 1:
                yield Issue(
                    "warning",
                    "required",
                    "which population is this? code is missing",
                    here,
                    "measurereport-population",
                )
            continue
        meant = next((one for one in populations if _same(population["code"], one.get("code"))), None)
        if meant is None:
            what = "the measure has no population with this code in this group"
            yield Issue("error", "value", what, f"{here}.code", "measurereport-population")
        elif any(meant is one for one in found):
            yield Issue(
                "error",
                "duplicate",
                "this population stands here already",
                f"{here}.code",
                "measurereport-population",
            )
        else:
            found.append(meant)


def _same(one: Resource, other: Resource | None) -> bool:
    if other is None:
        return False
    codings = {(coding.get("system"), coding.get("code")) for coding in one.get("coding", ())}
    others = {(coding.get("system"), coding.get("code")) for coding in other.get("coding", ())}
    return bool(codings & others) or ("text" in one and one["text"] == other.get("text"))


def _scoring(measure: Resource) -> str | None:
    codings = measure.get("scoring", {}).get("coding", ())
    return next((coding.get("code") for coding in codings), None)
