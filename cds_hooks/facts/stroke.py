"""What a stroke service has to know from a chart: onset, the CT, drugs that were given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from cds_hooks.facts.chart import (
    SKEW,
    Chart,
    Resource,
    active_conditions,
    drug,
    drug_events,
    local_reference,
    moment,
    taken_at,
)
from cds_hooks.facts.medication import ingredients
from cds_hooks.facts.value_sets import (
    ACUTE_STROKE,
    ANTICOAGULANT,
    ASPIRIN,
    HAEMORRHAGE,
    HAEMORRHAGE_EXCLUDED,
    HEAD_CT,
    HEPARIN,
    INFARCT_VISIBLE,
    REPERFUSION,
    THROMBOLYTIC,
    CodeSet,
    texts,
)


@dataclass(frozen=True, slots=True)
class Stroke:
    """The present stroke: the Condition, and when it began if that is known to the hour."""

    condition: Resource
    onset: datetime | None

    @property
    def reference(self) -> str | None:
        """The Condition as `Condition/id`."""
        return local_reference(self.condition)


def stroke(chart: Chart) -> Stroke | None:
    """Return the newest active, confirmed stroke of the chart, or None.

    The onset is Condition.onsetDateTime, or onsetPeriod.start (last seen well). A date without a
    time of day is no onset: it is uncertain by a day, and the service decides by hours. Of
    several strokes the one with the newest onset counts, one without an onset first: what is not
    known must not be hidden by an older, better documented stroke.
    """
    return chart.once("stroke", lambda: _newest(chart))


def _newest(chart: Chart) -> Stroke | None:
    found = [
        Stroke(condition, _onset(condition))
        for condition, certainty in active_conditions(chart, ACUTE_STROKE)
        if certainty == "confirmed"
    ]
    unknown = [entry for entry in found if entry.onset is None and not _is_old(entry.condition, chart)]
    if unknown:
        return unknown[0]
    known = [entry for entry in found if entry.onset is not None]
    return max(known, key=lambda entry: entry.onset or chart.now, default=None)


def _onset(condition: Resource) -> datetime | None:
    period = condition.get("onsetPeriod")
    return moment(condition.get("onsetDateTime")) or (
        moment(period.get("start")) if isinstance(period, dict) else None
    )


def _is_old(condition: Resource, chart: Chart) -> bool:
    """Say whether a stroke without an exact onset is surely older than a week, by any date it has."""
    limit = (chart.now - timedelta(days=7)).date().isoformat()
    for key in ("onsetDateTime", "recordedDate"):
        text = condition.get(key)
        if isinstance(text, str) and len(text) >= 4 and text[:10] < limit[: len(text[:10])]:
            return True
    return False


# The CT -----------------------------------------------------------------------------------------
Finding = Literal["haemorrhage", "infarct", "no haemorrhage", "unknown"]


@dataclass(frozen=True, slots=True)
class HeadCT:
    """The newest final report of a head CT since the onset, and what its coded conclusion says."""

    finding: Finding
    report: Resource
    taken: datetime

    @property
    def reference(self) -> str | None:
        """The report as `DiagnosticReport/id`."""
        return local_reference(self.report)


def head_ct(chart: Chart, since: datetime) -> HeadCT | None:
    """Return the newest head CT report made between `since` and now, or None.

    Free text is not read: a report without coded conclusion is unknown, and so is one with any
    code that we do not know, because that code may be the haemorrhage. Preliminary and final
    reports compete; a preliminary one is unknown unless it names a haemorrhage.
    """
    newest: HeadCT | None = None
    for report, taken, finding in _reports(chart):
        if taken is None or not since <= taken <= chart.now + SKEW or not HEAD_CT.holds(report.get("code")):
            continue
        if report.get("status") in ("registered", "cancelled"):
            continue
        if newest is None or taken > newest.taken:
            newest = HeadCT(finding, report, taken)
    return newest


def _reports(chart: Chart) -> tuple[tuple[Resource, datetime | None, Finding], ...]:
    """Return every report, when it was made, and what its coded conclusion says."""
    return chart.once(
        "reports",
        lambda: tuple(
            (report, taken_at(report), _finding(report)) for report in chart.all("DiagnosticReport")
        ),
    )


def _finding(report: Resource) -> Finding:
    listed = report.get("conclusionCode")
    concepts = listed if isinstance(listed, list) else []
    infarct = [INFARCT_VISIBLE.holds_code(concept) for concept in concepts]
    clear = [HAEMORRHAGE_EXCLUDED.holds_code(concept) for concept in concepts]
    known = [one or other for one, other in zip(infarct, clear, strict=True)]
    for concept, understood in zip(concepts, known, strict=True):
        # the words of "no intracranial haemorrhage" must not be read against its code
        if HAEMORRHAGE.holds_code(concept) or (not understood and HAEMORRHAGE.holds(concept)):
            return "haemorrhage"
    if not concepts or report.get("status") not in ("final", "amended", "corrected", "appended"):
        return "unknown"
    if not all(known):
        return "unknown"
    return "infarct" if any(infarct) else "no haemorrhage"


def haemorrhage(chart: Chart, since: datetime) -> Resource | None:
    """Return what says haemorrhage: an active Condition, or any report since the onset; or None."""
    for condition, _certainty in active_conditions(chart, HAEMORRHAGE):
        return condition  # an unconfirmed haemorrhage forbids as well
    for report, taken, finding in _reports(chart):
        if finding == "haemorrhage" and (taken is None or taken >= since):
            return report
    return None


# Drugs and procedures ---------------------------------------------------------------------------
GIVEN = ("MedicationAdministration", "MedicationStatement", "MedicationRequest")

_DRUGS = (ASPIRIN, ANTICOAGULANT, HEPARIN, THROMBOLYTIC)
_NOT_GIVEN = frozenset({"cancelled", "not-done", "not-taken", "stopped", "entered-in-error"})
_OVER = _NOT_GIVEN | {"completed", "ended"}


def current(chart: Chart, codes: CodeSet, within: timedelta) -> Resource | None:
    """Return a request or statement of the drug set that runs, or an administration within a time.

    Statuses that do not say that the drug was not given (active, on-hold, draft, unknown,
    intended, in-progress) count as running; a completed one counts while it is younger than
    `within`, and so does one without a time.
    """
    for resource, at in drug_events(chart, codes, GIVEN):
        status = resource.get("status")
        if resource["resourceType"] == "MedicationAdministration":
            if status != "not-done" and (at is None or at >= chart.now - within):
                return resource
        elif status not in _OVER or (status == "completed" and (at is None or at >= chart.now - within)):
            return resource
    return None


def unreadable_drug(chart: Chart, known: Sequence[CodeSet] = ()) -> Resource | None:
    """Return a running request, statement or administration whose drug cannot be known, or None.

    Neither can one that has codes alone, none of which is in a table or a set here (those of the services,
    and `known`): it may be the anticoagulant.
    """
    sets = (*_DRUGS, *known)
    for name in GIVEN:
        for resource in chart.all(name):
            if _is_past(chart, resource):
                continue
            concept = drug(chart, resource)
            if concept is None:
                return resource
            named = any(text.strip() for text in texts(concept)) or ingredients(concept)
            if not named and not any(codes.holds_code(concept) for codes in sets):
                return resource
    return None


def _is_past(chart: Chart, resource: Resource) -> bool:
    """Say whether a drug surely plays no part any more; what was given within two days does."""
    if resource["resourceType"] != "MedicationAdministration":
        return resource.get("status") in _OVER
    at = taken_at(resource)
    return resource.get("status") in _NOT_GIVEN or (at is not None and at < chart.now - timedelta(days=2))


def reperfusion(chart: Chart, since: datetime) -> Resource | None:
    """Return the thrombolysis or thrombectomy since the onset (done, running or ordered), or None.

    A Condition may say it as well (ICD-10-CM Z92.82: tPA in another hospital before admission).
    """
    for condition, _certainty in active_conditions(chart, REPERFUSION):
        return condition
    for procedure in chart.all("Procedure"):
        if procedure.get("status") == "not-done" or not REPERFUSION.holds(procedure.get("code")):
            continue
        at = taken_at(procedure)
        if at is None or at >= since:
            return procedure
    for resource, at in drug_events(chart, THROMBOLYTIC, GIVEN):
        if resource.get("status") not in _NOT_GIVEN and (at is None or at >= since):
            return resource
    return None
