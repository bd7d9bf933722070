"""What an application entity may do, and how it proves who it is.

Entries that there were keep every right, as they had.

Revision ID: m0015
Revises: m0014
"""

from alembic import op

revision = "m0015"
down_revision = "m0014"
branch_labels = None
depends_on = None

UPGRADE = """
ALTER TABLE dicom_peer
    ADD COLUMN rights text[] NOT NULL DEFAULT '{*}',
    ADD COLUMN called_title text NOT NULL DEFAULT '',
    ADD COLUMN tls boolean NOT NULL DEFAULT false,
    ADD COLUMN certificate text NOT NULL DEFAULT '',
    ADD COLUMN user_name text NOT NULL DEFAULT '',
    ADD COLUMN password_hash text NOT NULL DEFAULT '',
    ADD COLUMN max_associations integer NOT NULL DEFAULT 0,
    ADD COLUMN character_set text NOT NULL DEFAULT '';
COMMENT ON COLUMN dicom_peer.rights IS 'Services that it may ask of us: store, find ...; * is all';
COMMENT ON COLUMN dicom_peer.called_title IS 'Another title that it may call us by, besides our own';
COMMENT ON COLUMN dicom_peer.tls IS 'It must call us over TLS, and is called over TLS';
COMMENT ON COLUMN dicom_peer.certificate IS 'A name that its certificate must have: subject, CN=, DNS name or sha256:';
COMMENT ON COLUMN dicom_peer.max_associations IS 'Most associations at once; 0: as the settings say';
COMMENT ON COLUMN dicom_peer.character_set IS 'Specific Character Set of what we answer it; empty: that of its request';
"""

DOWNGRADE = """
ALTER TABLE dicom_peer
    DROP COLUMN rights, DROP COLUMN called_title, DROP COLUMN tls, DROP COLUMN certificate, DROP COLUMN user_name,
    DROP COLUMN password_hash, DROP COLUMN max_associations, DROP COLUMN character_set;
"""


def upgrade() -> None:
    """Add the columns."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Take them away."""
    op.execute(DOWNGRADE)
