"""Storage commitment: is what was sent safe here, and did others keep what we sent? (PS3.4 Annex J)

An instance is committed when its row is committed and its file is there in its full length; with the setting
`commitment_verifies_hash` also when its bytes still have the hash that they were received with. What was just
received may not stand in the index yet: nothing is called missing before `PATIENCE` is over.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg2.extras
from blake3 import blake3

from dicom_node.attributes import Attributes
from dicom_node.files.store import FileStore, pieces
from dicom_node.workflow import messages
from dicom_node.workflow.elements import attributes, is_uid, items, value, values
from dicom_node.workflow.orders import mint

NO_SUCH_INSTANCE: Final = 0x0112
PROCESSING_FAILURE: Final = 0x0110
CLASS_CONFLICT: Final = 0x0119
PATIENCE: Final = timedelta(seconds=10)
AGAIN: Final = timedelta(seconds=1)

Instance = tuple[str, str]
"""SOP class and SOP instance."""


@dataclass(frozen=True, slots=True)
class Requested:
    """What a peer asked to be committed."""

    transaction_uid: str
    instances: list[Instance]


class Malformed(ValueError):
    """A request or report that lacks what it needs; the text says what."""


def read_request(given: Attributes) -> Requested:
    """Return what an N-ACTION asks for. Raises Malformed.

    >>> read_request(attributes(TransactionUID="1.2.3", ReferencedSOPSequence=[]))
    Traceback (most recent call last):
    dicom_node.workflow.commitment.Malformed: ReferencedSOPSequence is empty
    """
    transaction_uid = value(given, "TransactionUID")
    if not is_uid(transaction_uid):
        raise Malformed("TransactionUID is missing or no UID")
    asked = items(given, "ReferencedSOPSequence")
    if not asked:
        raise Malformed("ReferencedSOPSequence is empty")
    found = [
        (value(item, "ReferencedSOPClassUID"), value(item, "ReferencedSOPInstanceUID")) for item in asked
    ]
    if not all(sop_class and sop_uid for sop_class, sop_uid in found):
        raise Malformed("ReferencedSOPSequence has an item without its two UIDs")
    return Requested(transaction_uid, list(dict.fromkeys(found)))


def open_request(cursor: Any, peer: str, requested: Requested, now: datetime, due_at: datetime) -> int | None:
    """Keep a peer's request; None when its transaction UID stands for another one.

    The same request again is answered again.
    """
    cursor.execute(
        "INSERT INTO storage_commitment (asked_at, due_at, ours, transaction_uid, peer, asked)"
        " VALUES (%s, %s, false, %s, %s, %s) ON CONFLICT (ours, peer, transaction_uid) DO UPDATE"
        " SET answered_at = NULL, due_at = excluded.due_at, asked_at = excluded.asked_at"
        " WHERE storage_commitment.asked = excluded.asked RETURNING pk",
        (now, due_at, requested.transaction_uid, peer, psycopg2.extras.Json(requested.instances)),
    )
    row = cursor.fetchone()
    return int(row[0]) if row else None


class Checks:
    """Answers requests from the index and the files; what it finds out becomes a message."""

    def __init__(
        self, files: FileStore, ae_title: str, clock: Callable[[], datetime], *, hashes: bool = False
    ) -> None:
        self._files = files
        self._ae_title = ae_title
        self._clock = clock
        self._hashes = hashes

    def drain(self, engine: Any) -> int:
        """Answer the next request that waits; return how many were answered or put off."""
        now = self._clock()
        with engine.connection() as connection:
            cursor = connection.cursor()
            cursor.execute(
                "SELECT pk FROM storage_commitment WHERE answered_at IS NULL AND NOT ours AND due_at <= %s"
                " ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED",
                (now,),
            )
            row = cursor.fetchone()
            if row is None:
                return 0
            self.answer(cursor, row[0], now)
            connection.commit()
        return 1

    def answer(self, cursor: Any, pk: int, due_at: datetime) -> int | None:
        """Answer one request on the caller's transaction; return the key of the message that tells it.

        None when something is not here yet that may still come, or somebody else has answered.
        """
        now = self._clock()
        cursor.execute(
            "SELECT transaction_uid, peer, asked, asked_at FROM storage_commitment"
            " WHERE pk = %s AND answered_at IS NULL FOR UPDATE",
            (pk,),
        )
        row = cursor.fetchone()
        if row is None:
            return None
        transaction_uid, peer, asked, asked_at = row
        failed = self.failures(cursor, asked)
        if NO_SUCH_INSTANCE in failed.values() and now - asked_at < PATIENCE:
            cursor.execute("UPDATE storage_commitment SET due_at = %s WHERE pk = %s", (now + AGAIN, pk))
            return None
        cursor.execute(
            "UPDATE storage_commitment SET answered_at = %s, failed = %s WHERE pk = %s",
            (now, psycopg2.extras.Json(failed), pk),
        )
        told = report(transaction_uid, asked, failed, self._ae_title)
        return messages.put(cursor, messages.COMMITMENT_RESULT, peer, transaction_uid, told, now, due_at)

    def failures(self, cursor: Any, asked: Sequence[Sequence[str]]) -> dict[str, int]:
        """Return SOP instance → failure reason (PS3.3 C.14.1.1) of those that are not safe here."""
        cursor.execute(
            "SELECT sop_uid, sop_class, encode(hash, 'hex'), size_bytes FROM dicom_instance"
            " WHERE current AND sop_uid = ANY(%s)",
            ([sop_uid for _, sop_uid in asked],),
        )
        kept: dict[str, list[tuple[str, str, int]]] = {}
        for sop_uid, sop_class, digest, size_bytes in cursor.fetchall():
            kept.setdefault(sop_uid, []).append((sop_class, digest, size_bytes))
        found = {sop_uid: self._failure(kept.get(sop_uid, ()), sop_class) for sop_class, sop_uid in asked}
        return {sop_uid: reason for sop_uid, reason in found.items() if reason}

    def _failure(self, kept: Sequence[tuple[str, str, int]], sop_class: str) -> int:
        if not kept:
            return NO_SUCH_INSTANCE
        if sop_class not in {known for known, _, _ in kept}:
            return CLASS_CONFLICT
        safe = all(self._is_safe(digest, size_bytes) for _, digest, size_bytes in kept)
        return 0 if safe else PROCESSING_FAILURE

    def _is_safe(self, digest: str, size_bytes: int) -> bool:
        if not self._files.holds(digest, size_bytes):
            return False
        return not self._hashes or _digest(self._files.path(digest)) == digest


def _digest(path: os.PathLike[str]) -> str:
    hashed = blake3()
    try:
        for piece in pieces(path):  # type: ignore[arg-type]
            hashed.update(piece)
    except OSError:
        return ""
    return str(hashed.hexdigest())


def report(
    transaction_uid: str, asked: Sequence[Sequence[str]], failed: dict[str, int], ae_title: str
) -> Attributes:
    """Return the data set of an N-EVENT-REPORT (table J.3-2).

    >>> sorted(report("1.2", [["1.3", "1.4"]], {}, "XINGLIN"))
    ['00080054', '00081195', '00081199']
    """

    def item(one: Sequence[str]) -> Attributes:
        return attributes(ReferencedSOPClassUID=one[0], ReferencedSOPInstanceUID=one[1])

    safe = [item(one) for one in asked if one[1] not in failed]
    unsafe = [item(one) | attributes(FailureReason=failed[one[1]]) for one in asked if one[1] in failed]
    told = attributes(TransactionUID=transaction_uid)
    if safe:
        told |= attributes(RetrieveAETitle=ae_title, ReferencedSOPSequence=safe)
    if unsafe:
        told |= attributes(FailedSOPSequence=unsafe)
    return told


def ask(cursor: Any, peer: str, instances: Sequence[Instance], now: datetime) -> str:
    """Ask a peer to commit what we sent it, on the caller's transaction; return the transaction UID.

    `outcome` tells what it answered.
    """
    transaction_uid = mint()
    cursor.execute(
        "INSERT INTO storage_commitment (asked_at, due_at, ours, transaction_uid, peer, asked)"
        " VALUES (%s, %s, true, %s, %s, %s)",
        (now, now, transaction_uid, peer, psycopg2.extras.Json([list(one) for one in instances])),
    )
    told = attributes(
        TransactionUID=transaction_uid,
        ReferencedSOPSequence=[
            attributes(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=sop_uid)
            for sop_class, sop_uid in instances
        ],
    )
    messages.put(cursor, messages.COMMITMENT_REQUEST, peer, transaction_uid, told, now, now)
    return transaction_uid


def outcome(cursor: Any, transaction_uid: str) -> dict[str, int] | None:
    """Return SOP instance → failure reason as a peer answered a request of ours; None: not yet.

    An empty answer says that everything is safe there.
    """
    cursor.execute(
        "SELECT failed FROM storage_commitment"
        " WHERE ours AND transaction_uid = %s AND answered_at IS NOT NULL",
        (transaction_uid,),
    )
    row = cursor.fetchone()
    return None if row is None else {uid: int(reason) for uid, reason in row[0].items()}


def take_report(cursor: Any, given: Attributes, now: datetime) -> bool:
    """Keep what a peer reports on a request of ours; false when there is none of this transaction UID.

    What the report does not speak of at all counts as failed: nobody said that it is safe.
    """
    cursor.execute(
        "SELECT pk, asked FROM storage_commitment WHERE ours AND transaction_uid = %s FOR UPDATE",
        (value(given, "TransactionUID"),),
    )
    row = cursor.fetchone()
    if row is None:
        return False
    pk, asked = row
    safe = {value(item, "ReferencedSOPInstanceUID") for item in items(given, "ReferencedSOPSequence")}
    failed = {sop_uid: PROCESSING_FAILURE for _, sop_uid in asked if sop_uid not in safe}
    for item in items(given, "FailedSOPSequence"):
        reason = next(iter(values(item, "FailureReason")), PROCESSING_FAILURE)
        failed[value(item, "ReferencedSOPInstanceUID")] = int(reason)
    cursor.execute(
        "UPDATE storage_commitment SET answered_at = %s, failed = %s WHERE pk = %s",
        (now, psycopg2.extras.Json(failed), pk),
    )
    return True
