"""What the DICOM node did and who asked for it, on its way into AuditEvent resources.

Revision ID: m0020
Revises: m0019
"""

from alembic import op

revision = "m0020"
down_revision = "m0019"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE dicom_audit (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    noted_at timestamptz(3) NOT NULL,
    study_uid text COLLATE "C" NOT NULL,
    event jsonb NOT NULL
);
COMMENT ON TABLE dicom_audit IS 'Events of PS3.15 A.5 that are not yet AuditEvent resources; a row a request and study';
COMMENT ON COLUMN dicom_audit.id IS 'The id that the AuditEvent will have: writing it twice makes one';
"""


def upgrade() -> None:
    """Create the table."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop it: what is not yet told to FHIR is lost."""
    op.execute("DROP TABLE dicom_audit")
