"""Packages, their definitions, and what versions of resources fell short of.

The generation of all definitions is `installation.definitions_generation`, made by m0001.

Revision ID: m0004
Revises: m0003
"""

from alembic import op

revision = "m0004"
down_revision = "m0003"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE package (
    pk integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant smallint NOT NULL DEFAULT 0,
    name text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,
    installed_at timestamptz(3) NOT NULL,
    installed_by text NOT NULL,
    counts jsonb NOT NULL,
    dependencies jsonb NOT NULL,
    UNIQUE (tenant, name, version)
);
COMMENT ON TABLE package IS 'The FHIR packages that are installed, several versions of one side by side';
COMMENT ON COLUMN package.digest IS 'SHA-256 of the .tgz';

CREATE TABLE definition (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant smallint NOT NULL DEFAULT 0,
    package integer NOT NULL REFERENCES package (pk) ON DELETE CASCADE,
    type smallint NOT NULL,
    profile_of smallint,
    url text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    name text NOT NULL,
    content text NOT NULL
);
COMMENT ON TABLE definition IS 'The conformance resources of the packages; never changed, only added and removed';
COMMENT ON COLUMN definition.profile_of IS 'The resource type that a profile constrains';
COMMENT ON COLUMN definition.version IS 'Empty where the resource has none';
COMMENT ON COLUMN definition.content IS 'JSON as published';
CREATE INDEX definition_url ON definition (tenant, type, url);
CREATE INDEX definition_package ON definition (package);

CREATE TABLE validation_outcome (
    pk bigint NOT NULL,
    version integer NOT NULL,
    errors integer NOT NULL,
    warnings integer NOT NULL,
    tenant smallint NOT NULL DEFAULT 0,
    type smallint NOT NULL,
    issues jsonb NOT NULL,
    PRIMARY KEY (tenant, type, pk, version)
);
COMMENT ON TABLE validation_outcome IS 'What a stored version does not keep of the profiles that it claims; no row: nothing';

CREATE FUNCTION definitions_changed() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'serialization_failure', MESSAGE = 'the definitions have changed';
END $$;
COMMENT ON FUNCTION definitions_changed IS 'Ends a transaction that judged by definitions that are no longer current';

CREATE FUNCTION validation_outcome_purge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM validation_outcome AS o USING gone
    WHERE o.tenant = gone.tenant AND o.type = gone.type AND o.pk = gone.pk AND o.version = gone.version;
    RETURN NULL;
END $$;
CREATE TRIGGER validation_outcome_purge AFTER DELETE ON resource
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION validation_outcome_purge();
CREATE TRIGGER validation_outcome_purge AFTER DELETE ON resource_version
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION validation_outcome_purge();
"""

DOWNGRADE = """
DROP TRIGGER validation_outcome_purge ON resource;
DROP TRIGGER validation_outcome_purge ON resource_version;
DROP FUNCTION validation_outcome_purge();
DROP FUNCTION definitions_changed();
DROP TABLE validation_outcome, definition, package;
UPDATE installation SET definitions_generation = definitions_generation + 1;
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop what can be had again: packages can be installed anew, outcomes computed anew."""
    op.execute(DOWNGRADE)
