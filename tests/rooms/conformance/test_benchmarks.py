"""The benchmark's own instruments: load generator, CPU clocks, plans, goals."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from conformance.benchmarks import load, plans
from conformance.benchmarks.data import Facts, compact, stream, transactions
from conformance.benchmarks.journeys import Goal, Journey, Sizes, reading, writing
from conformance.benchmarks.processes import Tree
from conformance.benchmarks.report import Report
from conformance.benchmarks.rounds import Differ, measure
from conformance.benchmarks.targets import Target


class Echo(BaseHTTPRequestHandler):
    """Answers 200 with the length of what came; chunked under /chunked, 404 under /none."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(404 if self.path == "/none" else 200)
        text = str(len(body)).encode()
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text))
        else:
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def echo() -> Iterator[Target]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Target("echo", f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()


def test_load_counts_every_answer(echo: Target) -> None:
    large = load.request("POST", "/", b"x" * 3_000_000, host=echo.host)
    small = load.request("GET", "/chunked", host=echo.host)
    ran = load.run(echo.address, [large, small], expected=frozenset({200}), clients=3, count=20)
    assert (ran.count, ran.unexpected) == (20, {})
    assert load.ask(echo.address, large).body == b"3000000"
    assert load.ask(echo.address, small).body == b"0"


def test_load_at_a_pace_counts_what_a_request_waited(echo: Target) -> None:
    """One connection cannot keep up with such a pace; whoever came late has waited for all before."""
    small = load.request("GET", "/", host=echo.host)
    ran = load.run(echo.address, [small], expected=frozenset({200}), clients=1, count=50, every_s=1e-6)
    assert ran.count == 50
    assert ran.latencies_ms == sorted(ran.latencies_ms)
    assert ran.latencies_ms[-1] > 0.9 * 1000 * ran.seconds
    paced = load.run(echo.address, [small], expected=frozenset({200}), clients=4, count=50, every_s=0.004)
    assert paced.count == 50
    assert paced.seconds > 49 * 0.004


def test_an_unexpected_status_ends_the_run(echo: Target) -> None:
    with pytest.raises(Differ, match="404"):
        measure(Journey("none", [("GET", "/none", b"", ())], count=5), (echo,), rounds=1)


def test_rounds_and_goals(echo: Target) -> None:
    journey = Journey("read", [("GET", "/", b"", ())], count=10, goal=Goal(1.6))
    twin = Target("twin", echo.base, tree=Tree(None, None))
    report = Report("echo", "twin", {})
    report.outcomes.append(measure(journey, (echo, twin), rounds=2))
    assert [len(rounds) for rounds in report.outcomes[0].rounds.values()] == [2, 2]
    assert report.verdicts() == []  # no CPU of servers elsewhere, so nothing to judge
    assert "read" in report.text()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_cpu_of_a_tree_counts_children_to_the_millisecond() -> None:
    burn = "import time\nwhile time.process_time() < 0.05: pass\nprint('done', flush=True)\ninput()"
    command = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        used = Tree(shell.pid, None).cpu_when_idle()
        shell.communicate(b"\n")
    assert 50 <= used.server_ms < 1000
    assert used.database_ms == 0


def test_rows_of_a_plan_are_those_that_scans_touched() -> None:
    scan = {
        "Node Type": "Index Scan", "Actual Rows": 2.0, "Actual Loops": 3, "Rows Removed by Filter": 1.0,
    }  # fmt: skip
    assert plans._rows({"Node Type": "Limit", "Actual Rows": 2, "Actual Loops": 1, "Plans": [scan]}) == 9


def test_questions_are_made_from_the_data() -> None:
    facts = Facts()
    for one in stream(1, 3000):
        facts.add(one, len(compact(one)))
    sizes = Sizes(60, 1)
    journeys = [*reading(facts, sizes, 1), *writing(facts, sizes, 1, None)]
    assert all(journey.requests("h", "/fhir") for journey in journeys)
    conditional = next(one for one in journeys if one.name.startswith("conditional"))
    assert len({headers for *_, headers in conditional.sent}) == len(conditional.sent)
    (bundle,) = transactions(1, 1)
    urls = {entry["fullUrl"] for entry in bundle["entry"]}
    patient = next(one for one in bundle["entry"] if one["request"]["url"] == "Patient")["fullUrl"]
    assert compact(bundle).decode().count(f'"reference":"{patient}"') > 100
    assert 340 <= len(urls) == len(bundle["entry"]) <= 440
