"""A clock that stands still until a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class FixedClock:
    """Called, it gives an aware UTC datetime.

    >>> clock = FixedClock()
    >>> clock.advance(seconds=1.5); clock().isoformat()
    '2026-01-02T03:04:06.500000+00:00'
    """

    def __init__(self, now: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **difference: float) -> None:
        """Move on by a timedelta's arguments."""
        self.now += timedelta(**difference)
