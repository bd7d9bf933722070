"""Positions on the earth, for the search parameter `near`.

Revision ID: m0010
Revises: m0009
"""

from alembic import op

revision = "m0010"
down_revision = "m0009"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE idx_position (
    pk bigint NOT NULL,
    at point NOT NULL,
    param integer NOT NULL,
    tenant smallint NOT NULL DEFAULT 0
);
COMMENT ON TABLE idx_position IS 'Where something is: the search parameter near';
COMMENT ON COLUMN idx_position.at IS '(longitude, latitude) in degrees, WGS84';
CREATE INDEX idx_position_at ON idx_position USING gist (at);
CREATE INDEX idx_position_pk ON idx_position (tenant, pk, param);

CREATE FUNCTION geodesic_m(lat1 float8, lon1 float8, lat2 float8, lon2 float8) RETURNS float8
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    f CONSTANT float8 := 1 / 298.257223563;
    b1 CONSTANT float8 := atan((1 - f) * tan(radians(lat1)));
    b2 CONSTANT float8 := atan((1 - f) * tan(radians(lat2)));
    h CONSTANT float8 := least(1.0,
        sin((b2 - b1) / 2) ^ 2 + cos(b1) * cos(b2) * sin(radians(lon2 - lon1) / 2) ^ 2);
    s CONSTANT float8 := 2 * asin(sqrt(h));
    p CONSTANT float8 := (b1 + b2) / 2;
    q CONSTANT float8 := (b2 - b1) / 2;
BEGIN
    RETURN CASE WHEN h < 1e-30 THEN 0 ELSE 6378137.0 * (s - f / 2 * (
        CASE WHEN h > 0.9999 THEN 0 ELSE (s - sin(s)) * (sin(p) * cos(q)) ^ 2 / (1 - h) END
        + (s + sin(s)) * (cos(p) * sin(q)) ^ 2 / h)) END;
END
$$;
COMMENT ON FUNCTION geodesic_m IS 'Metres between two places on the WGS84 ellipsoid, by Lambert''s formula';
"""

DOWNGRADE = """
DROP FUNCTION geodesic_m;
DROP TABLE idx_position;
"""


def upgrade() -> None:
    """Create the table and the measure. Locations that are stored already are found after a reindex."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop what a reindex brings back."""
    op.execute(DOWNGRADE)
