"""Workers with more than their share of requests ask clients to connect again."""

from __future__ import annotations

import os

import pytest

from fhir_server.cli.balance import Board, Share, opened


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def workers(clock):
    """Three workers, each with its own mapping of the same memory."""
    fd = opened(3)
    yield [Share(Board(fd, 3), number, clock) for number in range(3)]
    os.close(fd)


def busy(clock, *requests, seconds=1.0):
    """Let each worker have so many requests at once, all over some time."""
    for _ in range(4):
        for share, count in requests:
            share.change(count)
        clock.now += seconds / 4
        for share, count in requests:
            share.change(-count)


def let_go(share):
    count = 0
    while share.lets_go():
        count += 1
    return count


@pytest.mark.parametrize(
    ("requests", "closings"),
    [
        ((0, 0, 0), [0, 0, 0]),
        ((1, 0, 0), [0, 0, 0]),
        ((2, 1, 1), [0, 0, 0]),  # one of them somewhere else would be no better
        ((2, 0, 1), [1, 0, 0]),
        ((9, 0, 0), [6, 0, 0]),
        ((5, 5, 5), [0, 0, 0]),
        ((8, 7, 3), [2, 1, 0]),
    ],
)
def test_who_has_more_than_its_share_ends_connections(workers, clock, requests, closings):
    for _ in range(2):  # the second time everybody knows of everybody
        busy(clock, *zip(workers, requests, strict=True))
    assert [let_go(share) for share in workers] == closings


def test_what_others_had_long_ago_does_not_count(workers, clock):
    busy(clock, (workers[1], 8), (workers[2], 8))
    clock.now += 5
    busy(clock, (workers[0], 4))
    assert let_go(workers[0]) == 3


def test_a_worker_that_is_down_is_nobody_to_leave_requests_to(workers, clock):
    fd = opened(2)
    board, share = Board(fd, 2), Share(Board(fd, 2), 0, clock)
    os.close(fd)
    board.is_up(1, False)
    busy(clock, (share, 6))
    assert let_go(share) == 0
    board.is_up(1, True)
    busy(clock, (share, 6))
    assert let_go(share) == 3


def test_once_is_not_enough(workers, clock):
    busy(clock, (workers[1], 0), (workers[2], 0))
    workers[0].change(9)
    clock.now += 0.3
    workers[0].change(-9)
    assert let_go(workers[0]) == 0
    workers[0].change(9)
    clock.now += 0.3
    workers[0].change(-9)
    assert let_go(workers[0]) == 6


def test_short_peaks_are_no_load(workers, clock):
    busy(clock, (workers[1], 1), (workers[2], 1))
    for _ in range(20):
        workers[0].change(10)
        clock.now += 0.001
        workers[0].change(-10)
        clock.now += 0.049
    assert let_go(workers[0]) == 0
