"""Numbers of several processes, summed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from fhir_server.observability.events import (
    AssociationEnded,
    AssociationRejected,
    CardsServed,
    Crashed,
    ProcessEnded,
    RequestServed,
    SearchServed,
)
from fhir_server.observability.metrics import Meter, Numbers, render

ROOT = Path(__file__).parents[4]
READ = RequestServed("GET", "read", "Patient", 200, 0.7)


def test_processes_are_summed_and_histograms_add_up(tmp_path):
    for name in ("http-1", "http-2"):
        meter = Meter(Numbers(tmp_path / f"{name}.numbers"))
        for event in (READ, READ, RequestServed("GET", "read", "Patient", 404, 30.0)):
            meter(event)
    lines = render(tmp_path).splitlines()
    labels = 'method="GET",interaction="read",type="Patient"'
    assert f'xinglin_requests_total{{{labels},status="200"}} 4' in lines
    assert f'xinglin_requests_total{{{labels},status="404"}} 2' in lines
    buckets = [line.rsplit(" ", 1) for line in lines if line.startswith("xinglin_request_seconds_bucket")]
    assert [value for _, value in buckets] == ["4"] * 4 + ["4"] + ["6"] * 9
    assert buckets[-1][0].endswith('le="+Inf"}')
    assert 'xinglin_request_seconds_count{interaction="read"} 6' in lines


def test_a_process_killed_and_started_again_counts_on(tmp_path):
    text = (
        "import sys, pathlib; from fhir_server.observability.metrics import *; "
        "Numbers(pathlib.Path(sys.argv[1])).add('xinglin_crashes_total', (), 2.0); "
        "print('done', flush=True); input()"
    )
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", text, str(tmp_path / "http-1.numbers")],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert "xinglin_crashes_total 4" in render(tmp_path).splitlines()


def test_more_numbers_than_the_file_was_made_for(tmp_path):
    numbers = Numbers(tmp_path / "a.numbers")
    for index in range(3000):
        numbers.add("xinglin_requests_total", (("type", f"{'x' * 40}{index}"),))
    assert os.path.getsize(tmp_path / "a.numbers") > 64 * 1024
    assert len(render(tmp_path).splitlines()) == 3002


def test_every_event_that_counts_shows_up(tmp_path):
    meter = Meter(Numbers(tmp_path / "a.numbers"))
    for event in (
        READ, SearchServed("Observation", 3, 20, 4.1),
        CardsServed("stroke-early-aspirin", "shown", ("suggested",), 1, 12.0),
        ProcessEnded("http-1", 7, -9, 12.0, 0.0), Crashed("KeyError", "x.py:1:f"),
        AssociationEnded(500, 2100.0, False), AssociationRejected(1, 1, 7),
    ):  # fmt: skip
        meter(event)
    text = render(tmp_path)
    assert 'xinglin_associations_total{end="released"} 1' in text
    assert 'xinglin_associations_rejected_total{source="1",reason="7"} 1' in text
    for name in ("xinglin_search_rows_total", "xinglin_cds_seconds_bucket", "xinglin_process_restarts_total"):
        assert name in text
