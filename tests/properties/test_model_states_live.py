"""A model's state in a whole server of two workers: each follows within a second, none is restarted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

from cds_hooks import registry
from cds_hooks.models import blocks, catalogue
from cds_hooks.records.model_log import ModelLog
from conformance.samples import stroke
from fhir_server.database.engine import Engine
from fhir_server.interactions.context import utc_now
from tests.support.models import ASSESSED, MODEL, draft, order
from tests.support.server import Server, wait_for

CALLS = 24
"""So many calls in a row over connections of their own reach both workers."""


@pytest.fixture
def server(fresh_database_url: str, tmp_path: Path) -> Iterator[Server]:
    """A server of two workers on a database that the test can write to."""
    draft(tmp_path / "data" / "models")
    server = Server(
        tmp_path / "data", "--workers", "2", "--no-dimse", "--no-worker", "--database-url", fresh_database_url
    )
    yield server
    server.stop()


def answers(server: Server) -> list[str]:
    """Call about a patient who is no test data, many times; return the release of each card, or nothing."""
    now = utc_now()
    resources = [{k: v for k, v in each.items() if k != "meta"} for each in stroke.resources(now)]
    found = []
    for _ in range(CALLS):
        call = stroke.call(str(uuid4()))
        call["context"]["userId"] = f"Practitioner/{uuid4()}"  # nobody has seen this card yet
        call["prefetch"] = stroke.prefetch(dict(registry.services()[MODEL].prefetch), resources)
        found.append(_identity(_post(f"{server.url}/cds-services/{MODEL}", call)))
    return found


def _post(url: str, body: Any) -> Any:
    data = json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json", "Connection": "close"})
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)


def _identity(answer: Any) -> str:
    cards = answer["cards"]
    return str(cards[0]["extension"]["io.xinglin.model"]["identity"]) if cards else ""


@pytest.mark.slow
def test_both_workers_follow_within_a_second(server: Server, fresh_database_url: str, tmp_path: Path) -> None:
    release = catalogue.find([tmp_path / "data" / "models"], MODEL, "2")
    engine = Engine(fresh_database_url, size=1)
    book = ModelLog(engine)
    pids = {name: server.pid(name) for name in ("http-1", "http-2")}
    assert set(answers(server)) == {""}
    for action, actor in (("assess", "Ada"), ("promote", "Ada"), ("propose", "Ada"), ("promote", "Charles")):
        book.carry_out(order(action, release, actor, evidence=ASSESSED), blocks.blocks)
    time_of_change = time.monotonic()
    wait_for(lambda: time.monotonic() - time_of_change >= 1.0)
    assert set(answers(server)) == {release.identity}
    book.carry_out(order("demote", release, "Ada"), blocks.blocks)
    time_of_change = time.monotonic()
    wait_for(lambda: time.monotonic() - time_of_change >= 1.0)
    assert set(answers(server)) == {""}
    assert {name: server.pid(name) for name in pids} == pids, "nobody was restarted"
    engine.close()
