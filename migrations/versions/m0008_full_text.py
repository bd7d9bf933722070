"""The words of resources, for _text and _content.

Revision ID: m0008
Revises: m0007
"""

from alembic import op

revision = "m0008"
down_revision = "m0007"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE idx_text (
    pk bigint NOT NULL,
    tenant smallint NOT NULL DEFAULT 0,
    cut boolean NOT NULL,
    words tsvector NOT NULL,
    PRIMARY KEY (tenant, pk)
);
COMMENT ON TABLE idx_text IS 'The words that a person reads in a resource; resources without any have no row';
COMMENT ON COLUMN idx_text.cut IS 'Whether there are more words, or places of words, than were taken';
COMMENT ON COLUMN idx_text.words IS 'Each word behind a sign that says of which type it is, and whether it stands in the narrative';
ALTER TABLE idx_text ALTER COLUMN words SET STATISTICS 0;
CREATE INDEX idx_text_words ON idx_text USING gin (words) WITH (fastupdate = off);
CREATE INDEX idx_text_cut ON idx_text (tenant, pk) WHERE cut;

CREATE TABLE text_missing (
    tenant smallint NOT NULL DEFAULT 0,
    type smallint NOT NULL,
    PRIMARY KEY (tenant, type)
);
COMMENT ON TABLE text_missing IS 'Types of which some resources may have been written without their words';
INSERT INTO text_missing (type) SELECT DISTINCT type FROM resource;
"""

DOWNGRADE = """
DROP TABLE idx_text, text_missing;
"""


def upgrade() -> None:
    """Create the tables; what is stored gets its words by a run of reindexing."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop them: they can be made again."""
    op.execute(DOWNGRADE)
