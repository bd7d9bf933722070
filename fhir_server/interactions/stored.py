"""What the values of a search ask of the stored resources: units that there are, what is part of what."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fhir_server.definitions.structures import type_code, type_name
from fhir_server.outcome import Invalid
from fhir_server.schema.names import CONTAINED
from fhir_server.search import hierarchy, units
from fhir_server.search.ast import Parameter
from fhir_server.search.compile import compile_types
from fhir_server.search.hierarchy import Execute


class TooManyUnits(Invalid):
    """400: a parameter with more units than can be converted into."""

    code = "too-costly"


class StoredValues:
    """The Stored of one unit of work; `execute` runs a statement on it. Nothing is looked up unasked.

    `prepared` runs one that has no values, or whose plan does not depend on them.
    """

    def __init__(self, execute: Execute, prepared: Execute | None = None) -> None:
        self._execute = execute
        self._prepared = prepared or execute
        self._contained: frozenset[str] | None = None

    def units(self, parameter: Parameter) -> Sequence[str]:
        """Return the UCUM codes that the quantities of a parameter have; raises TooManyUnits (400)."""
        rows = self._prepared(units.statement(parameter), ())
        if len(rows) > units.MOST:
            raise TooManyUnits(
                f"{parameter.code} has more than {units.MOST} units; ask by the code alone, 5.4||mg, "
                "which converts nothing"
            )
        return units.codes([(row[0], row[1]) for row in rows])

    def below(self, type_name: str, id: str) -> Sequence[str]:
        """Return the ids of a resource and of all that are part of it; raises TooManyParts (400)."""
        return hierarchy.below(self._execute, type_name, id)

    def above(self, type_name: str, id: str) -> Sequence[str]:
        """Return the ids of a resource and of all that it is a part of; raises TooManyParts (400)."""
        return hierarchy.above(self._execute, type_name, id)

    def lacks_words(self, type_name: str) -> bool:
        """Tell whether some resources of a type were written while their words were not indexed."""
        sql = "SELECT FROM text_missing WHERE tenant = 0 AND type = %s"
        return bool(self._prepared(sql, (type_code(type_name),)))

    def contained(self) -> Collection[str]:
        """Return the resource types of which there are contained ones: one step of an index a type."""
        if self._contained is None:
            statement = compile_types(CONTAINED)
            rows = self._prepared(statement.sql, statement.parameters)
            self._contained = frozenset(type_name(code) for (code,) in rows)
        return self._contained
