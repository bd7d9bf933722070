"""Writing: drafts in, versions out, every table in one batch of rows.

All drafts of a unit are written together: the current rows are locked in the order of their
rid (so two units that touch the same resources cannot wait for each other in a ring),
compared, and then each table gets one multi-row statement. A version is a row of its own in
`resource_version`, written once; the head in `resource` and the index rows are replaced by an update.
A draft that equals the current version makes no new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fhir_server.database import feed
from fhir_server.database.changes import Change
from fhir_server.database.unit_of_work import RunAgain, UnitOfWork
from fhir_server.definitions.structures import type_code
from fhir_server.model import json_format
from fhir_server.outcome import Issue, MethodNotAllowed, PreconditionFailed
from fhir_server.schema.names import ROWS
from fhir_server.search.index import ATTRIBUTES, IndexRows
from fhir_server.search.keys import rid
from fhir_server.storage import contained, index_rows, outcomes, unindexed
from fhir_server.storage.version import BODY, COLUMNS, METHODS, Version, from_row

ANY_VERSION = 0
"""If-Match: *; there must be a current version, whichever."""


@dataclass(slots=True)
class Draft:
    """What is to become of one resource.

    `method` is C, U, P or D; `resource` the whole new resource (None for D), `rows` its
    index rows. `if_version` is the version that must be current (If-Match), `ANY_VERSION` any;
    `must_be_new` says that the id must not be taken (create with an id we chose, If-None-Match: *),
    `may_create` is False where the id must be one that was given out before. `issues` are
    what it does not keep of the profiles that it claims.
    """

    type_name: str
    id: str
    method: str
    resource: dict[str, Any] | None
    rows: IndexRows | None = None
    if_version: int | None = None
    must_be_new: bool = False
    may_create: bool = True
    issues: tuple[Issue, ...] = ()
    rid: str = field(init=False)

    def __post_init__(self) -> None:
        self.rid = rid(self.type_name, self.id)


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a draft: the version that is current now, and how it came to be.

    `changed` is False when the draft equalled the current version or deleted what was gone;
    `created` is True when there was nothing, or only a deletion, before. `version` is None
    only for the deletion of an id that never existed. `issues` are what its writer should know.
    """

    version: Version | None
    changed: bool
    created: bool
    issues: tuple[Issue, ...] = ()


def write(unit: UnitOfWork, drafts: Sequence[Draft], now: str, actor: str) -> list[Written]:
    """Make the drafts current, in their order, and return what became of each.

    `now` is the instant that goes into lastUpdated. The statements that need no answer are
    deferred: they travel with the unit's next statement or with its COMMIT.
    Raises PreconditionFailed (412) when `if_version` or `must_be_new` does not hold.
    """
    current = _lock_current(unit, drafts)
    fresh = iter(
        unit.keys.take(unit, sum(draft.rid not in current and draft.method != "D" for draft in drafts))
    )
    inserts: list[tuple[Draft, Version]] = []
    replacements: list[tuple[Draft, Version]] = []
    answers: list[Written] = []
    containers: list[int] = []  # that may have to be emptied
    for draft in drafts:
        before = current.get(draft.rid)
        check_conditions(draft, before)
        if before is None and draft.method == "D":
            answers.append(Written(None, changed=False, created=False))
            continue
        after = _next_version(draft, before, now, fresh)
        if before is not None and _equal(before, after):
            answers.append(Written(before, changed=False, created=False))
            continue
        (inserts if before is None else replacements).append((draft, after))
        if before is not None and contained.possible(before):
            containers.append(before.pk)
        answers.append(Written(after, changed=True, created=before is None or before.deleted))
        unit.changes.append(
            Change(
                draft.type_name, draft.id, after.version, _INTERACTIONS[draft.method], draft.resource, actor
            )
        )
    _store(unit, inserts, replacements)
    contained.remove(unit, containers)
    contained.keep(
        unit,
        (
            (version, inner)
            for draft, version in (*inserts, *replacements)
            if draft.rows is not None
            for inner in draft.rows.contained
        ),
    )
    return answers


_INTERACTIONS = {"C": "create", "U": "update", "P": "patch", "D": "delete"}

_LOCK = (
    "SELECT set_config('xinglin.locked', count(*)::text, true) FROM (SELECT FROM resource "
    "WHERE tenant = 0 AND rid = ANY(%s::uuid[]) ORDER BY rid FOR UPDATE) AS locked"
)

_LOCKED = (
    f"SELECT {COLUMNS}, replace(r.rid::text, '-', ''), current_setting('xinglin.locked')::int "
    f"FROM resource AS r JOIN {BODY} "
    "WHERE r.tenant = 0 AND r.rid = ANY(%s::uuid[])"
)


def lock(unit: UnitOfWork, addresses: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Version]:
    """Return the current versions of (type, id) pairs, deletions too, and let nobody else change them.

    They are locked until the unit ends. All rows that the unit will write belong into one call: `write`
    locks in the same order, so that two units never wait for each other in a ring.
    """
    rids = {rid(type_name, id_): (type_name, id_) for type_name, id_ in addresses}
    found = _lock(unit, sorted(rids))
    return {rids[key]: version for key, version in found.items()}


def _lock_current(unit: UnitOfWork, drafts: Sequence[Draft]) -> dict[str, Version]:
    """Lock the rows that the drafts may replace; a create under an id of ours has none."""
    return _lock(
        unit, sorted(draft.rid for draft in drafts if not (draft.method == "C" and draft.must_be_new))
    )


def _lock(unit: UnitOfWork, rids: list[str]) -> dict[str, Version]:
    """Lock heads and return the versions that are current then, by rid.

    Two statements, one journey: the snapshot of the first may be older than the lock that it waits for,
    and would not see the version that the former holder made. The second may see what was created between
    the two, which is not locked: then the unit begins again.
    """
    if not rids:
        return {}
    unit.defer(_LOCK, (rids,))
    rows = unit.execute(_LOCKED, (rids,))
    if rows and len(rows) > rows[0][8]:
        raise RunAgain
    return {row[7]: from_row(row) for row in rows}


def check_conditions(draft: Draft, before: Version | None) -> None:
    """Hold If-Match and If-None-Match: * against what is current (R4/http.html#concurrency)."""
    wanted = draft.if_version
    if wanted == ANY_VERSION:
        if before is None or before.deleted:
            raise PreconditionFailed(
                f"If-Match: * asks for a current version of {draft.type_name}/{draft.id}, but there is none",
                expression=draft.type_name,
            )
    elif wanted is not None and (before is None or before.version != wanted):
        stands = "there is no such resource" if before is None else f"the current version is {before.version}"
        raise PreconditionFailed(
            f'If-Match asks for version W/"{wanted}" of {draft.type_name}/{draft.id}, but {stands}; '
            "read it again and repeat the change on what you find",
            expression=draft.type_name,
        )
    if before is None and not draft.may_create and draft.method == "U":
        raise MethodNotAllowed(
            f"there is no {draft.type_name}/{draft.id}, and this server gives new resources their ids itself "
            f"(setting upsert); create it by POST {draft.type_name}",
            expression=draft.type_name,
        )
    if draft.must_be_new and before is not None and not before.deleted:
        raise PreconditionFailed(
            f"{before.address} must not exist yet (If-None-Match: *), but it has version {before.version}",
            expression=draft.type_name,
        )


def _next_version(draft: Draft, before: Version | None, now: str, fresh: Iterable[int]) -> Version:
    """Return the version that the draft would make."""
    return Version(
        pk=before.pk if before is not None else next(iter(fresh)),
        type_name=draft.type_name,
        id=draft.id,
        version=before.version + 1 if before is not None else 1,
        last_updated=now,
        method=METHODS[draft.method],
        content=_content(draft.resource) if draft.resource is not None else None,
    )


def _content(resource: dict[str, Any]) -> str:
    """Return what the column content holds: no more of meta than what no other column has."""
    content: dict[str, Any] = {}
    if meta := resource.get("meta"):
        more = {name: value for name, value in meta.items() if name not in ("versionId", "lastUpdated")}
        if more:
            content["meta"] = more
    for name, value in resource.items():
        if name not in _ELSEWHERE:
            content[name] = value
    return json_format.encode(content).decode()


_ELSEWHERE = frozenset(("resourceType", "id", "meta"))


def _equal(before: Version, after: Version) -> bool:
    """Say whether both hold the same members with the same digits, in whatever order."""
    if before.content is None or after.content is None or before.content == after.content:
        return before.content == after.content
    return bool(_normal(before.content) == _normal(after.content))


def _normal(text: str) -> Any:
    return _written_out(json_format.parse(text.encode()))


def _written_out(value: Any) -> Any:
    """Replace each number by its spelling: 1.50 and 1.5 differ, 1.0e2 and 100 too."""
    if isinstance(value, dict):
        return {name: _written_out(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_written_out(member) for member in value]
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        return value
    return ("number", json_format.encode(value))


def _store(
    unit: UnitOfWork, inserts: list[tuple[Draft, Version]], replacements: list[tuple[Draft, Version]]
) -> None:
    """Write resource, resource_version and the index tables, one multi-row statement each."""
    # Who inserts an id that another unit inserts right now waits for it: in one order, as with locks.
    inserts.sort(key=lambda each: each[0].rid)
    # All else goes in by pk: what is asked for together stands together, and indexes are filled from one end.
    both = sorted((*inserts, *replacements), key=lambda each: each[1].pk)
    if not both:
        return
    if replacements:
        pks = [version.pk for _, version in replacements]
        for table in ROWS:
            if table == "idx_position" and all(d.type_name != "Location" for d, _ in replacements):
                continue
            unit.defer(f"DELETE FROM {table} WHERE tenant = 0 AND pk = ANY(%s::bigint[])", (pks,))
        _defer_pages(
            unit,
            "UPDATE resource AS r SET last_updated = v.last_updated::timestamptz, "
            "version = v.version, deleted = v.deleted, chart = v.chart::uuid, "
            "chart_date = v.chart_date::timestamptz, keys = v.keys::uuid[] FROM (VALUES ",
            "(%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (v.pk, type_code(v.type_name), v.last_updated, v.version, v.deleted, _keys(d), *_chart(d))
                for d, v in replacements
            ],
            ") AS v (pk, type, last_updated, version, deleted, keys, chart, chart_date) "
            "WHERE r.tenant = 0 AND r.type = v.type AND r.pk = v.pk",
        )
    if inserts:
        _insert(
            unit,
            "INSERT INTO resource "
            "(pk, last_updated, rid, version, type, id, keys, chart, chart_date) VALUES ",
            "(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (v.pk, v.last_updated, d.rid, v.version, type_code(v.type_name), v.id, _keys(d), *_chart(d))
                for d, v in inserts
            ],
        )
    stamp = f"({feed.STAMP})"
    if len(both) > 1:
        stamp = str(unit.execute("SELECT feed_stamp()")[0][0])
    _insert(
        unit,
        "INSERT INTO resource_version (pk, stamp, last_updated, version, type, method, content) VALUES ",
        f"(%s, {stamp}, %s, %s, %s, %s, %s)",
        [(v.pk, v.last_updated, v.version, type_code(v.type_name), d.method, v.content) for d, v in both],
    )
    for table, attribute in ATTRIBUTES.items():
        found = [
            (version.pk, *row)
            for draft, version in both
            if draft.rows is not None
            for row in getattr(draft.rows, attribute)
        ]
        if found:
            index_rows.insert(unit, table, found)
    unindexed.note(unit, [(v, d.rows) for d, v in both])
    judged = [(version, draft.issues) for draft, version in both if draft.issues]
    outcomes.keep(unit, [each for each in judged if outcomes.worth_keeping(each[1])])


def _chart(draft: Draft) -> tuple[str | None, str | None]:
    """Return the patient and the clinical date of the row."""
    return (draft.rows.chart, draft.rows.chart_date) if draft.rows is not None else (None, None)


def _keys(draft: Draft) -> str:
    """Return the search keys as the text of a Postgres array."""
    return "{" + ",".join(draft.rows.keys) + "}" if draft.rows is not None else "{}"


def _insert(unit: UnitOfWork, head: str, template: str, given: Sequence[tuple[Any, ...]]) -> None:
    """Defer an INSERT: that of one row is prepared, many are one statement a page."""
    if len(given) == 1:
        unit.defer_prepared(head + template, given[0])
    else:
        _defer_pages(unit, head, template, given)


def _defer_pages(
    unit: UnitOfWork, head: str, template: str, given: Sequence[tuple[Any, ...]], tail: str = ""
) -> None:
    """Defer one statement a page of rows."""
    for start in range(0, len(given), index_rows.PAGE):
        page = [unit.cursor.mogrify(template, row) for row in given[start : start + index_rows.PAGE]]
        unit.defer(head.encode() + b",".join(page) + tail.encode())
