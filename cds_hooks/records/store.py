"""Write and read the records: the only room of the CDS service that runs SQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from uuid import UUID

from cds_hooks.records.entries import Call, Feedback
from fhir_server.database.engine import Engine, Mode

TENANT = 0

_CALL = """
INSERT INTO cds_call (tenant, call_id, received_at, latency_us, status, service, hook, hook_instance, client,
    user_reference, patient, reasons, input_hash, model, model_version, model_hash, inputs, output, answer)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_CARDS = "INSERT INTO cds_card (tenant, card, service, call_id) SELECT %s, unnest(%s::uuid[]), %s, %s"
_FEEDBACK = """
INSERT INTO cds_feedback
    (tenant, card, outcome, outcome_at, received_at, client, accepted, reason, user_comment)
VALUES (%s, %s, %s, %s, %s, %s, %s::uuid[], %s, %s) ON CONFLICT DO NOTHING
"""
_COLUMNS = (
    "call_id, received_at, latency_us, status, service, reasons, input_hash, answer, hook, hook_instance,"
    " client,"
    " user_reference, patient, model, model_version, model_hash, inputs, output"
)


class Records(Protocol):
    """Where calls and feedback are kept."""

    def keep(self, call: Call, may_commit: Callable[[], bool]) -> None:
        """Keep a call; `may_commit` is asked last, and when it says no, nothing is kept."""

    def known_cards(self, service: str, cards: Sequence[UUID]) -> set[UUID]:
        """Return those of the cards that this service has given."""

    def keep_feedback(self, entries: Sequence[Feedback]) -> None:
        """Keep feedback on known cards; what is there already stays as it is."""


class Store:
    """The records in Postgres."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def keep(self, call: Call, may_commit: Callable[[], bool]) -> None:
        """Write one call and its cards in one transaction."""
        with self._engine.connection() as connection, connection.cursor() as cursor:
            cursor.execute(
                _CALL,
                (
                    TENANT, str(call.call_id), call.received_at, call.latency_us, call.status, call.service,
                    call.hook, _text(call.hook_instance), call.client, call.user_reference, call.patient,
                    list(call.reasons), call.input_hash, call.model, call.model_version,
                    bytes.fromhex(call.model_hash) if call.model_hash else None,
                    _json(call.inputs), _json(call.output), call.answer,
                ),
            )  # fmt: skip
            if call.cards:
                cards = [str(card) for card in call.cards]
                cursor.execute(_CARDS, (TENANT, cards, call.service, str(call.call_id)))
            if may_commit():
                connection.commit()

    def known_cards(self, service: str, cards: Sequence[UUID]) -> set[UUID]:
        """Return those of the cards that this service has given."""
        with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT card::text FROM cds_card WHERE tenant = %s AND service = %s AND card = ANY"
                " (%s::uuid[])",
                (TENANT, service, [str(card) for card in cards]),
            )
            return {UUID(row[0]) for row in cursor.fetchall()}

    def keep_feedback(self, entries: Sequence[Feedback]) -> None:
        """Write feedback in one transaction; the same report twice is one row."""
        with self._engine.connection() as connection, connection.cursor() as cursor:
            for entry in entries:
                cursor.execute(
                    _FEEDBACK,
                    (
                        TENANT, str(entry.card), entry.outcome, entry.outcome_at, entry.received_at,
                        entry.client, [str(suggestion) for suggestion in entry.accepted],
                        _json(entry.reason), entry.user_comment,
                    ),
                )  # fmt: skip
            connection.commit()

    def latest(self, service: str | None = None, count: int = 50) -> list[Call]:
        """Return the newest calls, for the console and for tests."""
        with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {_COLUMNS} FROM cds_call WHERE tenant = %s AND (%s::text IS NULL OR service = %s)"
                " ORDER BY pk DESC LIMIT %s",
                (TENANT, service, service, count),
            )
            return [_call(row) for row in cursor.fetchall()]


def _call(row: Sequence[Any]) -> Call:
    call_id, received_at, latency_us, status, service, reasons, input_hash, answer, hook, instance, client = (
        row[:11]
    )
    user_reference, patient, model, model_version, model_hash, inputs, output = row[11:]
    return Call(
        call_id=UUID(str(call_id)),
        received_at=received_at,
        latency_us=latency_us,
        status=status,
        service=service,
        reasons=tuple(reasons),
        input_hash=bytes(input_hash),
        answer=answer,
        hook=hook,
        hook_instance=UUID(str(instance)) if instance else None,
        client=client,
        user_reference=user_reference,
        patient=patient,
        model=model,
        model_version=model_version,
        model_hash=bytes(model_hash).hex() if model_hash else None,
        inputs=inputs or {},
        output=output or {},
    )


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _json(value: Any) -> str | None:
    return json.dumps(value, ensure_ascii=False) if value else None
