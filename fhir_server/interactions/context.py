"""What every interaction is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fhir_server.authorization.grant import Grant
from fhir_server.database.unit_of_work import UnitOfWork
from fhir_server.outcome import Issue
from fhir_server.storage.version import Version

Clock = Callable[[], datetime]
"""Gives the present moment as an aware datetime."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an installation decides about its interactions.

    `base_urls` are the addresses of the FHIR base, the first one being that of our links;
    `cursor_key` seals the cursors of paging.
    """

    base_urls: tuple[str, ...]
    cursor_key: bytes
    time_zone: str = "UTC"
    default_count: int = 20
    max_count: int = 1000
    max_includes: int = 1000
    max_bundle_entries: int = 20_000

    @property
    def base_url(self) -> str:
        """Return the address that our links begin with."""
        return self.base_urls[0]


@dataclass(frozen=True, slots=True)
class Context:
    """One caller's unit of work: on which transaction, for whom, when, in which installation."""

    unit: UnitOfWork
    grant: Grant
    clock: Clock
    settings: Settings

    def now(self) -> str:
        """Return the present moment as a FHIR instant with milliseconds in UTC."""
        return instant(self.clock())


@dataclass(frozen=True, slots=True)
class Result:
    """What an interaction came to: a status and a version or a text of JSON.

    `version` is the state that the answer speaks of (None for Bundles and deletions of what
    never was); `text` is a whole Bundle or other answer as JSON text; `issues` are what the
    caller should know beside it; `changes` counts the versions that were made.
    """

    status: int
    version: Version | None = None
    text: str | None = None
    issues: tuple[Issue, ...] = ()
    changes: int = 0


def instant(moment: datetime) -> str:
    """Return a moment as a FHIR instant.

    >>> instant(datetime(2026, 1, 2, 3, 4, 5, 678999, tzinfo=UTC))
    '2026-01-02T03:04:05.678Z'
    """
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def utc_now() -> datetime:
    """Return the present moment; the clock of a running installation."""
    return datetime.now(UTC)


Resource = dict[str, Any]
"""A resource as JSON: numbers with a point are Decimals."""
