"""What is sent on to other application entities: rules, the queue that they fill, what fails.

A trigger notes what enters the index, in the transaction that enters it, so that nothing that is
indexed is overlooked whoever writes the index; it does nothing where there is no rule. A dump
restores its rows before its triggers, so a restored archive is not sent out anew.

Revision ID: m0022
Revises: m0021
"""

from alembic import op

revision = "m0022"
down_revision = "m0021"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE dicom_forward_rule (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz(3) NOT NULL,
    quiet_s double precision NOT NULL,
    priority integer NOT NULL,
    commits boolean NOT NULL,
    name text COLLATE "C" NOT NULL UNIQUE,
    destination text COLLATE "C" NOT NULL,
    hours text COLLATE "C" NOT NULL,
    criteria jsonb NOT NULL
);
COMMENT ON TABLE dicom_forward_rule IS 'Which instances are sent on to which application entity, and when';
COMMENT ON COLUMN dicom_forward_rule.hours IS 'From and until what time of the day it sends, 19:00-06:00; empty: always';

CREATE TABLE dicom_forward_new (instance_pk bigint PRIMARY KEY);
COMMENT ON TABLE dicom_forward_new IS 'Instances that no rule has looked at yet';

CREATE TABLE dicom_forward_job (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study_pk bigint NOT NULL,
    queued_at timestamptz(3) NOT NULL,
    due_at timestamptz(3) NOT NULL,
    quiet_s double precision NOT NULL,
    priority integer NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    commits boolean NOT NULL,
    state text COLLATE "C" NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'failed')),
    destination text COLLATE "C" NOT NULL,
    rule text COLLATE "C" NOT NULL,
    hours text COLLATE "C" NOT NULL,
    reason text NOT NULL DEFAULT ''
);
COMMENT ON TABLE dicom_forward_job IS 'What of one study is on its way to one destination; gone when all of it has arrived';
CREATE UNIQUE INDEX dicom_forward_job_waiting ON dicom_forward_job (destination, study_pk, rule)
    WHERE state = 'waiting';
CREATE INDEX dicom_forward_job_due ON dicom_forward_job (destination, priority DESC, due_at)
    WHERE state = 'waiting';

CREATE TABLE dicom_forward_item (
    instance_pk bigint NOT NULL,
    asked_at timestamptz(3),
    job_pk bigint NOT NULL REFERENCES dicom_forward_job,
    status integer NOT NULL DEFAULT 0,
    destination text COLLATE "C" NOT NULL,
    transaction_uid text COLLATE "C" NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (destination, instance_pk)
);
COMMENT ON COLUMN dicom_forward_item.transaction_uid IS 'The storage commitment that the destination was asked for after it had answered';
COMMENT ON TABLE dicom_forward_item IS 'An instance that has not arrived yet; its row goes when the destination has answered, or committed';
CREATE INDEX dicom_forward_item_asked ON dicom_forward_item (transaction_uid) WHERE transaction_uid <> '';
CREATE INDEX dicom_forward_item_job ON dicom_forward_item (job_pk, instance_pk);

CREATE TABLE dicom_forward_destination (
    title text COLLATE "C" PRIMARY KEY,
    failures integer NOT NULL DEFAULT 0,
    rests_until timestamptz(3),
    last_sent_at timestamptz(3),
    sent bigint NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT ''
);
COMMENT ON TABLE dicom_forward_destination IS 'How a destination fares; one that cannot be reached rests, and the others do not wait for it';

CREATE TABLE dicom_failure (
    first_at timestamptz(3) NOT NULL,
    last_at timestamptz(3) NOT NULL,
    count bigint NOT NULL,
    title text COLLATE "C" NOT NULL,
    address text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    PRIMARY KEY (title, address, kind, reason)
);
COMMENT ON TABLE dicom_failure IS 'What went wrong last with each application entity, equal failures counted';
CREATE INDEX dicom_failure_last ON dicom_failure (last_at);

CREATE FUNCTION dicom_forward_arrived() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM dicom_forward_rule) THEN
        INSERT INTO dicom_forward_new (instance_pk) SELECT pk FROM arrived ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER forward_arrived AFTER INSERT ON dicom_instance
    REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION dicom_forward_arrived();
"""

DOWNGRADE = """
DROP TRIGGER forward_arrived ON dicom_instance;
DROP FUNCTION dicom_forward_arrived();
DROP TABLE dicom_failure, dicom_forward_destination, dicom_forward_item, dicom_forward_job, dicom_forward_new, dicom_forward_rule;
"""


def upgrade() -> None:
    """Create the tables and the trigger."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop them; what was waiting to be sent is forgotten, the instances stay."""
    op.execute(DOWNGRADE)
