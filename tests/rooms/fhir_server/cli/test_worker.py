"""The loop of the background worker."""

from __future__ import annotations

from fhir_server.cli import worker
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


def test_a_drain_that_finds_something_is_called_again_at_once():
    left = [3, 2, 0, 0]
    heard = []
    with events.listening(heard.append):
        worker.drain_all({"studies": lambda: left.pop(0)}, stop := Turns(3))
    assert [pause == 0 for pause in stop.pauses] == [True, True, False]
    assert [(event.queue, event.count) for event in heard] == [("studies", 3), ("studies", 2)]


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

    class Clocked(Turns):
        def wait(self, timeout):
            now[0] += timeout
            return super().wait(timeout)

    heard = []
    with events.listening(heard.append):
        worker.drain_all({"bad": bad, "good": good}, Clocked(40))
    assert calls["good"] > 4 * calls["bad"]
    assert {event.error for event in heard} == {"ValueError"}
    assert "Wunderlich" not in repr(heard)
