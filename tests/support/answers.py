"""Recorded answers of a release for tests: rows of cds_call as the service writes them, many at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from psycopg2.extras import execute_values

from cds_hooks.models import catalogue, features
from cds_hooks.models.catalogue import Release
from fhir_server.database.engine import Engine

_ROWS = """
INSERT INTO cds_call (call_id, received_at, latency_us, status, service, hook, client, patient, reasons,
    input_hash, model, model_version, model_hash, inputs, output, answer) VALUES %s
"""


def record(
    engine: Engine,
    release: Release,
    patients: Sequence[Mapping[str, features.Value]],
    until: datetime,
    *,
    days: float = 20.0,
    reasons: Sequence[str] = ("suggested",),
    prefix: str = "p",
    client: str = "ehr",
) -> list[tuple[UUID, str, float]]:
    """Record what the release says of each patient, over the days before `until`.

    Returns call, patient id and prediction in the order of the patients.
    """
    predictor = catalogue.load(release)
    made, rows = [], []
    for number, values in enumerate(patients):
        call, patient = uuid4(), f"{prefix}{number}"
        risk = predictor.predict(features.encode(features.assume(values)[0]))
        at = until - timedelta(days=days * (number + 1) / (len(patients) + 1))
        inputs = {name: {"value": values[name], "time": None, "reference": None} for name in features.NAMES}
        rows.append(
            (
                str(call), at, 900, 200, release.model, "encounter-start", client, patient, list(reasons),
                b"\0" * 32, release.model, release.version, bytes.fromhex(release.sha256),
                json.dumps(inputs), json.dumps({"risk": risk}), "{}",
            )
        )  # fmt: skip
        made.append((call, patient, risk))
    with engine.connection() as connection, connection.cursor() as cursor:
        execute_values(cursor, _ROWS, rows, page_size=1000)
        connection.commit()
    return made
