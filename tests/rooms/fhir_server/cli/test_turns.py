"""Turns: how many requests are worked on at once, and in which order they get to it."""

from __future__ import annotations

import threading

from fhir_server.cli.http_worker import Turns
from tests.support.server import wait_for


def waiting(turns, number):
    """Ask for a turn in a thread of its own, which ends once it has it."""
    thread = threading.Thread(target=turns.take, name=f"asks-{number}", daemon=True)
    thread.start()
    return thread


def test_whoever_waited_longest_is_next():
    turns = Turns(2, 60.0)
    turns.take()
    turns.take()
    threads = []
    for number in range(5):
        threads.append(waiting(turns, number))
        wait_for(lambda number=number: len(turns._queue) == number + 1)
    for number, thread in enumerate(threads):
        turns.give_back()
        thread.join(10)
        assert not thread.is_alive()
        assert all(later.is_alive() for later in threads[number + 1 :])


def test_a_turn_that_is_handed_on_is_not_free_for_a_newcomer():
    turns = Turns(1, 60.0)
    turns.take()
    first = waiting(turns, 1)
    wait_for(lambda: len(turns._queue) == 1)
    turns.give_back()  # now it is the first one's, whether his thread runs already or not
    second = waiting(turns, 2)
    first.join(10)
    assert not first.is_alive()
    wait_for(lambda: len(turns._queue) == 1)
    assert second.is_alive()
    turns.give_back()
    second.join(10)
    assert not second.is_alive()


def test_who_reads_a_body_has_no_turn_meanwhile():
    turns = Turns(1, 60.0)
    turns.take()

    def read():
        turns.take()  # free: would wait for ever otherwise
        turns.give_back()
        return b"piece"

    assert turns.read("request", read) == b"piece"
    taken = waiting(turns, 1)
    wait_for(lambda: len(turns._queue) == 1)  # the reader has his turn back
    turns.give_back()
    taken.join(10)
    assert not taken.is_alive()
