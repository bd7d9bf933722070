"""Asynchronous requests on a running server: answered by the worker, one killed with -9 goes on."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from typing import Any

from tests.properties.test_crashes import send
from tests.support.builders import bundle, identified, post
from tests.support.clause import clause
from tests.support.server import Server, wait_for

SYSTEM = "urn:test:async"
TRANSACTIONS, ENTRIES = 8, 40


def start(server: Server, number: int) -> str:
    """Send a transaction asynchronously; return the address of its status."""
    entries = [post(identified(f"{number}-{each}", system=SYSTEM)) for each in range(ENTRIES)]
    asked = urllib.request.Request(
        f"{server.url}/fhir", json.dumps(bundle("transaction", *entries)).encode(),
        {"Content-Type": "application/fhir+json", "Prefer": "respond-async"}, method="POST",
    )  # fmt: skip
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.status == 202
        return str(answer.headers["Content-Location"])


def finished(server: Server, address: str) -> Any:
    """Return the result once it is there, else None."""
    status, headers, body = send(server, "GET", f"/fhir{address.partition('/fhir')[2]}")
    assert status in (200, 202), body
    assert status == 200 or headers["x-progress"]
    return body if status == 200 else None


@clause("R4/async.html", "a worker killed with -9: each transaction is carried out once, and answered")
def test_a_killed_worker(running: Server) -> None:
    addresses = [start(running, number) for number in range(TRANSACTIONS)]
    before = running.pid("worker")
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: running.pid("worker") != before)
    for address in addresses:
        made = wait_for(lambda address=address: finished(running, address))
        assert made["type"] == "batch-response"
        inner = made["entry"][0]["resource"]
        assert [each["response"]["status"] for each in inner["entry"]] == ["201 Created"] * ENTRIES
    asked = urllib.request.Request(
        f"{running.url}/fhir/Patient?identifier={SYSTEM}%7C", headers={"Prefer": "respond-async"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        address = answer.headers["Content-Location"]
    (output,) = wait_for(lambda: finished(running, address))["output"]
    with urllib.request.urlopen(
        running.url + output["url"][output["url"].index("/fhir") :], timeout=30
    ) as file:
        assert file.headers["Content-Type"] == "application/fhir+ndjson"
        ids = [json.loads(line)["id"] for line in file.read().decode().splitlines()]
    assert len(set(ids)) == len(ids) == output["count"] == TRANSACTIONS * ENTRIES
    for number in range(TRANSACTIONS):
        status, _, found = send(
            running, "GET", f"/fhir/Patient?identifier={SYSTEM}%7C{number}-0&_total=accurate"
        )
        assert (status, found["total"]) == (200, 1)
