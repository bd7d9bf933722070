"""The transactions on workitems: create, retrieve, update, change state, request cancellation, search.

PS3.18 chapter 11, PS3.4 CC.2.1 to CC.2.8. Every one asks the Grant for a Task, which is what FHIR calls a
workitem. One transaction of the database each, the workitem's row locked while it is changed.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dicom_node.attributes import Attributes
from dicom_node.workitems import content, state, store, subscribers
from dicom_node.workitems.content import CANCELED, COMPLETED, IN_PROGRESS, SCHEDULED, TRANSACTION, UID, text
from dicom_node.workitems.matching import Key
from dicom_node.workitems.refusals import (
    ALREADY,
    COMPLETED_ALREADY,
    CREATED_MODIFIED,
    INCONSISTENT_UPDATE,
    NO_PERFORMER,
    NOT_CLAIMED,
    TRANSACTION_MISSING,
    TRANSACTION_WRONG,
    NotAllowed,
    Unfit,
)
from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.database.engine import Engine, Mode

TYPE = "Task"


@dataclass(frozen=True, slots=True)
class Worklist:
    """The workitems of an installation; `clock` says when something is done."""

    engine: Engine
    clock: Callable[[], datetime]

    def create(self, grant: Grant, document: Any, uid: str = "") -> tuple[str, list[str]]:
        """Make a workitem; return its UID, which is new where none is named, and warnings."""
        permit(grant, "create", TYPE)
        found = content.checked(document)
        stated = text(found, content.SOP_INSTANCE)
        if uid and stated and uid != stated:
            raise Unfit("the address names another workitem than the data set (0008,0018)")
        uid = uid or stated or f"2.25.{uuid.UUID(bytes=secrets.token_bytes(16), version=4).int}"
        if len(uid) > 64 or not UID.fullmatch(uid):
            raise Unfit(f"{uid[:80]!r} is no UID; it has digits and dots, 64 at most")
        now = self.clock()
        attributes, modified = content.created(found, uid, now)
        with self.engine.connection() as connection:
            cursor = connection.cursor()
            subscribers.follow(cursor, store.insert(cursor, uid, attributes, now))
            connection.commit()
        return uid, [CREATED_MODIFIED] if modified else []

    def retrieve(self, grant: Grant, uid: str) -> Attributes:
        """Return a workitem without its Transaction UID. Raises NotFound."""
        permit(grant, "read", TYPE)
        with self.engine.connection(Mode.SINGLE) as connection:
            return store.read(connection.cursor(), uid).attributes

    def update(self, grant: Grant, uid: str, document: Any, transaction_uid: str = "") -> None:
        """Replace attributes of a workitem; one that is claimed only by who knows its Transaction UID."""
        permit(grant, "update", TYPE)
        changes = content.checked(document)
        given = transaction_uid or text(changes, TRANSACTION)
        with self.engine.connection() as connection:
            cursor = connection.cursor()
            present = store.read(cursor, uid, lock=True)
            if present.state in state.FINAL:
                raise NotAllowed(INCONSISTENT_UPDATE, f"the workitem is {present.state} and changes no more")
            if present.state == SCHEDULED and given:
                raise NotAllowed(NOT_CLAIMED, "the workitem is SCHEDULED: nobody has claimed it yet")
            if present.state == IN_PROGRESS and given != present.lock:
                warning = TRANSACTION_WRONG if given else TRANSACTION_MISSING
                raise NotAllowed(warning, "the workitem is claimed; who did that knows its Transaction UID")
            now = self.clock()
            made = content.updated(present.attributes, changes, now)
            store.write(cursor, present.pk, present.lock, made, now)
            connection.commit()

    def change_state(self, grant: Grant, uid: str, document: Any) -> list[str]:
        """Claim, complete or cancel a workitem; return warnings."""
        permit(grant, "update", TYPE)
        asked = content.checked(document)
        with self.engine.connection() as connection:
            cursor = connection.cursor()
            present = store.read(cursor, uid, lock=True)
            now = self.clock()
            step = state.changed(
                present.attributes, present.lock, text(asked, content.STATE), text(asked, TRANSACTION), now
            )
            if step.warning:
                return [step.warning]
            store.write(cursor, present.pk, step.transaction_uid, step.attributes, now)
            connection.commit()
        return []

    def cancel(self, grant: Grant, uid: str, document: Any) -> list[str]:
        """Cancel a workitem that nobody has claimed; return warnings.

        Who performs one cannot be told here (no event reaches him): such a request is refused, and he
        cancels it himself by its state.
        """
        permit(grant, "update", TYPE)
        asked = content.checked(document if document is not None else {})
        with self.engine.connection() as connection:
            cursor = connection.cursor()
            present = store.read(cursor, uid, lock=True)
            if present.state == CANCELED:
                return [ALREADY.format(CANCELED)]
            if present.state == COMPLETED:
                raise NotAllowed(COMPLETED_ALREADY, "the workitem is COMPLETED and cannot be canceled")
            if present.state == IN_PROGRESS:
                raise NotAllowed(NO_PERFORMER, "the workitem is claimed; who performs it cancels it")
            now = self.clock()
            made = state.finished(_with_reason(present.attributes, asked), CANCELED, now)
            store.write(cursor, present.pk, "", made, now)
            connection.commit()
        return []

    def search(
        self, grant: Grant, keys: Sequence[Key], limit: int, offset: int
    ) -> tuple[list[Attributes], int]:
        """Return a page of workitems and how many lie behind it."""
        permit(grant, "search-type", TYPE)
        if not limit:
            return [], 0
        with self.engine.connection(Mode.SINGLE) as connection:
            return store.search(connection.cursor(), keys, limit, offset)

    def subscribe(self, grant: Grant, uid: str, ae_title: str, keys: Sequence[Key], *, lock: bool) -> None:
        """Let an AE watch one workitem, or all by the well-known UIDs."""
        permit(grant, "update", TYPE)
        with self.engine.connection() as connection:
            cursor = connection.cursor()
            if uid in (subscribers.GLOBAL, subscribers.FILTERED):
                subscribers.subscribe_to_all(cursor, ae_title, keys, lock=lock)
            else:
                subscribers.subscribe(cursor, uid, ae_title, lock=lock)
            connection.commit()

    def unsubscribe(self, grant: Grant, uid: str, ae_title: str) -> None:
        """End a subscription, or all of an AE by the well-known UIDs."""
        permit(grant, "update", TYPE)
        with self.engine.connection() as connection:
            cursor = connection.cursor()
            if uid in (subscribers.GLOBAL, subscribers.FILTERED):
                subscribers.unsubscribe_from_all(cursor, ae_title)
            else:
                subscribers.unsubscribe(cursor, uid, ae_title)
            connection.commit()

    def suspend(self, grant: Grant, ae_title: str) -> None:
        """Add no further workitems to what an AE watches."""
        permit(grant, "update", TYPE)
        with self.engine.connection() as connection:
            subscribers.suspend(connection.cursor(), ae_title)
            connection.commit()


_REASONS = ("00741238", "0074100E")  # in words, and as codes of the discontinuation
_CONTACTS = ("0074100A", "0074100C")


def _with_reason(present: Attributes, asked: Attributes) -> Attributes:
    """Return a workitem that tells why it was canceled and whom to ask (PS3.4 table CC.2.2-1)."""
    told = {name: asked[name] for name in _REASONS if name in asked}
    contact = {name: asked[name] for name in _CONTACTS if name in asked}
    if contact:
        told["00741008"] = {"vr": "SQ", "Value": [contact]}
    if not told:
        return present
    items = [dict(item) for item in present.get(content.PROGRESS, {}).get("Value") or [{}]]
    items[0].update(told)
    return {**present, content.PROGRESS: {"vr": "SQ", "Value": items}}
