"""Who switched which service to what, when and why: rows that are never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fhir_server.database.engine import Engine, Mode
from fhir_server.outcome import Invalid

TENANT = 0
MODES = ("on", "shadow", "off")
_LONGEST = 2000

_INSERT = """
INSERT INTO cds_switch (tenant, switched_at, service, mode, by_whom, reason)
VALUES (%s, %s, %s, %s, %s, %s)
"""
_NEWEST = """
SELECT DISTINCT ON (service) service, mode FROM cds_switch WHERE tenant = %s ORDER BY service, pk DESC
"""
_HISTORY = """
SELECT service, mode, by_whom, reason, switched_at FROM cds_switch
WHERE tenant = %s AND (%s::text IS NULL OR service = %s) ORDER BY pk DESC LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Switch:
    """One turn of a switch."""

    service: str
    mode: str
    by: str
    reason: str
    at: datetime


class Switches:
    """The switches of an installation in Postgres."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def turn(self, switch: Switch) -> None:
        """Keep a turn of a switch; workers follow within a second.

        Raises Invalid (400) for a mode that is none, or when nobody or no reason is named.
        """
        if switch.mode not in MODES:
            raise Invalid(f"the mode is {switch.mode!r}; it can be {', '.join(MODES)}", expression="mode")
        for name, text in (("by", switch.by), ("reason", switch.reason)):
            if not text.strip() or len(text) > _LONGEST or "\0" in text:
                raise Invalid(f"say {name!r}, in at most {_LONGEST} characters", expression=name)
        with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            cursor.execute(
                _INSERT,
                (TENANT, switch.at, switch.service, switch.mode, switch.by.strip(), switch.reason.strip()),
            )

    def newest(self) -> Mapping[str, str]:
        """Return the mode of every service that was ever switched."""
        with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            cursor.execute(_NEWEST, (TENANT,))
            return dict(cursor.fetchall())

    def history(self, service: str | None = None, count: int = 50) -> list[Switch]:
        """Return the newest turns first."""
        with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            cursor.execute(_HISTORY, (TENANT, service, service, count))
            return [Switch(*row) for row in cursor.fetchall()]
