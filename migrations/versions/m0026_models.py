"""What becomes of the releases of models: states by two persons, outcomes that matured, what monitors found.

Releases lie on disk and never change; what is kept here is who did what to them, and why. Append-only.

Revision ID: m0026
Revises: m0025
"""

from alembic import op

revision = "m0026"
down_revision = "m0025"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE cds_model_event (
    tenant smallint NOT NULL DEFAULT 0,
    pk bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz(3) NOT NULL,
    proposal bigint,
    monitor boolean NOT NULL DEFAULT false,
    model text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL
        CHECK (action IN ('assess', 'propose', 'withdraw', 'promote', 'demote', 'retire')),
    state text COLLATE "C" NOT NULL CHECK (state IN ('draft', 'demonstration', 'shadow', 'active', 'retired')),
    release_hash bytea NOT NULL CHECK (length(release_hash) = 32),
    actor text NOT NULL CHECK (btrim(actor) <> ''),
    proposer text,
    reason text NOT NULL CHECK (btrim(reason) <> ''),
    evidence jsonb,
    PRIMARY KEY (tenant, pk),
    FOREIGN KEY (tenant, proposal) REFERENCES cds_model_event (tenant, pk),
    CONSTRAINT two_persons CHECK (action <> 'promote' OR state <> 'active' OR
        (proposal IS NOT NULL AND proposer IS NOT NULL AND NOT monitor
         AND lower(btrim(proposer)) <> lower(btrim(actor))))
);
COMMENT ON TABLE cds_model_event IS 'Who did what to which release of a model, and why; never changed';
COMMENT ON COLUMN cds_model_event.state IS 'The state of the release after it';
COMMENT ON COLUMN cds_model_event.release_hash IS 'SHA-256 of SHA256SUMS.txt: another release of the same number has no state';
COMMENT ON COLUMN cds_model_event.proposal IS 'The proposal that a promotion to active approves; its author is another person';
CREATE INDEX cds_model_event_model ON cds_model_event (tenant, model, pk);

CREATE TABLE cds_outcome (
    tenant smallint NOT NULL DEFAULT 0,
    pk bigint GENERATED ALWAYS AS IDENTITY,
    received_at timestamptz(3) NOT NULL,
    observed_at timestamptz(3),
    bad boolean NOT NULL,
    call_id uuid NOT NULL,
    source text NOT NULL,
    PRIMARY KEY (tenant, pk),
    FOREIGN KEY (tenant, call_id) REFERENCES cds_call (tenant, call_id)
);
COMMENT ON TABLE cds_outcome IS 'What became of the patient of a call; of several the newest counts';
CREATE INDEX cds_outcome_call ON cds_outcome (tenant, call_id, pk);
CREATE INDEX cds_outcome_received ON cds_outcome (tenant, received_at);

CREATE TABLE cds_monitor_report (
    tenant smallint NOT NULL DEFAULT 0,
    pk bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz(3) NOT NULL,
    since timestamptz(3) NOT NULL,
    calls integer NOT NULL,
    outcomes integer NOT NULL,
    model text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    level text COLLATE "C" NOT NULL CHECK (level IN ('unknown', 'well', 'warning', 'demotion')),
    release_hash bytea NOT NULL,
    report jsonb NOT NULL,
    PRIMARY KEY (tenant, pk)
);
COMMENT ON TABLE cds_monitor_report IS 'What the monitors found about a release, and how bad it is';
CREATE INDEX cds_monitor_report_model ON cds_monitor_report (tenant, model, version, pk);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cds_model_event
    FOR EACH STATEMENT EXECUTE FUNCTION cds_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cds_outcome
    FOR EACH STATEMENT EXECUTE FUNCTION cds_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cds_monitor_report
    FOR EACH STATEMENT EXECUTE FUNCTION cds_append_only();
"""


def upgrade() -> None:
    """Create the tables and forbid to change their rows."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Refuse: going back would drop who promoted what."""
    raise NotImplementedError(
        "the record of who promoted which model is not dropped; restore a backup instead"
    )
