"""What became of the patients of calls: read from a table or from FHIR, joined to the calls.

A table (CSV) has `call_id` or `patient`, `outcome` (0 or 1) and, if known, `observed_at`. FHIR is NDJSON,
as `$export` writes it: a Patient with `deceasedDateTime`, and Observations of the modified Rankin Scale
(LOINC 75859-9; 3 to 6 is dependent or dead). The outcome of the stroke models is death or dependency six
months after the call: a death within 183 days, else the score nearest to that day between 150 and 240 days.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from cds_hooks.facts.chart import day, moment, whole_number
from cds_hooks.facts.value_sets import LOINC, codings
from fhir_server.outcome import Invalid

RANKIN = (LOINC, "75859-9")
DEPENDENT = 3
SIX_MONTHS = timedelta(days=183)
EARLIEST, LATEST = timedelta(days=150), timedelta(days=240)
_WRONG = frozenset({"entered-in-error", "cancelled", "registered"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that had a prediction: whose outcome is looked for.

    `ehr`: the client whose id of the patient it is, None where it is an id of our own store.
    """

    call_id: UUID
    patient: str
    received_at: datetime
    ehr: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the patient of one call; `bad` is what the model predicts."""

    call_id: UUID
    bad: bool
    observed_at: datetime | None
    source: str


def read(path: Path, asked: Sequence[Asked], ehr: str | None = None) -> list[Outcome]:
    """Return the outcomes in a file for calls that were asked; `ehr`: only for calls of that client.

    Raises Invalid naming the line and what is wrong with it, and where a patient's id in the file could be
    that of two EHRs.
    """
    if ehr is not None:
        asked = [each for each in asked if each.ehr == ehr]
    if path.suffix in (".ndjson", ".jsonl"):
        with path.open(encoding="utf-8") as lines:
            return list(from_fhir(_resources(lines, path.name), asked, path.name))
    with path.open(encoding="utf-8", newline="") as lines:
        return list(_from_table(csv.DictReader(lines), asked, path.name))


def _resources(lines: Iterable[str], name: str) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                resource = json.loads(line)
            except ValueError:
                raise Invalid(f"{name}, line {number}: not JSON; expected one resource a line") from None
            if isinstance(resource, dict):
                yield resource


def _from_table(rows: csv.DictReader[str], asked: Sequence[Asked], name: str) -> Iterator[Outcome]:
    columns = set(rows.fieldnames or ())
    if "outcome" not in columns or not columns & {"call_id", "patient"}:
        raise Invalid(
            f"{name} has the columns {', '.join(sorted(columns)) or 'none'}; needed are outcome,"
            " and call_id or patient"
        )
    by_call = {str(each.call_id): each for each in asked}
    by_patient: dict[str, list[Asked]] = {}
    for each in asked:
        by_patient.setdefault(each.patient, []).append(each)
    for number, row in enumerate(rows, 2):
        bad = {"0": False, "1": True}.get((row.get("outcome") or "").strip())
        if bad is None:
            raise Invalid(f"{name}, line {number}: outcome has to be 0 or 1")
        at = _moment(row.get("observed_at"), f"{name}, line {number}")
        call = by_call.get((row.get("call_id") or "").strip().lower())
        known = by_patient.get((row.get("patient") or "").strip().removeprefix("Patient/"), [])
        for each in [call] if call else _of_one_ehr(known, f"{name}, line {number}"):
            if at is None or timedelta(0) <= at - each.received_at <= LATEST:
                yield Outcome(each.call_id, bad, at, name)


def from_fhir(resources: Iterable[Mapping[str, Any]], asked: Sequence[Asked], name: str) -> Iterator[Outcome]:
    """Give the outcomes that resources tell; a patient without any of them has none yet."""
    deaths: dict[str, datetime] = {}
    scores: dict[str, list[tuple[datetime, int]]] = {}
    for resource in resources:
        died = _at(resource.get("deceasedDateTime"))
        if resource.get("resourceType") == "Patient" and died is not None:
            deaths[str(resource.get("id"))] = died
        elif resource.get("resourceType") == "Observation" and RANKIN in codings(resource.get("code")):
            at, score = _at(resource.get("effectiveDateTime")), whole_number(resource)
            if (
                at is not None
                and score is not None
                and 0 <= score <= 6
                and resource.get("status") not in _WRONG
            ):
                subject = resource.get("subject")
                reference = str(subject.get("reference") or "") if isinstance(subject, Mapping) else ""
                scores.setdefault(reference.rpartition("/")[2], []).append((at, score))
    by_patient: dict[str, list[Asked]] = {}
    for each in asked:
        if each.patient in deaths or each.patient in scores:
            by_patient.setdefault(each.patient, []).append(each)
    for each in [each for known in by_patient.values() for each in _of_one_ehr(known, name)]:
        found = _six_months(each, deaths.get(each.patient), scores.get(each.patient, ()))
        if found is not None:
            yield Outcome(each.call_id, found[1], found[0], name)


def _of_one_ehr(known: Sequence[Asked], where: str) -> Sequence[Asked]:
    """Return the calls for one id of a patient; Invalid where two EHRs have a patient of that id."""
    if len({each.ehr for each in known}) > 1:
        names = ", ".join(sorted(each or "our own store" for each in {each.ehr for each in known}))
        raise Invalid(
            f"{where}: a patient's id is known of several ({names}), and they need not mean the same patient;"
            " name the one whose file it is with --client, or give call_id in place of patient"
        )
    return known


def _six_months(
    asked: Asked, died: datetime | None, scores: Sequence[tuple[datetime, int]]
) -> tuple[datetime, bool] | None:
    if died is not None and died - asked.received_at <= SIX_MONTHS:
        return died, True
    timely = [
        (abs(at - asked.received_at - SIX_MONTHS), at, score)
        for at, score in scores
        if EARLIEST <= at - asked.received_at <= LATEST
    ]
    if not timely:
        return None
    _far, at, score = min(timely)
    return at, score >= DEPENDENT


def _at(text: Any) -> datetime | None:
    """Return an instant, or noon of a day."""
    date = day(text)
    return moment(text) or (datetime.combine(date, time(12), UTC) if date else None)


def _moment(text: str | None, where: str) -> datetime | None:
    if not text or not text.strip():
        return None
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Invalid(
            f"{where}: observed_at is no ISO date; write 2026-05-31 or 2026-05-31T10:00:00Z"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
