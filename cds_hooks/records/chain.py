"""The chain over the records: each link holds the SHA-256 of one record and of the link before it.

Links are made by the background worker, after the records and in batches, so that no call waits for
another. A record that is changed, taken out or put in between breaks its own link; a link that is
changed breaks the next. Who also keeps the newest link somewhere else (every AuditEvent of a call
names its own) notices when the end of the chain is cut off.

    digest = SHA-256 of the record's columns as texts, in a JSON array, as Postgres writes it
    chain  = SHA-256 of (the chain before it, 32 bytes) + "NUMBER KIND PK FORM" + (digest, 32 bytes)
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.extras import execute_values

from fhir_server.database.engine import Engine, Mode

TENANT = 0
START = bytes(32)
BATCH = 1000
_WINDOW_S = 120.0  # longer than any transaction that writes records can last
_LOOK_BACK_EVERY_S = 10.0
_LOOK_BACK_ROWS = 100_000
_LOCK = "cds-chain"


def _moment(column: str) -> str:
    return f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"


def _hex(column: str) -> str:
    return f"encode({column}, 'hex')"


# The columns of form 1. A column that is added later makes form 2; form 1 stays as it is.
_FORMS: dict[str, dict[int, tuple[str, tuple[str, ...]]]] = {
    "call": {1: ("cds_call", (
        "call_id::text", _moment("received_at"), "latency_us::text", "status::text", "service", "hook",
        "hook_instance::text", "client", "user_reference", "patient", "reasons::text", _hex("input_hash"),
        "model", "model_version", _hex("model_hash"), "inputs::text", "output::text", "answer", "mode",
        "model_state", "code", "own_ids::text", "computed", "withheld::text",
    ))},
    "feedback": {1: ("cds_feedback", (
        "card::text", "outcome", _moment("outcome_at"), _moment("received_at"), "client", "accepted::text",
        "reason::text", "user_comment",
    ))},
    "switch": {1: ("cds_switch", (_moment("switched_at"), "service", "mode", "by_whom", "reason"))},
    "withheld": {1: ("cds_withheld", ("call_id::text", _moment("noted_at"), "reason"))},
    "model": {1: ("cds_model_event", (
        _moment("at"), "model", "version", _hex("release_hash"), "action", "state", "actor", "reason",
        "monitor::text", "proposal::text", "proposer", "evidence::text",
    ))},
    "outcome": {1: ("cds_outcome", (
        "call_id::text", _moment("received_at"), _moment("observed_at"), "bad::text", "source",
    ))},
}  # fmt: skip
KINDS = tuple(_FORMS)
_NEWEST_FORM = {kind: max(forms) for kind, forms in _FORMS.items()}


def _digest(kind: str, form: int) -> str:
    columns = ", ".join(_FORMS[kind][form][1])
    return f"sha256(convert_to(json_build_array({columns})::text, 'UTF8'))"


@dataclass(frozen=True, slots=True)
class Link:
    """One link: which record, and the two hashes."""

    number: int
    kind: str
    record_pk: int
    form: int
    digest: bytes
    chain: bytes


def chained(before: bytes, number: int, kind: str, record_pk: int, form: int, digest: bytes) -> bytes:
    """Return the chain of a link.

    >>> chained(START, 1, "call", 1, 1, bytes(32)).hex()[:16]
    '72e74ac5a8fa1bf7'
    """
    return hashlib.sha256(before + f"{number} {kind} {record_pk} {form}".encode() + digest).digest()


# Sealing ----------------------------------------------------------------------------------------
class Sealer:
    """Makes links of the records that have none; for the background worker."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock
        self._marks: dict[str, deque[tuple[float, int]]] = {kind: deque() for kind in KINDS}
        self._looked_back_at = -_LOOK_BACK_EVERY_S

    def seal(self) -> int:
        """Seal what waits, at most a batch of each kind; return how many records that were.

        A record may be committed after one with a higher number: so now and then it is looked back.
        """
        now = time.monotonic()
        back = now - self._looked_back_at >= _LOOK_BACK_EVERY_S
        with self._engine.connection() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, %s))", (_LOCK, TENANT))
            if not cursor.fetchone()[0]:
                return 0
            cursor.execute(
                "SELECT number, chain FROM cds_link WHERE tenant = %s ORDER BY number DESC LIMIT 1", (TENANT,)
            )
            number, chain = cursor.fetchone() or (0, START)
            rows: list[tuple[Any, ...]] = []
            at = self._clock()
            before = bytes(chain)
            newest, sealed = _newest(cursor)
            for kind in KINDS:
                low = self._settled(kind, sealed[kind], now) if back else sealed[kind]
                if newest[kind] <= sealed[kind] and not back:
                    continue
                for pk, digest in _waiting(cursor, kind, low):
                    number += 1
                    form = _NEWEST_FORM[kind]
                    before = chained(before, number, kind, pk, form, digest)
                    rows.append((TENANT, number, kind, pk, form, at, digest, before))
            if rows:
                execute_values(
                    cursor,
                    "INSERT INTO cds_link (tenant, number, kind, record_pk, form, sealed_at, digest, chain)"
                    " VALUES %s",
                    rows,
                    page_size=BATCH,
                )
                connection.commit()
        if back:
            self._looked_back_at = now
        return len(rows)

    def _settled(self, kind: str, newest: int, now: float) -> int:
        """Return a number below which every record is sealed: nobody still writes one there."""
        marks = self._marks[kind]
        marks.append((now, newest))
        while len(marks) > 1 and now - marks[1][0] >= _WINDOW_S:
            marks.popleft()
        since, mark = marks[0]
        return mark if now - since >= _WINDOW_S else max(0, min(mark, newest) - _LOOK_BACK_ROWS)

    def waiting(self) -> dict[str, int]:
        """Return how many records of each kind came after the last one that has a link."""
        with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            return {kind: _behind(cursor, kind) for kind in KINDS}


def _newest(cursor: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Return the number of the newest record of each kind, and that of the newest which has a link."""
    cursor.execute(_NEWEST, {"tenant": TENANT})
    rows = cursor.fetchall()
    return {kind: newest for kind, newest, _ in rows}, {kind: sealed for kind, _, sealed in rows}


_NEWEST = " UNION ALL ".join(
    f"SELECT '{kind}', (SELECT coalesce(max(pk), 0) FROM {forms[1][0]} WHERE tenant = %(tenant)s),"
    " (SELECT coalesce(max(record_pk), 0) FROM cds_link"
    f" WHERE tenant = %(tenant)s AND kind = '{kind}')"
    for kind, forms in _FORMS.items()
)


def _waiting(cursor: Any, kind: str, low: int) -> list[tuple[int, bytes]]:
    form = _NEWEST_FORM[kind]
    cursor.execute(
        f"SELECT pk, {_digest(kind, form)} FROM {_FORMS[kind][form][0]} r WHERE tenant = %s AND pk > %s"
        " AND NOT EXISTS (SELECT FROM cds_link l WHERE l.tenant = r.tenant AND l.kind = %s"
        " AND l.record_pk = r.pk) ORDER BY pk LIMIT %s",
        (TENANT, low, kind, BATCH),
    )
    return [(pk, bytes(digest)) for pk, digest in cursor.fetchall()]


def _behind(cursor: Any, kind: str) -> int:
    cursor.execute(
        f"SELECT count(*) FROM {_FORMS[kind][_NEWEST_FORM[kind]][0]} WHERE tenant = %s AND pk >"
        " coalesce((SELECT max(record_pk) FROM cds_link WHERE tenant = %s AND kind = %s), 0)",
        (TENANT, TENANT, kind),
    )
    return int(cursor.fetchone()[0])


def unsealed(cursor: Any, kind: str) -> int:
    """Return how many records of a kind have no link."""
    cursor.execute(
        f"SELECT count(*) FROM {_FORMS[kind][_NEWEST_FORM[kind]][0]} r WHERE tenant = %s AND NOT EXISTS"
        " (SELECT FROM cds_link l WHERE l.tenant = r.tenant AND l.kind = %s AND l.record_pk = r.pk)",
        (TENANT, kind),
    )
    return int(cursor.fetchone()[0])


# Verifying --------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Broken:
    """The first link that does not hold, and what is wrong with it."""

    number: int
    kind: str
    record_pk: int
    problem: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What a walk along the chain came to; `head` is the newest link that holds."""

    links: int
    head: str
    unsealed: int
    broken: Broken | None = None


def verify(
    engine: Engine, expected: tuple[int, str] | None = None, told: Callable[[int], None] = lambda count: None
) -> Verified:
    """Walk along the whole chain and compare every record with its link.

    `expected` is a link noted earlier, (number, chain in hexadecimal): it has to be there, unchanged.
    `told` hears how far the walk is.
    """
    before, count = START, 0
    with engine.connection(Mode.SNAPSHOT) as connection, connection.cursor() as cursor:
        for links in _batches(cursor):
            digests = _recomputed(cursor, links)
            for link in links:
                problem = _problem(link, count + 1, before, digests.get((link.kind, link.record_pk)))
                if problem is None and expected and link.number == expected[0]:
                    problem = (
                        None if link.chain.hex() == expected[1].lower() else "it is not the link expected"
                    )
                if problem is not None:
                    broken = Broken(link.number, link.kind, link.record_pk, problem)
                    return Verified(count, before.hex(), 0, broken)
                before, count = link.chain, link.number
            told(count)
        open_ended = sum(unsealed(cursor, kind) for kind in KINDS)
    if expected and expected[0] > count:
        problem = f"the chain ends with link {count}: later ones were cut off"
        return Verified(count, before.hex(), open_ended, Broken(expected[0], "link", 0, problem))
    return Verified(count, before.hex(), open_ended)


def _problem(link: Link, number: int, before: bytes, digest: bytes | None) -> str | None:
    if link.number != number:
        return f"link {number} is missing"
    if digest is None:
        return "its record is not there"
    if digest != link.digest:
        return "its record was changed"
    made = chained(before, link.number, link.kind, link.record_pk, link.form, link.digest)
    return None if made == link.chain else "it does not follow from the link before it"


def _batches(cursor: Any) -> Iterator[list[Link]]:
    last = 0
    while True:
        cursor.execute(
            "SELECT number, kind, record_pk, form, digest, chain FROM cds_link"
            " WHERE tenant = %s AND number > %s ORDER BY number LIMIT %s",
            (TENANT, last, BATCH),
        )
        found = [
            Link(number, kind, pk, form, bytes(digest), bytes(chain))
            for number, kind, pk, form, digest, chain in cursor.fetchall()
        ]
        if not found:
            return
        yield found
        last = found[-1].number


def _recomputed(cursor: Any, links: Sequence[Link]) -> dict[tuple[str, int], bytes]:
    """Return the digests of the records as they are now."""
    found: dict[tuple[str, int], bytes] = {}
    for kind, form in {(link.kind, link.form) for link in links}:
        if form not in _FORMS.get(kind, {}):
            continue
        pks = [link.record_pk for link in links if (link.kind, link.form) == (kind, form)]
        cursor.execute(
            f"SELECT pk, {_digest(kind, form)} FROM {_FORMS[kind][form][0]}"
            " WHERE tenant = %s AND pk = ANY(%s)",
            (TENANT, pks),
        )
        found |= {(kind, pk): bytes(digest) for pk, digest in cursor.fetchall()}
    return found
