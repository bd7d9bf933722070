"""A decision service that says what it was given, and calls of it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from cds_hooks.cards import Card, Source
from cds_hooks.service import Decision, Facts, Service

ID = "echo"
URL = f"/cds-services/{ID}"
ROOT = "https://cds.example"
PREFETCH = {
    "patient": "Patient/{{context.patientId}}",
    "conditions": "Condition?patient={{context.patientId}}",
    "pressure": "Observation?patient={{context.patientId}}&code=8480-6&_sort=-date&_count=1",
}


def decide(facts: Facts) -> Decision:
    """Return a card with the references of all that came."""
    listed = [each for every in facts.chart.resources.values() for each in every]
    found = sorted(f"{each['resourceType']}/{each.get('id')}" for each in listed)
    card = Card(facts.uuid("card"), " ".join(found) or "nothing", "info", Source("Echo"))
    return Decision(("shown",), (card,), {"found": found})


def service(prefetch: dict[str, str] | None = None) -> dict[str, Service]:
    """Return the service as the table of an installation."""
    templates = PREFETCH if prefetch is None else prefetch
    return {ID: Service(ID, ("patient-view",), "Echo", "Says what it was given.", templates, decide)}


def call(patient: str = "p1", **more: Any) -> dict[str, Any]:
    """Return a call that brings nothing."""
    context = {"userId": "Practitioner/7", "patientId": patient}
    return {"hook": "patient-view", "hookInstance": str(uuid4()), "context": context, **more}


def authorization(token: str = "Secret-Token", **more: Any) -> dict[str, Any]:
    """Return a fhirAuthorization that lets everything of a patient be read."""
    return {"access_token": token, "token_type": "Bearer", "expires_in": 300, "scope": "patient/*.rs",
            "subject": "cds", **more}  # fmt: skip


def summary(answer: Any) -> str:
    """Return the summary of the one card of an answer."""
    (card,) = answer.json["cards"]
    return str(card["summary"])
