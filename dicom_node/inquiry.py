"""A query, written down: who asked what of us (PS3.15 A.5.3.10, DCM 110112).

C-FIND and QIDO-RS note it alike, one row a query. It does not wait for the disk: what a crash of the
database in the next moment would lose is a line about a question, no answer to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from dicom_node import audit
from dicom_node.index.conditions import Match
from fhir_server.database.engine import Engine, Mode

LONGEST = 4_000


def note(
    engine: Engine, at: datetime, source: audit.Party, destination: audit.Party, sop_class: str, query: str,
    outcome: audit.Outcome = audit.Outcome.SUCCESS, reason: str = "",
) -> None:  # fmt: skip
    """Write a query down and commit. Raises Unavailable."""
    event = audit.Event(
        audit.Kind.QUERY,
        at,
        outcome,
        source,
        destination,
        sop_class=sop_class,
        query=query[:LONGEST],
        reason=reason,
    )
    with engine.connection(Mode.SINGLE) as connection:
        audit.note(_AtOnce(connection.cursor()), event)


class _AtOnce:
    """A cursor whose statement is a transaction of its own, in one journey to the database."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def execute(self, sql: str, parameters: Any) -> None:
        whole = f"BEGIN; SET LOCAL synchronous_commit = off; {sql}; COMMIT"
        self._cursor.execute(whole, parameters)


def written(level: str, matches: Iterable[Match]) -> str:
    """Return the keys of a query as text.

    >>> written("STUDY", [Match(("00100020",), "P1"), Match(("00080020",), "")])
    'STUDY 00100020=P1'
    """
    keys = (f"{'.'.join(match.path)}={match.value}" for match in matches if not match.universal)
    return " ".join([level, *keys])
