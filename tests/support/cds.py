"""What the tests of the decision services share: records in memory, a client, the stroke patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID, uuid4

from flask import Flask
from flask.testing import FlaskClient

from cds_hooks import door, registry
from cds_hooks.calls import Calls
from cds_hooks.client_trust import ClientTrust
from cds_hooks.facts.chart import Chart
from cds_hooks.records.entries import SHOWN, Call, Feedback, Offer
from cds_hooks.service import Decision, Facts, Service
from conformance.samples import stroke
from fhir_server.rest.front import in_front

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
SERVICE = stroke.SERVICE_ID


class MemoryRecords:
    """Records in a list."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.feedback: list[Feedback] = []

    def keep(self, offers: Sequence[Offer]) -> Mapping[UUID, str]:
        verdicts = {offered.card: SHOWN for offer in offers for offered in offer.cards}
        self.calls += [offer.settled(verdicts) for offer in offers]
        return verdicts

    def known_cards(
        self, service: str, cards: Sequence[UUID], client: str | None, *, anybody: bool = False
    ) -> set[UUID]:
        given = {
            card
            for call in self.calls
            if call.service == service and (anybody or call.client == client)
            for card in call.cards
        }
        return given & set(cards)

    def keep_feedback(self, entries: Sequence[Feedback]) -> None:
        self.feedback.extend(entries)


@cache
def services() -> Mapping[str, Service]:
    """The services with the shipped model, loaded once."""
    return registry.services()


def client(
    records: Any = None,
    *,
    services_: Mapping[str, Service] | None = None,
    trust: ClientTrust | None = None,
    **options: Any,
) -> tuple[FlaskClient, Any]:
    """Return a Flask client of the door and the records behind it."""
    kept = MemoryRecords() if records is None else records
    options.setdefault("clock", lambda: NOW)
    options.setdefault("budget_s", 5.0)  # a loaded test machine is slow; tests of the budget set their own
    calls = Calls(services() if services_ is None else services_, kept, **options)
    app = Flask(__name__)
    app.wsgi_app = in_front(door.PATH, door.Door(calls, kept, trust).wsgi, app.wsgi_app)  # type: ignore[method-assign]
    return app.test_client(), kept


def body(
    given: list[dict[str, Any]] | None = None, *, hook: str = "encounter-start", **more: Any
) -> dict[str, Any]:
    """Return a call with everything prefetched."""
    resources = stroke.resources(NOW) if given is None else given
    call = stroke.call(str(uuid4()), hook=hook)
    call["prefetch"] = stroke.prefetch(dict(services()[SERVICE].prefetch), resources)
    return call | more


def decide(
    resources: list[dict[str, Any]],
    now: datetime = NOW,
    *,
    hook: str = "encounter-start",
    with_: Service | None = None,
) -> Decision:
    """Return what the stroke service (or another one) decides on a chart of these resources."""
    chart = Chart.of(stroke.PATIENT_ID, now, resources)
    context = {"userId": "Practitioner/1", "patientId": stroke.PATIENT_ID, "encounterId": stroke.ENCOUNTER_ID}
    return (with_ or services()[SERVICE]).decide(Facts(UUID(int=1), hook, context, chart))
