"""Events as JSON lines, one each, on standard error; and other people's logging, tamed.

Text that is no code, id or path is withheld: a library's message may quote a data set or a
query. What is left of a foreign record is its logger, its level, its place in the source and
the kinds of error in it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, TextIO

from fhir_server.observability.events import Event, Measured, crashed

_SAFE = re.compile(r"[A-Za-z0-9._:/@+<>$*-]{0,2000}")
_PLAIN_SPEAKERS = ("_granian", "fhir_server.cli")  # their messages hold no request data


class JsonLines:
    """A listener that writes each event as one line, with the time and the process's name.

    Without `routine` only of what went wrong.
    """

    def __init__(self, process: str, stream: TextIO | None = None, *, routine: bool = True) -> None:
        self._process = process
        self._stream = stream
        self._routine = routine
        self._encode = json.JSONEncoder().encode

    def __call__(self, event: Event) -> None:
        if isinstance(event, Measured) or (event.routine and not self._routine):
            return
        what, names = _shape(type(event))  # type: ignore[arg-type]
        self.write(what, {name: getattr(event, name) for name in names})

    def write(self, what: str, facts: dict[str, Any]) -> None:
        """Write a line; facts that might be more than a code are withheld."""
        line: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "process": self._process,
            "event": what,
        }
        for name, value in facts.items():
            line[name] = _guarded(value)
        # One write, so that lines of several processes do not mix.
        stream = self._stream or sys.stderr
        stream.write(f"{self._encode(line)}\n")
        stream.flush()


class Foreign(logging.Handler):
    """Turns records of other people's loggers into lines without their messages."""

    def __init__(self, lines: JsonLines) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        facts: dict[str, Any] = {
            "logger": record.name,
            "level": record.levelname.lower(),
            "where": f"{record.filename}:{record.lineno}",
        }
        if record.name.startswith(_PLAIN_SPEAKERS) and not record.exc_info:
            facts["message"] = re.sub(r"[^A-Za-z0-9._:/@+-]+", "-", record.getMessage())
        if record.exc_info and record.exc_info[1] is not None:
            found = crashed(record.exc_info[1])
            facts.update(error=found.error, trace=found.where)
        self._lines.write("log", facts)


def take_over(lines: JsonLines) -> None:
    """Let all logging and all warnings of this process go through `lines`; for entry points only."""
    logging.captureWarnings(True)
    root = logging.getLogger()
    for handler in [*root.handlers]:
        root.removeHandler(handler)
    root.addHandler(Foreign(lines))
    root.setLevel(logging.WARNING)
    sys.excepthook = lambda kind, error, trace: lines(crashed(error.with_traceback(trace)))


def _guarded(value: Any) -> Any:
    """Return a number, flag, None, code or id as it is, a tuple of them as a list, anything else withheld.

    >>> _guarded("search-type"), _guarded("Smith, John")
    ('search-type', '(withheld)')
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, tuple):
        return [_guarded(each) for each in value]
    return value if isinstance(value, str) and _is_safe(value) else "(withheld)"


@lru_cache(maxsize=512)
def _is_safe(text: str) -> bool:
    return _SAFE.fullmatch(text) is not None


@cache
def _shape(kind: type[Event]) -> tuple[str, tuple[str, ...]]:
    """Return the name of a kind of event in the log, and those of its facts."""
    return _kebab(kind.__name__), tuple(setting.name for setting in fields(kind))  # type: ignore[arg-type]


def _kebab(name: str) -> str:
    """Write a class name as an event's name.

    >>> _kebab("RequestServed")
    'request-served'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
