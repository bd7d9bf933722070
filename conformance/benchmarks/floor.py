"""The floor: the least that a FHIR-looking server in Flask can cost, to measure ours against.

Flask on granian's WSGI, a psycopg2 connection a thread, the best hand-written SQL on columns and
indexes made for exactly the questions of `journeys.py`, the stored text handed out as it is. No
validation, no history, no other search parameter, no authorization, nothing parsed on the way
out. `hello` beside it is a bare WSGI application: what HTTP alone costs.

    FLOOR_DATABASE=postgresql:///floor?host=… granian --interface wsgi conformance.benchmarks.floor:app
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from uuid import uuid4

import msgspec
from flask import Flask, Response, request
from psycopg2.extras import execute_values
from psycopg2.pool import ThreadedConnectionPool

BASE = "http://127.0.0.1/fhir"
_JSON = "application/fhir+json"

SCHEMA = """
CREATE TABLE patient (id text COLLATE "C" PRIMARY KEY, family text COLLATE "C", content jsonb NOT NULL);
CREATE TABLE patient_identifier (
    value text COLLATE "C" NOT NULL, system text COLLATE "C", patient text COLLATE "C" NOT NULL
);
CREATE TABLE observation (
    id text COLLATE "C" PRIMARY KEY, patient text COLLATE "C", code text COLLATE "C",
    category text COLLATE "C", effective timestamptz, content jsonb NOT NULL
);
CREATE TABLE other (
    type text COLLATE "C", id text COLLATE "C", content jsonb NOT NULL, PRIMARY KEY (type, id)
);
CREATE INDEX ON patient (family);
CREATE INDEX ON patient_identifier (value, system);
CREATE INDEX ON observation (patient, code, effective);
CREATE INDEX ON observation (patient, category, effective);
CREATE INDEX ON observation (effective);
"""

_FROM = {
    "patient": "id, lower(d #>> '{name,0,family}'), d",
    "observation": (
        "id, substr(d #>> '{subject,reference}', 9),"
        " concat(d #>> '{code,coding,0,system}', '|', d #>> '{code,coding,0,code}'),"
        " concat(d #>> '{category,0,coding,0,system}', '|', d #>> '{category,0,coding,0,code}'),"
        " (d ->> 'effectiveDateTime')::timestamptz, d"
    ),
    "other": "d ->> 'resourceType', id, d",
}
_IDENTIFIERS = (
    "INSERT INTO patient_identifier SELECT i ->> 'value', i ->> 'system', id "
    "FROM new, jsonb_array_elements(d -> 'identifier') AS i"
)
_ONE = "new AS (SELECT %s::text AS id, %s::jsonb AS d)"


def _insert(table: str, rows: str) -> str:
    """Return the statement that stores `rows` (the CTE `new`) of a table, identifiers included."""
    insert = f"INSERT INTO {table} SELECT {_FROM[table]} FROM new"
    if table == "patient":
        return f"WITH {rows}, stored AS ({insert}) {_IDENTIFIERS}"
    return f"WITH {rows} {insert}"


_CREATE = {table: _insert(table, _ONE) for table in _FROM}
_CREATE_MANY = {table: _insert(table, "new AS (SELECT * FROM (VALUES %s) AS v (id, d))") for table in _FROM}
_CREATE_UNLESS = (
    f"WITH {_ONE}, fresh AS (SELECT * FROM new WHERE NOT EXISTS "
    "(SELECT FROM patient_identifier WHERE value = %s AND system = %s)), "
    f"stored AS (INSERT INTO patient SELECT {_FROM['patient']} FROM fresh) "
    f"{_IDENTIFIERS.replace('FROM new', 'FROM fresh')} RETURNING patient"
)
_UPDATE = {
    "patient": (
        "UPDATE patient SET family = lower(d #>> '{name,0,family}'), content = d "
        "FROM new WHERE patient.id = new.id"
    ),
    "observation": (
        "UPDATE observation SET (patient, code, category, effective, content) = "
        f"(SELECT {_FROM['observation'].removeprefix('id, ')}) FROM new WHERE observation.id = new.id"
    ),
    "other": "UPDATE other SET content = d FROM new WHERE type = d ->> 'resourceType' AND other.id = new.id",
}
_DELETE = {
    "patient": "DELETE FROM patient WHERE id = %s",
    "observation": "DELETE FROM observation WHERE id = %s",
    "other": "DELETE FROM other WHERE type = %s AND id = %s",
}
_READ = {
    "Patient": "SELECT content::text FROM patient WHERE id = %s",
    "Observation": "SELECT content::text FROM observation WHERE id = %s",
}
_READ_OTHER = "SELECT content::text FROM other WHERE type = %s AND id = %s"

app = Flask(__name__, static_folder=None)


def hello(_environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Answer every request with 815 bytes."""
    start("200 OK", [("content-type", "text/plain"), ("content-length", "815")])
    return [b"h" * 815]


@contextmanager
def pooled() -> Iterator[Any]:
    """Give a connection of this worker's pool, as large as its threads."""
    pool = _pool()
    found = pool.getconn()
    try:
        found.autocommit = True
        yield found
    finally:
        pool.putconn(found)


@cache
def _pool() -> ThreadedConnectionPool:
    threads = int(os.environ.get("FLOOR_THREADS", "4"))
    return ThreadedConnectionPool(threads, threads, os.environ["FLOOR_DATABASE"])


def store(target: Any, rows: Iterable[tuple[str, str, str]]) -> None:
    """Store (type, id, JSON text) triples with a few statements."""
    by_table: dict[str, list[tuple[str, str]]] = {}
    for kind, found_id, text in rows:
        by_table.setdefault(_table(kind), []).append((found_id, text))
    with target.cursor() as cursor:
        for table, values in by_table.items():
            execute_values(cursor, _CREATE_MANY[table], values, template="(%s, %s::jsonb)", page_size=500)


def _table(kind: str) -> str:
    return {"Patient": "patient", "Observation": "observation"}.get(kind, "other")


def _with_id(body: bytes, new_id: str) -> str:
    return f'{{"id":"{new_id}",{body[1:].decode()}'


def _execute(sql: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    with pooled() as connection, connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall()) if cursor.description else []


def _answer(text: str, status: int = 200, **headers: str) -> Response:
    response = Response(text, status, content_type=_JSON)
    for name, value in headers.items():
        response.headers[name] = value
    return response


@app.get("/fhir/<kind>/<id>")
def read(kind: str, id: str) -> Response:
    """Read by id."""
    sql = _READ.get(kind)
    rows = _execute(sql, (id,)) if sql else _execute(_READ_OTHER, (kind, id))
    return _answer(rows[0][0]) if rows else _answer("{}", 404)


@app.post("/fhir/<kind>")
def create(kind: str) -> Response:
    """Create, unless If-None-Exist finds an identifier."""
    new_id = str(uuid4())
    text = _with_id(request.get_data(), new_id)
    condition = request.headers.get("If-None-Exist")
    if condition is None:
        _execute(_CREATE[_table(kind)], (new_id, text))
    else:
        system, _, value = condition.removeprefix("identifier=").partition("|")
        if not _execute(_CREATE_UNLESS, (new_id, text, value, system)):
            return _answer("", 200)
    return _answer(text, 201, Location=f"{BASE}/{kind}/{new_id}")


@app.put("/fhir/<kind>/<id>")
def update(kind: str, id: str) -> Response:
    """Put a resource in the place of the one that is there."""
    text = request.get_data(as_text=True)
    _execute(f"WITH {_ONE} {_UPDATE[_table(kind)]}", (id, text))
    return _answer(text)


@app.delete("/fhir/<kind>/<id>")
def delete(kind: str, id: str) -> Response:
    """Forget a resource."""
    table = _table(kind)
    _execute(_DELETE[table], (kind, id) if table == "other" else (id,))
    return _answer("", 204)


class _Request(msgspec.Struct):
    url: str


class _Entry(msgspec.Struct):
    fullUrl: str
    request: _Request
    resource: msgspec.Raw


class _Bundle(msgspec.Struct):
    entry: list[_Entry]


_decode = msgspec.json.Decoder(_Bundle).decode
_urn = re.compile(r"urn:uuid:[0-9a-f-]{36}")


@app.post("/fhir")
def transaction() -> Response:
    """Store a Bundle of POSTs, links between its entries put right."""
    entries = _decode(request.get_data()).entry
    ids = [str(uuid4()) for _ in entries]
    links = {
        entry.fullUrl: f"{entry.request.url}/{new_id}" for entry, new_id in zip(entries, ids, strict=True)
    }

    def link(match: re.Match[str]) -> str:
        return links.get(match[0], match[0])

    rows = [
        (entry.request.url, new_id, _urn.sub(link, _with_id(bytes(entry.resource), new_id)))
        for entry, new_id in zip(entries, ids, strict=True)
    ]
    with pooled() as connection:
        connection.autocommit = False
        with connection:  # commits, or rolls back
            store(connection, rows)
    lines = ",".join(
        f'{{"response":{{"status":"201 Created","location":"{kind}/{new_id}/_history/1"}}}}'
        for kind, new_id, _ in rows
    )
    return _answer(f'{{"resourceType":"Bundle","type":"transaction-response","entry":[{lines}]}}')


@app.get("/fhir/Patient")
def search_patients() -> Response:
    """`identifier=system|value` or `family=prefix`."""
    query = request.args
    if identifier := query.get("identifier"):
        system, _, value = identifier.partition("|")
        return _found(
            "Patient",
            "SELECT p.id, p.content::text FROM patient_identifier i JOIN patient p ON p.id = i.patient "
            "WHERE i.value = %s AND i.system = %s LIMIT 20",
            (value, system),
        )
    low = query["family"].lower()
    return _found(
        "Patient",
        "SELECT id, content::text FROM patient WHERE family >= %s AND family < %s LIMIT %s",
        (low, low + "\U0010ffff", _count()),
    )


@app.get("/fhir/Observation")
def search_observations() -> Response:
    """`patient` with `code` or `category` newest first, `patient` alone, or a `date` range."""
    query = request.args
    columns = "SELECT id, content::text FROM observation WHERE "
    parameters: tuple[Any, ...]
    if (patient := query.get("patient")) is None:
        low, high = query.getlist("date")
        where, parameters = "effective >= %s AND effective < %s LIMIT %s", (low[2:], high[2:])
    elif code := query.get("code"):
        where, parameters = "patient = %s AND code = %s ORDER BY effective DESC LIMIT %s", (patient, code)
    elif category := query.get("category"):
        where, parameters = (
            "patient = %s AND category = %s ORDER BY effective DESC LIMIT %s",
            (patient, category),
        )
    else:
        where, parameters = "patient = %s LIMIT %s", (patient,)
    return _found("Observation", columns + where, (*parameters, _count()))


def _count() -> int:
    return int(request.args.get("_count", 20))


def _found(kind: str, sql: str, parameters: tuple[Any, ...]) -> Response:
    entries = ",".join(
        f'{{"fullUrl":"{BASE}/{kind}/{found_id}","resource":{text},"search":{{"mode":"match"}}}}'
        for found_id, text in _execute(sql, parameters)
    )
    link = f'[{{"relation":"self","url":"{BASE}/{kind}?{request.query_string.decode()}"}}]'
    return _answer(f'{{"resourceType":"Bundle","type":"searchset","link":{link},"entry":[{entries}]}}')
