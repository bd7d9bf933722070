"""/healthz, /readyz and /metrics: for whoever watches the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from flask import Blueprint, Response

from fhir_server.observability import metrics

Check = Callable[[], str | None]
"""Returns what is wrong, in a sentence without patient data, or None."""


class Warned(str):
    """What a check returns when all works still and somebody should look: it does not make us unready."""

    __slots__ = ()


def blueprint(checks: Mapping[str, Check], numbers: Path) -> Blueprint:
    """Return the three addresses; `checks` are the parts of readiness, `numbers` the folder of metrics.

    /healthz answers 200 as long as the process serves at all: a load balancer that restarts on
    it must not do so because the database is away. /readyz answers 503 and says what is wrong.
    """
    made = Blueprint("health", __name__)

    @made.get("/healthz")
    def healthz() -> Response:
        return Response("ok\n", mimetype="text/plain")

    @made.get("/readyz")
    def readyz() -> Response:
        problems = {name: _run(check) for name, check in checks.items()}
        ready = all(_well(problem) for problem in problems.values())
        parts = {name: _part(problem) for name, problem in problems.items()}
        body = json.dumps({"ready": ready, "checks": parts}) + "\n"
        return Response(body, 200 if ready else 503, mimetype="application/json")

    @made.get("/metrics")
    def metrics_() -> Response:
        return Response(metrics.render(numbers), content_type="text/plain; version=0.0.4; charset=utf-8")

    return made


def _well(problem: str | None) -> bool:
    return problem is None or isinstance(problem, Warned)


def _part(problem: str | None) -> dict[str, object]:
    """Return what /readyz says of one check.

    >>> _part(Warned("nearly full"))
    {'ok': True, 'degraded': 'nearly full'}
    """
    if isinstance(problem, Warned):
        return {"ok": True, "degraded": str(problem)}
    return {"ok": True} if problem is None else {"ok": False, "problem": problem}


def _run(check: Check) -> str | None:
    try:
        return check()
    except Exception as error:  # a check that breaks is a problem to report, not a reason to answer 500
        return f"the check itself failed ({type(error).__name__})"
