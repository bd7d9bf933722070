"""A second client: HealthChain's SandboxClient calls a running installation and reads its cards.

It brings many packages, so it is no part of our pins: XINGLIN_HEALTHCHAIN names a Python that has it
(`pip install healthchain==0.16.1`). What it cannot do: it sends no tokens and no feedback, drops nulls out of
what is prefetched, and knows four hooks. Its model of a suggestion requires `isRecommended`, which CDS Hooks
2.0 makes optional; that one deviation is looked for by name.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from conformance.samples import stroke
from tests.support.cds_checks import violations
from tests.support.server import ROOT, Server

WORKFLOWS = ("patient-view", "order-select", "order-sign", "encounter-discharge")
PYTHON = os.environ.get("XINGLIN_HEALTHCHAIN", "")

pytestmark = pytest.mark.skipif(
    not PYTHON or not Path(PYTHON).exists(), reason="XINGLIN_HEALTHCHAIN names no Python that has HealthChain"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="xinglin-healthchain-") as folder:
        os.chmod(folder, 0o755)
        running = Server(Path(folder) / "data", "--no-dimse", XINGLIN_DEMONSTRATION="true")
        try:
            yield running
        finally:
            running.stop()


@pytest.fixture(scope="module")
def outcome(server: Server) -> dict[str, Any]:
    """What HealthChain made of every service with a hook that it knows, about the stroke patient."""
    discovery = json.loads(server.get("/cds-services")[1])
    resources = stroke.resources(datetime.now(UTC))
    calls = []
    for entry in discovery["services"]:
        if entry["hook"] not in WORKFLOWS:
            continue
        context = stroke.call(str(uuid4()), hook="order-select")["context"]
        if entry["hook"] != "order-select":
            del context["selections"]
        if entry["hook"] in ("patient-view", "encounter-discharge"):
            del context["draftOrders"]
        given = stroke.prefetch(entry.get("prefetch", {}), resources)
        url = f"{server.url}/cds-services/{entry['id']}"
        calls.append({"url": url, "workflow": entry["hook"], "context": context, "prefetch": given})
    document = {"discovery": discovery, "calls": calls, "synthetic": calls[0]["url"]}
    done = subprocess.run(
        [PYTHON, "-I", str(ROOT / "tests" / "support" / "healthchain_client.py")],
        input=json.dumps(document), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert set(found["services"]) == {entry["id"] for entry in discovery["services"]}
    found["ids"] = [call["url"].rpartition("/")[2] for call in calls]
    return found


def test_every_call_is_answered_with_cards_that_it_reads(outcome: dict[str, Any]) -> None:
    assert outcome["done"]
    for service, each in zip(outcome["ids"], outcome["done"], strict=True):
        assert "cards" in each["answer"], (service, each["sent"]["hook"], each["answer"])
        problems = [
            line
            for line in each["problem"].splitlines()
            if "isRecommended" not in line and "suggestions" in line
        ]
        assert not problems, (service, each["problem"])


def test_the_stroke_patient_gets_her_card(outcome: dict[str, Any]) -> None:
    cards = [
        card
        for service, each in zip(outcome["ids"], outcome["done"], strict=True)
        if service == stroke.SERVICE_ID
        for card in each["answer"]["cards"]
    ]
    assert cards
    assert violations({"cards": cards}) == []


def test_made_up_patients_get_the_status_that_is_specified(outcome: dict[str, Any]) -> None:
    # its made-up data have keys of their own, or another hook than the service: 400 or 412, never a crash
    assert outcome["synthetic"] == [{}, {}, {}]
