"""How the queue stands, for people: per destination, and what was given up. Plain values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Place:
    """A destination: what waits for it, what failed, how it fares."""

    title: str
    studies: int
    instances: int
    failed: int
    sent: int
    failures: int
    rests_until: datetime | None
    last_sent_at: datetime | None
    oldest: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A job that waits for a person: its study is named by our own key."""

    pk: int
    destination: str
    rule: str
    study_uid: str
    instances: int
    tries: int
    queued_at: datetime
    reason: str


_PLACES = """
SELECT coalesce(job.destination, place.title), coalesce(job.studies, 0), coalesce(item.instances, 0),
    coalesce(job.failed, 0), coalesce(place.sent, 0), coalesce(place.failures, 0), place.rests_until,
    place.last_sent_at, job.oldest, coalesce(place.reason, '')
FROM (
    SELECT destination, count(*) FILTER (WHERE state = 'waiting') AS studies,
        count(*) FILTER (WHERE state = 'failed') AS failed, min(queued_at) AS oldest
    FROM dicom_forward_job GROUP BY destination
) AS job
LEFT JOIN (SELECT destination, count(*) AS instances FROM dicom_forward_item GROUP BY destination) AS item
    ON item.destination = job.destination
FULL JOIN dicom_forward_destination AS place ON place.title = job.destination
ORDER BY 1
"""
_FAILED = """
SELECT job.pk, job.destination, job.rule, coalesce(st.study_uid, ''),
    (SELECT count(*) FROM dicom_forward_item item WHERE item.job_pk = job.pk), job.tries, job.queued_at,
    job.reason
FROM dicom_forward_job job LEFT JOIN dicom_study st ON st.pk = job.study_pk
WHERE job.state = 'failed' ORDER BY job.pk DESC LIMIT %s
"""


def destinations(connection: Any) -> list[Place]:
    """Return every destination that something waits for, or that something was sent to."""
    cursor = connection.cursor()
    cursor.execute(_PLACES)
    return [Place(*row) for row in cursor.fetchall()]


def failed(connection: Any, limit: int = 100) -> list[Failed]:
    """Return what was given up, the latest first."""
    cursor = connection.cursor()
    cursor.execute(_FAILED, (limit,))
    return [Failed(*row) for row in cursor.fetchall()]
