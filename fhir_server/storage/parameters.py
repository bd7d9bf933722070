"""The search parameters that R4 does not define: their definitions, and what is indexed by them.

They have a generation of their own, a number in one row. Every unit that writes guards it: it runs
again when it indexed by parameters that are no longer all there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.database.unit_of_work import UnitOfWork
from fhir_server.definitions.structures import type_code, type_name
from fhir_server.definitions.versions import order
from fhir_server.model import json_format
from fhir_server.search import keys
from fhir_server.search.ast import Parameter
from fhir_server.search.defined import from_json
from fhir_server.storage.version import BODY, COLUMNS, from_row

INDEXING, READY, GONE = "indexing", "ready", "gone"
Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """One parameter of one type: a row of search_parameter. `definition` is what `as_json` made."""

    pk: int
    type_name: str
    state: str
    code: str
    url: str
    definition: dict[str, Any]

    @property
    def index(self) -> str:
        """The name under which its rows and keys stand; no other definition ever has it."""
        return f"{self.code}@{self.pk}"

    def parameter(self) -> Parameter:
        """Return the parameter as search and indexing know it."""
        return from_json(self.type_name, self.code, self.url, self.index, self.definition)


_COLUMNS = "p.pk, p.type, p.state, p.code, p.url, p.definition"


def _kept(row: Sequence[Any]) -> Kept:
    pk, type_, state, code, url, definition = row
    return Kept(pk, type_name(type_), state, code, url, json_format.parse(definition.encode()))


def generation(unit: UnitOfWork) -> int:
    """Return the generation of the parameters."""
    return int(unit.execute("SELECT parameters_generation FROM installation")[0][0])


def guard(unit: UnitOfWork, known: int) -> None:
    """Let the unit fail, to be run again, unless `known` is the generation; costs no round trip."""
    unit.defer_prepared(
        "SELECT FROM installation WHERE parameters_generation = %s OR definitions_changed()", (known,)
    )


def changed(unit: UnitOfWork) -> None:
    """Begin a new generation, with the commit of this unit."""
    unit.defer("UPDATE installation SET parameters_generation = parameters_generation + 1")


def lock(unit: UnitOfWork) -> None:
    """Let nobody else settle what is indexed until this unit ends: the statements behind it see it all."""
    unit.execute("SELECT FROM installation FOR UPDATE")


def columns(unit: UnitOfWork) -> set[int]:
    """Return the column hashes of all parameters that have rows, those that are gone too."""
    rows = unit.execute("SELECT type, code, pk FROM search_parameter")
    found: set[int] = set()
    for code, name, pk in rows:
        found |= columns_of(type_name(code), f"{name}@{pk}")
    return found


def columns_of(name: str, index: str) -> set[int]:
    """Return the column hashes under which the rows of one parameter stand."""
    return {keys.column_hash(name, index), keys.column_hash(name, f"{index}:text")}


def load(unit: UnitOfWork) -> tuple[int, list[Kept]]:
    """Return the generation and what is indexed in it, both of one moment."""
    rows = unit.execute(
        f"SELECT parameters_generation, {_COLUMNS} FROM installation LEFT JOIN search_parameter AS p "
        "ON p.tenant = 0 AND p.state <> 'gone' ORDER BY p.pk"
    )
    return rows[0][0], [_kept(row[1:]) for row in rows if row[1] is not None]


def some(unit: UnitOfWork, pks: Sequence[int]) -> list[Kept]:
    """Return parameters, those among them that are gone too."""
    rows = unit.execute(f"SELECT {_COLUMNS} FROM search_parameter AS p WHERE p.pk = ANY(%s)", (list(pks),))
    return [_kept(row) for row in rows]


def add(unit: UnitOfWork, parameter: Parameter, definition: dict[str, Any], pk: int) -> None:
    """Begin to index by a parameter, under a pk that `next_pk` gave."""
    unit.defer(
        "INSERT INTO search_parameter (pk, type, state, code, url, definition) "
        "OVERRIDING SYSTEM VALUE VALUES (%s, %s, 'indexing', %s, %s, %s)",
        (pk, type_code(parameter.type_name), parameter.code, parameter.url, _text(definition)),
    )


def next_pk(unit: UnitOfWork) -> int:
    """Return a pk that no parameter ever had."""
    name = "pg_get_serial_sequence('search_parameter', 'pk')"
    return int(unit.execute(f"SELECT nextval({name})")[0][0])


def describe(unit: UnitOfWork, pk: int, url: str, definition: dict[str, Any]) -> None:
    """Change what makes no difference to the rows of a parameter: its url, its targets."""
    unit.defer(
        "UPDATE search_parameter SET url = %s, definition = %s WHERE pk = %s", (url, _text(definition), pk)
    )


def retire(unit: UnitOfWork, pks: Sequence[int]) -> None:
    """Stop indexing by parameters; their rows are cleared away by a run over the type."""
    unit.defer("UPDATE search_parameter SET state = 'gone' WHERE pk = ANY(%s)", (list(pks),))


def finish(unit: UnitOfWork, pks: Sequence[int], job: int) -> None:
    """Make ready what a job has indexed, and forget what it has cleared away, in all its types."""
    whole = (
        "pk = ANY(%s) AND NOT EXISTS (SELECT FROM reindex_type AS t WHERE t.job = %s AND NOT t.done "
        "AND search_parameter.pk = ANY(t.parameters))"
    )
    unit.defer(
        f"UPDATE search_parameter SET state = 'ready' WHERE {whole} AND state = 'indexing'", (list(pks), job)
    )
    unit.defer(f"DELETE FROM search_parameter WHERE {whole} AND state = 'gone'", (list(pks), job))
    changed(unit)


def containers(unit: UnitOfWork, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return (type, type of a container) of the contained resources of some types."""
    rows = unit.execute(
        "SELECT DISTINCT type, container_type FROM contained WHERE tenant = 0 AND type = ANY(%s::smallint[])",
        ([type_code(name) for name in names],),
    )
    return [(type_name(inner), type_name(outer)) for inner, outer in rows]


def _text(definition: dict[str, Any]) -> str:
    return json_format.encode(definition).decode()


@dataclass(frozen=True, slots=True)
class Definition:
    """A SearchParameter that is here: `id` of a stored resource, or `package`, its key."""

    resource: Resource
    id: str | None
    package: int | None
    pk: int

    @property
    def url(self) -> str:
        """Its canonical without a version; a stored one without url counts by its address."""
        return str(self.resource.get("url") or f"SearchParameter/{self.id}")


def definitions(unit: UnitOfWork) -> list[Definition]:
    """Return the SearchParameters that are here, the newest of each url, stored ones first.

    Of several in one version that of a package counts, of the one that was installed last.
    """
    code = type_code("SearchParameter")
    rows = unit.execute(
        f"SELECT {COLUMNS} FROM resource AS r JOIN {BODY} WHERE r.tenant = 0 AND r.type = %s "
        "AND NOT r.deleted ORDER BY r.pk",
        (code,),
    )
    found = [
        Definition(json_format.parse(version.text().encode()), version.id, None, version.pk)
        for version in map(from_row, rows)
    ]
    rows = unit.execute(
        "SELECT content, package, pk FROM definition WHERE tenant = 0 AND type = %s ORDER BY pk", (code,)
    )
    found += [Definition(json_format.parse(text.encode()), None, of, pk) for text, of, pk in rows]
    newest: dict[str, Definition] = {}
    for each in found:
        other = newest.get(each.url)
        if other is None or _age(each) > _age(other):
            newest[each.url] = each
    return sorted(newest.values(), key=lambda each: (each.package is not None, each.pk))


def _age(definition: Definition) -> tuple[Any, ...]:
    version = str(definition.resource.get("version", ""))
    return order(version), definition.package or 0, definition.pk


def failures(unit: UnitOfWork, pks: Sequence[int]) -> int:
    """Return of how many resources the index by some of the parameters is not known."""
    return int(
        unit.execute(
            "SELECT count(DISTINCT pk) FROM unindexed JOIN resource USING (tenant, type, pk) "
            "WHERE parameter = ANY(%s)",
            (list(pks),),
        )[0][0]
    )
