"""Retention: how long studies are kept, by modality, institution and the patient's age.

A rule says how many days a study is kept after its date (after it came, where it has none), and may say:
not before the patient has reached an age. Of several rules that match a study, every one must have run
out; a study that no rule matches is kept for ever. What has run out is removed like any deletion
(`removal.py`), with the reason, and not while a legal hold stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dicom_node.lifecycle.hold import HELD
from dicom_node.lifecycle.removal import Kind, Order, Target, remove
from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.database.engine import Engine
from fhir_server.outcome import Conflict, Invalid, NotFound

GRANT = Grant.system("dicom-retention")
STUDIES_AT_A_TIME = 50
LONGEST_DAYS = 36_500


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; an empty modality or institution matches every study."""

    keep_days: int
    modality: str = ""
    institution: str = ""
    until_age: int | None = None
    pk: int = 0


@dataclass(frozen=True, slots=True)
class Expired:
    """A study whose time has run out."""

    study_uid: str
    keep_days: int


def put(engine: Engine, grant: Grant, rule: Rule, at: datetime) -> None:
    """Add a rule, or replace that for the same modality and institution. Raises Invalid."""
    permit(grant, "update", "ImagingStudy")
    if not 0 <= rule.keep_days <= LONGEST_DAYS:
        raise Invalid(f"{rule.keep_days} days cannot be a retention; 0 to {LONGEST_DAYS} can")
    if rule.until_age is not None and not 0 < rule.until_age <= 150:
        raise Invalid(f"{rule.until_age} is no age to keep studies until; 1 to 150 is")
    with engine.connection() as connection:
        connection.cursor().execute(
            "INSERT INTO dicom_retention (created_at, keep_days, until_age, modality, institution, actor)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (modality, institution) DO UPDATE SET"
            " keep_days = excluded.keep_days, until_age = excluded.until_age, actor = excluded.actor,"
            " created_at = excluded.created_at",
            (
                at,
                rule.keep_days,
                rule.until_age,
                rule.modality.strip().upper(),
                rule.institution.strip(),
                grant.subject,
            ),
        )
        connection.commit()


def drop(engine: Engine, grant: Grant, pk: int) -> None:
    """Remove a rule. Raises NotFound."""
    permit(grant, "update", "ImagingStudy")
    with engine.connection() as connection:
        cursor = connection.cursor()
        cursor.execute("DELETE FROM dicom_retention WHERE pk = %s", (pk,))
        if not cursor.rowcount:
            raise NotFound(f"there is no retention rule {pk}; `xinglin study retention` lists them")
        connection.commit()


def rules(connection: Any) -> list[Rule]:
    """Return all rules."""
    cursor = connection.cursor()
    cursor.execute("SELECT keep_days, modality, institution, until_age, pk FROM dicom_retention ORDER BY pk")
    return [Rule(*row) for row in cursor.fetchall()]


_EXPIRED = f"""
SELECT st.study_uid, max(r.keep_days) FROM dicom_study st JOIN dicom_retention r ON
    (r.modality = '' OR EXISTS (
        SELECT FROM dicom_series se WHERE se.study_pk = st.pk AND se.modality = r.modality))
    AND (r.institution = '' OR EXISTS (
        SELECT FROM dicom_series se WHERE se.study_pk = st.pk
        AND se.attributes #>> '{{00080080,Value,0}}' = r.institution))
WHERE NOT {HELD.format(study="st.study_uid", patient_id="st.patient_id", issuer="st.issuer")}
AND NOT EXISTS (SELECT FROM dicom_study_patient p WHERE p.study_pk = st.pk
    AND {HELD.format(study="st.study_uid", patient_id="p.patient_id", issuer="p.issuer")})
GROUP BY st.pk HAVING bool_and(
    coalesce(st.study_date::timestamptz, st.received_at) < %(now)s - r.keep_days * interval '1 day'
    AND st.received_at < %(now)s - least(r.keep_days, 30) * interval '1 day'
    AND (r.until_age IS NULL OR st.birth_date IS NOT NULL
        AND st.birth_date + r.until_age * interval '1 year' < %(now)s))
ORDER BY st.pk LIMIT %(limit)s
"""


def expired(connection: Any, now: datetime, limit: int = STUDIES_AT_A_TIME) -> list[Expired]:
    """Return studies whose time has run out; none where there are no rules.

    The term runs from the study's date, but whatever came is kept for 30 days (or the term, if that is
    shorter): an import of old studies must not vanish over night. A rule with an age keeps studies
    without a birth date.
    """
    cursor = connection.cursor()
    cursor.execute(_EXPIRED, {"now": now, "limit": limit})
    return [Expired(*row) for row in cursor.fetchall()]


def expire(engine: Engine, clock: Callable[[], datetime], grace: timedelta) -> int:
    """Remove some studies whose time has run out; return how many."""
    now = clock()
    with engine.connection() as connection:
        found = expired(connection, now)
    count = 0
    for one in found:
        order = Order(
            Kind.EXPIRED,
            [Target(one.study_uid)],
            GRANT,
            f"kept for {one.keep_days} days, as the retention rules say",
            now,
            now + grace,
        )
        try:
            remove(engine, order)
        except (Conflict, NotFound):  # a hold was placed, or somebody else removed it, in between
            continue
        count += 1
    return count
