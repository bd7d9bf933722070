"""What was written in FHIR and may stand in the worklist: a queue, filled by whoever writes.

`notice` is a listener of fhir_server's unit of work: the row of the queue is committed with the resource
or not at all, so no order is missed and none is announced that does not exist. What it costs others is
one deferred INSERT, and only where the written type can matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fhir_server.authorization.grant import Grant
from fhir_server.database.changes import Change
from fhir_server.database.unit_of_work import UnitOfWork

GRANT: Final = Grant.system("worklist")
PREGNANCY: Final = "82810-3"
BODY_WEIGHT: Final = "29463-7"
BODY_HEIGHT: Final = "8302-2"
OBSERVED: Final = frozenset({PREGNANCY, BODY_WEIGHT, BODY_HEIGHT})
"""LOINC codes of the observations that a worklist tells."""

ORDER: Final = "ServiceRequest"
SCHEDULES: Final = frozenset({"Appointment", "Task"})
ABOUT_PATIENTS: Final = frozenset({"AllergyIntolerance", "Flag", "Observation"})
REFERRED_TO: Final = frozenset(
    {
        "Patient", "Practitioner", "PractitionerRole", "Organization", "Encounter", "Location", "Device",
        "HealthcareService", "Condition",
    }
)  # fmt: skip
"""Types that orders refer to. One that was just created under an id of ours is not referred to yet."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One row of the queue."""

    pk: int
    type_name: str
    id: str
    attempts: int


def notice(unit: UnitOfWork, changes: Sequence[Change]) -> None:
    """Note the changes of a unit that may concern the worklist (a listener)."""
    rows = [(change.type_name, change.id) for change in changes if _matters(change)]
    if rows:
        unit.defer(
            "INSERT INTO worklist_change (type, id) SELECT * FROM unnest(%s::text[], %s::text[])",
            ([name for name, _ in rows], [id_ for _, id_ in rows]),
        )


def _matters(change: Change) -> bool:
    name = change.type_name
    if name == ORDER and change.actor == GRANT.subject:
        return False  # the identifier that the worklist itself writes, together with its rows
    if name == ORDER or name in SCHEDULES:
        return True
    if name in REFERRED_TO:
        return change.interaction != "create"
    if name == "Observation":
        return change.resource is None or bool(_loinc(change.resource) & OBSERVED)
    return name in ABOUT_PATIENTS


def _loinc(observation: dict[str, Any]) -> set[str]:
    code = observation.get("code")
    codings = code.get("coding") if isinstance(code, dict) else None
    return {str(one.get("code")) for one in codings or () if isinstance(one, dict)}


def waiting(connection: Any, now: datetime, limit: int) -> list[Waiting]:
    """Return what is due, the newest first: today's orders do not wait behind a large import."""
    cursor = connection.cursor()
    cursor.execute(
        "SELECT pk, type, id, attempts FROM worklist_change WHERE due_at <= %s ORDER BY pk DESC LIMIT %s",
        (now, limit),
    )
    return [Waiting(*row) for row in cursor.fetchall()]


def done(cursor: Any, rows: Sequence[int]) -> None:
    """Take rows off the queue."""
    cursor.execute("DELETE FROM worklist_change WHERE pk = ANY(%s)", (list(rows),))


def again(cursor: Any, id_: str, attempts: int, due_at: datetime) -> None:
    """Put an order back for later."""
    cursor.execute(
        "INSERT INTO worklist_change (type, id, attempts, due_at) VALUES (%s, %s, %s, %s)",
        (ORDER, id_, attempts, due_at),
    )
