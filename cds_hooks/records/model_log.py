"""The events of models in Postgres: who promoted, demoted, retired what. Append-only, one writer a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cds_hooks.models import states
from cds_hooks.models.states import Blocks, Event, Order
from fhir_server.database.engine import Engine, Mode

TENANT = 0
_COLUMNS = (
    "pk, at, model, version, encode(release_hash, 'hex'), action, state, actor, reason, monitor, proposal,"
    " proposer, evidence"
)
_INSERT = """
INSERT INTO cds_model_event (tenant, at, model, version, release_hash, action, state, actor, reason, monitor,
    proposal, proposer, evidence)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING pk
"""


class ModelLog:
    """The events of every model of the installation."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def newest(self) -> int:
        """Return the number of the newest event, 0 for none; it says whether there is news."""
        with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT max(pk) FROM cds_model_event WHERE tenant = %s", (TENANT,))
            return int(cursor.fetchone()[0] or 0)

    def events(self, model: str | None = None) -> list[Event]:
        """Return the events of a model, or of all, in their order."""
        with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            return _events(cursor, model)

    def carry_out(self, order: Order, blocks: Blocks) -> list[Event]:
        """Carry out an order and return its events; two at once on one model wait for each other.

        Raises what `states.follow` raises; nothing is kept then.
        """
        with self._engine.connection() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))",
                (f"cds-model {order.release.model}", TENANT),
            )
            made = states.follow(order, _events(cursor, order.release.model), blocks)
            for event in made:
                cursor.execute(_INSERT, _values(event))
            connection.commit()
            return made


def _events(cursor: Any, model: str | None) -> list[Event]:
    cursor.execute(
        f"SELECT {_COLUMNS} FROM cds_model_event WHERE tenant = %s AND (%s::text IS NULL OR model = %s)"
        " ORDER BY pk",
        (TENANT, model, model),
    )
    return [_event(row) for row in cursor.fetchall()]


def _event(row: Sequence[Any]) -> Event:
    pk, at, model, version, digest, action, state, actor, reason, monitor, proposal, proposer, evidence = row
    return Event(
        at=at, model=model, version=version, digest=digest, action=action, state=state, actor=actor,
        reason=reason, pk=pk, monitor=monitor, proposal=proposal, proposer=proposer, evidence=evidence or {},
    )  # fmt: skip


def _values(event: Event) -> tuple[Any, ...]:
    return (
        TENANT, event.at, event.model, event.version, bytes.fromhex(event.digest), event.action, event.state,
        event.actor, event.reason, event.monitor, event.proposal, event.proposer,
        json.dumps(event.evidence, ensure_ascii=False) if event.evidence else None,
    )  # fmt: skip
