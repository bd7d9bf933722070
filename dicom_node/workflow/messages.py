"""Messages to other application entities that wait to be delivered: durable, with back-off, across restarts.

Written in the transaction of what they tell of. Delivered at least once: a peer may get one again when we die
between its answer and our note of it, with the same UIDs, by which it knows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg2.extras

from dicom_node.attributes import Attributes

COMMITMENT_REQUEST: Final = "commitment-request"
COMMITMENT_RESULT: Final = "commitment-result"
AVAILABILITY: Final = "availability"

GIVEN_UP_AFTER: Final = timedelta(days=7)
LONGEST_DELAY: Final = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its kind, whom it is for, the UID of what it is about, and its data set."""

    pk: int
    kind: str
    peer: str
    sop_uid: str
    attributes: Attributes
    attempts: int
    created_at: datetime


def put(
    cursor: Any, kind: str, peer: str, sop_uid: str, attributes: Attributes, now: datetime, due_at: datetime
) -> int:
    """Queue a message on the caller's transaction and return its key."""
    cursor.execute(
        "INSERT INTO outgoing_message (created_at, due_at, kind, peer, sop_uid, attributes)"
        " VALUES (%s, %s, %s, %s, %s, %s) RETURNING pk",
        (now, due_at, kind, peer, sop_uid, psycopg2.extras.Json(attributes)),
    )
    return int(cursor.fetchone()[0])


_COLUMNS = "pk, kind, peer, sop_uid, attributes, attempts, created_at"


def take(cursor: Any, now: datetime, limit: int, hold: timedelta) -> list[Message]:
    """Take messages that are due, the oldest first; nobody else takes them for `hold`."""
    cursor.execute(
        "UPDATE outgoing_message SET due_at = %s WHERE pk IN (SELECT pk FROM outgoing_message"
        " WHERE NOT gave_up AND due_at <= %s ORDER BY pk LIMIT %s FOR UPDATE SKIP LOCKED)"
        f" RETURNING {_COLUMNS}",
        (now + hold, now, limit),
    )
    return sorted((Message(*row) for row in cursor.fetchall()), key=lambda message: message.pk)


def delivered(cursor: Any, pks: Sequence[int]) -> None:
    """Forget messages that were delivered."""
    cursor.execute("DELETE FROM outgoing_message WHERE pk = ANY(%s)", (list(pks),))


def failed(cursor: Any, message: Message, now: datetime, problem: str, *, for_good: bool = False) -> bool:
    """Note why a message was not delivered and when it is tried again; say whether it is given up.

    It is after a week, or at once when the peer said that it will never take it.
    """
    gave_up = for_good or now - message.created_at >= GIVEN_UP_AFTER
    delay = min(LONGEST_DELAY, timedelta(seconds=5 * 2 ** min(message.attempts, 12)))
    cursor.execute(
        "UPDATE outgoing_message SET attempts = attempts + 1, problem = %s, gave_up = %s, due_at = %s"
        " WHERE pk = %s",
        (problem[:500], gave_up, now + delay, message.pk),
    )
    return gave_up


def later(cursor: Any, message: Message, due_at: datetime) -> None:
    """Leave a message for later without counting it as an attempt: its peer does not answer others."""
    cursor.execute("UPDATE outgoing_message SET due_at = %s WHERE pk = %s", (due_at, message.pk))
