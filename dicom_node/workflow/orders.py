"""Orders that were written in FHIR → rows of the worklist, and the Study Instance UID that each is given.

The worker calls `drain` again and again. An order is brought up to date in one transaction: its row, its
steps and the identifier that is written into the ServiceRequest are there together or not at all. So a UID is
minted once, whatever is killed when, and an update that forgot the identifier gets the same one again.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from dicom_node.workflow import changes, rows
from dicom_node.workflow.changes import ABOUT_PATIENTS, GRANT, ORDER, SCHEDULES, Waiting
from dicom_node.workflow.chart import Chart, WorkflowSettings
from dicom_node.workflow.requested import UID_SYSTEM, study_uid_of
from dicom_node.workflow.steps import order_of
from fhir_server.database.unit_of_work import RunAgain, lock_number
from fhir_server.interactions.context import Context
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.update import update
from fhir_server.observability import events
from fhir_server.outcome import FhirError, PreconditionFailed, Unavailable

AT_A_TIME = 25
_LOCK = lock_number("worklist")
LONGEST_DELAY = timedelta(minutes=10)

log = logging.getLogger("dicom_node")

Resource = dict[str, Any]


class Orders:
    """The drain of what was written in FHIR."""

    def __init__(self, entry: Entry, settings: WorkflowSettings) -> None:
        self._entry = entry
        self._settings = settings

    def drain(self) -> int:
        """Bring the orders up to date that the queue speaks of; return how many rows of it were taken.

        An order that cannot be written is tried again later, ever less often, and stands in the worklist
        meanwhile. Raises Unavailable when the database is away.
        """
        with self._entry.engine.connection() as guard:
            # alone: what another one is just writing, a change of a Patient would not find to be concerned
            cursor = guard.cursor()
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,))
            return self._drain(guard) if cursor.fetchone()[0] else 0

    def _drain(self, guard: Any) -> int:
        now = self._entry.clock()
        waiting = changes.waiting(guard, now, AT_A_TIME)
        if not waiting:
            return 0
        failed: list[tuple[str, int]] = []
        for id_, attempts in self._concerned(waiting).items():
            if not self.bring(id_, attempts):
                failed.append((id_, attempts + 1))
        with self._entry.engine.connection() as connection:
            cursor = connection.cursor()
            changes.done(cursor, [one.pk for one in waiting])
            for id_, attempts in failed:
                delay = min(LONGEST_DELAY, timedelta(seconds=2 ** min(attempts, 12)))
                changes.again(cursor, id_, attempts, now + delay)
            connection.commit()
        return len(waiting)

    def _concerned(self, waiting: list[Waiting]) -> dict[str, int]:
        """Return the orders that changes concern, with how often each has failed already."""
        found = {one.id: one.attempts for one in reversed(waiting) if one.type_name == ORDER}
        others = [one for one in waiting if one.type_name != ORDER]
        if not others:
            return found
        plans = [f"{one.type_name}/{one.id}" for one in others if one.type_name in SCHEDULES]
        details = [f"{one.type_name}/{one.id}" for one in others if one.type_name not in SCHEDULES]
        with self._entry.engine.connection() as connection:
            telling = SCHEDULES | ABOUT_PATIENTS if rows.is_any_open(connection) else SCHEDULES
        about = [one for one in others if one.type_name in telling]
        kinds = [
            address.partition("/")
            for address in (self._entry.read(GRANT, partial(_about, those=about)) if about else ())
        ]
        found |= {id_: 0 for kind, _, id_ in kinds if kind == ORDER and id_ not in found}
        patients = [f"Patient/{id_}" for kind, _, id_ in kinds if kind == "Patient"]
        with self._entry.engine.connection() as connection:
            more = rows.orders_of(connection, plans, details, patients)
            found |= {id_: 0 for id_ in more if id_ not in found}
        return found

    def bring(self, id_: str, attempts: int = 0) -> bool:
        """Bring one order up to date; false when FHIR refused its identifier and it is to be tried again."""
        try:
            self._entry.write(GRANT, lambda context: bring(context, self._settings, id_))
        except Unavailable:
            raise
        except FhirError as error:
            if not attempts:
                log.warning("ServiceRequest/%s does not take its study UID: %s", id_, type(error).__name__)
            self._entry.write(GRANT, lambda context: bring(context, self._settings, id_, told=False))
            return False
        except Exception as error:  # a resource that we cannot read must not hold up the others
            events.emit(events.crashed(error))
            return False
        return True


def _about(context: Context, those: Sequence[Waiting]) -> set[str]:
    """Return the orders and patients that Appointments, Tasks and observations speak of."""
    chart = Chart(context, WorkflowSettings())
    found: set[str] = set()
    for type_name in sorted({one.type_name for one in those}):
        ids = [one.id for one in those if one.type_name == type_name]
        # at once: each Observation by itself costs more than to write it
        for resource in chart.search(type_name, ("_id", ",".join(sorted(set(ids))))):
            if type_name in ABOUT_PATIENTS:
                references = [resource.get("patient"), resource.get("subject")]
            else:
                references = [resource.get("focus"), *resource.get("basedOn", ())]
            found |= {chart.address(reference) for reference in references}
    return found


def bring(context: Context, settings: WorkflowSettings, id_: str, *, told: bool = True) -> None:
    """Make row, steps and identifier of an order what its resources say, on the caller's unit of work.

    `told` false leaves the ServiceRequest as it is.
    """
    unit = context.unit
    unit.lock([f"worklist {ORDER}/{id_}"])
    chart = Chart(context, settings)
    request = chart.at(f"{ORDER}/{id_}")
    known = rows.known(unit, id_)
    if request is None:
        if known is not None:
            rows.keep_steps(unit, known.pk, [])
        return
    order = order_of(chart, request, known=known is not None)
    carried = study_uid_of(request)
    if order is None or not (order.wanted or known or carried):
        if known is not None:
            rows.keep_steps(unit, known.pk, [])
        return
    study_uid = carried or (known.study_uid if known else mint())
    depends = sorted({*chart.depends, order.patient} - {"", f"{ORDER}/{id_}"})
    pk = rows.keep_order(unit, id_, study_uid, order.patient, order.accession, depends)
    rows.keep_steps(unit, pk, order.steps)
    if told and not carried:
        identifier = {"system": UID_SYSTEM, "value": f"urn:oid:{study_uid}"}
        changed = {**request, "identifier": [*request.get("identifier", ()), identifier]}
        try:
            update(context, ORDER, id_, changed, int(request["meta"]["versionId"]))
        except PreconditionFailed as error:
            raise RunAgain from error


def mint() -> str:
    """Return a new Study Instance UID of a random UUID (PS3.5 B.2).

    >>> mint().startswith("2.25."), len(mint()) <= 44
    (True, True)
    """
    return f"2.25.{uuid.uuid4().int}"
