"""A second client: HealthChain's SandboxClient calls our services over HTTP and reads their cards.

It brings many packages, so it is no part of our pins: XINGLIN_HEALTHCHAIN names a Python that has it
(`pip install 'healthchain[sandbox]==0.16.1'`). What that version cannot do: it sends neither tokens nor
feedback, and of a context nothing but userId and patientId reaches the wire, so that only patient-view is
whole; the other hooks are refused (400), as they have to be. Its models require two members that CDS Hooks
2.0 makes optional or does not know; nothing else may be wrong with a card in its eyes.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from werkzeug.serving import make_server

from cds_hooks import door, registry
from cds_hooks.calls import Calls
from conformance.samples import stroke
from fhir_server.rest.front import in_front
from tests.spec.cds_hooks.test_answers import full
from tests.support.cds import MemoryRecords
from tests.support.cds_checks import violations
from tests.support.cds_echo import ID

PYTHON = os.environ.get("XINGLIN_HEALTHCHAIN", "")
MORE_THAN_2_0 = {"isRecommended", "autoLaunchable"}
SCRIPT = Path(__file__).parents[1] / "support" / "healthchain_client.py"

pytestmark = pytest.mark.skipif(
    not PYTHON or not Path(PYTHON).exists(), reason="XINGLIN_HEALTHCHAIN names no Python that has HealthChain"
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Our services, and one whose card has every member, on a port of this process."""
    records = MemoryRecords()
    services = {**dict(registry.services(demonstration=True)), **full()}
    app = Flask(__name__)
    here = door.Door(Calls(services, records, budget_s=5.0), records)
    app.wsgi_app = in_front(door.PATH, here.wsgi, app.wsgi_app)  # type: ignore[method-assign]
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/cds-services"
    server.shutdown()
    server.server_close()


def healthchain(address: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what HealthChain made of calls."""
    discovery = registry.discovery({**dict(registry.services(demonstration=True)), **full()})
    done = subprocess.run(
        [PYTHON, "-I", str(SCRIPT)], input=json.dumps({"discovery": discovery, "calls": calls}),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert {entry["id"] for entry in discovery["services"]} == set(found["services"])
    return found


def call(address: str, service: str, hook: str = "patient-view", **more: Any) -> dict[str, Any]:
    context = {"userId": "Practitioner/demo", "patientId": stroke.PATIENT_ID, **more}
    resources = stroke.resources(datetime.now(UTC))
    listed = {**dict(registry.services(demonstration=True)), **full()}
    given = stroke.prefetch(dict(listed[service].prefetch), resources)
    return {"url": f"{address}/{service}", "workflow": hook, "context": context, "prefetch": given}


def test_it_reads_a_card_with_every_member(address: str) -> None:
    made_up = {**call(address, ID), "prefetch": None}
    for each in healthchain(address, [call(address, ID), made_up])["done"]:
        (card,) = each["answer"]["cards"]
        assert card["summary"] == "Everything"
        places = [line for line in each["problem"].splitlines() if line.startswith("cards")]
        assert {place.rpartition(".")[2] for place in places} <= MORE_THAN_2_0, each["problem"]


def test_it_gets_an_answer_of_every_service_for_patient_view(address: str) -> None:
    ids = [
        service.id
        for service in registry.services(demonstration=True).values()
        if "patient-view" in service.hooks
    ]
    if not ids:
        pytest.skip("no service listens to patient-view")
    for each in healthchain(address, [call(address, id_) for id_ in ids])["done"]:
        assert violations(each["answer"]) == []
        assert each["problem"] == ""


def test_what_it_leaves_out_of_a_context_is_refused_and_not_guessed(address: str) -> None:
    drafts = {"resourceType": "Bundle", "entry": []}
    asked = call(address, "opioid-mme", "order-sign", encounterId=str(uuid4()), draftOrders=drafts)
    (each,) = healthchain(address, [asked])["done"]
    assert set(each["context"]) == {"userId", "patientId"}
    assert each["answer"] == {}
