"""Requests in the form in which the public CDS Hooks sandbox sends them (cds-hooks/sandbox, 2026-03-31).

Its pages sign every request, discovery and feedback too, with ES384 and name a `jku`; it leaves `prefetch`
out where it found nothing and gives no `encounterId`, asks the FHIR server by the media type of DSTU2, and
sends with an override no more of a reason than code and system.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask.testing import FlaskClient

from cds_hooks.client_trust import ClientTrust
from cds_hooks.records.clients import Client
from fhir_server.rest.negotiation import content_type
from tests.spec.cds_hooks.test_answers import full
from tests.support import cds
from tests.support.cds_echo import ROOT, URL, call
from tests.support.clause import clause
from tests.support.jwt_signer import Signer

ORIGIN = "https://sandbox.example"
SIGNER = Signer(issuer=ORIGIN, jku=f"{ORIGIN}/.well-known/jwks.json")


class Once:
    """Used tokens in memory."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def first(self, issuer: str, token_id: str, until: datetime) -> bool:
        return token_id not in self.seen and not self.seen.add(token_id)  # type: ignore[func-returns-value]


def door() -> tuple[FlaskClient, Any]:
    client = Client("sandbox", SIGNER.issuer, SIGNER.jku, (SIGNER.public(),), origins=(ORIGIN,))
    trust = ClientTrust("required", (ROOT,), lambda: [client], Once())
    return cds.client(services_=full(), trust=trust)


def headers(path: str) -> dict[str, str]:
    return {
        "Accept": "application/json",
        "Authorization": f"Bearer {SIGNER.token(f'{ROOT}{path}')}",
        "Origin": ORIGIN,
    }


@clause("CDS-Hooks-2.0/#calling-a-cds-service", "the public sandbox: discovery, call, both kinds of feedback")
def test_a_round_of_the_sandbox() -> None:
    client, records = door()
    listed = client.get("/cds-services", headers=headers("/cds-services"))
    assert (listed.status_code, listed.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)
    answer = client.post(URL, json=call(fhirServer=f"{ROOT}/fhir"), headers=headers(URL))
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)
    (card,) = answer.json["cards"]
    reason = {key: card["overrideReasons"][0][key] for key in ("code", "system")}
    at = {"card": card["uuid"], "outcomeTimestamp": "2026-03-02T15:05:00.123Z"}
    for report in (
        {**at, "outcome": "accepted", "acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}]},
        {**at, "outcome": "overridden", "overrideReason": {"reason": reason}},
        {**at, "outcome": "overridden"},
    ):
        path = f"{URL}/feedback"
        taken = client.post(path, json={"feedback": [report]}, headers=headers(path))
        assert (taken.status_code, taken.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)
    assert [entry.outcome for entry in records.feedback] == ["accepted", "overridden", "overridden"]
    assert records.feedback[1].reason == reason


def test_its_media_type_of_dstu2_is_read() -> None:
    assert content_type("application/json+fhir", None) == "application/fhir+json; charset=utf-8"
