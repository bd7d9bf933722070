"""Performed procedure steps → Procedure, and the state of what scheduled them (IHE RAD-6, RAD-7).

One step is told in one transaction: Procedure, Task, Appointment, ServiceRequest, the worklist, the bridge,
and the note that FHIR knows this version. Killed anywhere, it is told again from the row, and the same
resources make no versions. States only move on: nothing that somebody has ended is opened again, but for a
step that was begun for the wrong line of the worklist.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from dicom_node import announce
from dicom_node.bridge.patient import NoSystem, find_subject, token
from dicom_node.index.studies import Named, Study
from dicom_node.index.writer import issuer_of
from dicom_node.workflow import changes, performed, rows
from dicom_node.workflow.chart import Chart, WorkflowSettings
from dicom_node.workflow.elements import items, value
from dicom_node.workflow.performed import COMPLETED, IN_PROGRESS, Performed
from dicom_node.workflow.procedure import discontinuation, period, procedure_of, was_wrong_entry
from dicom_node.workflow.requested import UID_SYSTEM
from dicom_node.workflow.steps import AE_TITLE
from fhir_server.authorization.grant import Grant
from fhir_server.database.unit_of_work import RunAgain
from fhir_server.interactions.context import Context
from fhir_server.interactions.create import create
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.update import update
from fhir_server.observability import events
from fhir_server.outcome import FhirError, PreconditionFailed, Unavailable

GRANT = Grant.system("mpps")
AT_A_TIME = 20
LONGEST_DELAY = timedelta(minutes=10)
STATUS_REASON: Final = "http://hl7.org/fhir/StructureDefinition/request-statusReason"
_AT_ONCE: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BEFORE_TASK: Final = frozenset({"draft", "requested", "received", "accepted", "ready", "on-hold"})
_BEFORE_APPOINTMENT: Final = frozenset({"proposed", "pending", "booked", "checked-in", "waitlist"})

log = logging.getLogger("dicom_node")

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Carried:
    """An order that a step carries out, and the sources of its schedule that are done with it."""

    request: Resource
    sources: Sequence[str]
    others: bool
    """Whether more of the order is still to be done."""


class Procedures:
    """The drain of performed procedure steps."""

    def __init__(self, entry: Entry, settings: WorkflowSettings) -> None:
        self._entry = entry
        self._settings = settings

    def drain(self) -> int:
        """Tell FHIR of the steps that it does not know yet; return how many were told.

        A step that FHIR refuses is tried again later, ever less often. Raises Unavailable.
        """
        now = self._entry.clock()
        with self._entry.engine.connection() as connection:
            due = performed.untold(connection, now, AT_A_TIME)
        return sum(self._tell(pk, attempts, now) for pk, attempts in due)

    def _tell(self, pk: int, attempts: int, now: datetime) -> bool:
        try:
            self._entry.write(GRANT, partial(tell, settings=self._settings, pk=pk))
            return True
        except Unavailable:
            raise
        except (FhirError, NoSystem) as error:
            if not attempts:
                log.warning("performed step %d is not told to FHIR yet: %s", pk, type(error).__name__)
        except Exception as error:  # one that we cannot read must not hold up the others
            events.emit(events.crashed(error))
        with self._entry.engine.connection() as connection:
            delay = min(LONGEST_DELAY, timedelta(seconds=2 ** min(attempts + 1, 12)))
            performed.later(connection.cursor(), pk, now + delay)
            connection.commit()
        return False


def tell(context: Context, settings: WorkflowSettings, pk: int) -> None:
    """Tell FHIR of one step, on the caller's unit of work."""
    unit = context.unit
    unit.lock([f"performed step {pk}"])
    step = performed.find_by_pk(unit.cursor, pk)
    if step is None or step.told == step.version:
        return
    chart = Chart(context, settings)
    carried = _carried(chart, step)
    orders = [one.request for one in carried]
    subject = orders[0]["subject"]["reference"] if orders else _subject(context, step, settings)
    made = procedure_of(step.sop_uid, step.attributes, subject, orders, _station(chart, step), settings.zone)
    _keep(context, step, made)
    for one in carried:
        for source in one.sources:
            if not source.startswith("ServiceRequest/"):
                _move(chart, source, step)
        if not one.others or step.status == IN_PROGRESS:
            _move(chart, f"ServiceRequest/{one.request['id']}", step)
        changes.again(unit.cursor, one.request["id"], 0, _AT_ONCE)
    if step.status != IN_PROGRESS:
        studies = unit.execute(
            "SELECT pk FROM dicom_study WHERE study_uid = ANY(%s)", (performed.study_uids(step.attributes),)
        )
        for (study_pk,) in studies:
            announce.changed(unit.cursor, study_pk, _AT_ONCE)
    performed.told(unit.cursor, pk, step.version)


def _station(chart: Chart, step: Performed) -> str:
    """Return the address of the Device that has the AE title of a step; empty unless there is exactly one."""
    title = value(step.attributes, "PerformedStationAETitle")
    found = chart.search("Device", ("identifier", token(AE_TITLE, title)), most=2)
    return f"Device/{found[0]['id']}" if len(found) == 1 else ""


def _carried(chart: Chart, step: Performed) -> list[_Carried]:
    """Return the orders that a step names, by Study Instance UID or by our id of the scheduled step."""
    unit = chart.context.unit
    found: dict[str, _Carried] = {}
    for item in items(step.attributes, "ScheduledStepAttributesSequence"):
        named = rows.step_of_id(value(item, "ScheduledProcedureStepID")) or 0
        orders = unit.execute(
            "SELECT pk, id FROM worklist_order WHERE study_uid = %(uid)s"
            " OR pk = (SELECT order_pk FROM worklist_step WHERE pk = %(step)s)"
            " ORDER BY study_uid <> %(uid)s, pk",
            {"uid": value(item, "StudyInstanceUID"), "step": named},
        )
        procedure = value(item, "RequestedProcedureID")
        if len(orders) > 1 and any(f"RP{pk}" == procedure for pk, _ in orders):
            orders = [(pk, id_) for pk, id_ in orders if f"RP{pk}" == procedure]
        for pk, id_ in orders:
            request = chart.at(f"ServiceRequest/{id_}")
            if request is None:
                continue
            scheduled = unit.execute(
                "SELECT pk, source, open, modality FROM worklist_step WHERE order_pk = %s ORDER BY pk", (pk,)
            )
            mine = _mine(scheduled, named, value(step.attributes, "Modality"))
            others = [source for _, source, is_open, _ in scheduled if is_open and source not in mine]
            before = found.get(id_)
            sources = [*(before.sources if before else ()), *mine]
            left = [source for source in others if source not in sources]
            others_run = unit.execute(
                "SELECT FROM performed_step WHERE status = %s AND study_uids && %s::text[] AND pk <> %s"
                " LIMIT 1",
                (IN_PROGRESS, performed.study_uids(step.attributes), step.pk),
            )
            found[id_] = _Carried(request, list(dict.fromkeys(sources)), bool(left or others_run))
    return list(found.values())


def _mine(scheduled: Sequence[Sequence[Any]], named: int, modality: str) -> list[str]:
    """Return which of an order's scheduled steps a performed one carries out.

    The one that it names; else the only one; else those of its modality.
    """
    if by_id := [source for pk, source, _, _ in scheduled if pk == named]:
        return by_id
    standing = [one for one in scheduled if one[2]] or list(scheduled)
    if len(standing) == 1:
        return [standing[0][1]]
    return [source for _, source, _, kind in standing if kind == modality]


def _subject(context: Context, step: Performed, settings: WorkflowSettings) -> str:
    """Return whose step an unscheduled one is: the Patient that its images will lead to."""
    given = step.attributes
    issuer = issuer_of(given, step.calling_ae)
    study = Study(
        pk=0,
        study_uid=next(iter(performed.study_uids(given)), step.sop_uid),
        accession="",
        issuer=issuer,
        attributes=given,
        patients=[Named(value(given, "PatientID"), issuer, given)],
        series=[],
        received_at=context.clock(),
    )
    return find_subject(context, study, settings.issuers, settings.patient_id_system).reference


def _keep(context: Context, step: Performed, made: Resource) -> None:
    """Write the Procedure; what others added to it stays."""
    chart = Chart(context, WorkflowSettings())
    present = chart.search("Procedure", ("identifier", token(UID_SYSTEM, f"urn:oid:{step.sop_uid}")), most=2)
    if not present:
        create(context, "Procedure", made)
        return
    before = present[0]
    _write(context, before, {**before, **made})


def _move(chart: Chart, address: str, step: Performed) -> None:
    """Move what scheduled a step to the state that the step is in, if it has not gone further."""
    resource = chart.at(address)
    if resource is None:
        return
    match resource["resourceType"]:
        case "Task":
            after = _task(resource, step, chart.settings)
        case "Appointment":
            after = _appointment(resource, step)
        case _:
            after = _request(resource, step)
    if after != resource:
        _write(chart.context, resource, after)


def _task(task: Resource, step: Performed, settings: WorkflowSettings) -> Resource:
    status, wrong = task.get("status"), was_wrong_entry(step.attributes)
    execution = period(step.attributes, settings.zone)
    if step.status == IN_PROGRESS:
        if status not in _BEFORE_TASK:
            return task
        return {**task, "status": "in-progress", "executionPeriod": execution}
    if status not in _BEFORE_TASK | {"in-progress"}:
        return task
    if wrong:
        back = {name: one for name, one in task.items() if name != "executionPeriod"}
        return {**back, "status": "ready"} if status == "in-progress" else task
    if step.status == COMPLETED:
        return {**task, "status": "completed", "executionPeriod": execution}
    reason = discontinuation(step.attributes)
    stopped = {**task, "status": "failed", "executionPeriod": execution}
    return {**stopped, "statusReason": reason} if reason else stopped


def _appointment(appointment: Resource, step: Performed) -> Resource:
    status = appointment.get("status")
    if step.status == IN_PROGRESS:
        return {**appointment, "status": "arrived"} if status in _BEFORE_APPOINTMENT else appointment
    if status not in _BEFORE_APPOINTMENT | {"arrived"}:
        return appointment
    if was_wrong_entry(step.attributes):
        return {**appointment, "status": "booked"} if status == "arrived" else appointment
    if step.status == COMPLETED:
        return {**appointment, "status": "fulfilled"}
    reason = discontinuation(step.attributes)
    gone = {**appointment, "status": "cancelled"}
    return {**gone, "cancelationReason": reason} if reason else gone


def _request(request: Resource, step: Performed) -> Resource:
    """Complete an order, or put it on hold until somebody decides whether it is tried again."""
    if request.get("status") != "active" or step.status == IN_PROGRESS or was_wrong_entry(step.attributes):
        return request
    if step.status == COMPLETED:
        return {**request, "status": "completed"}
    others = [one for one in request.get("extension", ()) if one.get("url") != STATUS_REASON]
    reason = discontinuation(step.attributes)
    said = [{"url": STATUS_REASON, "valueCodeableConcept": reason}] if reason else []
    held = {**request, "status": "on-hold", "extension": [*others, *said]}
    return held if held["extension"] else {name: one for name, one in held.items() if name != "extension"}


def _write(context: Context, before: Resource, after: Resource) -> None:
    """Write a resource whose state moved; a narrative that was generated from the old one goes."""
    if after.get("text", {}).get("status") == "generated":
        after = {name: one for name, one in after.items() if name != "text"}
    if after == before:
        return
    kind, id_ = before["resourceType"], before["id"]
    try:
        update(context, kind, id_, after, int(before["meta"]["versionId"]))
    except PreconditionFailed as error:
        raise RunAgain from error
