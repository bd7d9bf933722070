"""Keys that say that a value is absent which nearly every resource of the type has.

Only the rows that lack one are written anew.

Revision ID: m0014
Revises: m0013
"""

from hashlib import blake2b

from alembic import op

revision = "m0014"
down_revision = "m0013"
branch_labels = None
depends_on = None

USUAL = {
    "AllergyIntolerance": ("patient", "code", "clinical-status"),
    "CarePlan": ("patient", "subject", "status"),
    "Claim": ("patient", "status"),
    "Condition": (
        "patient", "subject", "encounter", "code", "category", "clinical-status", "onset-date",
        "recorded-date",
    ),
    "DiagnosticReport": ("patient", "subject", "encounter", "code", "category", "status", "date"),
    "DocumentReference": ("patient", "subject", "type", "category", "status", "date"),
    "Encounter": ("patient", "subject", "status", "class", "type", "date"),
    "ExplanationOfBenefit": ("patient", "status"),
    "Goal": ("patient", "subject", "lifecycle-status"),
    "Immunization": ("patient", "vaccine-code", "status", "date"),
    "Location": ("name",),
    "MedicationAdministration": ("patient", "subject", "status", "code", "effective-time"),
    "MedicationRequest": ("patient", "subject", "encounter", "status", "intent", "code", "authoredon"),
    "Observation": ("patient", "subject", "encounter", "category", "code", "status", "date"),
    "Organization": ("name",),
    "Patient": ("identifier", "name", "family", "given", "gender", "birthdate"),
    "Practitioner": ("identifier", "name"),
    "Procedure": ("patient", "subject", "encounter", "code", "status", "date"),
    "ServiceRequest": ("patient", "subject", "encounter", "code", "status", "intent", "authored"),
}  # fmt: skip


def _key(type_name: str, code: str, text: str) -> str:
    head = blake2b(f"{type_name}.{code}".encode(), digest_size=4).hexdigest()
    return head + blake2b(text.encode(), digest_size=12).hexdigest()


ROWS = ", ".join(
    f"('{type_name}', '{_key(type_name, code, '')}'::uuid, '{_key(type_name, code, chr(1) + 'absent' + chr(1))}'::uuid)"
    for type_name, codes in USUAL.items()
    for code in codes
)

UPGRADE = f"""
CREATE TEMPORARY TABLE usual ON COMMIT DROP AS
    SELECT t.code AS type, u.present, u.absent
    FROM (VALUES {ROWS}) AS u (name, present, absent) JOIN resource_type AS t ON t.name = u.name;
UPDATE resource AS r SET keys = r.keys || lacking.keys FROM (
    SELECT h.type, h.pk, array_agg(u.absent) AS keys
    FROM resource AS h JOIN usual AS u ON u.type = h.type
    WHERE h.tenant = 0 AND NOT h.deleted AND NOT h.keys @> ARRAY[u.present] GROUP BY h.type, h.pk
) AS lacking WHERE r.tenant = 0 AND r.type = lacking.type AND r.pk = lacking.pk;
"""

DOWNGRADE = f"""
CREATE TEMPORARY TABLE usual ON COMMIT DROP AS SELECT u.absent FROM (VALUES {ROWS}) AS u (name, present, absent);
UPDATE resource AS r SET keys = ARRAY(SELECT k FROM unnest(r.keys) AS k WHERE k NOT IN (SELECT absent FROM usual))
WHERE r.keys && ARRAY(SELECT absent FROM usual);
"""


def upgrade() -> None:
    """Add the keys."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Take them away."""
    op.execute(DOWNGRADE)
