"""The loop of the background worker."""

from __future__ import annotations

from itertools import pairwise

from fhir_server.cli import worker
from fhir_server.jobs.drains import Stream
from fhir_server.observability import events


class Turns:
    """A stop that comes after so many waits; keeps how long each would have been."""

    def __init__(self, count):
        self.count, self.pauses = count, []

    def is_set(self):
        return len(self.pauses) >= self.count

    def wait(self, timeout):
        self.pauses.append(timeout)
        return self.is_set()


class Clocked(Turns):
    """Waits that pass in no time, on a clock of their own."""

    def __init__(self, count, now):
        super().__init__(count)
        self.now = now

    def wait(self, timeout):
        self.now[0] += timeout
        return super().wait(timeout)


def test_a_drain_that_finds_something_is_called_again_at_once():
    left = [3, 2, 0, 0]
    heard = []
    with events.listening(heard.append):
        worker.drain_all({"studies": lambda: left.pop(0)}, stop := Turns(3))
    assert [pause == 0 for pause in stop.pauses] == [True, True, False]
    assert [(event.queue, event.count) for event in heard] == [("studies", 3), ("studies", 2)]


def test_a_stream_that_came_to_its_end_waits_until_more_has_gathered(monkeypatch):
    now, left, heard = [100.0], [5, 5, 4, 5, 0], []
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    with events.listening(heard.append):
        worker.drain_all({"changes": Stream(lambda: left.pop(0), size=5)}, stop := Clocked(4, now))
    assert [pause == 0 for pause in stop.pauses] == [True, True, False, True]
    assert [event.count for event in heard] == [5, 5, 4, 5]


def test_a_drain_that_fails_stops_nobody_and_waits_longer_each_time(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    calls = {"bad": 0, "good": 0}

    def bad():
        calls["bad"] += 1
        raise ValueError("Wunderlich")

    def good():
        calls["good"] += 1
        return 0

    heard = []
    with events.listening(heard.append):
        worker.drain_all({"bad": bad, "good": good}, Clocked(40, now))
    assert calls["good"] > 4 * calls["bad"]
    assert {event.error for event in heard} == {"ValueError"}
    assert "Wunderlich" not in repr(heard)


def test_while_nothing_happens_queues_are_asked_rarely_and_at_once_when_something_does(monkeypatch):
    now, asked, woken_at = [100.0], [], 161.05
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])

    def drain():
        asked.append(now[0])
        return 0

    awake = lambda: now[0] < 130 or now[0] >= woken_at  # noqa: E731
    stop = Clocked(1000, now)
    stop.is_set = lambda: now[0] > 170
    worker.drain_all({"studies": drain}, stop, awake=awake)
    assert len([at for at in asked if at < 130]) == 60
    resting = [at for at in asked if 131 < at < woken_at]
    assert 5 <= len(resting) <= 6
    first = min(at for at in asked if at >= woken_at)
    assert first - woken_at <= worker.NAP_S
    assert len([at for at in asked if at > first]) >= 16


def test_what_is_found_or_fails_is_gone_on_with_though_nothing_happens(monkeypatch):
    now, left, failed = [100.0], [3, 2, 0], []
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])

    def bad():
        failed.append(now[0])
        if len(failed) < 3:
            raise ValueError
        return 0

    stop = Clocked(1000, now)
    stop.is_set = lambda: not left
    worker.drain_all({"studies": lambda: left.pop(0)}, stop, awake=lambda: False)
    assert now[0] < 101
    stop.is_set = lambda: len(failed) == 3
    worker.drain_all({"bad": bad}, stop, awake=lambda: False)
    assert [round(b - a) for a, b in pairwise(failed)] == [1, 2]
