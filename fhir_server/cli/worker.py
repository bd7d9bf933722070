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
from functools import partial

from fhir_server.cli.command import add_settings, say
from fhir_server.cli.installation import database
from fhir_server.cli.stopping import Stop
from fhir_server.config import Config
from fhir_server.jobs.drains import Drain, Stream
from fhir_server.observability import events
from fhir_server.observability.heartbeat import Heartbeat

EXAMPLES = """\
  xinglin worker --database-url postgresql://xinglin@db.example.org/xinglin --data-dir /srv/xinglin
"""

IDLE_S = 0.5
NAP_S = 0.2
RARELY_S = 5.0
"""Between two rounds while nothing happens; in between it is looked every NAP_S whether something did."""

LONGEST_PAUSE_S = 30.0


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
    from fhir_server.app import (
        create_activity,
        create_drains,
        create_runners,
        create_workflow_drains,
        worker_heartbeat,
    )

    drains = create_drains(config)
    activity = create_activity(config)
    activity.watch(stop)

    def start(name: str, drain: Drain) -> None:
        # daemons: what they have not committed when the process ends, nobody has been told
        work = partial(drain_all, {name: drain}, stop, awake=activity.awake)
        threading.Thread(target=work, name=name, daemon=True).start()

    for number, runner in enumerate(create_runners(config, stop.is_set)):
        start(f"jobs-{number}", runner.drain)
    for name, drain in create_workflow_drains(config).items():
        start(name, drain)
    heartbeat = Heartbeat(worker_heartbeat(config))
    heartbeat.beat()
    ready()
    drain_all(drains, stop, heartbeat.beat, activity.awake)


def drain_all(
    drains: Mapping[str, Drain],
    stop: Stop,
    alive: Callable[[Sequence[str]], None] = lambda failing: None,
    awake: Callable[[], bool] = lambda: True,
) -> None:
    """Call each drain again at once while it finds something, else after a pause; longer after failures.

    A `Stream` has its pause as soon as it came to the end of what others had written. While nothing
    happens in the installation (`awake` says no) they are called rarely; who naps looks often enough that a
    drain is called as soon after the next commit as if it had been called all along.
    `alive` is told in every round which drains fail.
    """
    due = dict.fromkeys(drains, 0.0)
    failures = dict.fromkeys(drains, 0)
    next_round = 0.0
    while not stop.is_set():
        if time.monotonic() < next_round and not awake():
            stop.wait(NAP_S)
            continue
        for name, drain in drains.items():
            if stop.is_set() or due[name] > time.monotonic():
                continue
            pause = _turn(name, drain, failures)
            due[name] = time.monotonic() + pause
        failing = [name for name, count in failures.items() if count]
        alive(failing)
        now = time.monotonic()
        first = min(due.values(), default=now + IDLE_S)
        next_round = now + RARELY_S if first > now and not failing else now
        stop.wait(max(0.0, first - now))


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
        return IDLE_S if isinstance(drain, Stream) and drain.is_empty_after(count) else 0.0
    return IDLE_S
