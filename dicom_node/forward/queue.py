"""The queue of what is to be sent: a job a study, destination and rule, an item an instance.

An item goes when its destination has answered, a job when it has no item left: what is here has not
arrived, whatever was killed in between. Who works at a job holds an advisory lock of its session; when
the process dies the lock is free at once, and what had been sent without our having noted it is
sent once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from psycopg2 import errors
from psycopg2.extras import execute_values

from dicom_node.forward.hours import opening
from dicom_node.forward.rules import Arrived, Rule, fits, rules
from dicom_node.index.locate import COLUMNS, Located

SORTED_AT_A_TIME: Final = 500
LONGEST_QUIET: Final = 10
"""A study that is never quiet is sent after so many times its quiet time all the same."""

BY_HAND: Final = "(by hand)"
_LOCKS: Final = 0x46574400  # the class of our advisory locks: "FWD"


@dataclass(frozen=True, slots=True)
class Job:
    """What of one study is to go to one destination."""

    pk: int
    destination: str
    rule: str
    hours: str
    tries: int
    queued_at: datetime
    commits: bool = False


_TAKE = """
DELETE FROM dicom_forward_new WHERE instance_pk IN
    (SELECT instance_pk FROM dicom_forward_new ORDER BY instance_pk LIMIT %s FOR UPDATE SKIP LOCKED)
RETURNING instance_pk
"""
_ARRIVED = """
SELECT i.pk, i.study_pk, i.calling_ae, i.sop_class, st.attributes, se.attributes
FROM dicom_instance i JOIN dicom_series se ON se.pk = i.series_pk JOIN dicom_study st ON st.pk = i.study_pk
WHERE i.pk = ANY(%s) AND i.current
"""
_JOB = """
INSERT INTO dicom_forward_job AS job
    (study_pk, queued_at, due_at, quiet_s, priority, commits, destination, rule, hours)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (destination, study_pk, rule) WHERE state = 'waiting' DO UPDATE SET due_at = CASE
    WHEN job.commits THEN least(job.due_at, excluded.due_at)
    WHEN job.quiet_s > 0 AND job.tries = 0
    THEN greatest(job.due_at, least(excluded.due_at, job.queued_at + %s * job.quiet_s * interval '1 s'))
    ELSE job.due_at END
RETURNING pk
"""
_ITEMS = "INSERT INTO dicom_forward_item (instance_pk, job_pk, destination) VALUES %s ON CONFLICT DO NOTHING"


def sort(connection: Any, now: datetime, zone: ZoneInfo) -> int:
    """Let the rules look at what has come, and queue what fits; return how many instances were looked at.

    One transaction: an instance has left dicom_forward_new exactly when it is queued.
    """
    cursor = connection.cursor()
    cursor.execute(_TAKE, (SORTED_AT_A_TIME,))
    taken = [pk for (pk,) in cursor.fetchall()]
    if not taken:
        connection.rollback()
        return 0
    there = rules(connection)
    cursor.execute(_ARRIVED, (taken,))
    wanted: dict[tuple[str, int], dict[str, list[int]]] = {}
    by_name = {rule.name: rule for rule in there}
    for pk, study_pk, source, sop_class, study, series in cursor.fetchall():
        arrived = Arrived(source, sop_class, study, series)
        best: dict[str, Rule] = {}
        for rule in there:
            if fits(rule, arrived) and _urgency(rule) > _urgency(best.get(rule.destination)):
                best[rule.destination] = rule
        for destination, rule in best.items():
            wanted.setdefault((destination, study_pk), {}).setdefault(rule.name, []).append(pk)
    for (destination, study_pk), by_rule in sorted(wanted.items()):
        for name, pks in sorted(by_rule.items()):
            rule = by_name[name]
            due = opening(rule.hours, now + timedelta(seconds=rule.quiet_s), zone)
            _queue(cursor, study_pk, destination, rule, pks, now, due)
    connection.commit()
    return len(taken)


def send_study(connection: Any, study_uid: str, destination: str, now: datetime) -> int | None:
    """Queue what is current of a study for a destination; return how many instances were not queued yet.

    None: no such study is kept here.
    """
    cursor = connection.cursor()
    cursor.execute(
        "SELECT i.pk, i.study_pk FROM dicom_instance i JOIN dicom_study st ON st.pk = i.study_pk"
        " WHERE st.study_uid = %s AND i.current",
        (study_uid,),
    )
    rows = cursor.fetchall()
    if not rows:
        return None
    rule = Rule(BY_HAND, destination, priority=1)
    count = _queue(cursor, rows[0][1], destination, rule, [pk for pk, _ in rows], now, now)
    connection.commit()
    return count


def _queue(
    cursor: Any, study_pk: int, destination: str, rule: Rule, pks: Sequence[int], now: datetime, due: datetime
) -> int:
    cursor.execute(
        _JOB,
        (study_pk, now, due, rule.quiet_s, rule.priority, rule.commits, destination, rule.name, rule.hours,
         LONGEST_QUIET),
    )  # fmt: skip
    job_pk = cursor.fetchone()[0]
    execute_values(cursor, _ITEMS, [(pk, job_pk, destination) for pk in pks], page_size=len(pks))
    return int(cursor.rowcount)


def _urgency(rule: Rule | None) -> tuple[int, float, str]:
    """Of several rules for one destination the one with the higher priority decides, then the quicker one."""
    return (-10_000, 0.0, "") if rule is None else (rule.priority, -rule.quiet_s, rule.name)


_DUE = """
SELECT job.destination, count(*), coalesce(max(place.failures), 0) FROM dicom_forward_job AS job
LEFT JOIN dicom_forward_destination AS place ON place.title = job.destination
WHERE job.state = 'waiting' AND job.due_at <= %(now)s
    AND (place.rests_until IS NULL OR place.rests_until <= %(now)s)
GROUP BY job.destination
"""
_CANDIDATES = """
SELECT pk, destination, rule, hours, tries, queued_at, commits FROM dicom_forward_job
WHERE destination = %s AND state = 'waiting' AND due_at <= %s ORDER BY priority DESC, due_at, pk LIMIT 50
"""


def due(connection: Any, now: datetime) -> Mapping[str, tuple[int, int]]:
    """Return the destinations that do not rest and have work: how many jobs, how many failures in a row."""
    cursor = connection.cursor()
    cursor.execute(_DUE, {"now": now})
    return {title: (jobs, failures) for title, jobs, failures in cursor.fetchall()}


def claim(connection: Any, destination: str, now: datetime, zone: ZoneInfo) -> Job | None:
    """Return a job that is due and nobody works at, and hold it until `release`; None when there is none.

    `connection` is in autocommit mode and stays with the caller. A job whose hours have ended is put
    off to their next beginning.
    """
    cursor = connection.cursor()
    cursor.execute(_CANDIDATES, (destination, now))
    for row in cursor.fetchall():
        job = Job(*row)
        begin = opening(job.hours, now, zone)
        if begin > now:
            cursor.execute("UPDATE dicom_forward_job SET due_at = %s WHERE pk = %s", (begin, job.pk))
            continue
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", (_LOCKS, job.pk % 2**31))
        if not cursor.fetchone()[0]:
            continue
        cursor.execute(  # somebody may have ended it between our two looks
            "SELECT pk, destination, rule, hours, tries, queued_at, commits FROM dicom_forward_job"
            " WHERE pk = %s AND state = 'waiting' AND due_at <= %s",
            (job.pk, now),
        )
        if (again := cursor.fetchone()) is not None:
            return Job(*again)
        release(connection, job)
    return None


def release(connection: Any, job: Job) -> None:
    """Let a job go that `claim` gave."""
    connection.cursor().execute("SELECT pg_advisory_unlock(%s, %s)", (_LOCKS, job.pk % 2**31))


_NEXT = f"""
SELECT item.instance_pk, {COLUMNS}
FROM dicom_forward_item item JOIN dicom_instance i ON i.pk = item.instance_pk AND i.current
    JOIN dicom_series se ON se.pk = i.series_pk JOIN dicom_study st ON st.pk = i.study_pk
WHERE item.job_pk = %s AND item.instance_pk > %s AND item.transaction_uid = ''
ORDER BY item.instance_pk LIMIT %s
"""
_VANISHED = """
DELETE FROM dicom_forward_item item WHERE job_pk = %s
    AND NOT EXISTS (SELECT FROM dicom_instance i WHERE i.pk = item.instance_pk AND i.current)
"""
_ARRIVED_THERE = """
WITH gone AS (
    DELETE FROM dicom_forward_item WHERE destination = %(title)s AND instance_pk = ANY(%(pks)s) RETURNING 1
)
INSERT INTO dicom_forward_destination AS place (title, sent, last_sent_at)
VALUES (%(title)s, (SELECT count(*) FROM gone), %(now)s)
ON CONFLICT (title) DO UPDATE SET sent = place.sent + excluded.sent, last_sent_at = excluded.last_sent_at,
    failures = 0, rests_until = NULL, reason = ''
"""


def items(connection: Any, job: Job, after: int, limit: int) -> list[tuple[int, Located]]:
    """Return the next instances of a job by their keys; those that were deleted or replaced are dropped."""
    cursor = connection.cursor()
    if not after:
        cursor.execute(_VANISHED, (job.pk,))
    cursor.execute(_NEXT, (job.pk, after, limit))
    return [(pk, Located(*columns)) for pk, *columns in cursor.fetchall()]


def arrived(connection: Any, job: Job, pks: Sequence[int], now: datetime) -> None:
    """Note that instances have arrived: their items go."""
    connection.cursor().execute(_ARRIVED_THERE, {"title": job.destination, "pks": list(pks), "now": now})


def refused(connection: Any, job: Job, refusals: Sequence[tuple[int, int, str]]) -> None:
    """Note why instances have not arrived: (key, status, reason) each."""
    execute_values(
        connection.cursor(),
        "UPDATE dicom_forward_item AS item SET status = said.status, reason = said.reason"
        " FROM (VALUES %s) AS said (pk, status, reason)"
        f" WHERE item.instance_pk = said.pk AND item.job_pk = {job.pk:d}",
        refusals,
    )


def finish(connection: Any, job: Job) -> bool:
    """End a job that has no item left; false when one was added meanwhile, or some are left."""
    cursor = connection.cursor()
    try:
        cursor.execute(
            "DELETE FROM dicom_forward_job AS job WHERE pk = %s"
            " AND NOT EXISTS (SELECT FROM dicom_forward_item WHERE job_pk = job.pk)",
            (job.pk,),
        )
    except errors.ForeignKeyViolation:
        return False
    return bool(cursor.rowcount)


def postpone(connection: Any, job: Job, due_at: datetime, reason: str) -> None:
    """Let a job of which some instances were refused be tried again later."""
    connection.cursor().execute(
        "UPDATE dicom_forward_job SET tries = tries + 1, due_at = %s, reason = %s WHERE pk = %s",
        (due_at, reason, job.pk),
    )


def fail(connection: Any, job: Job, reason: str) -> None:
    """Give a job up: it waits for a person (`xinglin forward retry`)."""
    connection.cursor().execute(
        "UPDATE dicom_forward_job SET state = 'failed', tries = tries + 1, reason = %s WHERE pk = %s",
        (reason, job.pk),
    )


def rest(connection: Any, title: str, until: datetime, reason: str) -> None:
    """Let a destination that was not reached rest; its jobs wait."""
    connection.cursor().execute(
        "INSERT INTO dicom_forward_destination AS place (title, failures, rests_until, reason)"
        " VALUES (%s, 1, %s, %s) ON CONFLICT (title) DO UPDATE"
        " SET failures = place.failures + 1, rests_until = excluded.rests_until, reason = excluded.reason",
        (title, until, reason),
    )


def expire(connection: Any, title: str, before: datetime, now: datetime, reason: str) -> int:
    """Give up what has waited too long for a destination that is not reached; return how many jobs."""
    cursor = connection.cursor()
    cursor.execute(
        "UPDATE dicom_forward_job SET state = 'failed', reason = %s"
        " WHERE destination = %s AND state = 'waiting' AND queued_at <= %s AND due_at <= %s",
        (reason, title, before, now),
    )
    return int(cursor.rowcount)


_RETRIED = """
SELECT pk, destination, study_pk, rule FROM dicom_forward_job
WHERE state = 'failed' AND (%(title)s = '' OR destination = %(title)s) AND (%(pk)s = 0 OR pk = %(pk)s)
ORDER BY pk FOR UPDATE
"""


def retry(connection: Any, now: datetime, destination: str = "", pk: int = 0) -> int:
    """Let what was given up be tried anew, and its destinations at once; return how many jobs.

    Of all destinations or of one, all jobs or one. What a newer job of the same study waits with is
    joined to it.
    """
    cursor = connection.cursor()
    cursor.execute(_RETRIED, {"title": destination, "pk": pk})
    failed = cursor.fetchall()
    for job_pk, title, study_pk, rule in failed:
        cursor.execute(
            "SELECT pk FROM dicom_forward_job WHERE destination = %s AND study_pk = %s AND rule = %s"
            " AND state = 'waiting' FOR UPDATE",
            (title, study_pk, rule),
        )
        if (waiting := cursor.fetchone()) is not None:
            cursor.execute(
                "UPDATE dicom_forward_item SET job_pk = %s WHERE job_pk = %s", (waiting[0], job_pk)
            )
            cursor.execute("DELETE FROM dicom_forward_job WHERE pk = %s", (job_pk,))
        else:
            cursor.execute(
                "UPDATE dicom_forward_job SET state = 'waiting', tries = 0, queued_at = %s, due_at = %s,"
                " reason = '' WHERE pk = %s",
                (now, now, job_pk),
            )
    titles = sorted({title for _, title, _, _ in failed} | ({destination} if destination else set()))
    cursor.execute("UPDATE dicom_forward_destination SET rests_until = NULL WHERE title = ANY(%s)", (titles,))
    connection.commit()
    return len(failed)
