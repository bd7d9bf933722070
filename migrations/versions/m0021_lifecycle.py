"""What becomes of studies afterwards: removals, holds, retention, corrections, and what FHIR was told.

Revision ID: m0021
Revises: m0020
"""

from alembic import op

revision = "m0021"
down_revision = "m0020"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE dicom_removal (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ordered_at timestamptz(3) NOT NULL,
    applied_at timestamptz(3),
    lifted_at timestamptz(3),
    purge_at timestamptz(3),
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('deleted', 'rejected', 'expired')),
    code text COLLATE "C" NOT NULL,
    note_uid text COLLATE "C" NOT NULL,
    actor text NOT NULL,
    lifted_by text,
    reason text NOT NULL
);
COMMENT ON TABLE dicom_removal IS 'An order to take instances out of the index; carried out after it is committed';
COMMENT ON COLUMN dicom_removal.purge_at IS 'When the files may go; null: they are kept';
COMMENT ON COLUMN dicom_removal.note_uid IS 'SOP Instance UID of the Rejection Note that it carries out, else empty';
CREATE INDEX dicom_removal_open ON dicom_removal (pk) WHERE applied_at IS NULL OR lifted_at IS NOT NULL;
CREATE INDEX dicom_removal_note ON dicom_removal (note_uid) WHERE note_uid <> '';

CREATE TABLE dicom_tombstone (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    removal_pk bigint NOT NULL REFERENCES dicom_removal ON DELETE CASCADE,
    study_uid text COLLATE "C" NOT NULL,
    series_uid text COLLATE "C" NOT NULL,
    sop_uid text COLLATE "C" NOT NULL
);
COMMENT ON TABLE dicom_tombstone IS 'What does not come back unasked; an empty series or SOP UID means all of them';
CREATE INDEX dicom_tombstone_study ON dicom_tombstone (study_uid, series_uid, sop_uid);
CREATE INDEX dicom_tombstone_removal ON dicom_tombstone (removal_pk);

CREATE TABLE dicom_removed (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    removal_pk bigint NOT NULL REFERENCES dicom_removal,
    removed_at timestamptz(3) NOT NULL,
    received_at timestamptz(3) NOT NULL,
    purged_at timestamptz(3),
    size_bytes bigint NOT NULL,
    version integer NOT NULL,
    hash bytea NOT NULL,
    study_uid text COLLATE "C" NOT NULL,
    series_uid text COLLATE "C" NOT NULL,
    sop_uid text COLLATE "C" NOT NULL,
    sop_class text COLLATE "C" NOT NULL,
    calling_ae text COLLATE "C" NOT NULL,
    patient_id text COLLATE "C" NOT NULL,
    issuer text COLLATE "C" NOT NULL
);
COMMENT ON TABLE dicom_removed IS 'Instances that were taken out of the index or never came in; their files wait in the store until purged_at';
CREATE UNIQUE INDEX dicom_removed_hash ON dicom_removed (hash) WHERE purged_at IS NULL;
CREATE INDEX dicom_removed_removal ON dicom_removed (removal_pk, pk) WHERE purged_at IS NULL;
CREATE INDEX dicom_removed_study ON dicom_removed (study_uid);

CREATE TABLE dicom_hold (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    placed_at timestamptz(3) NOT NULL,
    released_at timestamptz(3),
    study_uid text COLLATE "C" NOT NULL,
    patient_id text COLLATE "C" NOT NULL,
    issuer text COLLATE "C" NOT NULL,
    actor text NOT NULL,
    released_by text,
    reason text NOT NULL
);
COMMENT ON TABLE dicom_hold IS 'Legal holds on a study or on all studies of a PatientID; an empty issuer means any';
CREATE INDEX dicom_hold_study ON dicom_hold (study_uid) WHERE released_at IS NULL AND study_uid <> '';
CREATE INDEX dicom_hold_patient ON dicom_hold (patient_id) WHERE released_at IS NULL AND patient_id <> '';

CREATE TABLE dicom_retention (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz(3) NOT NULL,
    keep_days integer NOT NULL CHECK (keep_days >= 0),
    until_age integer CHECK (until_age > 0),
    modality text COLLATE "C" NOT NULL,
    institution text NOT NULL,
    actor text NOT NULL,
    UNIQUE (modality, institution)
);
COMMENT ON TABLE dicom_retention IS 'How long studies are kept; the longest rule that matches wins, without one a study stays';

CREATE TABLE dicom_correction (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ordered_at timestamptz(3) NOT NULL,
    applied_at timestamptz(3),
    superseded_at timestamptz(3),
    study_uid text COLLATE "C" NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    attributes jsonb NOT NULL
);
COMMENT ON TABLE dicom_correction IS 'Whose study it really is; holds for instances that come later, too';
CREATE UNIQUE INDEX dicom_correction_study ON dicom_correction (study_uid) WHERE superseded_at IS NULL;
CREATE INDEX dicom_correction_open ON dicom_correction (pk) WHERE applied_at IS NULL AND superseded_at IS NULL;

CREATE TABLE dicom_corrected (
    correction_pk bigint NOT NULL REFERENCES dicom_correction ON DELETE CASCADE,
    hash bytea NOT NULL,
    PRIMARY KEY (hash, correction_pk)
);
COMMENT ON TABLE dicom_corrected IS 'Files in which a correction is carried out';

CREATE TABLE dicom_told (
    study_uid text COLLATE "C" PRIMARY KEY,
    subject text NOT NULL,
    decided text NOT NULL
);
CREATE INDEX dicom_told_subject ON dicom_told (subject);
COMMENT ON TABLE dicom_told IS 'The subject that we wrote into an ImagingStudy, and the one that a person decided on, if any';

CREATE TABLE dicom_told_document (
    hash bytea NOT NULL,
    study_uid text COLLATE "C" NOT NULL,
    series_uid text COLLATE "C" NOT NULL,
    sop_uid text COLLATE "C" NOT NULL,
    basis text NOT NULL,
    resources text[] NOT NULL,
    PRIMARY KEY (study_uid, series_uid, sop_uid)
);
COMMENT ON TABLE dicom_told_document IS 'Reports and documents that became FHIR resources, from which bytes and on what basis';

CREATE TABLE dicom_feed (
    name text PRIMARY KEY,
    position text NOT NULL
);
COMMENT ON TABLE dicom_feed IS 'How far the bridge has read the change feed of FHIR';

ALTER TABLE dicom_outbox ADD COLUMN study_uid text COLLATE "C";
COMMENT ON COLUMN dicom_outbox.study_uid IS 'Of a study that is gone: its row cannot tell any more';
"""

DOWNGRADE = """
ALTER TABLE dicom_outbox DROP COLUMN study_uid;
DROP TABLE dicom_feed, dicom_told_document, dicom_told, dicom_corrected, dicom_correction, dicom_retention, dicom_hold,
    dicom_removed, dicom_tombstone, dicom_removal;
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop them; what was removed is out of the index, its files stay where they are."""
    op.execute(DOWNGRADE)
