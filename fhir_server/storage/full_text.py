"""Of which types the words are indexed wholly, and of which resources not all words are.

A process whose setting leaves types out writes their resources without words. It says so before it writes
anything (`text_missing`), so that whoever turns the types on later knows that a run of reindexing has to
come first, whatever happened in between.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fhir_server.database.engine import Engine
from fhir_server.database.unit_of_work import UnitOfWork, run_write
from fhir_server.definitions.structures import resource_types, type_code, type_name


class LeftOut:
    """Says once in the life of a process which types it writes without words."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said = False

    def say(self, engine: Engine, full_text: Collection[str]) -> None:
        """Write down the types that are not among `full_text`, in a transaction of its own.

        Of its own: writers that wait here for each other hold nothing else.
        """
        if not self._said:
            codes = [type_code(name) for name in resource_types() if name not in full_text]
            if codes:
                run_write(engine, (), lambda unit: _mark(unit, codes))
            self._said = True


def _mark(unit: UnitOfWork, codes: Sequence[int]) -> None:
    unit.execute(
        "INSERT INTO text_missing (type) SELECT unnest(%s::smallint[]) ON CONFLICT DO NOTHING", (list(codes),)
    )


def lacking(unit: UnitOfWork) -> frozenset[str]:
    """Return the types of which some resources may have no words in the index."""
    return frozenset(
        type_name(code) for (code,) in unit.execute("SELECT type FROM text_missing WHERE tenant = 0")
    )


def complete(unit: UnitOfWork, name: str) -> None:
    """Write that all resources of a type have their words."""
    unit.defer("DELETE FROM text_missing WHERE tenant = 0 AND type = %s", (type_code(name),))


def cut(unit: UnitOfWork) -> dict[str, int]:
    """Return how many resources of which types have more words than are indexed; few have."""
    rows = unit.execute(
        "SELECT type, count(*) FROM (SELECT (SELECT v.type FROM resource_version AS v WHERE v.tenant = 0 "
        "AND v.pk = x.pk LIMIT 1) AS type FROM idx_text AS x WHERE x.tenant = 0 AND x.cut) AS cut "
        "GROUP BY type ORDER BY type"
    )
    return {type_name(code): number for code, number in rows}
