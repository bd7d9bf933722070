"""The hand-written answers: one statement a question, on the tables that were made for it.

A request names its question in the header `X-Question`; the values stand in its URL, as for any
server. The pages are cut by LIMIT alone and have no link to a next one: it is the least that an
answer can cost, not a server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from flask import Response, request

from conformance.benchmarks import floor

Asked = dict[str, list[str]]
Values = dict[str, Any]
Read = Callable[[Asked, str], Values]


@dataclass(frozen=True, slots=True)
class Hand:
    """One question in SQL: what matches, in which order, and how its values are read from the URL.

    `found` begins behind SELECT's columns; the matching table is `t`. `order` is the expression that
    sorts, `key` the same as a single ascending text or number for the comparison of two answers.
    `after` are statements that bring what is included; they read `%(ids)s`, the ids of the page.
    """

    kind: str
    found: str
    read: Read
    order: str = ""
    key: str = "NULL"
    after: tuple[tuple[str, str], ...] = ()
    total: bool = False

    def page(self) -> str:
        """Return the statement of a page."""
        order = f" ORDER BY {self.order}" if self.order else ""
        return f"SELECT {self.kind}, t.id, t.content {self.found}{order} LIMIT %(count)s"

    def everything(self) -> str:
        """Return the statement of all matches: id and sort key."""
        return f"SELECT t.id, {self.key} AS key {self.found}"


def _values(**names: str) -> Read:
    """Read one value a name: `code="code"` takes the parameter `code` as it is written."""
    wanted = list(names.items())
    return lambda asked, _: {name: asked[parameter][0] for name, parameter in wanted}


def _identifier(parameter: str) -> Read:
    def read(asked: Asked, _: str) -> Values:
        system, _, value = asked[parameter][0].partition("|")
        return {"system": system, "value": value}

    return read


def _prefix(parameter: str) -> Read:
    def read(asked: Asked, _: str) -> Values:
        low = asked[parameter][0].lower()
        return {"low": low, "high": low + "\U0010ffff"}

    return read


def _range(asked: Asked, _: str) -> Values:
    low, high = asked["date"]
    return {"low": low[2:], "high": high[2:]}


def _greater(parameter: str) -> Read:
    def read(asked: Asked, _: str) -> Values:
        value, _, unit = asked[parameter][0].partition("|")
        return {"value": value[2:], "unit": unit.rpartition("|")[2]}

    return read


def _composite(asked: Asked, _: str) -> Values:
    code, _, value = asked["component-code-value-quantity"][0].partition("$")
    number, _, unit = value.partition("|")
    return {"code": code, "value": number[2:], "unit": unit.rpartition("|")[2]}


def _or(asked: Asked, _: str) -> Values:
    return {"codes": asked["code"][0].split(",")}


def _of_path(_: Asked, path: str) -> Values:
    return {"patient": path.split("/")[-2]}


def _dated(asked: Asked, _: str) -> Values:
    return {"patient": asked["patient"][0], "code": asked["code"][0], "low": asked["date"][0][2:]}


def _since(asked: Asked, _: str) -> Values:
    return {"since": asked["_lastUpdated"][0][2:]}


def _born(asked: Asked, _: str) -> Values:
    return {"low": asked["birthdate"][0][2:]}


def _performer(asked: Asked, _: str) -> Values:
    return {"performer": asked["performer"][0].rpartition("/")[2]}


def _nothing(_asked: Asked, _path: str) -> Values:
    return {}


_NEWEST: dict[str, Any] = {"order": "t.effective DESC", "key": "-extract(epoch FROM t.effective)"}


def _observations(where: str, read: Read, **more: Any) -> Hand:
    return Hand("'Observation'", f"FROM observations t WHERE {where}", read, **more)


def _patients(where: str, read: Read, **more: Any) -> Hand:
    return Hand("'Patient'", f"FROM patients t WHERE {where}", read, **more)


def _conditions(found: str, read: Read, **more: Any) -> Hand:
    return Hand("'Condition'", f"FROM conditions t {found}", read, **more)


_WHO = "(SELECT owner FROM identifiers WHERE type = '{}' AND system = %(system)s AND value = %(value)s)"
_COMPARTMENT = " UNION ALL ".join(
    f"(SELECT {kind} AS type, id, content FROM {table} WHERE {column} = %(patient)s)"
    for kind, table, column in (
        ("'Patient'", "patients", "id"), ("'Observation'", "observations", "patient"),
        ("'Encounter'", "encounters", "patient"), ("'Condition'", "conditions", "patient"),
        ("'DiagnosticReport'", "reports", "patient"), ("'MedicationRequest'", "medications", "patient"),
        ("'Procedure'", "procedures", "patient"), ("'Immunization'", "immunizations", "patient"),
        ("'CarePlan'", "care_plans", "patient"), ("'RiskAssessment'", "risks", "patient"),
        ("type", "others", "patient"),
    )
)  # fmt: skip
_SEVERAL = " UNION ALL ".join(
    f"(SELECT '{kind}' AS type, id, content, {when} AS at FROM {table} WHERE patient = %(patient)s "
    f"ORDER BY {when} DESC LIMIT %(count)s)"
    for kind, table, when in (
        ("Observation", "observations", "effective"), ("DiagnosticReport", "reports", "effective"),
        ("Immunization", "immunizations", "given"),
    )
)  # fmt: skip

_WORDS = "id IN (SELECT patient FROM patient_words WHERE kind = '{}' AND word >= %(low)s AND word < %(high)s)"
_SET = "code = ANY(ARRAY(SELECT code FROM value_sets WHERE url = %(url)s))"
_AMONG = "WHERE id IN (SELECT {column} FROM {table} WHERE {page}.id = ANY(%(ids)s))"
_VISITS = "medications m JOIN encounters e ON e.id = m.encounter"
_INCLUDED = (
    (
        "'Encounter'",
        "FROM encounters t " + _AMONG.format(column="encounter", table="conditions", page="conditions"),
    ),
    ("'CarePlan'", "FROM care_plans t WHERE condition = ANY(%(ids)s)"),
)
_ITERATED = (
    ("'Encounter'", "FROM encounters t " + _AMONG.format(
        column="encounter", table="medications m", page="m"
    )),
    ("'Location'", "FROM places t " + _AMONG.format(column="e.location", table=_VISITS, page="m")),
    ("'Organization'", "FROM others t " + _AMONG.format(
        column="p.organization", table=f"{_VISITS} JOIN places p ON p.id = e.location", page="m"
    ) + " AND type = 'Organization'"),
)  # fmt: skip

HANDS: dict[str, Hand] = {
    "dense token": _observations("code = %(code)s", _values(code="code"), **_NEWEST),
    "category": _observations("category = %(category)s", _values(category="category"), **_NEWEST),
    "sparse token": _conditions("WHERE code = %(code)s", _values(code="code")),
    "token or": _observations("code = ANY(%(codes)s)", _or),
    "not": Hand(
        "'MedicationRequest'",
        "FROM medications t WHERE status <> %(status)s",
        _values(status="status:not"),
    ),
    "missing": _observations("encounter IS NULL", _nothing),
    "not missing": _observations("has_components", _nothing),
    "in": _observations(_SET, _values(url="code:in")),
    "prefix": _patients("folded >= %(low)s AND folded < %(high)s", _prefix("family")),
    "exact": _patients("family = %(family)s", _values(family="family:exact")),
    "contains": _patients("folded LIKE '%%' || %(part)s || '%%'", _values(part="family:contains")),
    "date range": _observations("effective >= %(low)s AND effective < %(high)s", _range),
    "last updated": _observations(
        "recent >= %(since)s", _since, order="t.recent", key="extract(epoch FROM t.recent)"
    ),
    "number": Hand("'RiskAssessment'", "FROM risks t WHERE probability > %(value)s", _greater("probability")),
    "quantity": _observations("unit = %(unit)s AND value > %(value)s", _greater("value-quantity")),
    "other unit": _observations("mass > %(value)s", _greater("value-quantity")),
    "composite": Hand(
        "'Observation'",
        "FROM components c JOIN observations t ON t.id = c.observation "
        "WHERE c.code = %(code)s AND c.unit = %(unit)s AND c.value > %(value)s",
        _composite,
    ),
    "sparse reference": _observations("encounter = %(encounter)s", _values(encounter="encounter")),
    "dense reference": _observations("performer = %(performer)s", _performer),
    "patient code date": _observations(
        "patient = %(patient)s AND code = %(code)s AND effective >= %(low)s", _dated, **_NEWEST
    ),
    "patient category": _observations(
        "patient = %(patient)s AND category = %(category)s",
        _values(patient="patient", category="category"),
        **_NEWEST,
    ),
    "identifier": _patients(f"id = ANY(ARRAY{_WHO.format('Patient')})", _identifier("identifier")),
    "chain": _conditions(
        f"JOIN patients p ON t.patient = p.id WHERE p.practitioner = ANY(ARRAY{_WHO.format('Practitioner')})",
        _identifier("patient.general-practitioner:Practitioner.identifier"),
    ),
    "untyped chain": _observations(
        f"patient = ANY(ARRAY{_WHO.format('Patient')})", _identifier("subject.identifier")
    ),
    "has": _patients(
        "id IN (SELECT patient FROM conditions WHERE code = %(code)s)",
        _values(code="_has:Condition:patient:code"),
    ),
    "nested has": _patients(
        "id IN (SELECT e.patient FROM conditions c JOIN encounters e ON e.id = c.encounter "
        "WHERE c.code = %(code)s)",
        _values(code="_has:Encounter:patient:_has:Condition:encounter:code"),
    ),
    "include": _conditions("WHERE patient = %(patient)s", _values(patient="patient"), after=_INCLUDED),
    "iterate": Hand(
        "'MedicationRequest'",
        "FROM medications t WHERE patient = %(patient)s",
        _values(patient="patient"),
        after=_ITERATED,
    ),
    "string sort": _patients("true", _nothing, order="t.folded", key="t.folded"),
    "two keys": _patients(
        "gender = %(gender)s",
        _values(gender="gender"),
        order="t.folded, t.born DESC",
        key="t.folded || ' ' || (date '3000-01-01' - t.born)::text",
    ),
    "compartment": Hand("t.type", f"FROM ({_COMPARTMENT}) t", _of_path),
    "total of few": _observations(
        "patient = %(patient)s AND code = %(code)s", _values(patient="patient", code="code"), total=True
    ),
    "total of many": _observations("category = %(category)s", _values(category="category"), total=True),
    "several types": Hand(
        "t.type",
        f"FROM ({_SEVERAL}) t",
        _values(patient="patient"),
        order="t.at DESC",
        key="-extract(epoch FROM t.at)",
    ),
    "text": Hand(
        "'CarePlan'",
        "FROM care_plans t WHERE words @@ plainto_tsquery('simple', %(words)s)",
        _values(words="_text"),
    ),
    "name": _patients(_WORDS.format("name"), _prefix("name")),
    "address": _patients(_WORDS.format("address"), _prefix("address")),
    "born": _patients("born >= %(low)s", _born),
}
"""The hand-written answer to each question, by the name in `X-Question`."""


app = floor.app


@app.before_request
def by_hand() -> Response | None:
    """Answer what names a question; all else is the floor's."""
    name = request.headers.get("X-Question")
    if name is None:
        return None
    asked = parse_qs(request.query_string.decode())
    return Response(answer(HANDS[name], asked, request.path), content_type="application/fhir+json")


def answer(hand: Hand, asked: Asked, path: str) -> str:
    """Return a searchset Bundle."""
    values = hand.read(asked, path)
    values["count"] = int(asked.get("_count", ["20"])[0])
    with floor.pooled() as connection, connection.cursor() as cursor:
        total = ""
        if hand.total:
            cursor.execute(f"SELECT count(*) {hand.found}", values)
            total = f'"total":{cursor.fetchone()[0]},'
        cursor.execute(hand.page(), values)
        found = cursor.fetchall()
        entries = [_entry(row, "match") for row in found]
        if hand.after and found:
            values["ids"] = [row[1] for row in found]
            for kind, more in hand.after:
                cursor.execute(f"SELECT {kind}, t.id, t.content {more}", values)
                entries += [_entry(row, "include") for row in cursor]
    return f'{{"resourceType":"Bundle","type":"searchset",{total}"entry":[{",".join(entries)}]}}'


def _entry(row: tuple[str, str, str], mode: str) -> str:
    kind, found_id, content = row
    url = f"{floor.BASE}/{kind}/{found_id}"
    return f'{{"fullUrl":"{url}","resource":{content},"search":{{"mode":"{mode}"}}}}'
