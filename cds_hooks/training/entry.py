"""One table of a TOML file, read key by key: what is missing, wrong or too much is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UNSET: Any = object()


class DescriptionError(ValueError):
    """A description does not say what it has to; the message names table, key and what would do."""


class Entry:
    """A table and which of its keys were asked for; `finish` refuses the rest.

    >>> Entry("a.toml", {"id": "x", "idd": "y"}).finish()
    Traceback (most recent call last):
    cds_hooks.training.entry.DescriptionError: a.toml: unknown key id; nothing may stand here
    """

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self._where = where
        self._values = values
        self._asked: set[str] = set()
        self._parts: list[Entry] = []

    def finish(self) -> None:
        """Raise DescriptionError for the first key, here or in a table below, that nobody asked for."""
        for key in self._values:
            if key not in self._asked:
                known = ", ".join(sorted(self._asked))
                says = f"known are {known}" if known else "nothing may stand here"
                raise DescriptionError(f"{self._where}: unknown key {key}; {says}")
        for part in self._parts:
            part.finish()

    def text(self, key: str, default: str = _UNSET) -> str:
        """Return a text; without default it has to be there."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, value, "a text")
        return value

    def text_or_none(self, key: str) -> str | None:
        """Return a text, or None where the key is absent."""
        return None if self._get(key, None) is None else self.text(key)

    def texts(self, key: str, default: tuple[str, ...] = _UNSET) -> tuple[str, ...]:
        """Return a list of texts."""
        value = self._get(key, default)
        if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
            raise self._wrong(key, value, "a list of texts")
        return tuple(value)

    def number(self, key: str) -> float | None:
        """Return a number, or None where the key is absent."""
        value = self._get(key, None)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise self._wrong(key, value, "a number")
        return None if value is None else float(value)

    def whole(self, key: str, default: int) -> int:
        """Return a whole number above 1."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 2:
            raise self._wrong(key, value, "a whole number above 1")
        return value

    def flag(self, key: str) -> bool:
        """Return true or false; absent is false."""
        value = self._get(key, False)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        """Return a table as it is (codings, conditions); absent is empty."""
        value = self._get(key, {})
        if not isinstance(value, dict):
            raise self._wrong(key, value, "a table")
        return value

    def table(self, key: str) -> Entry:
        """Return a table that has to be there."""
        found = self.optional(key)
        if found is None:
            raise DescriptionError(f"{self._where}: the table [{key}] is missing")
        return found

    def optional(self, key: str) -> Entry | None:
        """Return a table, or None."""
        value = self._get(key, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._wrong(key, value, f"a table [{key}]")
        return self._part(f"{self._where} [{key}]", value)

    def tables(self, key: str) -> list[Entry]:
        """Return the tables of an array ([[key]]); absent is empty."""
        value = self._get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self._wrong(key, value, f"tables [[{key}]]")
        return [
            self._part(f"{self._where} [[{key}]] {one.get('name', number)}", one)
            for number, one in enumerate(value, 1)
        ]

    def _part(self, where: str, values: Mapping[str, Any]) -> Entry:
        self._parts.append(Entry(where, values))
        return self._parts[-1]

    def _get(self, key: str, default: Any) -> Any:
        self._asked.add(key)
        if key in self._values:
            return self._values[key]
        if default is _UNSET:
            raise DescriptionError(f"{self._where}: the key {key} is missing")
        return default

    def _wrong(self, key: str, value: Any, wanted: str) -> DescriptionError:
        return DescriptionError(f"{self._where}: {key} is {value!r}; expected is {wanted}")
