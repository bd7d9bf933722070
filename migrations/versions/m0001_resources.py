"""Resources, their versions and the search index.

docs/decisions/0001-search-index.md says why the tables look as they do.

Revision ID: m0001
Revises:
"""

from alembic import op

revision = "m0001"
down_revision = None
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE installation (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    definitions_generation bigint NOT NULL DEFAULT 0,
    cursor_key bytea NOT NULL
);
COMMENT ON TABLE installation IS 'One row: what this installation has of its own';
INSERT INTO installation (cursor_key)
    VALUES (decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));

CREATE TABLE feed_epoch (
    epoch integer PRIMARY KEY,
    cluster bigint NOT NULL,
    stamp_base bigint NOT NULL,
    first_stamp bigint NOT NULL
);
COMMENT ON TABLE feed_epoch IS 'One row a life of the database: a restore begins a new one, whose stamps go on where the old ended';
INSERT INTO feed_epoch SELECT 1, system_identifier, 0, 0 FROM pg_control_system();

CREATE FUNCTION feed_stamp() RETURNS bigint LANGUAGE sql STABLE AS
    'SELECT stamp_base + pg_current_xact_id()::text::bigint FROM feed_epoch ORDER BY epoch DESC LIMIT 1';
COMMENT ON FUNCTION feed_stamp IS 'Position of this transaction in the change feed';

CREATE SEQUENCE resource_pk INCREMENT BY 64;
COMMENT ON SEQUENCE resource_pk IS 'One value opens a block of 64 keys for the process that took it';

CREATE TABLE resource (
    pk bigint NOT NULL,
    stamp bigint NOT NULL,
    last_updated timestamptz(3) NOT NULL,
    rid uuid NOT NULL,
    version integer NOT NULL,
    tenant smallint NOT NULL DEFAULT 0,
    type smallint NOT NULL,
    method "char" NOT NULL,
    deleted boolean NOT NULL DEFAULT false,
    id text COLLATE "C" NOT NULL,
    chart uuid,
    chart_date timestamptz,
    meta jsonb,
    keys uuid[],
    content jsonb,
    PRIMARY KEY (tenant, type, pk),
    UNIQUE (tenant, rid)
);
COMMENT ON TABLE resource IS 'The current version of every resource; a deleted one stays as a row without content';
COMMENT ON COLUMN resource.rid IS 'BLAKE2b of Type/id: twelve bytes behind four zero bytes';
COMMENT ON COLUMN resource.keys IS 'Hashed search keys: four bytes of the parameter, twelve of the value';
COMMENT ON COLUMN resource.method IS 'C create (POST), U update (PUT), P patch, D delete';
ALTER TABLE resource ALTER COLUMN keys SET STATISTICS 400;
CREATE INDEX resource_keys ON resource USING gin (keys) WITH (fastupdate = off);
CREATE INDEX resource_updated ON resource (tenant, type, last_updated, pk);
COMMENT ON COLUMN resource.chart IS 'The rid of the patient, and chart_date the clinical date: newest of one patient first';
CREATE INDEX resource_chart ON resource (tenant, type, chart, chart_date DESC NULLS LAST, pk DESC)
    WHERE chart IS NOT NULL;
CREATE INDEX resource_stamp ON resource (tenant, stamp, pk);

CREATE TABLE resource_version (
    pk bigint NOT NULL,
    stamp bigint NOT NULL,
    last_updated timestamptz(3) NOT NULL,
    version integer NOT NULL,
    tenant smallint NOT NULL DEFAULT 0,
    type smallint NOT NULL,
    method "char" NOT NULL,
    deleted boolean NOT NULL DEFAULT false,
    id text COLLATE "C" NOT NULL,
    meta jsonb,
    content jsonb,
    PRIMARY KEY (tenant, type, pk, version)
);
COMMENT ON TABLE resource_version IS 'Superseded versions, append-only';
CREATE INDEX resource_version_updated ON resource_version (tenant, type, last_updated, pk);
CREATE INDEX resource_version_stamp ON resource_version (tenant, stamp, pk);

CREATE TABLE idx_string (
    pk bigint NOT NULL,
    param integer NOT NULL,
    tenant smallint NOT NULL DEFAULT 0,
    value text COLLATE "C" NOT NULL,
    long text COLLATE "C"
);
COMMENT ON COLUMN idx_string.value IS 'Folded, the first 200 signs; long holds the whole where it is longer';
CREATE INDEX idx_string_value ON idx_string (tenant, param, value, pk);
CREATE INDEX idx_string_pk ON idx_string (tenant, pk, param);

CREATE TABLE idx_date (
    pk bigint NOT NULL,
    low timestamptz NOT NULL,
    high timestamptz NOT NULL,
    param integer NOT NULL,
    tenant smallint NOT NULL DEFAULT 0
);
COMMENT ON TABLE idx_date IS 'Half-open intervals [low, high)';
CREATE INDEX idx_date_low ON idx_date (tenant, param, low, pk) INCLUDE (high);
CREATE INDEX idx_date_high ON idx_date (tenant, param, high, pk) INCLUDE (low);
CREATE INDEX idx_date_pk ON idx_date (tenant, pk, param);

CREATE TABLE idx_number (
    pk bigint NOT NULL,
    param integer NOT NULL,
    tenant smallint NOT NULL DEFAULT 0,
    low numeric NOT NULL,
    high numeric NOT NULL
);
COMMENT ON TABLE idx_number IS 'Closed intervals [low, high]; a plain number is both';
CREATE INDEX idx_number_value ON idx_number (tenant, param, low, high, pk);
CREATE INDEX idx_number_span ON idx_number (tenant, param, high, pk) WHERE low <> high;
CREATE INDEX idx_number_pk ON idx_number (tenant, pk, param);

CREATE TABLE idx_quantity (
    pk bigint NOT NULL,
    unit uuid,
    param integer NOT NULL,
    tenant smallint NOT NULL DEFAULT 0,
    low numeric NOT NULL,
    high numeric NOT NULL,
    unit_code text,
    unit_text text
);
CREATE INDEX idx_quantity_value ON idx_quantity (tenant, param, unit, low, high, pk);
CREATE INDEX idx_quantity_span ON idx_quantity (tenant, param, high, pk) WHERE low <> high;
CREATE INDEX idx_quantity_pk ON idx_quantity (tenant, pk, param);

CREATE TABLE idx_composite (
    pk bigint NOT NULL,
    param integer NOT NULL,
    tenant smallint NOT NULL DEFAULT 0,
    code text COLLATE "C",
    system text,
    value text COLLATE "C",
    long text COLLATE "C",
    date_low timestamptz,
    date_high timestamptz,
    low numeric,
    high numeric,
    low2 numeric,
    high2 numeric,
    unit uuid,
    unit_code text,
    unit_text text
);
COMMENT ON TABLE idx_composite IS 'One row a group of component values from one element';
CREATE INDEX idx_composite_number ON idx_composite (tenant, param, code, low, high, pk) WHERE low IS NOT NULL;
CREATE INDEX idx_composite_span ON idx_composite (tenant, param, code, high, pk) WHERE low <> high;
CREATE INDEX idx_composite_value ON idx_composite (tenant, param, code, value, pk) WHERE value IS NOT NULL;
CREATE INDEX idx_composite_date ON idx_composite (tenant, param, code, date_low, date_high, pk)
    WHERE date_low IS NOT NULL;
CREATE INDEX idx_composite_pk ON idx_composite (tenant, pk, param);

ALTER TABLE resource SET (autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE resource_version SET (autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE idx_string SET (autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE idx_date SET (autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE idx_number SET (autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE idx_quantity SET (autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE idx_composite SET (autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_scale_factor = 0.05);
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Refuse: going back would drop every resource."""
    raise NotImplementedError("the first migration is not undone; restore a backup instead")
