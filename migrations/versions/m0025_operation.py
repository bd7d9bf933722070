"""What running the decision services needs: switches, alert burden, what replay needs, the chain of records.

Records stay append-only. Beside them stand two tables that may change: which card was shown to whom in
the last hours, and how many on a day.

Revision ID: m0025
Revises: m0024
"""

from alembic import op

revision = "m0025"
down_revision = "m0024"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE cds_switch (
    tenant smallint NOT NULL DEFAULT 0,
    pk bigint GENERATED ALWAYS AS IDENTITY,
    switched_at timestamptz(3) NOT NULL,
    service text COLLATE "C" NOT NULL,
    mode text COLLATE "C" NOT NULL CHECK (mode IN ('on', 'shadow', 'off')),
    by_whom text NOT NULL CHECK (by_whom <> ''),
    reason text NOT NULL CHECK (reason <> ''),
    PRIMARY KEY (tenant, pk)
);
COMMENT ON TABLE cds_switch IS 'Who switched a service on, off or to shadow, and why; the newest row of a service counts';
CREATE INDEX cds_switch_service ON cds_switch (tenant, service, pk DESC);

ALTER TABLE cds_call
    ADD COLUMN mode text COLLATE "C" NOT NULL DEFAULT 'on',
    ADD COLUMN model_state text COLLATE "C",
    ADD COLUMN code text COLLATE "C",
    ADD COLUMN own_ids boolean NOT NULL DEFAULT false,
    ADD COLUMN computed text,
    ADD COLUMN withheld jsonb;
COMMENT ON COLUMN cds_call.mode IS 'How the service ran: on, shadow or off';
COMMENT ON COLUMN cds_call.code IS 'Version of the program that decided';
COMMENT ON COLUMN cds_call.own_ids IS 'Whether patient and user are ids of our own FHIR base; else they are those of the client';
COMMENT ON COLUMN cds_call.input_hash IS 'SHA-256 of hook, context and resources as JSON in the order in which they were read; of the body where it could not be read';
COMMENT ON COLUMN cds_call.computed IS 'The body that was computed, where less of it was sent';
COMMENT ON COLUMN cds_call.withheld IS 'Cards that were computed and not sent, each with the reason';

CREATE TABLE cds_call_input (
    tenant smallint NOT NULL DEFAULT 0,
    call_id uuid NOT NULL,
    received_at timestamptz(3) NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (tenant, call_id)
);
COMMENT ON TABLE cds_call_input IS 'What a call was decided from, as deflated JSON whose SHA-256 is cds_call.input_hash; goes after the retention time';
CREATE INDEX cds_call_input_age ON cds_call_input (tenant, received_at);

CREATE TABLE cds_withheld (
    tenant smallint NOT NULL DEFAULT 0,
    pk bigint GENERATED ALWAYS AS IDENTITY,
    call_id uuid NOT NULL,
    noted_at timestamptz(3) NOT NULL,
    reason text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, pk)
);
COMMENT ON TABLE cds_withheld IS 'Calls whose record says cards that were not sent: the record came too late for the answer';
CREATE INDEX cds_withheld_call ON cds_withheld (tenant, call_id);

ALTER TABLE cds_feedback ADD COLUMN pk bigint GENERATED ALWAYS AS IDENTITY;

CREATE TABLE cds_link (
    tenant smallint NOT NULL DEFAULT 0,
    number bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    record_pk bigint NOT NULL,
    form smallint NOT NULL,
    sealed_at timestamptz(3) NOT NULL,
    digest bytea NOT NULL,
    chain bytea NOT NULL,
    PRIMARY KEY (tenant, number),
    UNIQUE (tenant, kind, record_pk)
);
COMMENT ON TABLE cds_link IS 'The chain over all records: each link holds the SHA-256 of its record, and that of the link before it with this';

CREATE TABLE cds_progress (
    tenant smallint NOT NULL DEFAULT 0,
    purpose text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (tenant, purpose)
);
COMMENT ON TABLE cds_progress IS 'Up to which link something was done, such as told to FHIR as AuditEvents';

CREATE TABLE cds_shown (
    tenant smallint NOT NULL DEFAULT 0,
    key bytea NOT NULL,
    shown_at timestamptz(3) NOT NULL,
    card uuid NOT NULL,
    PRIMARY KEY (tenant, key)
);
COMMENT ON TABLE cds_shown IS 'When a card of this content was last shown to a user about a patient; the key is a SHA-256 of these';
CREATE INDEX cds_shown_age ON cds_shown (tenant, shown_at);

CREATE TABLE cds_burden (
    tenant smallint NOT NULL DEFAULT 0,
    reader bytea NOT NULL,
    day date NOT NULL,
    cards integer NOT NULL,
    PRIMARY KEY (tenant, reader, day)
);
COMMENT ON TABLE cds_burden IS 'How many cards a user was shown on a day; the reader is a SHA-256 of client and user';

-- Decides over each card whether it may be shown: not shown to this user in `hours` hours, and fewer than
-- `most` on this day. Locks are taken in one order (readers, then keys), so that no two calls wait for
-- each other. A card without a key is not compared, one without a reader not counted.
CREATE FUNCTION cds_admit(
    p_tenant smallint, p_cards uuid[], p_keys bytea[], p_readers bytea[], p_days date[], p_at timestamptz[],
    p_hours double precision, p_most integer
) RETURNS TABLE (card uuid, verdict text) LANGUAGE plpgsql AS $$
DECLARE
    one record;
    counts jsonb := '{}';
    so_far integer;
    place text;
BEGIN
    FOR one IN SELECT DISTINCT r, d FROM unnest(p_readers, p_days) AS x (r, d) WHERE r IS NOT NULL ORDER BY r, d
    LOOP
        INSERT INTO cds_burden AS b (tenant, reader, day, cards) VALUES (p_tenant, one.r, one.d, 0)
            ON CONFLICT (tenant, reader, day) DO UPDATE SET cards = b.cards
            RETURNING b.cards INTO so_far;
        counts := counts || jsonb_build_object(encode(one.r, 'hex') || one.d, so_far);
    END LOOP;
    FOR one IN
        SELECT c, k, r, d, a FROM unnest(p_cards, p_keys, p_readers, p_days, p_at) WITH ORDINALITY
            AS x (c, k, r, d, a, n) ORDER BY k, n
    LOOP
        card := one.c;
        place := encode(one.r, 'hex') || one.d;
        so_far := (counts ->> place)::integer;
        IF one.r IS NOT NULL AND p_most > 0 AND so_far >= p_most THEN
            verdict := 'capped';
        ELSE
            verdict := 'shown';
            IF one.k IS NOT NULL AND p_hours > 0 THEN
                INSERT INTO cds_shown AS s (tenant, key, shown_at, card)
                    VALUES (p_tenant, one.k, one.a, one.c)
                    ON CONFLICT (tenant, key) DO UPDATE SET shown_at = EXCLUDED.shown_at, card = EXCLUDED.card
                    WHERE s.shown_at <= EXCLUDED.shown_at - make_interval(secs => p_hours * 3600);
                IF NOT FOUND THEN
                    verdict := 'repeated';
                END IF;
            END IF;
            IF verdict = 'shown' AND one.r IS NOT NULL THEN
                counts := jsonb_set(counts, ARRAY[place], to_jsonb(so_far + 1));
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
    UPDATE cds_burden AS b SET cards = (counts ->> (encode(b.reader, 'hex') || b.day))::integer
        FROM (SELECT DISTINCT r, d FROM unnest(p_readers, p_days) AS x (r, d)) AS mine
        WHERE b.tenant = p_tenant AND b.reader = mine.r AND b.day = mine.d;
END $$;
COMMENT ON FUNCTION cds_admit IS 'Which of some cards may be shown, after the alert burden of their readers';

CREATE FUNCTION cds_only_expiry() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN RAISE EXCEPTION ''rows of % expire and are never changed'', TG_TABLE_NAME; END';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cds_switch
    FOR EACH STATEMENT EXECUTE FUNCTION cds_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cds_withheld
    FOR EACH STATEMENT EXECUTE FUNCTION cds_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cds_link
    FOR EACH STATEMENT EXECUTE FUNCTION cds_append_only();
CREATE TRIGGER only_expiry BEFORE UPDATE OR TRUNCATE ON cds_call_input
    FOR EACH STATEMENT EXECUTE FUNCTION cds_only_expiry();
"""


def upgrade() -> None:
    """Create the tables; rows that are there stay as they are."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Refuse: going back would drop the record of who switched what, and of every answer."""
    raise NotImplementedError("the record of CDS calls is not dropped; restore a backup instead")
