"""What stored versions do not keep of the profiles that they claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhir_server.database.unit_of_work import UnitOfWork
from fhir_server.definitions.structures import type_code
from fhir_server.model import json_format
from fhir_server.outcome import Issue, operation_outcome
from fhir_server.storage.version import Version


def worth_keeping(issues: Sequence[Issue]) -> bool:
    """Say whether there is more among the issues than information."""
    return any(issue.severity != "information" for issue in issues)


def keep(unit: UnitOfWork, judged: Sequence[tuple[Version, Sequence[Issue]]]) -> None:
    """Write the outcomes of versions that this unit writes; each has issues that are worth keeping."""
    for version, issues in judged:
        kept = [issue for issue in issues if issue.severity != "information"]
        warnings = sum(issue.severity == "warning" for issue in kept)
        unit.defer(
            "INSERT INTO validation_outcome (pk, version, errors, warnings, type, issues) "
            "VALUES (%s, %s, %s, %s, %s, %s)",
            (version.pk, version.version, len(kept) - warnings, warnings, type_code(version.type_name),
             json_format.encode(operation_outcome(kept)["issue"]).decode()),
        )  # fmt: skip


def read(unit: UnitOfWork, version: Version) -> list[Any]:
    """Return the issues (elements of OperationOutcome.issue) that were kept with a version."""
    rows = unit.execute(
        "SELECT issues::text FROM validation_outcome WHERE tenant = 0 AND type = %s AND pk = %s "
        "AND version = %s",
        (type_code(version.type_name), version.pk, version.version),
    )
    if not rows:
        return []
    found: list[Any] = json_format.parse(b'{"issue":' + rows[0][0].encode() + b"}")["issue"]
    return found


COUNT = """
SELECT count(*), count(*) FILTER (WHERE o.errors > 0) FROM validation_outcome AS o
JOIN resource AS r USING (tenant, type, pk, version) WHERE o.tenant = 0
"""
"""How many current versions have an outcome, and how many of them an error in it."""
