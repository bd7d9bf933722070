"""Calls are kept by a function, cds_keep, in place of one statement of seven parts that called cds_admit.

The statement unpacked thirty-three arrays into temporary tables and joined them again; the function goes
through the arrays. What a call was decided from stays in its row where that fits into a page.

Revision ID: m0028
Revises: m0027
"""

from alembic import op

from migrations.versions import m0025_operation

revision = "m0028"
down_revision = "m0027"
branch_labels = None
depends_on = None

UPGRADE = """
-- inputs are deflated: not worth a try to make them smaller, and one that fits into a page stays in its row
ALTER TABLE cds_call_input ALTER content SET STORAGE EXTERNAL, SET (toast_tuple_target = 8160);

DROP FUNCTION cds_admit;

-- Keeps calls with their inputs and those of their cards that may be shown; returns a verdict for each card.
-- Call i has the cards whose p_n is i; they follow each other, call by call. What is sent are the cards that
-- are shown; p_answer is that of a call without cards.
--
-- A card may be shown that was not shown to this reader in p_hours hours, as long as they were shown fewer
-- than p_most on this day. A card without a key is not compared, one without a reader not counted. p_order
-- is the order in which the cards are judged and rows locked: by reader, day and key. As all do it in this
-- order, no two groups wait for each other.
CREATE FUNCTION cds_keep(
    p_tenant smallint, p_call_id uuid[], p_received_at timestamptz[], p_latency_us int[], p_status int[],
    p_service text[], p_hook text[], p_hook_instance uuid[], p_client text[], p_user_reference text[],
    p_patient text[], p_reasons text[], p_input_hash bytea[], p_model text[], p_model_version text[],
    p_model_hash bytea[], p_inputs text[], p_output text[], p_answer text[], p_mode text[],
    p_model_state text[], p_code text[], p_own_ids boolean[], p_computed text[], p_withheld text[],
    p_content bytea[],
    p_n int[], p_card uuid[], p_body text[], p_key bytea[], p_reader bytea[], p_day date[], p_order int[],
    p_hours double precision, p_most integer
) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    verdicts text[] := array_fill(NULL::text, ARRAY[cardinality(p_card)]);
    last integer := cardinality(p_order);
    k integer := 1;
    upto integer;
    j integer;
    so_far integer;
    noted integer;
    first integer;
    shown text;
    reason text;
    v_answer text;
    v_computed text;
    v_withheld jsonb;
    v_reasons text[];
BEGIN
    WHILE k <= last LOOP
        -- the cards of one reader on one day, or all those without a reader
        j := p_order[k];
        upto := k + 1;
        WHILE upto <= last AND p_reader[p_order[upto]] IS NOT DISTINCT FROM p_reader[j]
            AND p_day[p_order[upto]] IS NOT DISTINCT FROM p_day[j]
        LOOP
            upto := upto + 1;
        END LOOP;
        so_far := NULL;
        IF p_reader[j] IS NOT NULL THEN
            -- noted as if all were shown, as they mostly are; else it is set right below
            INSERT INTO cds_burden AS b (tenant, reader, day, cards)
                VALUES (p_tenant, p_reader[j], p_day[j], upto - k)
                ON CONFLICT (tenant, reader, day) DO UPDATE SET cards = b.cards + EXCLUDED.cards
                RETURNING b.cards INTO noted;
            so_far := noted - (upto - k);
        END IF;
        WHILE k < upto LOOP
            j := p_order[k];
            k := k + 1;
            verdicts[j] := 'shown';
            IF p_most > 0 AND so_far >= p_most THEN
                verdicts[j] := 'capped';
            ELSIF p_key[j] IS NOT NULL AND p_hours > 0 THEN
                INSERT INTO cds_shown AS s (tenant, key, shown_at, card)
                    VALUES (p_tenant, p_key[j], p_received_at[p_n[j]], p_card[j])
                    ON CONFLICT (tenant, key) DO UPDATE SET shown_at = EXCLUDED.shown_at, card = EXCLUDED.card
                    WHERE s.shown_at <= EXCLUDED.shown_at - make_interval(secs => p_hours * 3600);
                IF NOT FOUND THEN
                    verdicts[j] := 'repeated';
                END IF;
            END IF;
            IF verdicts[j] = 'shown' THEN
                so_far := so_far + 1;
            END IF;
        END LOOP;
        IF so_far < noted THEN
            UPDATE cds_burden AS b SET cards = so_far
                WHERE b.tenant = p_tenant AND b.reader = p_reader[j] AND b.day = p_day[j];
        END IF;
    END LOOP;

    j := 1;
    FOR i IN 1 .. cardinality(p_call_id) LOOP
        first := j;
        shown := NULL;
        v_answer := p_answer[i];
        v_computed := p_computed[i];
        v_withheld := p_withheld[i];
        v_reasons := p_reasons[i];
        WHILE p_n[j] = i LOOP
            IF verdicts[j] = 'shown' THEN
                shown := concat_ws(',', shown, p_body[j]);
            ELSE
                v_withheld := coalesce(v_withheld, '{}') || jsonb_build_object(p_card[j], verdicts[j]);
            END IF;
            j := j + 1;
        END LOOP;
        IF j > first THEN
            v_answer := concat('{"cards":[', shown, ']}');
            IF v_withheld IS NOT NULL THEN
                v_computed := concat('{"cards":[', array_to_string(p_body[first:j - 1], ','), ']}');
                FOREACH reason IN ARRAY ARRAY['capped', 'repeated'] LOOP
                    IF reason = ANY (verdicts[first:j - 1]) THEN
                        v_reasons := v_reasons || reason;
                    END IF;
                END LOOP;
            END IF;
        END IF;
        INSERT INTO cds_call (
            tenant, call_id, received_at, latency_us, status, service, hook, hook_instance, client,
            user_reference, patient, reasons, input_hash, model, model_version, model_hash, inputs, output,
            answer, mode, model_state, code, own_ids, computed, withheld
        ) VALUES (
            p_tenant, p_call_id[i], p_received_at[i], p_latency_us[i], p_status[i], p_service[i], p_hook[i],
            p_hook_instance[i], p_client[i], p_user_reference[i], p_patient[i], v_reasons, p_input_hash[i],
            p_model[i], p_model_version[i], p_model_hash[i], p_inputs[i]::jsonb, p_output[i]::jsonb, v_answer,
            p_mode[i], p_model_state[i], p_code[i], p_own_ids[i], v_computed, v_withheld
        );
        IF p_content[i] IS NOT NULL THEN
            INSERT INTO cds_call_input (tenant, call_id, received_at, content)
                VALUES (p_tenant, p_call_id[i], p_received_at[i], p_content[i]);
        END IF;
        WHILE first < j LOOP
            IF verdicts[first] = 'shown' THEN
                INSERT INTO cds_card (tenant, card, service, call_id)
                    VALUES (p_tenant, p_card[first], p_service[i], p_call_id[i]);
            END IF;
            first := first + 1;
        END LOOP;
    END LOOP;
    RETURN verdicts;
END $$;
COMMENT ON FUNCTION cds_keep IS 'Keeps calls; which of their cards may be shown, after the alert burden of their readers';
"""


def upgrade() -> None:
    """Replace one function by the other."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the function that the statement of release m0025 calls."""
    op.execute("DROP FUNCTION cds_keep")
    op.execute("ALTER TABLE cds_call_input ALTER content SET STORAGE EXTENDED, RESET (toast_tuple_target)")
    start = m0025_operation.UPGRADE.index("CREATE FUNCTION cds_admit")
    op.execute(m0025_operation.UPGRADE[start:].partition("END $$;")[0] + "END $$;")
