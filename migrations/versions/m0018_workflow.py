"""Orders as modalities see them, performed procedure steps, storage commitment, and what waits to be sent.

The worklist is made of FHIR resources: `worklist_change` says which of them were written, the worker
brings `worklist_order` and `worklist_step` up to date. Every order that stands in the installation already
is looked at once.

Revision ID: m0018
Revises: m0017
"""

from alembic import op

revision = "m0018"
down_revision = "m0017"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE worklist_change (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    due_at timestamptz NOT NULL DEFAULT '-infinity',
    attempts integer NOT NULL DEFAULT 0,
    type text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL
);
COMMENT ON TABLE worklist_change IS 'Resources that were written and may stand in the worklist; written with them, in their transaction';
INSERT INTO worklist_change (type, id)
    SELECT t.name, r.id FROM resource AS r JOIN resource_type AS t ON t.code = r.type
    WHERE r.tenant = 0 AND t.name = 'ServiceRequest' AND NOT r.deleted;

CREATE TABLE worklist_order (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    study_uid text COLLATE "C" NOT NULL,
    patient text COLLATE "C" NOT NULL,
    accession text COLLATE "C" NOT NULL,
    depends text[] COLLATE "C" NOT NULL
);
COMMENT ON TABLE worklist_order IS 'A ServiceRequest for imaging, and the Study Instance UID that was minted for it';
COMMENT ON COLUMN worklist_order.depends IS 'Addresses of the resources that its steps were made of, such as Patient/7';
CREATE INDEX worklist_order_study ON worklist_order (study_uid);
CREATE INDEX worklist_order_depends ON worklist_order USING gin (depends);
CREATE INDEX worklist_order_patient ON worklist_order (patient);

CREATE TABLE worklist_step (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_pk bigint NOT NULL REFERENCES worklist_order ON DELETE CASCADE,
    start_date date NOT NULL,
    start_time time NOT NULL,
    open boolean NOT NULL,
    source text COLLATE "C" NOT NULL,
    modality text COLLATE "C" NOT NULL,
    patient_id text COLLATE "C" NOT NULL,
    name_alphabetic text COLLATE "C" NOT NULL,
    stations text[] COLLATE "C" NOT NULL,
    attributes jsonb NOT NULL,
    UNIQUE (order_pk, source)
);
COMMENT ON TABLE worklist_step IS 'A scheduled procedure step: what a modality is answered (DICOM JSON), and what it asks for most in columns';
COMMENT ON COLUMN worklist_step.source IS 'The Appointment, Task or ServiceRequest that schedules it';
COMMENT ON COLUMN worklist_step.stations IS 'AE titles; none: any station may take it';
CREATE INDEX worklist_step_open ON worklist_step (start_date, modality) WHERE open;
CREATE INDEX worklist_step_patient ON worklist_step (patient_id) WHERE open;

CREATE TABLE performed_step (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz(3) NOT NULL,
    changed_at timestamptz(3) NOT NULL,
    due_at timestamptz NOT NULL DEFAULT '-infinity',
    version integer NOT NULL DEFAULT 1,
    told integer NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    sop_uid text COLLATE "C" NOT NULL UNIQUE,
    status text COLLATE "C" NOT NULL,
    calling_ae text COLLATE "C" NOT NULL,
    study_uids text[] COLLATE "C" NOT NULL,
    attributes jsonb NOT NULL
);
COMMENT ON TABLE performed_step IS 'Modality performed procedure steps as their modalities told them (PS3.4 Annex F)';
COMMENT ON COLUMN performed_step.told IS 'The version that FHIR knows of';
CREATE INDEX performed_step_untold ON performed_step (due_at) WHERE told < version;
CREATE INDEX performed_step_studies ON performed_step USING gin (study_uids);

CREATE TABLE storage_commitment (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asked_at timestamptz(3) NOT NULL,
    answered_at timestamptz(3),
    due_at timestamptz NOT NULL,
    ours boolean NOT NULL,
    transaction_uid text COLLATE "C" NOT NULL,
    peer text COLLATE "C" NOT NULL,
    asked jsonb NOT NULL,
    failed jsonb,
    UNIQUE (ours, peer, transaction_uid)
);
COMMENT ON TABLE storage_commitment IS 'Requests for storage commitment: those that peers made of us, and ours to them';
COMMENT ON COLUMN storage_commitment.asked IS 'Pairs of SOP class and SOP instance';
COMMENT ON COLUMN storage_commitment.failed IS 'Instance to failure reason; empty when all are safe';
CREATE INDEX storage_commitment_open ON storage_commitment (due_at) WHERE answered_at IS NULL AND NOT ours;

CREATE TABLE outgoing_message (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz(3) NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    gave_up boolean NOT NULL DEFAULT false,
    kind text COLLATE "C" NOT NULL,
    peer text COLLATE "C" NOT NULL,
    sop_uid text COLLATE "C" NOT NULL,
    problem text NOT NULL DEFAULT '',
    attributes jsonb NOT NULL
);
COMMENT ON TABLE outgoing_message IS 'Normalised messages to other application entities that are not yet delivered';
CREATE INDEX outgoing_message_due ON outgoing_message (due_at) WHERE NOT gave_up;
"""

DOWNGRADE = """
DROP TABLE outgoing_message, storage_commitment, performed_step, worklist_step, worklist_order, worklist_change;
"""


def upgrade() -> None:
    """Create the tables; every order is looked at once."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop them; the identifiers that orders got stay in the orders."""
    op.execute(DOWNGRADE)
