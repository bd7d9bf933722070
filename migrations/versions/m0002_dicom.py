"""The index of studies, series and instances, what is announced of them, and the known peers.

Attributes are kept as the DICOM JSON model writes them (PS3.18 Annex F); what a peer asks for
often stands in columns beside them. Counts are not kept: no row is touched by every instance.

Revision ID: m0002
Revises: m0001
"""

from alembic import op

revision = "m0002"
down_revision = "m0001"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE dicom_study (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz(3) NOT NULL,
    study_date date,
    study_time time,
    birth_date date,
    study_uid text COLLATE "C" NOT NULL UNIQUE,
    patient_id text COLLATE "C" NOT NULL,
    issuer text COLLATE "C" NOT NULL,
    accession text COLLATE "C" NOT NULL,
    name_alphabetic text COLLATE "C" NOT NULL,
    name_other text COLLATE "C" NOT NULL,
    attributes jsonb NOT NULL
);
COMMENT ON TABLE dicom_study IS 'A study with its patient; the values of the instance that came first, gaps filled by later ones';
COMMENT ON COLUMN dicom_study.issuer IS 'Who gave the PatientID: universal id, local name, or the calling AE where it says neither';
COMMENT ON COLUMN dicom_study.name_alphabetic IS 'PatientName folded for matching: case and accents away';
COMMENT ON COLUMN dicom_study.name_other IS 'Its ideographic and phonetic groups, each behind an =';
CREATE INDEX dicom_study_patient_id ON dicom_study (patient_id);
CREATE INDEX dicom_study_accession ON dicom_study (accession) WHERE accession <> '';
CREATE INDEX dicom_study_date ON dicom_study (study_date, study_time, pk);
CREATE INDEX dicom_study_name ON dicom_study (name_alphabetic);
CREATE INDEX dicom_study_received ON dicom_study (received_at);

CREATE TABLE dicom_study_patient (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study_pk bigint NOT NULL REFERENCES dicom_study ON DELETE CASCADE,
    birth_date date,
    patient_id text COLLATE "C" NOT NULL,
    issuer text COLLATE "C" NOT NULL,
    name_alphabetic text COLLATE "C" NOT NULL,
    attributes jsonb NOT NULL,
    UNIQUE NULLS NOT DISTINCT (study_pk, patient_id, issuer, name_alphabetic, birth_date)
);
COMMENT ON TABLE dicom_study_patient IS 'Every patient that an instance of the study named; current instances of two of them are a contradiction';

CREATE TABLE dicom_series (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study_pk bigint NOT NULL REFERENCES dicom_study ON DELETE CASCADE,
    number bigint,
    series_uid text COLLATE "C" NOT NULL,
    modality text COLLATE "C" NOT NULL,
    attributes jsonb NOT NULL,
    UNIQUE (study_pk, series_uid)
);
COMMENT ON TABLE dicom_series IS 'Unique within its study: some makers use a series UID in several';
CREATE INDEX dicom_series_uid ON dicom_series (series_uid);
CREATE INDEX dicom_series_modality ON dicom_series (modality, study_pk);

CREATE TABLE dicom_instance (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series_pk bigint NOT NULL REFERENCES dicom_series ON DELETE CASCADE,
    study_pk bigint NOT NULL,
    patient_pk bigint NOT NULL REFERENCES dicom_study_patient,
    received_at timestamptz(3) NOT NULL,
    size_bytes bigint NOT NULL,
    number bigint,
    version integer NOT NULL,
    frames integer NOT NULL,
    current boolean NOT NULL,
    hash bytea NOT NULL,
    sop_uid text COLLATE "C" NOT NULL,
    sop_class text COLLATE "C" NOT NULL,
    transfer_syntax text COLLATE "C" NOT NULL,
    calling_ae text COLLATE "C" NOT NULL,
    problem text,
    attributes jsonb NOT NULL
);
COMMENT ON TABLE dicom_instance IS 'A kept file; of several with one UID in one series the newest is current';
COMMENT ON COLUMN dicom_instance.hash IS 'BLAKE3 of the file, which is also its name';
COMMENT ON COLUMN dicom_instance.problem IS 'Where its encoding breaks off, when it does';
CREATE UNIQUE INDEX dicom_instance_hash ON dicom_instance (hash);
CREATE UNIQUE INDEX dicom_instance_current ON dicom_instance (series_pk, sop_uid) WHERE current;
CREATE INDEX dicom_instance_uid ON dicom_instance (sop_uid, series_pk, version);
CREATE INDEX dicom_instance_study ON dicom_instance (study_pk, series_pk) WHERE current;

CREATE TABLE dicom_outbox (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study_pk bigint NOT NULL,
    written_at timestamptz(3) NOT NULL
);
COMMENT ON TABLE dicom_outbox IS 'Studies that changed and are not yet told to FHIR; a row an instance';
CREATE INDEX dicom_outbox_study ON dicom_outbox (study_pk, written_at);

CREATE TABLE dicom_peer (
    title text COLLATE "C" PRIMARY KEY,
    host text COLLATE "C" NOT NULL,
    port integer,
    created_at timestamptz(3) NOT NULL
);
COMMENT ON TABLE dicom_peer IS 'Application entities that may call us or be sent to; empty: everybody on loopback';
"""

DOWNGRADE = """
DROP TABLE dicom_peer, dicom_outbox, dicom_instance, dicom_series, dicom_study_patient, dicom_study;
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop the index; the instance files stay and can be read in again."""
    op.execute(DOWNGRADE)
