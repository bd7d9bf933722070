"""JSON Web Key Sets of others (RFC 7517): fetched, checked, kept for a while.

Only addresses that an operator has allowed are ever asked; who calls cannot make us ask another one. A
set is fresh for ten minutes. A kid that it lacks makes us ask again, as keys are rotated, but not more
often than every half minute, and after failures less and less often: who invents kids cannot make us ask
on. A set that cannot be renewed serves for an hour more, so that a short outage of the other side locks
nobody out; after that its keys count no longer, as one of them may have been withdrawn.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fhir_server.authorization.outbound import NotReached, Resolve, Session, origin_of, resolve

FRESH_S = 600.0
USABLE_S = 3600.0
BACK_OFF_S = 30.0
LONGEST_BACK_OFF_S = 600.0
TIMEOUT_S = 2.0
MOST_BYTES = 256 * 1024
MOST_KEYS = 100

Key = Mapping[str, Any]
"""A JSON Web Key."""


class KeySetError(Exception):
    """A key set could not be had or is none; the text is for the operator and the caller alike."""


def read(document: Any) -> tuple[Key, ...]:
    """Return the keys of a JWK Set that has been parsed.

    >>> read({"keys": [{"kty": "EC", "kid": "a"}]})
    ({'kty': 'EC', 'kid': 'a'},)

    Raises KeySetError for what is no set. A key that we cannot use is left in; who verifies looks at it.
    """
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise KeySetError("it is no JWK Set: an object with a list of keys")
    if len(keys) > MOST_KEYS:
        raise KeySetError(f"it has {len(keys)} keys; at most {MOST_KEYS} are read")
    return tuple(keys)


@dataclass(slots=True)
class _Kept:
    """What is known of one address."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    keys: tuple[Key, ...] = ()
    fetched_at: float = float("-inf")
    asked_at: float = float("-inf")
    failures: int = 0

    def with_kid(self, kid: str, now: float) -> list[Key]:
        """Return the keys of a kid, as long as the set may be used."""
        if now - self.fetched_at > USABLE_S:
            return []
        return [key for key in self.keys if key.get("kid") == kid]

    def may_ask(self, now: float) -> bool:
        """Whether enough time has passed since it was asked last."""
        wait = BACK_OFF_S if self.failures == 0 else min(2.0**self.failures, LONGEST_BACK_OFF_S)
        return now - self.asked_at >= wait


class KeySets:
    """The key sets of one process, by their addresses. Threads share it."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        timeout_s: float = TIMEOUT_S,
        resolver: Resolve = resolve,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._resolver = resolver
        self._context = context
        self._lock = threading.Lock()
        self._sets: dict[str, _Kept] = {}

    def keys(self, url: str, kid: str) -> Sequence[Key]:
        """Return the keys of a kid at an allowed address; none when it does not have it.

        One thread asks, the others wait for it. Raises KeySetError when nothing could be had.
        """
        with self._lock:
            kept = self._sets.setdefault(url, _Kept())
        now = self._clock()
        found = kept.with_kid(kid, now)
        if found and now - kept.fetched_at <= FRESH_S:
            return found
        if not kept.lock.acquire(timeout=self._timeout_s):
            return found
        try:
            if kept.fetched_at <= now and kept.may_ask(now):
                self._renew(kept, url, now)
            elif now - kept.fetched_at > USABLE_S:
                raise KeySetError("it could not be had a moment ago; it is asked for again shortly")
            return kept.with_kid(kid, self._clock())
        except KeySetError:
            if found:
                return found
            raise
        finally:
            kept.lock.release()

    def _renew(self, kept: _Kept, url: str, now: float) -> None:
        kept.asked_at = now
        try:
            kept.keys = self._fetch(url)
        except KeySetError:
            kept.failures += 1
            raise
        kept.failures = 0
        kept.fetched_at = self._clock()

    def _fetch(self, url: str) -> tuple[Key, ...]:
        origin = origin_of(url)
        if origin is None:
            raise KeySetError("its address is no URL")
        deadline = time.monotonic() + self._timeout_s
        try:
            with Session(
                origin,
                deadline=deadline,
                most_bytes=MOST_BYTES,
                resolver=self._resolver,
                context=self._context,
            ) as session:
                answer = session.get(url, {"Accept": "application/jwk-set+json, application/json"})
        except NotReached as error:
            raise KeySetError(f"it could not be had: {error.code}") from error
        if answer.status != 200:
            raise KeySetError(f"its server answered {answer.status}")
        try:
            return read(msgspec.json.decode(answer.body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise KeySetError("it is no JSON") from error
