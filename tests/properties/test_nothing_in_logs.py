"""A patient's name reaches no log of the installation, no metric, no argument of a process."""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from fhir_server.database.embedded import running_url
from tests.support.clause import clause
from tests.support.http import FHIR_JSON
from tests.support.server import Server, wait_for
from tests.support.wire import exchange, request

MARKER = "Zyxomarker"
JSON = {"Content-Type": FHIR_JSON}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PATIENT = (
    f'{{"resourceType":"Patient","id":"{MARKER}-1","name":[{{"family":"{MARKER}"}}],'
    f'"identifier":[{{"system":"urn:{MARKER}","value":"{MARKER}"}}]}}'
).encode()

Asked = tuple[str, str, dict[str, str], bytes, int]
ASKED: list[Asked] = [
    ("PUT", f"/fhir/Patient/{MARKER}-1", JSON, PATIENT, 201),
    ("GET", f"/fhir/Patient/{MARKER}-1", {}, b"", 200),
    ("PUT", f"/fhir/Patient/{MARKER}-1", {**JSON, "If-Match": 'W/"7"'}, PATIENT, 412),
    ("POST", "/fhir/Patient", JSON, PATIENT.replace(b'"name"', b'"nmae"'), 400),
    ("POST", "/fhir/Patient", JSON, b'{"' + MARKER.encode(), 400),
    ("POST", "/fhir/Patient", {**JSON, "If-None-Exist": f"name={MARKER}"}, PATIENT, 200),
    ("GET", f"/fhir/Patient?name={MARKER}", {}, b"", 200),
    ("GET", f"/fhir/Patient?{MARKER}={MARKER}", {}, b"", 400),
    ("GET", f"/fhir/Patient?birthdate={MARKER}", {}, b"", 400),
    ("GET", f"/fhir/Patient?name={MARKER}&name=%00", {}, b"", 400),
    ("POST", "/fhir/Patient/_search", FORM, f"name={MARKER}&_sort=name".encode(), 200),
    ("GET", f"/fhir/{MARKER}/7", {}, b"", 404),
    ("GET", f"/{MARKER}", {}, b"", 404),
    (MARKER, "/fhir/Patient", {}, b"", 405),
    ("GET", f"/metrics?{MARKER}", {}, b"", 200),
    ("GET", "/fhir/metadata", {"X-Request-Id": MARKER, "User-Agent": MARKER, "Referer": MARKER}, b"", 200),
    ("GET", f"/console/patients?name={MARKER}", {}, b"", 200),
    ("GET", f"/console/patients/{MARKER}-1", {}, b"", 200),
    ("GET", f"/dicom-web/studies?PatientName={MARKER}", {}, b"", 200),
    ("POST", "/cds-services/stroke-early-aspirin", JSON, f'{{"hook":"{MARKER}"}}'.encode(), 400),
    ("GET", f"/fhir/Patient?name={MARKER * 20_000}", {}, b"", 414),
]  # fmt: skip


def asked(server: Server, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> Any:
    return exchange(server.facts["port"], request(method, target, headers, body))


def where_found(server: Server) -> list[str]:
    """Return the places outside the database's own files where the marker stands."""
    data = server.log.parent / "data"
    files = [
        server.log,
        *data.rglob("*.log"),
        *(path for path in (data / "run").rglob("*") if path.is_file()),
    ]
    assert any("postgres" in path.name for path in files), "the log of Postgres was not found"
    found = [str(path) for path in files if MARKER.lower().encode() in path.read_bytes().lower()]
    for path in ("/metrics", "/readyz"):
        if MARKER.lower() in server.get(path)[1].lower():
            found.append(path)
    processes = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True)
    if MARKER.lower() in processes.stdout.lower():
        found.append("arguments of a process")
    found += [str(path) for path in Path("/tmp").glob(f"*{MARKER}*")]
    return found


@clause("R4/security.html", "a name in a search, a failing write, a wrong method or a header is in no log")
def test_requests(running: Server) -> None:
    for method, target, headers, body, status in ASKED:
        assert asked(running, method, target, headers, body).status == status, (method, target[:60])
    assert where_found(running) == []


@pytest.fixture
def locked(running: Server) -> Any:
    """A connection that keeps every statement on the resources waiting."""
    connection = psycopg2.connect(running_url(running.log.parent / "data"))
    connection.cursor().execute("LOCK TABLE resource IN ACCESS EXCLUSIVE MODE")
    yield connection
    connection.close()


@clause("R4/security.html", "nor that of a search that waited too long for others")
def test_a_wait_for_a_lock(running: Server, locked: Any) -> None:
    reply = asked(running, "POST", "/fhir/Patient/_search", FORM, f"family={MARKER}".encode())
    assert (reply.status, reply.issue["code"]) == (503, "lock-error")
    locked.rollback()
    assert where_found(running) == []


@clause("R4/security.html", "nor that of a search that was stopped, as the time limit stops it")
def test_a_slow_statement(running: Server, locked: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        form = f"patient.family={MARKER}".encode()
        answer = pool.submit(asked, running, "POST", "/fhir/Observation/_search", FORM, form)
        process = wait_for(lambda: waiting(locked), 20)
        locked.cursor().execute("SELECT pg_cancel_backend(%s)", (process,))
        reply = answer.result(30)
    assert (reply.status, reply.issue["code"]) == (422, "too-costly")
    locked.rollback()
    assert where_found(running) == []


@clause("R4/security.html", "nor that of a statement during which Postgres crashed")
def test_a_crash_of_the_database(running: Server, locked: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        search = f"/fhir/Observation?patient.family={MARKER}"
        answer = pool.submit(asked, running, "GET", search, {})
        os.kill(wait_for(lambda: waiting(locked), 20), signal.SIGKILL)
        reply = answer.result(30)
    assert (reply.status, reply.headers["Retry-After"]) == (503, "2")
    wait_for(lambda: asked(running, "GET", search, {}).status == 200)
    assert where_found(running) == []


def waiting(connection: Any) -> int:
    """Return the process of Postgres that works on a statement with the marker, 0 when there is none.

    A chain is asked, whose statement is not prepared: PREPARE waits for the lock, too, without the marker.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # a transaction sees the same activity else
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'active' "
            "AND wait_event_type = 'Lock' AND query LIKE %s", (f"%{MARKER.lower()}%",)
        )  # fmt: skip
        found = cursor.fetchone()
    return int(found[0]) if found else 0
