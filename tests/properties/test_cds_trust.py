"""A running installation with two workers that asks who calls: one use of a token, whoever gets it."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.clause import clause
from tests.support.jwt_signer import ISSUER, Signer
from tests.support.server import Server, wait_for, xinglin

RACERS = 24
SERVICE = "opioid-mme"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="xinglin-trust-") as folder:
        os.chmod(folder, 0o755)
        running = Server(Path(folder) / "data", "--no-dimse", XINGLIN_CDS_AUTH="required")
        try:
            yield running
        finally:
            running.stop()


def ask(server: Server, token: str | None, path: str = f"/cds-services/{SERVICE}") -> int:
    """Send a call that lacks its context; return the status: 400 once the token is believed."""
    body = json.dumps({"hook": "order-sign", "hookInstance": str(uuid4())}).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(server.url + path, body, headers), timeout=30):
            return 200
    except urllib.error.HTTPError as error:
        return error.code


@clause("CDS-Hooks-2.0/#trusting-cds-clients", "one use of a token over all workers, over the wire")
def test_a_token_is_good_once_over_all_workers(server: Server, tmp_path: Path) -> None:
    address = f"{server.url}/cds-services/{SERVICE}"
    assert server.get("/cds-services")[0] == 200
    assert (ask(server, None), ask(server, Signer().token(address))) == (401, 401)
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps(Signer().jwks()))
    done = xinglin(
        "cds", "client", "add", "north", "--issuer", ISSUER, "--keys", str(keys),
        "--data-dir", server.facts["data_dir"],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    wait_for(lambda: ask(server, Signer().token(address)) == 400, 10.0)
    wait_for(lambda: {ask(server, Signer().token(address)) for _ in range(8)} == {400}, 10.0)
    for _ in range(3):
        token, gate = Signer().token(address), threading.Barrier(RACERS)

        def one(_number: int, token: str = token, gate: threading.Barrier = gate) -> int:
            gate.wait()
            return ask(server, token)

        with ThreadPoolExecutor(RACERS) as pool:
            assert sorted(pool.map(one, range(RACERS))) == [400] + [401] * (RACERS - 1)
    assert ask(server, Signer().token(f"{address}/feedback")) == 401
    assert ask(server, Signer().token(f"{address}/feedback"), f"/cds-services/{SERVICE}/feedback") == 400
