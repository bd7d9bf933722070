"""Reindexing while the server runs: jobs that are asked for, and the worker that carries them out.

A job goes over the resources of each of its types in the order of their keys, a chunk a transaction,
and makes their index what a write today would make it: all of it, or what some parameters leave.
No version is made, lastUpdated and ETag stay. A resource that cannot be indexed is counted and listed and
does not stop the others. Where a job waits, ends and begins again is in storage/jobs.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.definitions.structures import is_resource_type, resource_types, type_name
from fhir_server.interactions.context import Context
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.parameters import BATCH, scopes_of
from fhir_server.model import json_format
from fhir_server.outcome import Invalid, NotFound
from fhir_server.search.compile import compile_types
from fhir_server.search.index import FORM
from fhir_server.storage import full_text, jobs, reindexing
from fhir_server.storage import parameters as storage
from fhir_server.storage.jobs import Claim, Counts, Job, Scope
from fhir_server.storage.parameters import GONE, Kept
from fhir_server.storage.reindexing import Part, Standing, Wanted

MOST_RATE = 1_000_000
MOST_BATCH = 2000
MOST_LISTED = 1000
CHEAP = 100_000
"""Resources of a type that are brought to a newer form of the index without being asked."""

WORKER = Grant.system("reindex")


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks for: types (none: all there are resources of) or urls of SearchParameters.

    `rate` is resources a second: None as the installation says, 0 as fast as it goes.
    """

    types: Sequence[str] = ()
    urls: Sequence[str] = ()
    dry_run: bool = False
    rate: int | None = None
    batch: int | None = None


def ask(context: Context, asked: Asked, *, reason: str = "$reindex") -> Job:
    """Write a job, or return the open one that does the same; its rate and batch are changed then.

    Raises Invalid (400) for what is no type and for urls of nothing that is indexed.
    """
    permit(context.grant, "reindex", None)
    _check(asked)
    scopes = _scopes(context, asked)
    rate = context.settings.reindex_rate if asked.rate is None else asked.rate
    id_ = jobs.like(context.unit, scopes, dry_run=asked.dry_run)
    if id_ is not None:
        jobs.pace(context.unit, id_, rate, asked.batch)
    else:
        id_ = jobs.create(
            context.unit,
            scopes,
            reason=reason,
            actor=context.grant.subject,
            now=context.now(),
            rate=rate,
            batch=asked.batch or BATCH,
            dry_run=asked.dry_run,
        )
    return _job(context, id_)


def _check(asked: Asked) -> None:
    for name in asked.types:
        if not is_resource_type(name):
            raise Invalid(f"type {name!r} is no resource type of R4", code="value")
    if asked.rate is not None and not 0 <= asked.rate <= MOST_RATE:
        raise Invalid(f"rate is resources a second, 0 (no limit) to {MOST_RATE}; got {asked.rate}")
    if asked.batch is not None and not 1 <= asked.batch <= MOST_BATCH:
        raise Invalid(f"batch is 1 to {MOST_BATCH} resources; got {asked.batch}")


def _scopes(context: Context, asked: Asked) -> dict[str, Scope]:
    """Return what a job is to do on which type."""
    kept = storage.load(context.unit)[1]
    if not asked.urls:
        names = list(dict.fromkeys(asked.types)) or _present(context)
        own = {name: tuple(each.pk for each in kept if each.type_name == name) for name in names}
        return {name: Scope(True, own[name]) for name in names}
    found: dict[str, list[int]] = {}
    for url in asked.urls:
        some = [
            each for each in kept if each.url == url and (not asked.types or each.type_name in asked.types)
        ]
        if not some:
            known = ", ".join(sorted({each.url for each in kept})[:20]) or "none"
            raise Invalid(
                f"url {url!r} is no SearchParameter that has an index of its own here; those that have: "
                f"{known}. R4's own are indexed anew with their types",
                code="value",
            )
        for each in some:
            found.setdefault(each.type_name, []).append(each.pk)
    return scopes_of(context.unit, found)


def _present(context: Context) -> list[str]:
    statement = compile_types()
    return [type_name(code) for (code,) in context.unit.execute(statement.sql, statement.parameters)]


def status(context: Context, id_: str) -> tuple[Job, list[tuple[str, str, str]]]:
    """Return a job, and (type, id, reason) of what it could not index. Raises NotFound (404)."""
    permit(context.grant, "reindex", None)
    context.unit.snapshot()
    found = _job(context, id_)
    return found, jobs.failures(context.unit, found.pk, MOST_LISTED)


def latest(context: Context, most: int = 20) -> list[Job]:
    """Return the last jobs, the newest first."""
    permit(context.grant, "reindex", None)
    context.unit.snapshot()
    return jobs.latest(context.unit, most)


def cancel(context: Context, id_: str) -> Job:
    """End an open job; one that has ended stays as it is. Raises NotFound (404)."""
    permit(context.grant, "reindex", None)
    _job(context, id_)
    jobs.cancel(context.unit, id_, context.now())
    return _job(context, id_)


def _job(context: Context, id_: str) -> Job:
    found = jobs.job(context.unit, id_)
    if found is None:
        raise NotFound(f"there is no job {id_!r}; GET /fhir/$reindex-status lists the last ones")
    return found


class Reindexer:
    """Carries jobs out, a chunk a call; any number of them may work beside each other."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._settled = False

    def drain(self) -> int:
        """Do the next chunk that is due; return how many resources it looked at, 0 for nothing to do."""
        if not self._settled:
            self._entry.write(WORKER, bring_up_to_date)
            self._settled = True
        return self._entry.write(WORKER, work)


def bring_up_to_date(context: Context) -> None:
    """Write a job for types whose index is of an older form, if it is soon done; doctor tells the others."""
    scopes: dict[str, Scope] = {}
    known = jobs.forms(context.unit)
    present = set(_present(context))
    wordless = full_text.lacking(context.unit) & context.settings.environment.full_text
    for name in resource_types():
        if known.get(name, 0) >= FORM and name not in wordless:
            continue
        if name not in present:
            jobs.put_form(context.unit, name, FORM)
            if name in wordless:
                full_text.complete(context.unit, name)
        elif jobs.count_up_to(context.unit, name, CHEAP + 1) <= CHEAP:
            scopes[name] = _scopes(context, Asked(types=[name]))[name]
    if scopes and jobs.like(context.unit, scopes, dry_run=False) is None:
        jobs.create(
            context.unit,
            scopes,
            reason="a newer form of the index",
            actor=context.grant.subject,
            now=context.now(),
            rate=context.settings.reindex_rate,
            batch=BATCH,
        )


def work(context: Context) -> int:
    """Do one chunk in this unit; return how many resources it looked at, at least 1 for a type that ends."""
    unit = context.unit
    jobs.begin_waiting(unit)
    claimed = jobs.claim(unit)
    if claimed is None:
        return 0
    last = jobs.measure(unit, claimed) if claimed.last is None else claimed.last
    most = min(claimed.batch, claimed.rate) if claimed.rate else claimed.batch
    standing = reindexing.read(unit, claimed.type_name, claimed.position, last, most)
    kept = storage.some(unit, claimed.scope.parameters)
    counts = _put_right(context, claimed, kept, standing)
    position = standing[-1].version.pk if standing else last
    jobs.advance(unit, claimed, position, counts)
    if len(standing) < most and jobs.end(unit, claimed, context.now()) and not claimed.dry_run:
        storage.finish(unit, claimed.scope.parameters, claimed.job)
        if claimed.scope.whole:
            jobs.put_form(unit, claimed.type_name, FORM)
            if claimed.type_name in context.settings.environment.full_text:
                full_text.complete(unit, claimed.type_name)
    return max(1, counts.seen)


def _put_right(
    context: Context, claimed: Claim, kept: Sequence[Kept], standing: Sequence[Standing]
) -> Counts:
    """Make the index of some rows what it should be, or count what would change."""
    if not standing:
        return Counts(0, 0, 0, 0)
    unit = context.unit
    wanted = [_wanted(context, claimed, kept, each) for each in standing]
    part = Part(claimed.type_name, None if claimed.scope.whole else [each.index for each in kept])
    differing = reindexing.differing(unit, part, wanted)
    failed = [each for each in wanted if each.failed]
    if claimed.dry_run:
        return Counts(len(standing), len(differing), 0, len(failed))
    noted = reindexing.noted(unit, claimed.type_name, [each.version.pk for each in standing])
    concerned = [each for each in wanted if each.failed or each.standing.version.pk in differing | noted]
    if not concerned:
        return Counts(len(standing), 0, 0, 0)
    locked = reindexing.lock(unit, concerned)
    mine = [each for each in concerned if each.standing.version.pk in locked]
    reindexing.write_each(unit, part, claimed.job, mine, locked)
    changed = sum(each.rows is not None and each.standing.version.pk in differing for each in mine)
    return Counts(len(standing), changed, len(concerned) - len(mine), sum(bool(each.failed) for each in mine))


def _wanted(context: Context, claimed: Claim, kept: Sequence[Kept], standing: Standing) -> Wanted:
    """Index one row as a write would; whatever goes wrong is that row's alone."""
    try:
        resource = json_format.parse(standing.version.text().encode())
        if claimed.scope.whole:
            rows = context.indexer().index(claimed.type_name, resource)
        else:
            indexed = [each.parameter() for each in kept if each.state != GONE]
            rows = context.indexer().index_by(resource, indexed)
    except Exception as error:
        return Wanted(standing, None, {0: f"it cannot be indexed ({type(error).__name__})"})
    return Wanted(standing, rows, {int(name.rpartition("@")[2]): why for name, why in rows.failed})


def as_parameters(job: Job, failures: Sequence[tuple[str, str, str]], base_url: str) -> dict[str, Any]:
    """Return a job as a Parameters resource."""
    seen, total = sum(each.seen for each in job.types), [each.total for each in job.types]
    parts: list[Mapping[str, Any]] = [
        {"name": "job", "valueId": job.id},
        {"name": "status", "valueCode": job.state},
        {"name": "statusUrl", "valueUrl": f"{base_url}/$reindex-status?job={job.id}"},
        {"name": "reason", "valueString": job.reason},
        {"name": "askedAt", "valueInstant": job.asked_at},
        {"name": "dryRun", "valueBoolean": job.dry_run},
        {"name": "batch", "valueInteger": job.batch},
    ]
    if job.rate:
        parts.append({"name": "rate", "valueInteger": job.rate})
    if job.ended_at:
        parts.append({"name": "endedAt", "valueInstant": job.ended_at})
    if job.state == "waiting" and job.earlier:
        parts.append({"name": "waitsForTransactions", "valueInteger": job.earlier})
    parts.append({"name": "says", "valueString": said(job)})
    parts.append({"name": "seen", "valueInteger": seen})
    if None not in total:
        parts.append({"name": "total", "valueInteger": sum(each or 0 for each in total)})
    for name in ("changed", "overtaken", "failed"):
        parts.append({"name": name, "valueInteger": sum(getattr(each, name) for each in job.types)})
    parts += [_of_type(each) for each in job.types]
    parts += [
        {
            "name": "failure",
            "part": [
                {"name": "resource", "valueReference": {"reference": f"{name}/{id_}"}},
                {"name": "reason", "valueString": why},
            ],
        }
        for name, id_, why in failures
    ]
    return {"resourceType": "Parameters", "parameter": parts}


def _of_type(progress: jobs.Progress) -> dict[str, Any]:
    part: list[dict[str, Any]] = [
        {"name": "name", "valueCode": progress.type_name},
        {"name": "done", "valueBoolean": progress.done},
        {"name": "seen", "valueInteger": progress.seen},
        {"name": "changed", "valueInteger": progress.changed},
        {"name": "overtaken", "valueInteger": progress.overtaken},
        {"name": "failed", "valueInteger": progress.failed},
    ]
    if progress.total is not None:
        part.append({"name": "total", "valueInteger": progress.total})
    return {"name": "type", "part": part}


def said(job: Job) -> str:
    """Say how far a job is."""
    seen = sum(each.seen for each in job.types)
    total = sum(each.total or 0 for each in job.types)
    changed = sum(each.changed for each in job.types)
    would = "would change" if job.dry_run else "changed"
    if job.state == "waiting":
        return (
            f"it waits for {job.earlier} earlier transactions to end" if job.earlier else "it has not begun"
        )
    begun = [each for each in job.types if each.total is not None]
    of = f"{total:,}" if len(begun) == len(job.types) else f"{total:,} in the types that it has begun"
    says = f"{seen:,} of {of} resources are indexed, {changed:,} {would}"
    if job.dry_run:
        says = f"{seen:,} of {of} resources are looked at, {changed:,} {would}"
    return f"{says}, {job.failed:,} failed" if job.failed else says
