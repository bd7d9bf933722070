"""`worker`: drains the queues: DICOM studies that have become quiet, and what else waits to be done.

Part of `serve`; a command of its own for installations that run it apart. Each drain is a
function that takes the next few entries and returns how many it took; one that fails is
reported and tried again later, and the others go on.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from fhir_server.cli.command import add_settings, say
from fhir_server.cli.installation import database
from fhir_server.cli.stopping import Stop
from fhir_server.config import Config
from fhir_server.observability import events
from fhir_server.observability.heartbeat import Heartbeat

EXAMPLES = """\
  xinglin worker --database-url postgresql://xinglin@db.example.org/xinglin --data-dir /srv/xinglin
"""

IDLE_S = 0.5
LONGEST_PAUSE_S = 30.0

Drain = Callable[[], int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_settings(
        parser, "database_url", "data_dir", "base_url", "time_zone", "referential_integrity", "full_text",
        "study_quiet_s", "study_quiet_max_s", "patient_id_system", "accession_system", "deleted_grace_days",
        "rejection_notes", "rejection_notes_from",
    )  # fmt: skip


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Drain until SIGTERM or Ctrl-C."""
    with database(config) as url:
        say("draining; Ctrl-C stops")
        loop(replace(config, database_url=url), Stop(), lambda: None)
    return 0


def loop(config: Config, stop: Stop, ready: Callable[[], None]) -> None:
    """Run the drains that the application names until `stop` is set."""
    from fhir_server.app import create_drains, create_runners, create_workflow_drains, worker_heartbeat

    drains = create_drains(config)
    for number, runner in enumerate(create_runners(config, stop.is_set)):
        # daemons: what they have not committed when the process ends, nobody has been told
        name = f"jobs-{number}"
        threading.Thread(target=drain_all, args=({name: runner.drain}, stop), name=name, daemon=True).start()
    for name, drain in create_workflow_drains(config).items():
        threading.Thread(target=drain_all, args=({name: drain}, stop), name=name, daemon=True).start()
    heartbeat = Heartbeat(worker_heartbeat(config))
    heartbeat.beat()
    ready()
    drain_all(drains, stop, heartbeat.beat)


def drain_all(
    drains: Mapping[str, Drain], stop: Stop, alive: Callable[[Sequence[str]], None] = lambda failing: None
) -> None:
    """Call each drain again at once while it finds something, else after a pause; longer after failures.

    `alive` is told in every round which drains fail.
    """
    due = dict.fromkeys(drains, 0.0)
    failures = dict.fromkeys(drains, 0)
    while not stop.is_set():
        for name, drain in drains.items():
            if stop.is_set() or due[name] > time.monotonic():
                continue
            pause = _turn(name, drain, failures)
            due[name] = time.monotonic() + pause
        alive([name for name, count in failures.items() if count])
        stop.wait(max(0.0, min(due.values(), default=IDLE_S + time.monotonic()) - time.monotonic()))


def _turn(name: str, drain: Drain, failures: dict[str, int]) -> float:
    """Run a drain once; return the pause until its next turn."""
    begun = time.monotonic()
    try:
        count = drain()
    except Exception as error:  # one queue's trouble must not stop the others
        failures[name] += 1
        events.emit(events.crashed(error))
        return float(min(LONGEST_PAUSE_S, IDLE_S * 2 ** min(failures[name], 10)))
    failures[name] = 0
    if count:
        events.emit(events.Drained(name, count, (time.monotonic() - begun) * 1000))
        return 0.0
    return IDLE_S
