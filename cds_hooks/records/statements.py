"""The statements that keep calls: many in one, an array for each column.

Keeping is a function of the database, cds_keep (migration m0028): it decides the alert burden on the way,
and what was computed becomes what is sent, in the way of `entries.Offer.settled`.
"""

from __future__ import annotations

NEW = (
    "n, call_id, received_at, latency_us, status, service, hook, hook_instance, client, user_reference,"
    " patient, reasons, input_hash, model, model_version, model_hash, inputs, output, answer, mode,"
    " model_state, code, own_ids, computed, withheld, content"
)
TYPES = (
    "int", "uuid", "timestamptz", "int", "int", "text", "text", "uuid", "text", "text", "text", "text",
    "bytea", "text", "text", "bytea", "text", "text", "text", "text", "text", "text", "boolean", "text",
    "text", "bytea",
)  # fmt: skip
"""Of the columns of NEW, as they are handed over; a list of lists goes as texts of arrays, JSON as text."""
COLUMNS = NEW.removeprefix("n, ").removesuffix(", content")


def _unnested(types: tuple[str, ...]) -> str:
    return "unnest(" + ", ".join(f"%s::{name}[]" for name in types) + ")"


_ALL = f"SELECT * FROM {_unnested(TYPES)} AS x ({NEW})"
_CASTS = {
    "status": "smallint",
    "reasons": "text[]",
    "inputs": "jsonb",
    "output": "jsonb",
    "withheld": "jsonb",
}
_CAST = ", ".join(f"{name}::{_CASTS[name]}" if name in _CASTS else name for name in COLUMNS.split(", "))


KEPT = tuple(NEW.split(", "))[1:]
CARD = ("call", "card", "body", "key", "reader", "day")
LONG = frozenset(("inputs", "output", "answer", "computed", "content", "body"))
"""Columns of KEPT and CARD whose values are long."""
KEEP = f"SELECT cds_keep(0::smallint, {', '.join(['%s'] * (len(KEPT) + len(CARD) + 3))})"
"""Many calls: an array for each column of KEPT, and of CARD, where calls are numbered from 1; the order in
which the cards are judged, hours and most of the alert burden.

It gives the verdicts in the order of the cards.
"""

PLAY_BACK = f"""
WITH new AS MATERIALIZED ({_ALL}),
kept AS (
    INSERT INTO cds_call (tenant, {COLUMNS}) SELECT 0, {_CAST} FROM new
    ON CONFLICT (tenant, call_id) DO NOTHING RETURNING call_id
), contents AS (
    INSERT INTO cds_call_input (tenant, call_id, received_at, content)
    SELECT 0, call_id, received_at, content FROM new JOIN kept USING (call_id) WHERE content IS NOT NULL
), unseen AS (
    DELETE FROM cds_shown USING cds_card, new
    WHERE cds_card.tenant = 0 AND cds_card.call_id = new.call_id
        AND cds_shown.tenant = 0 AND cds_shown.card = cds_card.card
)
INSERT INTO cds_withheld (tenant, call_id, noted_at, reason)
SELECT 0, call_id, now(), 'not-in-time' FROM new
WHERE NOT EXISTS (SELECT FROM kept)
    AND NOT EXISTS (SELECT FROM cds_withheld w WHERE w.tenant = 0 AND w.call_id = new.call_id)
    AND EXISTS (SELECT FROM cds_card c WHERE c.tenant = 0 AND c.call_id = new.call_id)
"""
"""One call, as KEEP has many: kept, or if it is there with cards, noted that these were not sent."""
