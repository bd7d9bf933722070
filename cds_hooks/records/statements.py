"""The statements that keep calls: many in one, the alert burden decided on the way.

`new` are the calls as rows, `offered` the cards that would be shown. What was computed becomes what is
sent, the cards with the verdict "shown", in the way of `entries.Offer.settled`.
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
CARD_TYPES = ("int", "int", "uuid", "text", "bytea", "bytea", "date")
PARAMETERS = (*(f"{name}[]" for name in (*TYPES, *CARD_TYPES)), "float8", "int")
"""Of KEEP: what EXECUTE gets has to have its type already."""
COLUMNS = NEW.removeprefix("n, ").removesuffix(", content")


def _unnested(types: tuple[str, ...]) -> str:
    return "unnest(" + ", ".join(f"%s::{name}[]" for name in types) + ")"


_ALL = f"SELECT * FROM {_unnested(TYPES)} AS x ({NEW})"
_CARDS = f"SELECT * FROM {_unnested(CARD_TYPES)} AS x (n, position, card, body, key, reader, day)"
_CASTS = {
    "status": "smallint",
    "reasons": "text[]",
    "inputs": "jsonb",
    "output": "jsonb",
    "withheld": "jsonb",
}
_CAST = ", ".join(f"{name}::{_CASTS[name]}" if name in _CASTS else name for name in COLUMNS.split(", "))

KEEP = f"""
WITH new AS MATERIALIZED ({_ALL}),
offered AS MATERIALIZED ({_CARDS}),
verdicts AS MATERIALIZED (
    SELECT admitted.card, admitted.verdict FROM (
        SELECT array_agg(o.card ORDER BY o.n, o.position) AS cards,
            array_agg(o.key ORDER BY o.n, o.position) AS keys,
            array_agg(o.reader ORDER BY o.n, o.position) AS readers,
            array_agg(o.day ORDER BY o.n, o.position) AS days,
            array_agg(new.received_at ORDER BY o.n, o.position) AS moments
        FROM offered o JOIN new USING (n)
    ) AS x, cds_admit(0::smallint, x.cards, x.keys, x.readers, x.days, x.moments, %s, %s) AS admitted
), settled AS (
    SELECT o.n, '{{"cards":['
            || coalesce(string_agg(o.body, ',' ORDER BY o.position) FILTER (WHERE v.verdict = 'shown'), '')
            || ']}}' AS answer,
        jsonb_object_agg(o.card, v.verdict) FILTER (WHERE v.verdict <> 'shown') AS withheld,
        array_agg(DISTINCT v.verdict) FILTER (WHERE v.verdict <> 'shown') AS reasons
    FROM offered o JOIN verdicts v USING (card) GROUP BY o.n
), given AS (
    INSERT INTO cds_card (tenant, card, service, call_id)
    SELECT 0, o.card, new.service, new.call_id
    FROM offered o JOIN verdicts v USING (card) JOIN new USING (n) WHERE v.verdict = 'shown'
), kept AS (
    INSERT INTO cds_call (tenant, {COLUMNS})
    SELECT 0, call_id, received_at, latency_us, status::smallint, service, hook, hook_instance, client,
        user_reference, patient, new.reasons::text[] || coalesce(settled.reasons, '{{}}'), input_hash, model,
        model_version, model_hash, inputs::jsonb, output::jsonb, coalesce(settled.answer, new.answer), mode,
        model_state, code, own_ids, CASE WHEN settled.withheld IS NULL THEN new.computed ELSE new.answer END,
        coalesce(settled.withheld, new.withheld::jsonb)
    FROM new LEFT JOIN settled USING (n) ORDER BY n
), contents AS (
    INSERT INTO cds_call_input (tenant, call_id, received_at, content)
    SELECT 0, call_id, received_at, content FROM new WHERE content IS NOT NULL
)
SELECT card::text, verdict FROM verdicts
"""
"""Many calls: an array a column of NEW, an array a column of the cards, hours and most of the alert burden.

It gives a row (card, verdict) for every card.
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
