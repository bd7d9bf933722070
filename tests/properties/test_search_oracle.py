"""Random resources, random queries: SQL must find what the slow filter finds.

XINGLIN_ORACLE_QUERIES (default 2000) and XINGLIN_ORACLE_PATIENTS (default 5, "all" for 60) make a long
run; XINGLIN_ORACLE_SEED another one.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

import psycopg2
import pytest

from fhir_server.database import prepared
from fhir_server.definitions.compartments import members
from fhir_server.definitions.structures import resource_types, type_name
from fhir_server.interactions.stored import StoredValues
from fhir_server.outcome import FhirError
from fhir_server.search import plans
from fhir_server.search.ast import Query
from fhir_server.search.compile import Statement, compile, compile_count, compile_types, position_of
from fhir_server.search.contained import compile_contained, fragment_of
from fhir_server.search.frequency import STATISTICS, Frequencies
from fhir_server.search.index import Indexer
from fhir_server.search.kept import Kept
from fhir_server.search.parse import parse
from fhir_server.search.several import parse_several
from fhir_server.search.types.protocol import Environment
from tests.support import cluster
from tests.support.oracle import data, globe, ordering, own, several
from tests.support.oracle.matching import PARTS, Oracle
from tests.support.oracle.queries import Generator
from tests.support.oracle.table import entries
from tests.support.search_store import store

QUERIES = int(os.environ.get("XINGLIN_ORACLE_QUERIES", "2000"))
PATIENTS = os.environ.get("XINGLIN_ORACLE_PATIENTS", "5")
SEED = int(os.environ.get("XINGLIN_ORACLE_SEED", "0"))
CHUNK = 100
FORMS = (
    "_filter=",
    "_list=",
    r"_list=[^&]*\$current",
    "_text=",
    "_content=",
    "_sort=_score",
    *(rf"[^&=]*:{name}=" for name in ("text", "in", "not-in", "below", "above")),
)
BASE = "http://127.0.0.1/fhir"
EVERY = frozenset(resource_types())
NOW = datetime(2026, 6, 1, tzinfo=UTC)

if not (data.SHARED / "synthea").exists():
    pytest.skip(f"no Synthea patients in {data.SHARED}", allow_module_level=True)


class World:
    """The same resources twice: in a database and in the oracle."""

    def __init__(self, url: str) -> None:
        resources = data.resources(None if PATIENTS == "all" else int(PATIENTS))
        self.connection = psycopg2.connect(
            url, connection_factory=prepared.Connection, options="-c plan_cache_mode=force_generic_plan"
        )
        self.registry = own.registry()
        environment = Environment(base_urls=(BASE,), full_text=EVERY)
        store(self.connection, resources, Indexer(self.registry, environment))
        self.oracle = Oracle(resources, BASE, NOW)
        self.compartments = several.Compartments(self.oracle)
        self.stored = StoredValues(self.looked_up)
        self.hits: Counter[str] = Counter()
        self.known = Frequencies.of(self.rows(Statement(STATISTICS, [])))
        assert self.known is not None
        self.frequencies: Frequencies | None = None

    def parsed(self, kind: str, query: str) -> Query:
        return parse(
            kind,
            parse_qsl(query, keep_blank_values=True),
            base_urls=(BASE,),
            now=NOW,
            registry=self.registry,
            codes=self.oracle.vocabulary,
            stored=self.stored,
            full_text=EVERY,
        )

    def first_page(self, kind: str, query: str, limit: int) -> Statement:
        """Return the statement of a search, kept of one that asks for other values where there is one."""
        kept, parsed = Kept(), self.parsed(kind, query)
        try:
            other = self.parsed(kind, re.sub(r"(=[^&]*?)(?=&|$)", r"\1x", query))
        except (FhirError, LookupError, ValueError):  # a number, or a code that no code system has
            pass
        else:
            before = kept.statement(other, limit, None, self.frequencies)
            found = kept.statement(parsed, limit, None, self.frequencies)
            self.hits["kept"] += found.sql is before.sql
        return kept.statement(parsed, limit, None, self.frequencies)

    def contained(self, kind: str, query: str) -> list[str]:
        names = []
        for row in self.rows(compile_contained(self.parsed(kind, query), 1_000_000)):
            end = fragment_of(row)
            names.append(f"{type_name(row[1])}/{row[2]}" + (f"#{end}" if end else ""))
        return names

    def looked_up(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows

    def rows(self, statement: Any) -> list[tuple[Any, ...]]:
        if statement.first is not None:
            rows = self.rows(statement.first)
            if not rows or rows[-1][0] is not None:
                return rows
        with self.connection.cursor() as cursor:
            sql, parameters = statement.sql, statement.parameters
            if statement.settled:
                self.hits["prepared"] += 1
                sql, parameters = prepared.run(cursor, sql, parameters)
            cursor.execute(sql, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        self.connection.rollback()
        return rows


@pytest.fixture(scope="module")
def world(_template: tuple[str, str], worker_id: str) -> Iterator[World]:
    url, model = _template
    name = f"{model}_{worker_id}_oracle"
    cluster.make(url, f'CREATE DATABASE "{name}" TEMPLATE "{model}"')
    world = World(cluster.database(url, name))
    with pytest.MonkeyPatch.context() as patch:
        # All that is settled is prepared, so that its types are known to be found.
        patch.setattr(prepared, "AFTER_USES", 0)
        yield world
    world.connection.close()
    cluster.make(url, f'DROP DATABASE "{name}" WITH (FORCE)')
    resources = sum(map(len, world.oracle.by_type.values()))
    asked = sum(count for name, count in world.hits.items() if not name.startswith("form "))
    print(f"\noracle: {asked} queries over {resources} resources:")
    print(", ".join(f"{count} with {name}" for name, count in sorted(world.hits.items())))


@pytest.mark.parametrize("chunk", range(max(1, QUERIES // CHUNK)))
def test_sql_finds_what_the_slow_filter_finds(
    world: World, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if odd := chunk % 2 == 1:
        # As if a few hundred resources were millions: every branch of every plan is opened.
        for name, bound in (("FEW", 5), ("FEW_TARGETS", 2), ("STRETCH", 12), ("CHARTED", 7)):
            monkeypatch.setattr(plans, name, bound)
    world.frequencies = world.known if chunk % 4 > 1 else None
    seed = SEED * 100_003 + chunk
    generator = Generator(world.oracle, seed)
    random = Random(seed)
    hits: Counter[str] = Counter()
    for _ in range(CHUNK):
        kind, query = generator.query()
        if re.search(r"(^|&)_(text|content)=", query) and "_sort" not in query and random.random() < 0.5:
            query += "&_sort=_score"
        expected = world.oracle.search(kind, query)
        parsed = world.parsed(kind, query)
        where = f"{kind}?{query}"
        sort = dict(parse_qsl(query)).get("_sort")
        assert world.rows(compile_count(parsed)) == [(len(expected),)], where
        if sort == "_score":
            found = weighed(world, parsed, random.randint(1, 30), where)
        elif odd or parsed.sort or random.random() < 0.1:
            size = max(len(expected) // 6, random.randint(1, 30))
            first = world.first_page(kind, query, size)
            found = [row[2] for row in walked(world, parsed, size, where, first)]
        else:
            found = [row[2] for row in world.rows(world.first_page(kind, query, 1_000_000))]
        assert sorted(found) == sorted(expected), where
        if sort and sort != "_score":
            assert ordering.is_ordered(world.oracle, kind, sort, found) is None, where
        hits.update(f"form {form}" for form in FORMS if re.search(rf"(^|[&.]){form}", unquote(query)))
        hits["none" if not expected else "1 to 20" if len(expected) <= 20 else "more than 20"] += 1
    world.hits += hits
    assert hits["none"] <= CHUNK * 2 / 3


def test_contained_resources(world: World) -> None:
    """Contained resources by the values they have, chains to them, and both at once by `_contained`."""
    inner = world.oracle.inner
    generator = Generator(inner, SEED)
    referring = [
        (kind, entry, id_, target)
        for kind in world.oracle.by_type
        for entry in entries().get(kind, {}).values()
        if entry.kind == "reference"
        for id_, values in world.oracle.values(entry).items()
        for mark, target in world.oracle.pointed(entry, id_, values, set())
        if mark == "#"
    ]
    hits = 0
    asked = [
        (holder, entry, id_, kind, target)
        for holder, entry, id_, target in referring
        for kind in entry.targets
        if kind in entries() and target in inner.by_type.get(kind, {})
    ]
    for holder, entry, id_, kind, target in asked:
        pair = generator.clause(kind, target, depth=2)
        if pair is None:
            continue
        where = f"{kind} in {holder}/{id_} by {pair}"
        chained = urlencode([(f"{entry.code}:{kind}.{pair[0]}", pair[1])])
        expected = world.oracle.search(holder, chained)
        found = world.rows(compile(world.parsed(holder, chained), 1_000_000))
        assert sorted(row[2] for row in found) == sorted(expected), where
        hits += id_ in expected
        query = urlencode([pair])
        inside = inner.search(kind, query)
        alone = {f"{kind}/{each}" for each in world.oracle.search(kind, query)}
        for form, wanted in (("true", inside), ("both", inside | alone)):
            rows = world.contained(kind, f"{query}&_contained={form}&_containedType=contained")
            assert sorted(rows) == sorted(wanted), where
            rows = world.contained(kind, f"{query}&_contained={form}")
            assert sorted(rows) == sorted({each.partition("#")[0] for each in wanted}), where
    assert hits > 20
    world.hits["contained"] += hits


@pytest.mark.parametrize("narrow", [False, True])
def test_places(world: World, narrow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`near` with other criteria, and the order by distance, page by page, against Vincenty's formula."""
    if narrow:
        for name, bound in (("FEW", 5), ("STRETCH", 12)):
            monkeypatch.setattr(plans, name, bound)
    random, generator = Random(SEED + narrow), Generator(world.oracle, SEED + narrow)
    spots = {
        id_: (float(place["latitude"]), float(place["longitude"]))
        for id_, each in world.oracle.by_type["Location"].items()
        if (place := each.get("position")) and {"latitude", "longitude"} <= set(place)
    }
    asked = ordered = 0
    for _ in range(150):
        north, east = random.choice(sorted(spots.values()))
        centre = (round(north + random.uniform(-1, 1), 4), round(east + random.uniform(-1, 1), 4))
        away = {id_: globe.distance_m(centre, spot) for id_, spot in spots.items()}
        radius_km = random.choice((20, 60, 100, 150, 400))
        if any(each is None or abs(each - radius_km * 1000) < 5 for each in away.values()):
            continue  # too near to the edge for two formulas
        pair = (
            generator.clause("Location", random.choice(sorted(spots)), 1) if random.random() < 0.4 else None
        )
        others = urlencode([pair]) if pair is not None else ""
        expected = world.oracle.search("Location", others)
        expected &= {id_ for id_, each in away.items() if each is not None and each <= radius_km * 1000}
        sign = random.choice(("", "-"))
        place = urlencode([("near", f"{centre[0]}|{centre[1]}|{radius_km}"), ("_sort", f"{sign}near")])
        query = f"{place}&{others}"
        found = walked(world, world.parsed("Location", query), random.randint(1, 30), query)
        assert sorted(row[2] for row in found) == sorted(expected), query
        metres = [away[row[2]] or 0.0 for row in found]
        for one, other in pairwise(metres if not sign else metres[::-1]):
            assert one <= other + 1, query
        asked, ordered = asked + 1, ordered + (len(set(metres)) > 2)
    assert asked > 100
    assert ordered > 20
    world.hits["near"] += asked


def test_hierarchies(world: World) -> None:
    """`:below` and `:above`: all that is part of something, and every version, asked of every parameter."""
    modifiers = (":below", ":above")
    asked = []
    for kind, known in entries().items():
        for entry in known.values() if kind in world.oracle.by_type else ():
            for whole in PARTS if entry.kind == "reference" else ():
                parts = [id_ for id_, each in world.oracle.by_type[whole].items() if PARTS[whole] in each]
                if whole in entry.targets:
                    asked += [(kind, entry.code, f"{whole}/{id_}") for id_ in parts]
                    asked += [(kind, entry.code, id_) for id_ in (*parts, "edge-place0", "1")]
    for version in ("", "|1", "|1.2", "|1.2.3", "|1.2.3.4", "|1.2/a/b", "|1.20", "|2.0.0-a", "|3"):
        asked.append(("QuestionnaireResponse", "questionnaire", f"http://edge.org/q{version}"))
        asked.append(("QuestionnaireResponse", "_profile", f"http://edge.org/a/p{version}"))
    further = 0
    for kind, code, text in asked:
        for query in (urlencode([(code + modifier, text)]) for modifier in modifiers):
            expected = world.oracle.search(kind, query)
            found = world.rows(compile(world.parsed(kind, query), 1_000_000))
            assert sorted(row[2] for row in found) == sorted(expected), f"{kind}?{query}"
            further += bool(expected - world.oracle.search(kind, urlencode([(code, text)])))
    assert further > 50  # more than without the modifier


@pytest.mark.parametrize("chunk", range(max(1, QUERIES // CHUNK // 4)))
def test_several_types_and_compartments(world: World, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if chunk % 2:
        for name, bound in (("FEW", 5), ("FEW_TARGETS", 2), ("STRETCH", 12), ("CHARTED", 7)):
            monkeypatch.setattr(plans, name, bound)
    world.frequencies = world.known if chunk % 4 > 1 else None
    seed = SEED * 100_003 + chunk + 50_000
    generator, random = Generator(world.oracle, seed), Random(seed)
    present = [type_name(row[0]) for row in world.rows(compile_types())]
    assert sorted(present) == sorted(world.oracle.by_type)
    environment = Environment(
        base_urls=(BASE,), now=NOW, codes=world.oracle.vocabulary, stored=world.stored, full_text=EVERY
    )
    hits: Counter[str] = Counter()
    for _ in range(CHUNK):
        asked = several.draw(generator)
        expected = several.search(world.oracle, world.compartments, asked)
        types = asked.types or resource_types()
        if asked.compartment and asked.types is None:
            types = tuple(members(asked.compartment[0]))
        parsed = parse_several(
            types,
            present,
            parse_qsl(asked.query),
            compartment=asked.compartment,
            environment=environment,
            registry=world.registry,
        )
        where = str(asked)
        assert world.rows(compile_count(parsed)) == [(len(expected),)], where
        found = walked(world, parsed, max(len(expected) // 6, random.randint(1, 30)), where)
        addresses = [(type_name(row[1]), row[2]) for row in found]
        assert sorted(addresses) == sorted(expected), where
        if sort := dict(parse_qsl(asked.query)).get("_sort"):
            assert ordering.are_ordered(world.oracle, sort, addresses) is None, where
        hits["several: none" if not expected else "several: some"] += 1
    world.hits += hits
    assert hits["several: none"] <= CHUNK * 4 / 5


def weighed(world: World, parsed: Any, size: int, where: str) -> list[str]:
    """Return the ids in the order of their scores, which fall from page to page."""
    rows = walked(world, parsed, size, where)
    scores = [row[6] for row in rows]
    assert all(0 < score <= 1 for score in scores), where
    assert scores == sorted(scores, reverse=True), where
    return [row[2] for row in rows]


def walked(
    world: World, parsed: Any, size: int, where: str, first: Statement | None = None
) -> list[tuple[Any, ...]]:
    """Return the rows in the order of pages of `size`, walked to the end and back again."""
    pages: list[list[Any]] = []
    statement = first or compile(parsed, size, frequencies=world.frequencies)
    while rows := world.rows(statement):
        pages.append(rows)
        statement = compile(parsed, size, position_of(rows[-1]), frequencies=world.frequencies)
    for before, page in zip(reversed(pages[:-1]), reversed(pages[1:]), strict=True):
        back = compile(parsed, size, position_of(page[0], backward=True), frequencies=world.frequencies)
        assert back.backward
        assert [row[2] for row in reversed(world.rows(back))] == [row[2] for row in before], where
    return [row for page in pages for row in page]
