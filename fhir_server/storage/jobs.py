"""The jobs of reindexing: what is asked for, how far it is, and who works at it.

A job has one row a type. Whoever works at a type holds that row's lock for one chunk and writes its
position in the transaction of the chunk: what was killed in the middle left nothing behind, and goes
on where it was. The work itself is in reindexing.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.database.unit_of_work import UnitOfWork
from fhir_server.definitions.structures import type_code, type_name

OPEN = ("waiting", "running")


@dataclass(frozen=True, slots=True)
class Scope:
    """What is done on a type: its `whole` index, or that of `parameters` alone (keys of search_parameter)."""

    whole: bool
    parameters: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """A type that this transaction works at; `last` is None before its first chunk."""

    job: int
    type_name: str
    scope: Scope
    dry_run: bool
    rate: int | None
    batch: int
    position: int
    last: int | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one type is; `total` is None before its first chunk."""

    type_name: str
    whole: bool
    done: bool
    total: int | None
    seen: int
    changed: int
    overtaken: int
    failed: int


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands; `earlier` counts the transactions that it waits for."""

    pk: int
    id: str
    state: str
    reason: str
    asked_by: str
    asked_at: str
    ended_at: str | None
    dry_run: bool
    rate: int | None
    batch: int
    earlier: int
    types: tuple[Progress, ...]

    @property
    def failed(self) -> int:
        """How many resources could not be indexed."""
        return sum(each.failed for each in self.types)


def create(
    unit: UnitOfWork,
    scopes: Mapping[str, Scope],
    *,
    reason: str,
    actor: str,
    now: str,
    rate: int | None,
    batch: int,
    dry_run: bool = False,
) -> str:
    """Write a job for these types and return its id."""
    rows = unit.execute(
        "INSERT INTO reindex (reason, asked_by, asked_at, dry_run, rate, batch) "
        "VALUES (%s, %s, %s, %s, %s, %s) RETURNING pk, id::text",
        (reason, actor, now, dry_run, rate or None, batch),
    )
    pk, id_ = rows[0]
    for name, scope in scopes.items():
        unit.defer(
            "INSERT INTO reindex_type (job, type, whole, parameters) VALUES (%s, %s, %s, %s::integer[])",
            (pk, type_code(name), scope.whole, list(scope.parameters)),
        )
    return str(id_)


_INSTANT = '\'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"\''
_JOB = (
    f"SELECT pk, id::text, state, reason, asked_by, to_char(asked_at AT TIME ZONE 'UTC', {_INSTANT}), "
    f"to_char(ended_at AT TIME ZONE 'UTC', {_INSTANT}), dry_run, rate, batch, "
    "coalesce(cardinality(earlier), 0) FROM reindex WHERE tenant = 0"
)
_PROGRESS = (
    "SELECT type, whole, done, total, seen, changed, overtaken, failed FROM reindex_type WHERE job = %s "
    "ORDER BY type"
)


def job(unit: UnitOfWork, id_: str) -> Job | None:
    """Return a job by its id."""
    rows = unit.execute(f"{_JOB} AND id::text = %s", (id_,))
    return _job(unit, rows[0]) if rows else None


def latest(unit: UnitOfWork, most: int) -> list[Job]:
    """Return the last jobs, the newest first."""
    return [_job(unit, row) for row in unit.execute(f"{_JOB} ORDER BY pk DESC LIMIT %s", (most,))]


def _job(unit: UnitOfWork, row: Sequence[Any]) -> Job:
    progress = [Progress(type_name(code), *rest) for code, *rest in unit.execute(_PROGRESS, (row[0],))]
    fields: Sequence[Any] = (*row, tuple(progress))
    return Job(*fields)


def failures(unit: UnitOfWork, pk: int, most: int) -> list[tuple[str, str, str]]:
    """Return (type, id, reason) of what a job was about and is not indexed now."""
    rows = unit.execute(
        "SELECT r.type, r.id, u.reason FROM unindexed AS u JOIN resource AS r USING (tenant, type, pk) "
        "WHERE u.job = %s OR u.parameter IN "
        "(SELECT unnest(t.parameters) FROM reindex_type AS t WHERE t.job = %s) "
        "ORDER BY u.type, u.pk LIMIT %s",
        (pk, pk, most),
    )
    return [(type_name(code), id_, reason) for code, id_, reason in rows]


def like(unit: UnitOfWork, scopes: Mapping[str, Scope], *, dry_run: bool) -> str | None:
    """Return the id of an open job that does exactly this already."""
    rows = unit.execute(
        "SELECT j.id::text, array_agg(t.type ORDER BY t.type), bool_and(t.whole), bool_or(t.whole), "
        "array_agg(t.parameters::text ORDER BY t.type) "
        "FROM reindex AS j JOIN reindex_type AS t ON t.job = j.pk "
        "WHERE j.state IN ('waiting', 'running') AND j.dry_run = %s GROUP BY j.pk ORDER BY j.pk",
        (dry_run,),
    )
    ordered = sorted((type_code(name), scope) for name, scope in scopes.items()) if scopes else []
    wanted = (
        [code for code, _ in ordered],
        all(scope.whole for _, scope in ordered),
        any(scope.whole for _, scope in ordered),
        ["{" + ",".join(map(str, scope.parameters)) + "}" for _, scope in ordered],
    )
    return next((str(id_) for id_, *rest in rows if tuple(rest) == wanted), None)


def pace(unit: UnitOfWork, id_: str, rate: int | None, batch: int | None) -> None:
    """Change how fast an open job goes."""
    unit.defer(
        "UPDATE reindex SET rate = %s, batch = coalesce(%s, batch), not_before = now() WHERE id::text = %s",
        (rate or None, batch, id_),
    )


def cancel(unit: UnitOfWork, id_: str, now: str) -> bool:
    """End a job that is open, after the chunk that somebody works at; say whether it was open."""
    return bool(
        unit.execute(
            "UPDATE reindex SET state = 'cancelled', ended_at = %s WHERE id::text = %s "
            "AND state IN ('waiting', 'running') RETURNING pk",
            (now, id_),
        )
    )


_EARLIER = """
SELECT coalesce(array_agg(l.virtualtransaction), '{}')
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'virtualxid' AND a.datname = current_database() AND a.backend_type = 'client backend'
AND l.pid <> pg_backend_pid() AND (%s::text[] IS NULL OR l.virtualtransaction = ANY(%s))
"""


def begin_waiting(unit: UnitOfWork) -> None:
    """Let jobs begin that wait for nothing any more.

    A transaction that was open when a job was written may have indexed its resources without what the
    job is about, and commits behind the job's back: it must have ended before. Nobody waits in between.
    """
    rows = unit.execute(
        "SELECT pk, earlier FROM reindex WHERE tenant = 0 AND state = 'waiting' ORDER BY pk "
        "FOR UPDATE SKIP LOCKED"
    )
    for pk, earlier in rows:
        still = unit.execute(_EARLIER, (earlier, earlier))[0][0] if earlier != [] else []
        state = "waiting" if still else "running"
        unit.defer("UPDATE reindex SET state = %s, earlier = %s::text[] WHERE pk = %s", (state, still, pk))


_CLAIM = """
SELECT t.job, t.type, t.whole, t.parameters, j.dry_run, j.rate, j.batch, t.position, t.last
FROM reindex AS j JOIN reindex_type AS t ON t.job = j.pk
WHERE j.tenant = 0 AND j.state = 'running' AND NOT t.done AND j.not_before <= now()
ORDER BY j.pk, t.type LIMIT 1 FOR UPDATE OF t SKIP LOCKED
"""
_LOCK_SPACE = 0x52494458  # "RIDX"; the second half is the type


def claim(unit: UnitOfWork) -> Claim | None:
    """Take the next type that nobody works at; None when there is nothing to do right now.

    No two transactions work at one type, whatever their jobs: both would write the keys of its rows.
    """
    rows = unit.execute(_CLAIM)
    if not rows:
        return None
    pk, code, whole, parameters, dry_run, rate, batch, position, last = rows[0]
    if not unit.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", (_LOCK_SPACE, code))[0][0]:
        return None
    return Claim(pk, type_name(code), Scope(whole, tuple(parameters)), dry_run, rate, batch, position, last)


def measure(unit: UnitOfWork, claimed: Claim) -> int:
    """Look how many resources there are, and where the run ends: what is written later is indexed then."""
    code = type_code(claimed.type_name)
    rows = unit.execute(
        "SELECT count(*), coalesce(max(pk), 0) FROM resource WHERE tenant = 0 AND type = %s AND NOT deleted",
        (code,),
    )
    total, last = rows[0]
    unit.defer(
        "UPDATE reindex_type SET total = %s, last = %s WHERE job = %s AND type = %s",
        (total, last, claimed.job, code),
    )
    return int(last)


@dataclass(frozen=True, slots=True)
class Counts:
    """What one chunk came to."""

    seen: int
    changed: int
    overtaken: int
    failed: int


def advance(unit: UnitOfWork, claimed: Claim, position: int, counts: Counts) -> None:
    """Write how far the type is, and when the next chunk of the job may begin."""
    unit.defer(
        "UPDATE reindex_type SET position = %s, seen = seen + %s, changed = changed + %s, "
        "overtaken = overtaken + %s, failed = failed + %s WHERE job = %s AND type = %s",
        (position, counts.seen, counts.changed, counts.overtaken, counts.failed, claimed.job,
         type_code(claimed.type_name)),
    )  # fmt: skip
    if claimed.rate:
        unit.defer(
            # a second's worth may be caught up, as workers look only now and then
            "UPDATE reindex SET not_before = greatest(not_before, now() - interval '1 second') "
            "+ %s * interval '1 second' WHERE pk = %s",
            (counts.seen / claimed.rate, claimed.job),
        )


def end(unit: UnitOfWork, claimed: Claim, now: str) -> bool:
    """Write that a type is done, and its job if it was the last one; False when the job was cancelled."""
    # the lock first: of two types that end at once, the second must see the first
    rows = unit.execute("SELECT state FROM reindex WHERE pk = %s FOR UPDATE", (claimed.job,))
    if not rows or rows[0][0] not in OPEN:
        return False
    unit.defer(
        "UPDATE reindex_type SET done = true WHERE job = %s AND type = %s",
        (claimed.job, type_code(claimed.type_name)),
    )
    unit.defer(
        "UPDATE reindex SET ended_at = %s, state = CASE WHEN EXISTS "
        "(SELECT FROM reindex_type WHERE job = pk AND failed > 0) THEN 'incomplete' ELSE 'completed' END "
        "WHERE pk = %s AND NOT EXISTS (SELECT FROM reindex_type WHERE job = pk AND NOT done)",
        (now, claimed.job),
    )
    return True


def progress_of(unit: UnitOfWork, parameter: int) -> tuple[str, str, int, int | None] | None:
    """Return (id, state, seen, total) of the last job that indexes by a parameter."""
    rows = unit.execute(
        "SELECT j.id::text, j.state, sum(t.seen)::bigint, "
        "CASE WHEN count(*) = count(t.total) THEN sum(t.total)::bigint END "
        "FROM reindex_type AS t JOIN reindex AS j "
        "ON j.pk = t.job WHERE %s = ANY(t.parameters) AND NOT j.dry_run "
        "GROUP BY j.pk ORDER BY j.pk DESC LIMIT 1",
        (parameter,),
    )
    return (rows[0][0], rows[0][1], rows[0][2], rows[0][3]) if rows else None


def forms(unit: UnitOfWork) -> dict[str, int]:
    """Return the form of the index of each type that has one written down."""
    return {type_name(code): form for code, form in unit.execute("SELECT type, form FROM index_form")}


def put_form(unit: UnitOfWork, name: str, form: int) -> None:
    """Write that the whole index of a type is in a form."""
    unit.defer(
        "INSERT INTO index_form (type, form) VALUES (%s, %s) "
        "ON CONFLICT (tenant, type) DO UPDATE SET form = excluded.form",
        (type_code(name), form),
    )


def count_up_to(unit: UnitOfWork, name: str, most: int) -> int:
    """Return how many resources of a type there are, `most` where there are more."""
    return int(
        unit.execute(
            "SELECT count(*) FROM (SELECT FROM resource WHERE tenant = 0 AND type = %s LIMIT %s) AS first",
            (type_code(name), most),
        )[0][0]
    )
