"""What a log line holds, and what it never does."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path

from fhir_server.observability import events
from fhir_server.observability.logs import Foreign, JsonLines

ROOT = Path(__file__).parents[4]


def test_an_event_is_one_line():
    stream = io.StringIO()
    JsonLines("http-1", stream)(events.RequestServed("GET", "read", "Patient", 200, 0.71234))
    line = json.loads(stream.getvalue())
    assert (line["process"], line["event"], line["status"], line["ms"]) == (
        "http-1",
        "request-served",
        200,
        0.712,
    )


def test_routine_can_be_kept_out():
    stream = io.StringIO()
    lines = JsonLines("http-1", stream, routine=False)
    for event in (
        events.RequestServed("GET", "read", "Patient", 200, 1.0), events.Crashed("KeyError", "x.py:1:f")
    ):  # fmt: skip
        lines(event)
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["crashed"]


def test_text_that_is_no_code_is_withheld():
    stream = io.StringIO()
    JsonLines("http-1", stream)(events.RequestServed("GET", "name is Wunderlich", "Patient", 200, 1.0))
    assert json.loads(stream.getvalue())["interaction"] == "(withheld)"


def test_a_foreign_record_keeps_its_place_and_loses_its_message():
    stream = io.StringIO()
    logger = logging.Logger("pynetdicom.acse")
    logger.addHandler(Foreign(JsonLines("dimse", stream)))
    try:
        raise ValueError("Wunderlich, Anna") from KeyError("Wunderlich")
    except ValueError:
        logger.exception("C-FIND failed for %s and Wunderlich", "Wunderlich")
    line = json.loads(stream.getvalue())
    assert "Wunderlich" not in stream.getvalue()
    assert (line["logger"], line["level"], line["error"]) == (
        "pynetdicom.acse",
        "error",
        "ValueError<KeyError",
    )
    assert "test_logs.py" in line["trace"]


def test_a_process_s_own_crash_and_warnings_lose_their_messages():
    text = (
        "import warnings; from fhir_server.observability.logs import *; take_over(JsonLines('x'))\n"
        "warnings.warn('Invalid value for VR PN: Wunderlich')\n"
        "raise ValueError('Wunderlich')"
    )
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["log", "crashed"]
    assert "Wunderlich" not in done.stderr
    assert done.returncode == 1
    assert warnings  # the parent's are untouched
