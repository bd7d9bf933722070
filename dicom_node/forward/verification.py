"""Forwarding with storage commitment: what was sent has arrived when its receiver says that it is safe.

PS3.4 Annex J. The request is queued in the transaction that notes what it is about; items wait for
the report with the transaction's UID. What is not committed, or not in time, is sent again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from dicom_node.forward.queue import Job, finish
from dicom_node.index.locate import Located
from dicom_node.workflow import commitment, messages
from fhir_server.database.engine import Engine

PATIENCE: Final = timedelta(hours=24)
"""How long a destination may take to report; some commit what they have written to tape at night."""

AT_A_TIME: Final = 50


@dataclass(frozen=True, slots=True)
class Doubted:
    """A job of which something is not committed; `for_good` when to try again is no use."""

    job: Job
    reason: str
    for_good: bool = False


def ask(engine: Engine, job: Job, sent: Sequence[tuple[int, Located]], now: datetime) -> None:
    """Ask the destination of a job to commit what it has answered for; its items wait for the report."""
    with engine.connection() as connection:
        cursor = connection.cursor()
        instances = [(each.sop_class, each.sop_uid) for _, each in sent]
        uid = commitment.ask(cursor, job.destination, instances, now)
        cursor.execute(
            "UPDATE dicom_forward_item SET transaction_uid = %s, asked_at = %s, status = 0, reason = ''"
            " WHERE destination = %s AND instance_pk = ANY(%s)",
            (uid, now, job.destination, [pk for pk, _ in sent]),
        )
        cursor.execute(
            "INSERT INTO dicom_forward_destination AS place (title, last_sent_at) VALUES (%s, %s)"
            " ON CONFLICT (title) DO UPDATE SET last_sent_at = excluded.last_sent_at, failures = 0,"
            " rests_until = NULL, reason = ''",
            (job.destination, now),
        )
        connection.commit()


def wait(connection: Any, job: Job) -> None:
    """Let a job of which everything is sent wait for the reports."""
    connection.cursor().execute(
        "UPDATE dicom_forward_job SET due_at = 'infinity' WHERE pk = %s AND NOT EXISTS"
        " (SELECT FROM dicom_forward_item WHERE job_pk = %s AND transaction_uid = '')",
        (job.pk, job.pk),
    )


_ASKED = """
SELECT DISTINCT item.transaction_uid, item.asked_at, job.pk, job.destination, job.rule, job.hours, job.tries,
    job.queued_at, job.commits
FROM dicom_forward_item item JOIN dicom_forward_job job ON job.pk = item.job_pk
    LEFT JOIN storage_commitment report ON report.ours AND report.peer = job.destination
        AND report.transaction_uid = item.transaction_uid
    LEFT JOIN outgoing_message message ON message.kind = %s AND message.sop_uid = item.transaction_uid
WHERE item.transaction_uid <> ''
    AND (report.answered_at IS NOT NULL OR item.asked_at <= %s OR message.gave_up) LIMIT %s
"""
_SAFE = """
WITH gone AS (
    DELETE FROM dicom_forward_item item USING dicom_instance i
    WHERE i.pk = item.instance_pk AND item.transaction_uid = %(uid)s AND i.sop_uid <> ALL(%(failed)s)
    RETURNING 1
)
UPDATE dicom_forward_destination SET sent = sent + (SELECT count(*) FROM gone) WHERE title = %(title)s
"""
_UNSAFE = """
UPDATE dicom_forward_item SET transaction_uid = '', asked_at = NULL, reason = %s WHERE transaction_uid = %s
"""

_UNSENT = """
UPDATE dicom_forward_job SET due_at = %s WHERE pk = %s AND due_at = 'infinity' AND EXISTS
    (SELECT FROM dicom_forward_item WHERE job_pk = %s AND transaction_uid = '')
"""


def settle(engine: Engine, now: datetime) -> Iterator[Doubted]:
    """Take what destinations have reported: committed items go. Yields the jobs in doubt."""
    with engine.connection() as connection:
        cursor = connection.cursor()
        cursor.execute(_ASKED, (messages.COMMITMENT_REQUEST, now - PATIENCE, AT_A_TIME))
        found = cursor.fetchall()
    for uid, _, *columns in found:
        doubted = _settled(engine, uid, Job(*columns), now)
        if doubted is not None:
            yield doubted


def _settled(engine: Engine, uid: str, job: Job, now: datetime) -> Doubted | None:
    with engine.connection() as connection:
        cursor = connection.cursor()
        failed = commitment.outcome(cursor, uid)
        reason, for_good = "", False
        if failed is None:
            cursor.execute(
                "SELECT problem FROM outgoing_message WHERE gave_up AND kind = %s AND sop_uid = %s",
                (messages.COMMITMENT_REQUEST, uid),
            )
            row = cursor.fetchone()
            for_good = row is not None
            reason = f"no commitment: {row[0]}" if row else "no report on its commitment came in time"
        else:
            cursor.execute(_SAFE, {"uid": uid, "failed": list(failed), "title": job.destination})
            if failed:
                code = next(iter(failed.values()))
                reason = f"{len(failed)} instances are not committed: {code:04X}"
        cursor.execute(_UNSAFE, (reason, uid))
        connection.commit()
        if reason:
            return Doubted(job, reason, for_good)
        if not finish(connection, job):
            cursor.execute(_UNSENT, (now, job.pk, job.pk))
        connection.commit()
    return None
