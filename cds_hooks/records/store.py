"""Write and read the records of calls and feedback; this room alone runs the SQL of the CDS service."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from psycopg2.extensions import adapt

from cds_hooks.records import statements
from cds_hooks.records.entries import Call, Feedback, Offer, Offered
from fhir_server.database import prepared
from fhir_server.database.engine import Engine, Mode
from fhir_server.model import json_format

TENANT = 0

_FEEDBACK = """
INSERT INTO cds_feedback
    (tenant, card, outcome, outcome_at, received_at, client, accepted, reason, user_comment)
VALUES (%s, %s, %s, %s, %s, %s, %s::uuid[], %s, %s) ON CONFLICT DO NOTHING
"""
_KNOWN = """
SELECT k.card::text FROM cds_card k JOIN cds_call c USING (tenant, call_id)
WHERE k.tenant = %s AND k.service = %s AND k.card = ANY (%s::uuid[])
    AND (%s OR c.client IS NOT DISTINCT FROM %s)
"""
_READ = (
    "call_id, received_at, latency_us, status, service, reasons, input_hash, answer, hook, hook_instance,"
    " client, user_reference, patient, model, model_version, model_hash, inputs, output, mode, model_state,"
    " code, own_ids, computed, withheld"
)


class Records(Protocol):
    """Where calls and feedback are kept."""

    def keep(self, offers: Sequence[Offer]) -> Mapping[UUID, str]:
        """Keep calls in one transaction; return the verdict over every card that was offered."""

    def known_cards(
        self, service: str, cards: Sequence[UUID], client: str | None, *, anybody: bool = False
    ) -> set[UUID]:
        """Return those of the cards that this service has given to a client; `anybody`: to whomever.

        Without a client those that were given to somebody who did not say who he is.
        """

    def keep_feedback(self, entries: Sequence[Feedback]) -> None:
        """Keep feedback on known cards; what is there already stays as it is."""


class Store:
    """The records in Postgres; `repeat_hours` and `most_a_day` are the alert burden (0: none)."""

    def __init__(self, engine: Engine, *, repeat_hours: float = 0.0, most_a_day: int = 0) -> None:
        self._engine = engine
        self._repeat_hours = repeat_hours
        self._most_a_day = most_a_day

    def keep(self, offers: Sequence[Offer]) -> Mapping[UUID, str]:
        """Write calls, their inputs and the cards that may be shown: one statement, one transaction."""
        offered = [(n, card) for n, offer in enumerate(offers, start=1) for card in offer.cards]
        order = sorted(range(len(offered)), key=lambda place: _judged(offered[place][1]))
        cards = [(n, o.card, o.body, o.key, o.reader, o.day) for n, o in offered]
        values = [
            *_handed_over([_values(offer.call, _answer(offer)) for offer in offers], statements.KEPT),
            *_handed_over(cards, statements.CARD),
            _array([place + 1 for place in order]),
            self._repeat_hours,
            self._most_a_day,
        ]
        with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            prepared.ask(cursor, statements.KEEP, values)
            verdicts = cursor.fetchone()[0]
        return {o.card: verdict for (_, o), verdict in zip(offered, verdicts, strict=True)}

    def play_back(self, calls: Sequence[Call]) -> None:
        """Write calls that were answered with no cards and could not be recorded then.

        One that was recorded after all gets a note that its cards were not sent; twice is once.
        """
        with self._engine.connection() as connection, connection.cursor() as cursor:
            for call in calls:
                row = (0, *_values(call, call.answer))
                cursor.execute(statements.PLAY_BACK, _columns([row], len(statements.TYPES)))
            connection.commit()

    def known_cards(
        self, service: str, cards: Sequence[UUID], client: str | None, *, anybody: bool = False
    ) -> set[UUID]:
        """Return those of the cards that this service has given to a client; `anybody`: to whomever."""
        with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            cursor.execute(_KNOWN, (TENANT, service, [str(card) for card in cards], anybody, client))
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

    def latest(self, service: str | None = None, count: int = 50, before: UUID | None = None) -> list[Call]:
        """Return the newest calls, without their inputs; `before` goes on behind a call of the last page."""
        with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {_READ} FROM cds_call WHERE tenant = %s AND (%s::text IS NULL OR service = %s)"
                " AND (%s::uuid IS NULL OR pk < (SELECT pk FROM cds_call WHERE tenant = %s AND call_id = %s))"
                " ORDER BY pk DESC LIMIT %s",
                (TENANT, service, service, _text(before), TENANT, _text(before), count),
            )
            return [_call(row, None) for row in cursor.fetchall()]

    def find(self, call_id: UUID) -> Call | None:
        """Return a call with what it was decided from, as long as that is kept."""
        with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {_READ}, (SELECT content FROM cds_call_input i WHERE i.tenant = c.tenant"
                " AND i.call_id = c.call_id) FROM cds_call c WHERE tenant = %s AND call_id = %s",
                (TENANT, str(call_id)),
            )
            row = cursor.fetchone()
            return None if row is None else _call(row[:-1], None if row[-1] is None else bytes(row[-1]))


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Return rows as columns.

    >>> _columns([], 2), _columns([(1, "a"), (2, "b")], 2)
    ([[], []], [[1, 2], ['a', 'b']])
    """
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _judged(card: Offered) -> tuple[Any, ...]:
    """Return by what cards are sorted before they are judged: reader, day and key, those without last."""
    return (
        card.reader is None, card.reader or b"", str(card.day), card.key is None, card.key or b""
    )  # fmt: skip


def _handed_over(rows: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> list[Any]:
    """Return rows as columns, each as an array in the form that Postgres reads fastest.

    The text of an array is one constant to it. Where it is long, to double its quotes costs more.
    """
    found = _columns(rows, len(columns))
    return [
        adapt(column) if name in statements.LONG else _array(column)
        for name, column in zip(columns, found, strict=True)
    ]


def _array(values: Sequence[Any]) -> str:
    """Return values as the text of an array.

    >>> _array(["a", 'b"c', None, 7, b"d"])
    '{"a","b\\\\"c",NULL,"7","\\\\\\\\x64"}'
    """
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    text = f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _answer(offer: Offer) -> str:
    """Return the answer to be kept; that of a call with cards is made of these by the database."""
    return "" if offer.cards else offer.call.answer


def _values(call: Call, answer: str) -> tuple[Any, ...]:
    return (
        str(call.call_id), call.received_at, call.latency_us, call.status, call.service, call.hook,
        _text(call.hook_instance), call.client, call.user_reference, call.patient, _array(call.reasons),
        call.input_hash, call.model, call.model_version,
        bytes.fromhex(call.model_hash) if call.model_hash else None, _inputs(call.inputs), _json(call.output),
        answer, call.mode, call.model_state, call.code, call.own_ids, call.computed, _json(call.withheld),
        call.content,
    )  # fmt: skip


def _inputs(values: Mapping[str, Any]) -> str | None:
    return json_format.encode(values).decode() if values else None


def _call(row: Sequence[Any], content: bytes | None) -> Call:
    call_id, received_at, latency_us, status, service, reasons, input_hash, answer, hook, instance, client = (
        row[:11]
    )
    user_reference, patient, model, model_version, model_hash, inputs, output = row[11:18]
    mode, model_state, code, own_ids, computed, withheld = row[18:]
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
        cards=_shown(status, answer),
        mode=mode,
        model_state=model_state,
        code=code,
        own_ids=own_ids,
        computed=computed,
        withheld=withheld or {},
        content=content,
    )


def _shown(status: int, answer: str) -> tuple[UUID, ...]:
    """Return the cards of an answer, in their order."""
    cards = json_format.parse(answer.encode())["cards"] if status == 200 else ()
    return tuple(UUID(card["uuid"]) for card in cards)


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _json(value: Any) -> str | None:
    """Return the JSON of a value; what a model came to must not become null where it is no number."""
    return json.dumps(value, ensure_ascii=False) if value else None
