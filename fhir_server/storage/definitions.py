"""Looking up definitions: those of packages, and those that clients store as ordinary resources.

All of them together have a generation, a number in one row. Every statement here that looks something
up gives the generation that it saw, so that nobody mixes two states of an installation.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

from fhir_server.database.changes import Change
from fhir_server.database.unit_of_work import UnitOfWork
from fhir_server.definitions.structures import type_code, type_name
from fhir_server.definitions.versions import order
from fhir_server.search import keys
from fhir_server.search.registry import standard

STORED = frozenset(
    ("StructureDefinition", "ValueSet", "CodeSystem", "ConceptMap", "Questionnaire", "SearchParameter")
)
"""The types of which a resource that a client stores is known to validation."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a definition stands: in `package` (its key), or with None as a stored resource.

    A place never changes its content: the rows of packages do not, and a resource has a version.
    """

    package: int | None
    pk: int
    row_version: int
    version: str


def generation(unit: UnitOfWork) -> int:
    """Return the generation of the definitions."""
    return int(unit.execute("SELECT definitions_generation FROM installation")[0][0])


def guard(unit: UnitOfWork, known: int) -> None:
    """Let the unit fail, to be run again, unless `known` is the generation; costs no round trip."""
    # the function, which raises, is called only where the numbers differ: a plain look costs 5 µs
    unit.defer_prepared(
        "SELECT FROM installation WHERE definitions_generation = %s OR definitions_changed()", (known,)
    )


def changed(unit: UnitOfWork) -> None:
    """Begin a new generation, with the commit of this unit."""
    unit.defer("UPDATE installation SET definitions_generation = definitions_generation + 1")


def notice(unit: UnitOfWork, changes: Collection[Change]) -> None:
    """Begin a new generation when definitions are among the changes of a unit (a listener)."""
    if any(change.type_name in READ for change in changes):
        changed(unit)


_PLACES = """
SELECT definitions_generation, p.* FROM installation LEFT JOIN (
    SELECT package, pk, 0 AS row_version, version FROM definition
    WHERE tenant = 0 AND type = %(type)s AND url = %(url)s
    UNION ALL
    SELECT NULL, r.pk, r.version, coalesce(c.content->>'version', '') FROM resource AS r
    CROSS JOIN LATERAL (SELECT v.content::jsonb FROM resource_version AS v
        WHERE v.tenant = 0 AND v.pk = r.pk AND v.version = r.version OFFSET 0) AS c
    WHERE r.tenant = 0 AND r.type = %(type)s AND r.keys @> ARRAY[%(key)s]::uuid[] AND NOT r.deleted
    AND c.content->>'url' = %(url)s AND %(stored)s
) AS p ON true
"""


def places(unit: UnitOfWork, type_name: str, url: str) -> tuple[int, list[Place]]:
    """Return the generation, and every place where a definition with this url stands."""
    rows = unit.execute(
        _PLACES,
        {
            "type": type_code(type_name),
            "url": url,
            "key": keys.key(type_name, _column(type_name), url) if type_name in STORED else None,
            "stored": type_name in STORED,
        },
    )
    return rows[0][0], [Place(*row[1:]) for row in rows if row[2] is not None]


@cache
def _column(type_name: str) -> str:
    """Return under which parameter the index keeps `url`: CodeSystem has it as `system`."""
    return standard().for_type(type_name)["url"].sources[0]


def content(unit: UnitOfWork, type_name: str, place: Place) -> str | None:
    """Return the JSON text of a definition, None when it has gone or is another one meanwhile."""
    if place.package is not None:
        rows = unit.execute("SELECT content FROM definition WHERE pk = %s", (place.pk,))
    else:
        rows = unit.execute(
            "SELECT v.content FROM resource AS r JOIN resource_version AS v USING (tenant, pk, version) "
            "WHERE tenant = 0 AND r.type = %s AND pk = %s AND version = %s AND NOT r.deleted",
            (type_code(type_name), place.pk, place.row_version),
        )
    return rows[0][0] if rows else None


READ = STORED | {"OperationDefinition"}
"""The types whose definitions are read although nobody has stored them as resources."""


def of_packages_by_url(unit: UnitOfWork, type_name: str, url: str) -> str | None:
    """Return the JSON text of the newest definition that packages have of a url, None without one."""
    rows = unit.execute(
        "SELECT version, package, pk, content FROM definition WHERE tenant = 0 AND type = %s AND url = %s",
        (type_code(type_name), url),
    )
    return max(rows, key=lambda row: (order(row[0]), *row[1:3]))[3] if rows else None


def of_packages_by_id(unit: UnitOfWork, type_name: str, id_: str) -> str | None:
    """Return the same by the id that the package gave it, which is the last part of its url."""
    rows = unit.execute(
        "SELECT DISTINCT url FROM definition WHERE tenant = 0 AND type = %s AND right(url, %s) = %s "
        "ORDER BY url LIMIT 1",
        (type_code(type_name), len(id_) + 1, f"/{id_}"),
    )
    return of_packages_by_url(unit, type_name, rows[0][0]) if rows else None


def of_package(unit: UnitOfWork, package: int) -> dict[str, str]:
    """Return url → version of everything that a package defines."""
    return dict(unit.execute("SELECT url, version FROM definition WHERE package = %s", (package,)))


def queries(unit: UnitOfWork) -> list[tuple[str, str]]:
    """Return id and JSON text of the OperationDefinitions of the kind query: stored ones, packages'."""
    kind = keys.key("OperationDefinition", "kind", "query")
    rows: list[tuple[str, str]] = unit.execute(
        "SELECT r.id, v.content FROM resource AS r JOIN resource_version AS v USING (tenant, pk, version) "
        "WHERE tenant = 0 AND r.type = %(type)s AND r.keys @> ARRAY[%(kind)s]::uuid[] AND NOT r.deleted "
        "UNION ALL SELECT '', content FROM definition WHERE tenant = 0 AND type = %(type)s "
        "AND content::jsonb->>'kind' = 'query'",
        {"type": type_code("OperationDefinition"), "kind": kind},
    )
    return rows


MOST_PROFILES = 5000
"""Stored profiles that are listed; packages are listed whole."""


def profiles(unit: UnitOfWork) -> list[tuple[str, str, str]]:
    """Return (resource type, url, version) of every profile on a resource type, sorted."""
    found = [
        (type_name(code), url, version)
        for code, url, version in unit.execute(
            "SELECT profile_of, url, version FROM definition WHERE tenant = 0 AND profile_of IS NOT NULL"
        )
    ]
    found += unit.execute(
        "SELECT c.content->>'type', c.content->>'url', coalesce(c.content->>'version', '') "
        "FROM resource AS r CROSS JOIN LATERAL (SELECT v.content::jsonb FROM resource_version AS v "
        "WHERE v.tenant = 0 AND v.pk = r.pk AND v.version = r.version OFFSET 0) AS c "
        "WHERE r.tenant = 0 AND r.type = %s AND NOT r.deleted "
        "AND c.content->>'derivation' = 'constraint' AND c.content->>'kind' = 'resource' "
        f"LIMIT {MOST_PROFILES}",
        (type_code("StructureDefinition"),),
    )
    return sorted(set(found))


def code_systems(unit: UnitOfWork) -> list[tuple[str, str]]:
    """Return url and version of every code system of the packages, sorted."""
    rows: list[tuple[str, str]] = unit.execute(
        "SELECT url, version FROM definition WHERE tenant = 0 AND type = %s ORDER BY url, version",
        (type_code("CodeSystem"),),
    )
    return rows


def guides(unit: UnitOfWork) -> list[str]:
    """Return the canonicals, with versions, of the implementation guides that are installed."""
    rows = unit.execute(
        "SELECT url, version FROM definition WHERE tenant = 0 AND type = %s ORDER BY url, version",
        (type_code("ImplementationGuide"),),
    )
    return [f"{url}|{version}" if version else url for url, version in rows]
