"""Workitems of the unified worklist, who watches them, and what was reported of them.

Revision ID: m0019
Revises: m0018
"""

from alembic import op

revision = "m0019"
down_revision = "m0018"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE dicom_workitem (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz(3) NOT NULL,
    changed_at timestamptz(3) NOT NULL,
    uid text COLLATE "C" NOT NULL UNIQUE,
    state text COLLATE "C" NOT NULL,
    transaction_uid text COLLATE "C" NOT NULL,
    starts_at text COLLATE "C" NOT NULL,
    patient_id text COLLATE "C" NOT NULL,
    attributes jsonb NOT NULL
);
COMMENT ON TABLE dicom_workitem IS 'Unified Procedure Steps (PS3.4 Annex CC); attributes as PS3.18 Annex F writes them, without the Transaction UID';
COMMENT ON COLUMN dicom_workitem.transaction_uid IS 'The lock of who performs it; empty: nobody does';
COMMENT ON COLUMN dicom_workitem.starts_at IS 'Scheduled Procedure Step Start DateTime as it was sent';
CREATE INDEX dicom_workitem_state ON dicom_workitem (state, starts_at);
CREATE INDEX dicom_workitem_start ON dicom_workitem (starts_at, pk);
CREATE INDEX dicom_workitem_patient ON dicom_workitem (patient_id);

CREATE TABLE dicom_workitem_watch (
    ae_title text COLLATE "C" PRIMARY KEY,
    deletion_lock boolean NOT NULL,
    suspended boolean NOT NULL,
    filter jsonb NOT NULL
);
COMMENT ON TABLE dicom_workitem_watch IS 'Global subscriptions; a filter of [] takes every workitem, else a list of [path, value]';

CREATE TABLE dicom_workitem_subscription (
    workitem_pk bigint NOT NULL REFERENCES dicom_workitem ON DELETE CASCADE,
    ae_title text COLLATE "C" NOT NULL,
    deletion_lock boolean NOT NULL,
    PRIMARY KEY (workitem_pk, ae_title)
);
CREATE INDEX dicom_workitem_subscription_ae ON dicom_workitem_subscription (ae_title);
"""

DOWNGRADE = "DROP TABLE dicom_workitem_subscription, dicom_workitem_watch, dicom_workitem;"


def upgrade() -> None:
    """Create the tables."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop them, workitems and all."""
    op.execute(DOWNGRADE)
