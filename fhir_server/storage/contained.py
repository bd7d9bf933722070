"""Contained resources, kept to be found: rows of `contained`, with index rows of their own.

A row goes with the version of its container that is current. Few resources contain any, so an update
looks for old rows only where the text of the superseded version has the word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fhir_server.database.unit_of_work import UnitOfWork
from fhir_server.definitions.structures import type_code
from fhir_server.schema.names import CONTAINED, ROWS
from fhir_server.search.index import Contained, IndexRows
from fhir_server.storage import index_rows
from fhir_server.storage.version import Version


def possible(version: Version) -> bool:
    """Tell whether a stored version may contain resources."""
    return version.content is not None and '"contained"' in version.content


def remove(unit: UnitOfWork, containers: Sequence[int]) -> None:
    """Take away what the resources with these pks contained."""
    if not containers:
        return
    gone = f"SELECT pk FROM {CONTAINED} WHERE tenant = 0 AND container = ANY(%s::bigint[])"
    for table in ROWS:
        unit.defer(f"DELETE FROM {table} WHERE tenant = 0 AND pk = ANY(ARRAY({gone}))", (list(containers),))
    unit.defer(
        f"DELETE FROM {CONTAINED} WHERE tenant = 0 AND container = ANY(%s::bigint[])", (list(containers),)
    )


def standing(
    unit: UnitOfWork, wanted: Mapping[int, IndexRows], differing: set[int]
) -> dict[int, tuple[int, IndexRows]]:
    """Return for each row of `contained` its container and the index rows that it should have.

    Containers that should contain others, or with other keys, are added to `differing`.
    """
    rows = unit.execute(
        f"SELECT container, replace(rid::text, '-', ''), pk, keys::text FROM {CONTAINED} "
        "WHERE tenant = 0 AND container = ANY(%s::bigint[])",
        (list(wanted),),
    )
    there: dict[int, dict[str, tuple[int, set[str]]]] = {}
    for container, rid, pk, keys in rows:
        texts = set(keys.strip("{}").replace("-", "").split(",")) - {""}
        there.setdefault(container, {})[rid] = (pk, texts)
    found: dict[int, tuple[int, IndexRows]] = {}
    for container, index in wanted.items():
        known = there.get(container, {})
        should = {inner.rid: set(inner.rows.keys) for inner in index.contained}
        if should != {rid: texts for rid, (_, texts) in known.items()}:
            differing.add(container)
        else:
            found.update({known[inner.rid][0]: (container, inner.rows) for inner in index.contained})
    return found


def keep(unit: UnitOfWork, found: Iterable[tuple[Version, Contained]]) -> None:
    """Write the rows of what these versions contain."""
    pairs = list(found)
    fresh: Iterable[int] = unit.keys.take(unit, len(pairs)) if pairs else ()
    for pk, (version, inner) in zip(fresh, pairs, strict=True):
        unit.defer(
            f"INSERT INTO {CONTAINED} (pk, container, rid, type, container_type, id, keys) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s)",
            (
                pk,
                version.pk,
                inner.rid,
                type_code(inner.type_name),
                type_code(version.type_name),
                inner.id,
                "{" + ",".join(inner.rows.keys) + "}",
            ),
        )
        for table in ROWS:
            index_rows.insert(unit, table, [(pk, *row) for row in inner.rows.of(table)])
