"""The queue of asynchronous requests (R4/async.html): a row a job, worked at by whoever holds its lock.

The lock is an advisory one of a session: whoever is killed in the middle loses it with the connection, at
once, and the job is taken by another with a higher `attempt`. What the former had committed stands in
`units` and `kept`, which are written in the transaction that they speak of.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.database.unit_of_work import UnitOfWork

BUNDLE, NDJSON = "bundle", "ndjson"
"""What a job makes: the one answer in a batch-response, or files of resources with a manifest."""

LOCKS = 20_241_121  # the class of our advisory locks beside those of conditions, which have one number
MOST_ATTEMPTS = 3


class Cancelled(BaseException):
    """Raised inside the work of a job that is no longer ours: it was cancelled, or somebody else has it.

    No Exception, as a batch goes on with its next entry after each of those.
    """


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: method, path and query of the address, and the headers that matter."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]

    def as_json(self) -> str:
        """Return the request as JSON."""
        return json.dumps(
            {"method": self.method, "path": self.path, "query": self.query, "headers": dict(self.headers)}
        )


@dataclass(frozen=True, slots=True)
class File:
    """One file of a job's result; `role` is answer, output, deleted or error."""

    name: str
    role: str
    type: str
    count: int
    content: int


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands; times are FHIR instants or None."""

    pk: int
    id: str
    subject: str
    state: str
    kind: str
    attempt: int
    asked_at: str
    begun_at: str | None
    expires_at: str | None
    progress: str
    units: int
    request: Request
    body: int | None
    kept: str | None

    @property
    def over(self) -> bool:
        """Say whether nobody will work at it any more."""
        return self.state in ("done", "failed", "cancelled")


_INSTANT = "to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
_COLUMNS = ", ".join(
    (
        "j.pk, j.id, j.subject, j.state, j.kind, j.attempt",
        *(_INSTANT.format(f"j.{name}") for name in ("asked_at", "begun_at", "expires_at")),
        "j.progress, j.units, j.request, j.body, j.kept",
    )
)


def _job(row: Sequence[Any]) -> Job:
    fields = list(row)
    fields[11] = Request(**row[11])
    return Job(*fields)


def enqueue(unit: UnitOfWork, subject: str, kind: str, request: Request, body: int | None, now: str) -> str:
    """Put a job into the queue and return its id, which nobody can guess."""
    id_ = secrets.token_hex(16)
    unit.execute(
        "INSERT INTO job (id, subject, kind, asked_at, request, body) VALUES (%s, %s, %s, %s, %s::jsonb, %s)",
        (id_, subject, kind, now, request.as_json(), body),
    )
    return id_


def waiting(unit: UnitOfWork, subject: str) -> int:
    """Return how many jobs of somebody are not over yet."""
    rows = unit.execute(
        "SELECT count(*) FROM job WHERE tenant = 0 AND state IN ('waiting', 'running') AND subject = %s",
        (subject,),
    )
    return int(rows[0][0])


def find(unit: UnitOfWork, id_: str, subject: str, now: str) -> Job | None:
    """Return somebody's own job; None for those of others, cancelled ones and those that have expired."""
    rows = unit.execute(
        f"SELECT {_COLUMNS} FROM job AS j WHERE j.id = %s AND j.subject = %s AND j.state <> 'cancelled' "
        "AND coalesce(j.expires_at > %s::timestamptz, true)",
        (id_, subject, now),
    )
    return _job(rows[0]) if rows else None


def files(unit: UnitOfWork, job: Job) -> list[File]:
    """Return what a job has made, in the order of the names."""
    rows = unit.execute(
        "SELECT name, role, type, count, content FROM job_file WHERE job = %s ORDER BY name", (job.pk,)
    )
    return [File(*row) for row in rows]


def cancel(unit: UnitOfWork, job: Job) -> None:
    """Take a job away: its result, and what is left to do; whoever works at it commits nothing more."""
    unit.execute("UPDATE job SET state = 'cancelled', expires_at = now() WHERE pk = %s", (job.pk,))


_CLAIM = f"""
WITH open AS MATERIALIZED (
    SELECT pk FROM job WHERE tenant = 0 AND state IN ('waiting', 'running') ORDER BY pk LIMIT 100
), locked AS MATERIALIZED (
    SELECT pk FROM open WHERE pg_try_advisory_lock({LOCKS}, (pk % 2147483647)::int) LIMIT 1
)
UPDATE job AS j SET state = 'running', attempt = attempt + 1, begun_at = now(), progress = ''
FROM locked WHERE j.pk = locked.pk AND j.state IN ('waiting', 'running')
RETURNING {_COLUMNS}
"""


def claim(cursor: Any) -> Job | None:
    """Take the oldest job that nobody works at; it is ours as long as the session of `cursor` lives."""
    cursor.execute(_CLAIM)
    row = cursor.fetchone()
    if row is None:
        release(cursor)  # of a job that another had ended between our look and our lock
    return None if row is None else _job(row)


def release(cursor: Any) -> None:
    """Give up the lock of a job, so that the session can be used for others."""
    cursor.execute("SELECT pg_advisory_unlock_all()")


_MINE = "pk = %(pk)s AND attempt = %(attempt)s AND state = 'running'"


def tell(unit: UnitOfWork, job: Job, progress: str) -> None:
    """Say how far a job is; raises Cancelled when it is no longer ours."""
    rows = unit.execute(
        f"UPDATE job SET progress = %(progress)s WHERE {_MINE} RETURNING pk",
        {"pk": job.pk, "attempt": job.attempt, "progress": progress},
    )
    if not rows:
        raise Cancelled


def keep(unit: UnitOfWork, job: Job, kept: str) -> None:
    """Write what a transaction of the job came to, to be committed with it; raises Cancelled."""
    rows = unit.execute(
        f"UPDATE job SET units = units + 1, kept = %(kept)s WHERE {_MINE} RETURNING pk",
        {"pk": job.pk, "attempt": job.attempt, "kept": kept},
    )
    if not rows:
        raise Cancelled


def put_back(unit: UnitOfWork, job: Job) -> None:
    """Leave a job to others, as if this attempt had not been: we are told to stop."""
    unit.execute(
        f"UPDATE job SET state = 'waiting', attempt = attempt - 1 WHERE {_MINE}",
        {"pk": job.pk, "attempt": job.attempt},
    )


def end(unit: UnitOfWork, job: Job, made: Sequence[File], *, failed: bool, kept_hours: float) -> None:
    """Write the result of a job; raises Cancelled when it is no longer ours."""
    rows = unit.execute(
        "UPDATE job SET state = %(state)s, ended_at = now(), progress = '', kept = NULL, "
        f"expires_at = now() + %(hours)s * interval '1 hour' WHERE {_MINE} RETURNING pk",
        {
            "pk": job.pk,
            "attempt": job.attempt,
            "state": "failed" if failed else "done",
            "hours": kept_hours,
        },
    )
    if not rows:
        raise Cancelled
    for file in made:
        unit.execute(
            "INSERT INTO job_file (job, name, role, type, count, content) VALUES (%s, %s, %s, %s, %s, %s)",
            (job.pk, file.name, file.role, file.type, file.count, file.content),
        )


_SWEEP = f"""
WITH gone AS (
    DELETE FROM job AS j WHERE j.expires_at < now() AND j.state IN ('done', 'failed', 'cancelled')
    AND pg_try_advisory_xact_lock({LOCKS}, (j.pk % 2147483647)::int) RETURNING pk, body
)
SELECT body FROM gone WHERE body IS NOT NULL
UNION ALL SELECT f.content FROM job_file AS f JOIN gone ON f.job = gone.pk
"""


def sweep(unit: UnitOfWork) -> int:
    """Delete jobs whose results have expired or that were cancelled, with their contents; return how many."""
    contents = [row[0] for row in unit.execute(_SWEEP)]
    if contents:
        unit.execute("DELETE FROM content WHERE pk = ANY(%s::bigint[])", (contents,))
    return len(contents)
