"""Asynchronous requests with their results, and large contents in pieces.

Revision ID: m0009
Revises: m0008
"""

from alembic import op

revision = "m0009"
down_revision = "m0008"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE content (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant smallint NOT NULL DEFAULT 0,
    begun_at timestamptz(3) NOT NULL DEFAULT now(),
    size_bytes bigint,
    sha256 bytea
);
COMMENT ON TABLE content IS 'Contents too large for a row: bodies of Binary, requests and results of jobs';
COMMENT ON COLUMN content.size_bytes IS 'Null until the last piece is there';
CREATE INDEX content_begun ON content (begun_at);

CREATE TABLE content_piece (
    content bigint NOT NULL REFERENCES content (pk) ON DELETE CASCADE,
    number integer NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (content, number)
);
COMMENT ON TABLE content_piece IS 'Pieces of 1 MiB, the last one shorter; written once';
ALTER TABLE content_piece ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE job (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant smallint NOT NULL DEFAULT 0,
    id text COLLATE "C" NOT NULL UNIQUE,
    subject text NOT NULL,
    state text NOT NULL DEFAULT 'waiting',
    kind text NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    asked_at timestamptz(3) NOT NULL,
    begun_at timestamptz(3),
    ended_at timestamptz(3),
    expires_at timestamptz(3),
    progress text NOT NULL DEFAULT '',
    units integer NOT NULL DEFAULT 0,
    request jsonb NOT NULL,
    body bigint REFERENCES content (pk),
    kept text,
    CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled'))
);
COMMENT ON TABLE job IS 'Requests that are answered later (Prefer: respond-async)';
COMMENT ON COLUMN job.subject IS 'Whose it is: nobody else sees it';
COMMENT ON COLUMN job.attempt IS 'Grows when somebody begins to work at it; who has an older number has lost it';
COMMENT ON COLUMN job.units IS 'Transactions that it has committed';
COMMENT ON COLUMN job.kept IS 'What the last of them came to, written in the same transaction';
CREATE INDEX job_open ON job (tenant, pk) WHERE state IN ('waiting', 'running');
CREATE INDEX job_ended ON job (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX job_body ON job (body) WHERE body IS NOT NULL;

CREATE TABLE job_file (
    job bigint NOT NULL REFERENCES job (pk) ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    role text NOT NULL,
    type text NOT NULL,
    count integer NOT NULL,
    content bigint NOT NULL REFERENCES content (pk),
    PRIMARY KEY (job, name),
    CHECK (role IN ('answer', 'output', 'deleted', 'error'))
);
COMMENT ON TABLE job_file IS 'What a job has made, by the name in its address';
CREATE INDEX job_file_content ON job_file (content);

CREATE TABLE binary_content (
    pk bigint NOT NULL,
    version integer NOT NULL,
    tenant smallint NOT NULL DEFAULT 0,
    content bigint NOT NULL REFERENCES content (pk),
    PRIMARY KEY (tenant, pk, version)
);
COMMENT ON TABLE binary_content IS 'Which version of a Binary has its data in pieces; no row: it stands in the resource';
CREATE INDEX binary_content_content ON binary_content (content);

CREATE FUNCTION binary_content_purge() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE freed bigint[];
BEGIN
    WITH purged AS (
        DELETE FROM binary_content AS b USING gone
        WHERE b.tenant = gone.tenant AND b.pk = gone.pk AND b.version = gone.version RETURNING b.content
    ) SELECT array_agg(purged.content) INTO freed FROM purged;
    IF freed IS NOT NULL THEN
        DELETE FROM content AS c WHERE c.pk = ANY(freed)
        AND NOT EXISTS (SELECT FROM binary_content AS b WHERE b.content = c.pk);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION binary_content_purge IS 'A version that is purged takes its content with it';
CREATE TRIGGER binary_content_purge AFTER DELETE ON resource_version
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION binary_content_purge();
"""

DOWNGRADE = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM binary_content) THEN
        RAISE EXCEPTION 'there are Binary resources whose data stand in pieces; delete them first';
    END IF;
END $$;
DROP TRIGGER binary_content_purge ON resource_version;
DROP FUNCTION binary_content_purge();
DROP TABLE binary_content, job_file, job, content_piece, content;
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop them, unless data of patients stand there that no other place has."""
    op.execute(DOWNGRADE)
