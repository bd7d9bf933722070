"""The worklist in Postgres: what was made of orders, and what of it a C-FIND may match.

The SQL narrows by the keys that modalities ask with; whether an answer matches is decided by `matching`, on
the whole of it. So the columns may be coarser than the standard and never finer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2.extras

from dicom_node.attributes import Attributes
from dicom_node.index.matching import fold_name, read_date
from dicom_node.workflow.elements import items, name_of, value, values
from dicom_node.workflow.matching import START_DATE, STATION, bounds, matches
from dicom_node.workflow.steps import Step
from fhir_server.database.unit_of_work import UnitOfWork

SCHEDULED_STEPS = name_of("ScheduledProcedureStepSequence")
_STEP_ID = name_of("ScheduledProcedureStepID")
_STEP_STATUS = name_of("ScheduledProcedureStepStatus")
_STUDY_UID = name_of("StudyInstanceUID")
_PROCEDURE_ID = name_of("RequestedProcedureID")


@dataclass(frozen=True, slots=True)
class Known:
    """An order that the worklist knows."""

    pk: int
    study_uid: str


def known(unit: UnitOfWork, id_: str) -> Known | None:
    """Return what is kept of an order."""
    rows = unit.execute("SELECT pk, study_uid FROM worklist_order WHERE id = %s", (id_,))
    return Known(*rows[0]) if rows else None


def keep_order(
    unit: UnitOfWork, id_: str, study_uid: str, patient: str, accession: str, depends: Sequence[str]
) -> int:
    """Write an order and return its key."""
    rows = unit.execute(
        "INSERT INTO worklist_order (id, study_uid, patient, accession, depends) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (id) DO UPDATE SET study_uid = excluded.study_uid, patient = excluded.patient,"
        " accession = excluded.accession, depends = excluded.depends RETURNING pk",
        (id_, study_uid, patient, accession, list(depends)),
    )
    return int(rows[0][0])


def keep_steps(unit: UnitOfWork, order_pk: int, steps: Sequence[Step]) -> None:
    """Write the steps of an order; those that are no longer among them are closed."""
    unit.execute(
        "UPDATE worklist_step SET open = false WHERE order_pk = %s AND open AND source <> ALL(%s)",
        (order_pk, [step.source for step in steps]),
    )
    for step in steps:
        unit.execute(
            "INSERT INTO worklist_step (order_pk, start_date, start_time, open, source, modality, patient_id,"
            " name_alphabetic, stations, attributes) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (order_pk, source) DO UPDATE SET start_date = excluded.start_date,"
            " start_time = excluded.start_time, open = excluded.open, modality = excluded.modality,"
            " patient_id = excluded.patient_id, name_alphabetic = excluded.name_alphabetic,"
            " stations = excluded.stations, attributes = excluded.attributes",
            (
                order_pk,
                step.start.date(),
                step.start.time(),
                step.open,
                step.source,
                step.modality,
                value(step.attributes, "PatientID"),
                fold_name(next(iter(values(step.attributes, "PatientName")), None))[0],
                list(step.stations),
                psycopg2.extras.Json(step.attributes),
            ),
        )


def is_any_open(connection: Any) -> bool:
    """Tell whether any order has an open step: what is told of patients concerns no others."""
    cursor = connection.cursor()
    cursor.execute("SELECT FROM worklist_step WHERE open LIMIT 1")
    return cursor.fetchone() is not None


def orders_of(
    connection: Any, plans: Sequence[str], details: Sequence[str], patients: Sequence[str]
) -> list[str]:
    """Return the ids of orders that some resources concern.

    All that `plans` schedule; of those that `details` tell of or that are for `patients`, the open ones.
    """
    cursor = connection.cursor()
    cursor.execute(
        "SELECT id FROM worklist_order AS o WHERE depends && %s::text[]"
        " OR ((depends && %s::text[] OR patient = ANY(%s))"
        " AND EXISTS (SELECT FROM worklist_step AS s WHERE s.order_pk = o.pk AND s.open))",
        (list(plans), list(details), list(patients)),
    )
    return [row[0] for row in cursor.fetchall()]


_FIND = """
SELECT s.pk, o.pk, o.study_uid, s.attributes, EXISTS (
    SELECT FROM performed_step AS p WHERE p.status = 'IN PROGRESS' AND p.study_uids @> ARRAY[o.study_uid]
) FROM worklist_step AS s JOIN worklist_order AS o ON o.pk = s.order_pk
WHERE s.open {narrow} ORDER BY s.start_date, s.start_time, s.pk
"""


def candidates(connection: Any, identifier: Attributes) -> list[tuple[Any, ...]]:
    """Return the rows of open steps among which the matches are, in the order in which they are due."""
    narrow, parameters = _narrowed(identifier)
    cursor = connection.cursor()
    cursor.execute(_FIND.format(narrow="".join(f" AND {one}" for one in narrow)), parameters)
    return list(cursor.fetchall())


def matching(rows: Sequence[tuple[Any, ...]], identifier: Attributes) -> Iterator[Attributes]:
    """Yield the answers that match among candidates."""
    for step_pk, order_pk, study_uid, whole, begun in rows:
        answer = completed(whole, step_pk, order_pk, study_uid, begun=begun)
        if matches(identifier, answer):
            yield answer


def completed(
    whole: Attributes, step_pk: int, order_pk: int, study_uid: str, *, begun: bool = False
) -> Attributes:
    """Return a step, which is completed, with our own ids, and its status as a running MPPS has it."""
    (scheduled,) = whole[SCHEDULED_STEPS]["Value"]
    scheduled[_STEP_ID] = {"vr": "SH", "Value": [f"SPS{step_pk}"]}
    if begun:
        scheduled[_STEP_STATUS] = {"vr": "CS", "Value": ["STARTED"]}
    whole[_STUDY_UID] = {"vr": "UI", "Value": [study_uid]}
    whole[_PROCEDURE_ID] = {"vr": "SH", "Value": [f"RP{order_pk}"]}
    return whole


def step_of_id(text: str) -> int | None:
    """Return the key of the step that a Scheduled Procedure Step ID of ours names.

    >>> step_of_id("SPS7"), step_of_id("7")
    (7, None)
    """
    digits = text.strip().removeprefix("SPS")
    return int(digits) if digits != text.strip() and digits.isascii() and digits.isdigit() else None


def _narrowed(identifier: Attributes) -> tuple[list[str], list[Any]]:
    """Return conditions that every match fulfils, and their parameters."""
    conditions: list[str] = []
    parameters: list[Any] = []

    def add(condition: str, *given: Any) -> None:
        conditions.append(condition)
        parameters.extend(given)

    for keyword, column in (
        ("PatientID", "s.patient_id"),
        ("AccessionNumber", "o.accession"),
        ("StudyInstanceUID", "o.study_uid"),
    ):
        asked = [str(one) for one in values(identifier, keyword) if one]
        if asked and not any(sign in one for one in asked for sign in "*?"):
            add(f"{column} = ANY(%s)", asked)
    for scheduled in items(identifier, "ScheduledProcedureStepSequence")[:1]:
        modalities = [str(one) for one in values(scheduled, "Modality") if one]
        if modalities and not any(sign in one for one in modalities for sign in "*?"):
            add("s.modality = ANY(%s)", modalities)
        stations = [str(one) for one in scheduled.get(STATION, {}).get("Value", ()) if one]
        if stations and not any(sign in one for one in stations for sign in "*?"):
            add("(s.stations && %s::text[] OR s.stations = '{}')", stations)
        low, high = bounds(str((scheduled.get(START_DATE, {}).get("Value") or [""])[0] or ""))
        if (first := read_date(low)) is not None:
            add("s.start_date >= %s", first)
        if (last := read_date(high)) is not None:
            add("s.start_date <= %s", last)
    return conditions, parameters
