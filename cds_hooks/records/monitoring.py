"""What the monitors read and write: recorded predictions, outcomes that matured, reports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from cds_hooks.models.catalogue import Release
from fhir_server.database.engine import Engine, Mode

TENANT = 0
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
MOST_ROWS = 5_000
"""Of one look: more would say nothing new about a distribution."""

# A release in shadow beside an active one has its answers within the records of that one.
_OF = """
    FROM cds_call c
    WHERE c.tenant = %(tenant)s AND c.service = %(model)s AND c.status = 200
      AND c.client IS DISTINCT FROM 'console'
      AND ((c.model_version = %(version)s AND encode(c.model_hash, 'hex') = %(sha256)s)
           OR c.output -> 'shadow' ->> 'sha256' = %(sha256)s)
"""
_EHR = "CASE WHEN c.own_ids THEN NULL ELSE c.client END"
"""Whose the patient's id is: that of the caller, or ours. Two EHRs may give two patients one id."""
_OWN = "encode(c.model_hash, 'hex') = %(sha256)s AND c.model_version = %(version)s"
_REASONS = f"""
    CASE WHEN {_OWN} THEN c.reasons
         ELSE ARRAY(SELECT jsonb_array_elements_text(c.output -> 'shadow' -> 'reasons')) END
"""
_RISK = f"CASE WHEN {_OWN} THEN c.output ->> 'risk' ELSE c.output -> 'shadow' -> 'output' ->> 'risk' END"
_RECORDED = f"""
SELECT c.call_id, c.patient, c.client, c.received_at, {_REASONS}, c.inputs, {_RISK} {_OF}
    AND c.received_at >= %(since)s AND c.received_at < %(until)s
"""
_NEWEST = f"{_RECORDED} ORDER BY c.received_at DESC LIMIT {MOST_ROWS}"
_FIRST = f"{_RECORDED} AND ({_RISK}) IS NOT NULL ORDER BY c.received_at LIMIT %(most)s"
_ASKED = f"""
SELECT c.call_id, c.patient, c.received_at, {_EHR} {_OF} AND c.received_at >= %(since)s
    AND c.patient IS NOT NULL AND ({_RISK}) IS NOT NULL
ORDER BY c.received_at
"""
_MATURED = f"""
WITH outcome AS (
    SELECT DISTINCT ON (call_id) call_id, bad FROM cds_outcome
    WHERE tenant = %(tenant)s AND received_at >= %(since)s ORDER BY call_id, pk DESC
), first AS (
    SELECT DISTINCT ON ({_EHR}, c.patient) c.call_id, c.patient, c.client, c.received_at, {_REASONS},
        jsonb_build_object('SEX', c.inputs -> 'SEX', 'AGE', c.inputs -> 'AGE'), {_RISK}, o.bad
    {_OF.replace("FROM cds_call c", "FROM outcome o JOIN cds_call c USING (call_id)")}
        AND c.patient IS NOT NULL AND ({_RISK}) IS NOT NULL
    ORDER BY {_EHR}, c.patient, c.pk
)
SELECT * FROM first ORDER BY received_at, call_id
"""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One recorded answer of a release; `risk` None where it refused, `bad` None while nobody knows."""

    call_id: UUID
    patient: str | None
    client: str | None
    received_at: datetime
    reasons: tuple[str, ...]
    inputs: Mapping[str, Any]
    risk: float | None
    bad: bool | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A report of the monitors as it is kept."""

    at: datetime
    model: str
    version: str
    digest: str
    level: str
    since: datetime
    calls: int
    outcomes: int
    report: Mapping[str, Any]


class Monitoring:
    """The records, as the monitors see them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def engine(self) -> Engine:
        """The database that it reads."""
        return self._engine

    def recorded(self, release: Release, since: datetime, until: datetime) -> list[Prediction]:
        """Return what a release answered in a time, the newest first, at most 5,000."""
        return self._predictions(_NEWEST, release, since=since, until=until)

    def first(self, release: Release, until: datetime, most: int) -> list[Prediction]:
        """Return the first predictions that a release ever gave here, before a time."""
        return self._predictions(_FIRST, release, since=_BEGINNING, until=until, most=most)

    def asked(self, release: Release, since: datetime) -> list[tuple[UUID, str, datetime, str | None]]:
        """Return call, patient, time and EHR (None: we) of every prediction of a patient since a time."""
        rows = self._rows(_ASKED, release, since=since)
        return [(UUID(str(call_id)), patient, at, ehr) for call_id, patient, at, ehr in rows]

    def matured(self, release: Release, since: datetime) -> list[Prediction]:
        """Return the first answer for each patient whose outcome came after `since`, in their order."""
        return self._predictions(_MATURED, release, since=since)

    def keep_outcomes(self, found: Sequence[tuple[UUID, bool, datetime | None, str]], now: datetime) -> int:
        """Keep outcomes (call, bad, observed, source) and count them; what is known is not kept again."""
        statement = """
            INSERT INTO cds_outcome (tenant, call_id, bad, observed_at, source, received_at)
            SELECT %s, %s, %s, %s, %s, %s WHERE (
                SELECT bad FROM cds_outcome WHERE tenant = %s AND call_id = %s ORDER BY pk DESC LIMIT 1
            ) IS DISTINCT FROM %s
        """
        count = 0
        with self._engine.connection() as connection, connection.cursor() as cursor:
            for call_id, bad, observed_at, source in found:
                cursor.execute(
                    statement,
                    (TENANT, str(call_id), bad, observed_at, source, now, TENANT, str(call_id), bad),
                )
                count += cursor.rowcount
            connection.commit()
        return count

    def keep_report(self, kept: Kept) -> None:
        """Keep a report."""
        with self._engine.connection() as connection, connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO cds_monitor_report (tenant, at, since, calls, outcomes, model, version, level,"
                " release_hash, report) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    TENANT, kept.at, kept.since, kept.calls, kept.outcomes, kept.model, kept.version,
                    kept.level, bytes.fromhex(kept.digest), json.dumps(kept.report, ensure_ascii=False),
                ),
            )  # fmt: skip
            connection.commit()

    def newest_report(self, release: Release) -> Kept | None:
        """Return the newest report on a release, or None."""
        with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT at, model, version, encode(release_hash, 'hex'), level, since, calls, outcomes,"
                " report"
                " FROM cds_monitor_report WHERE tenant = %s AND model = %s AND version = %s"
                " AND release_hash = %s ORDER BY pk DESC LIMIT 1",
                (TENANT, release.model, release.version, bytes.fromhex(release.digest)),
            )
            row = cursor.fetchone()
        return Kept(*row) if row else None

    def _predictions(self, statement: str, release: Release, **values: Any) -> list[Prediction]:
        return [_prediction(row) for row in self._rows(statement, release, **values)]

    def _rows(self, statement: str, release: Release, **values: Any) -> list[tuple[Any, ...]]:
        values |= {
            "tenant": TENANT, "model": release.model, "version": release.version, "sha256": release.sha256,
        }  # fmt: skip
        with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())


def _prediction(row: Sequence[Any]) -> Prediction:
    call_id, patient, client, received_at, reasons, inputs, risk, *rest = row
    return Prediction(
        UUID(str(call_id)), patient, client, received_at, tuple(reasons or ()), inputs or {},
        None if risk is None else float(risk), rest[0] if rest else None,
    )  # fmt: skip
