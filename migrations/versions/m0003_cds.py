"""What the decision services keep: every call with its answer, every feedback. Append-only.

Revision ID: m0003
Revises: m0002
"""

from alembic import op

revision = "m0003"
down_revision = "m0002"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE cds_call (
    tenant smallint NOT NULL DEFAULT 0,
    pk bigint GENERATED ALWAYS AS IDENTITY,
    call_id uuid NOT NULL,
    received_at timestamptz(3) NOT NULL,
    latency_us integer NOT NULL,
    status smallint NOT NULL,
    service text COLLATE "C" NOT NULL,
    hook text COLLATE "C",
    hook_instance uuid,
    client text COLLATE "C",
    user_reference text COLLATE "C",
    patient text COLLATE "C",
    reasons text[] NOT NULL,
    input_hash bytea NOT NULL,
    model text COLLATE "C",
    model_version text COLLATE "C",
    model_hash bytea,
    inputs jsonb,
    output jsonb,
    answer text NOT NULL,
    PRIMARY KEY (tenant, pk),
    UNIQUE (tenant, call_id)
);
COMMENT ON TABLE cds_call IS 'One row a call, empty answers and refused requests too; never changed';
COMMENT ON COLUMN cds_call.reasons IS 'Codes: why there is no card, or shown, suggested';
COMMENT ON COLUMN cds_call.input_hash IS 'SHA-256 of hook, context and resources in canonical JSON; without the token';
COMMENT ON COLUMN cds_call.answer IS 'The body that was sent, byte for byte';
CREATE INDEX cds_call_service ON cds_call (tenant, service, received_at);
CREATE INDEX cds_call_patient ON cds_call (tenant, patient, received_at);

CREATE TABLE cds_card (
    tenant smallint NOT NULL DEFAULT 0,
    card uuid NOT NULL,
    service text COLLATE "C" NOT NULL,
    call_id uuid NOT NULL,
    PRIMARY KEY (tenant, card),
    FOREIGN KEY (tenant, call_id) REFERENCES cds_call (tenant, call_id)
);
COMMENT ON TABLE cds_card IS 'Which call a card came from: what feedback is joined by';

CREATE TABLE cds_feedback (
    tenant smallint NOT NULL DEFAULT 0,
    card uuid NOT NULL,
    outcome text COLLATE "C" NOT NULL CHECK (outcome IN ('accepted', 'overridden')),
    outcome_at timestamptz(3) NOT NULL,
    received_at timestamptz(3) NOT NULL,
    client text COLLATE "C",
    accepted uuid[] NOT NULL,
    reason jsonb,
    user_comment text,
    PRIMARY KEY (tenant, card, outcome, outcome_at),
    FOREIGN KEY (tenant, card) REFERENCES cds_card (tenant, card)
);
COMMENT ON TABLE cds_feedback IS 'What became of a card; the same report twice is one row';

CREATE FUNCTION cds_append_only() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN RAISE EXCEPTION ''% is append-only'', TG_TABLE_NAME; END';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cds_call
    FOR EACH STATEMENT EXECUTE FUNCTION cds_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cds_card
    FOR EACH STATEMENT EXECUTE FUNCTION cds_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cds_feedback
    FOR EACH STATEMENT EXECUTE FUNCTION cds_append_only();
"""


def upgrade() -> None:
    """Create the tables and forbid to change their rows."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Refuse: going back would drop the record of every answer."""
    raise NotImplementedError("the record of CDS calls is not dropped; restore a backup instead")
