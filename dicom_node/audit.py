"""What PS3.15 A.5 wants written down: who did what with which study, as a row for the worker.

A service notes an `Event` on the transaction in which it did the thing; the worker makes an
AuditEvent of it (bridge/audit_event). One row a request and study, never one an instance: who
moves many instances adds them up in a `Transfer`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from psycopg2.extras import execute_values

from dicom_node.instance import Instance, first


class Kind(Enum):
    """What happened: the event identifiers of PS3.15 A.5.3, codes of DCM (PS3.16 CID 400)."""

    APPLICATION_ACTIVITY = "110100"
    BEGIN_TRANSFERRING = "110102"
    ACCESSED = "110103"
    TRANSFERRED = "110104"
    STUDY_DELETED = "110105"
    EXPORT = "110106"
    IMPORT = "110107"
    PROCEDURE_RECORD = "110111"
    QUERY = "110112"
    SECURITY_ALERT = "110113"
    USER_AUTHENTICATION = "110114"


class Outcome(Enum):
    """How it went: EventOutcomeIndicator (PS3.15 A.5.1), AuditEvent.outcome (R4)."""

    SUCCESS = "0"
    MINOR_FAILURE = "4"
    SERIOUS_FAILURE = "8"
    MAJOR_FAILURE = "12"


@dataclass(frozen=True, slots=True)
class Party:
    """One side of an event: an application entity or a web client, where it is, who uses it.

    `requestor` says that the event began with this side.
    """

    ae: str = ""
    address: str = ""
    user: str = ""
    requestor: bool = False


@dataclass(frozen=True, slots=True)
class Studied:
    """A study that an event is about; `issuer` as `index/writer.issuer_of` tells it."""

    uid: str
    patient_id: str = ""
    issuer: str = ""
    accession: str = ""
    instances: int = 0
    sop_classes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    `action` is C, R, U, D or E (empty: the one that PS3.15 A.5.3 gives the kind); `subtype` a code of
    DCM that says more, such as 110120 Application Start or 110126 Node Authentication. `query` is
    what was asked, as the asker wrote it, with the SOP Class (or address) it was asked of. `reason` is
    a sentence without patient data.
    """

    kind: Kind
    at: datetime
    outcome: Outcome = Outcome.SUCCESS
    source: Party = Party()
    destination: Party = Party()
    studies: Sequence[Studied] = ()
    action: str = ""
    subtype: str = ""
    sop_class: str = ""
    query: str = ""
    reason: str = ""


ROWS = 500
"""As many rows go into one statement."""

_ACTIONS = {
    Kind.TRANSFERRED: "C",
    Kind.ACCESSED: "R",
    Kind.EXPORT: "R",
    Kind.IMPORT: "C",
    Kind.STUDY_DELETED: "D",
}

_INSERT = "INSERT INTO dicom_audit (noted_at, study_uid, event) VALUES %s"


def note(cursor: Any, event: Event) -> None:
    """Write an event on the caller's transaction: one row a study, or one that names none."""
    note_all(cursor, (event,))


def note_all(cursor: Any, events: Iterable[Event]) -> None:
    """Write events on the caller's transaction in their order, in one statement."""
    rows = [
        (event.at, study.uid, json.dumps(document_of(event, study), ensure_ascii=False))
        for event in events
        for study in event.studies or (Studied(""),)
    ]
    if rows:
        execute_values(cursor, _INSERT, rows, page_size=ROWS)


def document_of(event: Event, study: Studied) -> dict[str, Any]:
    """Return the row of an event and one of its studies; what is empty is left out.

    >>> from datetime import UTC
    >>> event = Event(Kind.QUERY, datetime(2026, 1, 2, tzinfo=UTC), source=Party("CT1", "10.0.0.7"))
    >>> document = document_of(event, Studied(""))
    >>> document["kind"], document["action"], document["source"]
    ('110112', 'E', {'ae': 'CT1', 'address': '10.0.0.7'})
    """
    whole = {
        "kind": event.kind.value,
        "at": event.at.isoformat(),
        "outcome": event.outcome.value,
        "action": event.action or _ACTIONS.get(event.kind, "E"),
        "subtype": event.subtype,
        "source": _stated(event.source),
        "destination": _stated(event.destination),
        "study": _stated(study),
        "sop_class": _clean(event.sop_class),
        "query": _clean(event.query),
        "reason": _clean(event.reason),
    }
    return {name: value for name, value in whole.items() if value}


def _stated(value: Party | Studied) -> dict[str, Any]:
    found = {name: getattr(value, name) for name in value.__slots__}
    return {
        name: {_clean(key): count for key, count in one.items()} if isinstance(one, Mapping) else _clean(one)
        for name, one in found.items()
        if one
    }


def _clean(value: Any) -> Any:
    """Return a text without what no database keeps."""
    if not isinstance(value, str):
        return value
    return value.replace("\0", "").encode("utf-8", "replace").decode()


@dataclass(slots=True)
class _Sum:
    patient_id: str = ""
    issuer: str = ""
    accession: str = ""
    new: int = 0
    versions: int = 0
    present: int = 0
    refused: int = 0
    sop_classes: Counter[str] = field(default_factory=Counter)
    reason: str = ""


class Transfer:
    """The instances that one association or request moves, added up by study in memory.

    Not thread-safe: one for an association. Call `took` (or `moved`) and `refused` for each
    instance, `note_due` now and then and `note_all` at the end, with a cursor of a transaction of
    the caller's; both do nothing where there is nothing to tell.

    >>> from datetime import UTC
    >>> transfer = Transfer(Party("CT1", requestor=True), Party("NODE"), every_s=30)
    >>> transfer.moved(Studied("1.2.3", "P1"), "1.2.840.10008.5.1.4.1.1.2")
    >>> transfer.moved(Studied("1.2.3", "P1"), "1.2.840.10008.5.1.4.1.1.2")
    >>> (event,) = transfer.take(datetime(2026, 1, 2, tzinfo=UTC))
    >>> event.action, event.studies[0].instances
    ('C', 2)
    """

    def __init__(
        self,
        source: Party,
        destination: Party,
        *,
        kind: Kind = Kind.TRANSFERRED,
        every_s: float = 30.0,
    ) -> None:
        self._source, self._destination, self._kind = source, destination, kind
        self._every = timedelta(seconds=every_s)
        self._since: datetime | None = None
        self._studies: dict[str, _Sum] = {}

    def __bool__(self) -> bool:
        return bool(self._studies)

    def took(self, instance: Instance, issuer: str, *, new: bool = True, version: int = 1) -> None:
        """Add an instance that we received and keep; `new` false: its bytes were here already."""
        study = Studied(
            instance.study_uid,
            str(first(instance.study, "00100020") or ""),
            issuer,
            str(first(instance.study, "00080050") or ""),
        )
        self.moved(study, instance.sop_class, new=new, version=version)

    def moved(
        self, study: Studied, sop_class: str, *, new: bool = True, version: int = 1, count: int = 1
    ) -> None:
        """Add an instance of a study, or several; only the study's names are looked at, not its counts."""
        found = self._of(study)
        found.sop_classes[sop_class] += count
        if not new:
            found.present += count
        elif version > 1:
            found.versions += count
        else:
            found.new += count

    def refused(self, reason: str, study: Studied | None = None) -> None:
        """Add an instance that could not be moved; the first reason of a study is told."""
        found = self._of(study or Studied(""))
        found.refused += 1
        found.reason = found.reason or reason

    def note_due(self, cursor: Any, now: datetime) -> None:
        """Write what has been added up for longer than `every_s`: a long association is not silent."""
        if self.due(now):
            self.note_all(cursor, now)

    def due(self, now: datetime) -> bool:
        """Whether something waits for longer than `every_s`, counted from when this was asked first."""
        if not self._studies:
            return False
        self._since = self._since or now
        return now - self._since >= self._every

    def note_all(self, cursor: Any, now: datetime) -> None:
        """Write what has been added up, and begin anew."""
        note_all(cursor, self.take(now))

    def take(self, now: datetime) -> Iterator[Event]:
        """Give an event a study, and begin anew."""
        studies, self._studies, self._since = self._studies, {}, None
        for uid, found in studies.items():
            kept = found.new + found.versions + found.present
            # PS3.15 A.5.3.7: C: the receiver did not hold them, R: it did, U: they were changed
            action = "C" if found.new or (found.refused and not kept) else "U" if found.versions else "R"
            if self._kind is not Kind.TRANSFERRED:
                action = ""
            outcome = Outcome.SUCCESS
            if found.refused:
                outcome = Outcome.MINOR_FAILURE if kept else Outcome.SERIOUS_FAILURE
            parts = [
                f"{count} {said}"
                for count, said in (
                    (found.refused, f"refused ({found.reason})"),
                    (found.versions, "replaced others under their UIDs"),
                    (found.present if found.new or found.versions else 0, "were here already"),
                )
                if count
            ]
            study = Studied(
                uid, found.patient_id, found.issuer, found.accession, kept, dict(found.sop_classes)
            )
            yield Event(
                self._kind,
                now,
                outcome,
                self._source,
                self._destination,
                (study,),
                action=action,
                reason="; ".join(parts),
            )

    def _of(self, study: Studied) -> _Sum:
        found = self._studies.setdefault(study.uid, _Sum())
        found.patient_id = found.patient_id or study.patient_id
        found.issuer = found.issuer or study.issuer
        found.accession = found.accession or study.accession
        return found
