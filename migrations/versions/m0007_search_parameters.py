"""Search parameters that R4 does not define, and the reindexing of what is stored.

Revision ID: m0007
Revises: m0006
"""

from alembic import op

revision = "m0007"
down_revision = "m0006"
branch_labels = None
depends_on = None

UPGRADE = """
ALTER TABLE installation ADD COLUMN parameters_generation bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN installation.parameters_generation IS 'Grows by one with every change of what is indexed or may be searched by';

CREATE TABLE search_parameter (
    pk integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant smallint NOT NULL DEFAULT 0,
    type smallint NOT NULL,
    state text NOT NULL CHECK (state IN ('indexing', 'ready', 'gone')),
    code text COLLATE "C" NOT NULL,
    url text COLLATE "C" NOT NULL,
    definition text NOT NULL
);
COMMENT ON TABLE search_parameter IS 'What is indexed beside the parameters of R4; rows and keys stand under code@pk';
CREATE UNIQUE INDEX search_parameter_code ON search_parameter (tenant, type, code) WHERE state <> 'gone';

CREATE TABLE reindex (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant smallint NOT NULL DEFAULT 0,
    id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    state text NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'running', 'completed', 'incomplete', 'cancelled')),
    reason text NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamptz(3) NOT NULL,
    ended_at timestamptz(3),
    dry_run boolean NOT NULL DEFAULT false,
    rate integer,
    batch integer NOT NULL,
    not_before timestamptz NOT NULL DEFAULT now(),
    earlier text[]
);
COMMENT ON COLUMN reindex.rate IS 'Resources a second, of all processes together; null: as fast as it goes';
COMMENT ON COLUMN reindex.earlier IS 'Transactions that were open when the job was first seen: it begins when they have ended';
CREATE INDEX reindex_open ON reindex (pk) WHERE state IN ('waiting', 'running');

CREATE TABLE reindex_type (
    job bigint NOT NULL REFERENCES reindex (pk) ON DELETE CASCADE,
    type smallint NOT NULL,
    whole boolean NOT NULL,
    parameters integer[] NOT NULL,
    done boolean NOT NULL DEFAULT false,
    position bigint NOT NULL DEFAULT 0,
    last bigint,
    total bigint,
    seen bigint NOT NULL DEFAULT 0,
    changed bigint NOT NULL DEFAULT 0,
    overtaken bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (job, type)
);
COMMENT ON COLUMN reindex_type.parameters IS 'The rows of search_parameter that this run makes ready or clears away';
COMMENT ON COLUMN reindex_type.position IS 'The pk up to which all is done; last is the pk at which the run ends';
COMMENT ON COLUMN reindex_type.overtaken IS 'Rows that a client wrote while the run looked at them, with their index';

CREATE TABLE unindexed (
    pk bigint NOT NULL,
    job bigint,
    parameter integer NOT NULL,
    tenant smallint NOT NULL DEFAULT 0,
    type smallint NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (tenant, type, pk, parameter)
);
COMMENT ON TABLE unindexed IS 'Resources that could not be indexed: by one parameter, or (0) by a whole run';
CREATE INDEX unindexed_parameter ON unindexed (parameter);
CREATE INDEX unindexed_job ON unindexed (job) WHERE job IS NOT NULL;

CREATE TABLE index_form (
    tenant smallint NOT NULL DEFAULT 0,
    type smallint NOT NULL,
    form integer NOT NULL,
    PRIMARY KEY (tenant, type)
);
COMMENT ON TABLE index_form IS 'In which form the index of a type is wholly; without a row it is that of the first release';
"""

DOWNGRADE = """
DROP TABLE index_form, unindexed, reindex_type, reindex, search_parameter;
ALTER TABLE installation DROP COLUMN parameters_generation;
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop what can be had again: the definitions are stored as resources and in packages."""
    op.execute(DOWNGRADE)
