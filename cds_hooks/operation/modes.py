"""The switch of each service: on, shadow or off, as every worker sees it within a second.

A worker reads the newest switches four times a second, in a thread of its own, so a call never waits
for them and nothing has to be restarted. A state that is older than a second is not trusted: then no
card is shown, for nobody could be sure that the service was not switched off in between.

| mode | what a call gets | what is recorded |
|---|---|---|
| on | the cards | all |
| shadow | no cards | all, with the cards that would have been shown |
| off | no cards; nothing is computed | that it was asked |
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from enum import Enum

EVERY_S = 0.25
OLDEST_S = 1.0
_PATIENCE_S = 0.1


class Mode(Enum):
    """How a service runs."""

    ON = "on"
    SHADOW = "shadow"
    OFF = "off"

    def and_not_more_than(self, other: Mode) -> Mode:
        """Return the more careful one of two.

        >>> Mode.ON.and_not_more_than(Mode.SHADOW)
        <Mode.SHADOW: 'shadow'>
        """
        order = [Mode.OFF, Mode.SHADOW, Mode.ON]
        return min(self, other, key=order.index)


class Modes:
    """The modes of all services; thread-safe, its thread starts with the first question.

    `read` returns the newest mode by service, those that were ever switched; the others are on.

    >>> modes = Modes(lambda: {"cv-risk": "off"})
    >>> modes.of("cv-risk"), modes.of("opioid-mme")
    (<Mode.OFF: 'off'>, <Mode.ON: 'on'>)
    """

    def __init__(
        self,
        read: Callable[[], Mapping[str, str]],
        *,
        every_s: float = EVERY_S,
        oldest_s: float = OLDEST_S,
    ) -> None:
        self._read = read
        self._every_s = every_s
        self._oldest_s = oldest_s
        self._news = threading.Condition()
        self._modes: Mapping[str, Mode] = {}
        self._as_of: float | None = None
        self._thread: threading.Thread | None = None

    def of(self, service_id: str) -> Mode | None:
        """Return the mode of a service; None when it is not known, which has to count as off."""
        with self._news:
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="cds-modes", daemon=True)
                self._thread.start()
            # on a loaded machine the reader may be late by a little; that is worth a short wait
            if not self._news.wait_for(self._is_fresh, timeout=_PATIENCE_S):
                return None
            return self._modes.get(service_id, Mode.ON)

    def _is_fresh(self) -> bool:
        return self._as_of is not None and time.monotonic() - self._as_of <= self._oldest_s

    def _watch(self) -> None:
        pause = threading.Event()
        while True:
            asked_at = time.monotonic()
            try:
                found = {service: Mode(name) for service, name in self._read().items()}
            except Exception:  # whatever it is: what is known grows old, and then it is not used
                pass
            else:
                with self._news:
                    self._modes, self._as_of = found, asked_at
                    self._news.notify_all()
            pause.wait(self._every_s)


class AlwaysOn:
    """The modes of an installation that has no switches: tests and tools."""

    def of(self, service_id: str) -> Mode | None:
        """Return that the service is on."""
        del service_id
        return Mode.ON
