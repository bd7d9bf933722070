"""Who may call the decision services, and which of their tokens were used.

Revision ID: m0024
Revises: m0022
"""

from alembic import op

revision = "m0024"
down_revision = "m0022"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE jwt_used (
    digest bytea PRIMARY KEY,
    expires_at timestamptz(3) NOT NULL
);
COMMENT ON TABLE jwt_used IS 'Tokens that were used, as SHA-256 of iss and jti; a row goes when its token has expired';
CREATE INDEX jwt_used_expires ON jwt_used (expires_at);

CREATE TABLE cds_client (
    created_at timestamptz(3) NOT NULL,
    name text COLLATE "C" PRIMARY KEY,
    issuer text COLLATE "C" NOT NULL UNIQUE,
    jwks_url text COLLATE "C" NOT NULL DEFAULT '',
    keys jsonb NOT NULL DEFAULT '[]',
    tenants text[] NOT NULL DEFAULT '{}',
    fhir_servers text[] NOT NULL DEFAULT '{}',
    own_store text[] NOT NULL DEFAULT '{}',
    origins text[] NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE cds_client IS 'EHRs that may call the decision services';
COMMENT ON COLUMN cds_client.issuer IS 'The iss of its tokens, letter by letter';
COMMENT ON COLUMN cds_client.jwks_url IS 'Where its public keys are, and the only jku that its tokens may name; empty: see keys';
COMMENT ON COLUMN cds_client.keys IS 'Public keys that were handed over by themselves, as JWKs';
COMMENT ON COLUMN cds_client.tenants IS 'Values of the claim tenant that count; none: all';
COMMENT ON COLUMN cds_client.fhir_servers IS 'FHIR servers that data may be fetched from with the token of a call';
COMMENT ON COLUMN cds_client.own_store IS 'FHIR servers of it whose data are in our own store under the same ids';
COMMENT ON COLUMN cds_client.origins IS 'Browser origins that its pages call from';
"""

DOWNGRADE = """
DROP TABLE cds_client;
DROP TABLE jwt_used;
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop them; clients have to be registered again."""
    op.execute(DOWNGRADE)
