"""Answers that may be unknown: True, False or None (Kleene's three-valued logic)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

Answer: TypeAlias = bool | None


def every(answers: Iterable[Answer]) -> Answer:
    """Return whether all are true: one False decides, whatever is unknown.

    >>> every([True, True]), every([None, False]), every([True, None])
    (True, False, None)
    """
    result: Answer = True
    for answer in answers:
        if answer is False:
            return False
        if answer is None:
            result = None
    return result


def some(answers: Iterable[Answer]) -> Answer:
    """Return whether at least one is true: one True decides.

    >>> some([False, False]), some([None, True]), some([False, None])
    (False, True, None)
    """
    result: Answer = False
    for answer in answers:
        if answer is True:
            return True
        if answer is None:
            result = None
    return result


def negated(answer: Answer) -> Answer:
    """Return the opposite; of the unknown that is unknown.

    >>> negated(True), negated(None)
    (False, None)
    """
    return None if answer is None else not answer
