"""What would have been shown, held against what became of the patients: the report on services in shadow.

It answers what has to be known before a service or a release is shown to clinicians: how often a card would
have come and for how many patients, how those fared that a card would have been about, and how well the
risks that were computed were calibrated. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from cds_hooks.evaluation.performance import TooFew, calibration_curve, performance
from cds_hooks.monitoring.examine import MIN_OUTCOMES
from cds_hooks.records.shadow import Matured, Shadow, shadows
from fhir_server.database.engine import Engine

OUTCOME_DAYS = 365
"""Outcomes mature for months: those told of in this time count, of whatever call."""
GROUPS = 5


def report(
    engine: Engine, since: datetime, until: datetime, service: str | None = None
) -> list[dict[str, Any]]:
    """Return what ran in shadow between two moments: an entry for each service (or one) and release."""
    found = shadows(engine, since, until, until - timedelta(days=OUTCOME_DAYS), service)
    return [entry(one) for one in found]


def entry(one: Shadow) -> dict[str, Any]:
    """Return the report on one service and release as JSON."""
    told = [found for found in one.matured if found.told]
    silent = [found for found in one.matured if not found.told]
    return {
        "service": one.service,
        "release": None if one.version is None else f"{one.service}@{one.version}#{(one.sha256 or '')[:12]}",
        "version": one.version,
        "sha256": one.sha256,
        "beside": one.beside,
        "calls": one.calls,
        "would_have_shown": one.told,
        "share": round(one.told / one.calls, 4) if one.calls else None,
        "patients": one.patients,
        "patients_that_would_have_been_shown": one.patients_told,
        "first": one.first,
        "last": one.last,
        "cards": dict(sorted(one.cards.items())),
        "reasons": dict(sorted(one.reasons.items(), key=lambda item: (-item[1], item[0]))),
        "outcomes": {
            "patients": len(one.matured),
            "with_a_card": _ended(told),
            "without": _ended(silent),
            "calibration": calibration(one.matured),
        },
    }


def _ended(found: Sequence[Matured]) -> dict[str, Any]:
    """Return how a group ended: how many, how many badly, what was expected of those with a risk."""
    risks = [one.risk for one in found if one.risk is not None]
    return {
        "patients": len(found),
        "bad": sum(one.bad for one in found),
        "with_risk": len(risks),
        "expected": round(sum(risks), 2) if risks else None,
    }


def calibration(matured: Sequence[Matured]) -> dict[str, Any]:
    """Return the figures of the risks that were computed, and observed against expected in five groups.

    Below 100 patients, or with one outcome only, it says so instead.

    >>> calibration([Matured(True, 0.5, True)])
    {'patients': 1, 'too_few': '1 outcomes with a risk; 100 are needed'}
    """
    known = [one for one in matured if one.risk is not None]
    y = np.array([float(one.bad) for one in known])
    p = np.array([one.risk for one in known], dtype=np.float64)
    if len(known) < MIN_OUTCOMES:
        return {
            "patients": len(known),
            "too_few": f"{len(known)} outcomes with a risk; {MIN_OUTCOMES} are needed",
        }
    try:
        figures = performance(y, p)
    except (TooFew, ValueError) as problem:
        return {"patients": len(known), "too_few": str(problem)}
    return {"patients": len(known), "figures": figures, "groups": calibration_curve(y, p, GROUPS)}
