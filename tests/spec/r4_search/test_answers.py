"""What an answer to a search says of itself, and the forms that it comes in (R4/search.html#return)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest

from fhir_server.search.index import Indexer
from fhir_server.search.parse import parse
from fhir_server.search.types.protocol import Environment
from tests.spec.r4_http.test_errors import check
from tests.support.builders import observation, patient
from tests.support.clause import clause
from tests.support.http import FhirClient

Store = Callable[[dict[str, Any]], str]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
LENIENT = {"Prefer": "handling=lenient"}


def self_link(bundle: dict[str, Any]) -> list[tuple[str, str]]:
    url = next(each["url"] for each in bundle["link"] if each["relation"] == "self")
    return parse_qsl(url.partition("?")[2], keep_blank_values=True)


def matches(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    return [each["resource"] for each in bundle.get("entry", []) if each["search"]["mode"] == "match"]


@clause(
    "R4/search.html#conformance", "self lists what was applied and nothing else; lenient says what was not"
)
def test_self(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient("Selfish"))
    pairs = [("family", "selfish"), ("_id", id_), ("family:contains", "fish"), ("_count", "5")]
    query = "&".join(f"{name}={value}" for name, value in pairs)
    reply = client.get(f"Patient?{query}&nonsense=1&_graph=x&gender=", **LENIENT)
    assert reply.status == 200
    assert self_link(reply.json) == pairs
    assert [each["id"] for each in matches(reply.json)] == [id_]
    [entry] = [each for each in reply.json["entry"] if each["search"]["mode"] == "outcome"]
    said = [issue["diagnostics"] for issue in entry["resource"]["issue"]]
    assert [issue["severity"] for issue in entry["resource"]["issue"]] == ["warning"] * 3
    for name in ("nonsense", "_graph", "gender"):
        assert any(name in each and each.endswith("it was ignored") for each in said), name
    again = client.get("Patient?" + "&".join(f"{name}={quote(value)}" for name, value in pairs))
    assert matches(again.json) == matches(reply.json)


@clause(
    "R4/search.html#errors", "unknown names, empty values and named queries are refused by name when strict"
)
@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("nonsense=1", "no search parameter 'nonsense'"),
        ("_graph=x", "no search parameter '_graph'"),
        ("_maxresults=5", "no search parameter '_maxresults'"),
        ("gender=", "gender has no value"),
        ("_count=", "_count has no value"),
        ("_filter=", "_filter has no value"),
        ("_query=mine", "Patient has no named query 'mine'"),
        ("_summary=text&_include=Patient:organization", "_summary=text and _include or _revinclude exclude"),
        ("gender=male,,female", "has an empty alternative"),
        ("_sort=_score", "_sort=_score needs words"),
        ("_summary=true&_summary=false", "_summary is given more than once"),
        ("_contained=both&_contained=true", "_contained is given more than once"),
    ],
)
def test_refused(client: FhirClient, query: str, says: str) -> None:
    check(client.get(f"Patient?{query}"), 400, says)
    check(client.get(f"Patient?{query}", Prefer="handling=strict"), 400, says)


@clause(
    "R4/search.html#errors", "a value that is wrong is refused, however lenient: without it all would match"
)
def test_wrong_values_when_lenient(client: FhirClient) -> None:
    check(client.get("Patient?birthdate=yesterday", **LENIENT), 400, "yesterday")
    check(client.get("Patient?_count=many", **LENIENT), 400, "whole number")


@clause("R4/search.html#combining", "a name that comes again is a further condition; commas are alternatives")
def test_repeated(client: FhirClient, stored: Store) -> None:
    one = stored({"resourceType": "Patient", "name": [{"family": "Rep", "given": ["Anna", "Berta"]}]})
    two = stored({"resourceType": "Patient", "name": [{"family": "Rep", "given": ["Anna"]}]})
    found = client.get("Patient?family=rep&given=anna&given=berta").json
    assert [each["id"] for each in matches(found)] == [one]
    found = client.get("Patient?family=rep&given=berta,anna").json
    assert sorted(each["id"] for each in matches(found)) == sorted([one, two])
    assert self_link(found) == [("family", "rep"), ("given", "berta,anna")]


@clause(
    "R4/http.html#search", "POST: parameters of the URL and of the form together, _format and _pretty too"
)
def test_post(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient("Posted"))
    reply = client.send("POST", "Patient/_search?family=posted", f"_id={id_}", FORM)
    assert [each["id"] for each in matches(reply.json)] == [id_]
    assert self_link(reply.json) == [("family", "posted"), ("_id", id_)]
    assert matches(client.send("POST", "Patient/_search?family=other", f"_id={id_}", FORM).json) == []
    reply = client.send("POST", "Patient/_search", f"_id={id_}&_format=xml", FORM)
    assert reply.headers["Content-Type"].startswith("application/fhir+xml")
    assert b"<Bundle" in reply.data
    reply = client.send("POST", "Patient/_search?_format=xml", f"_id={id_}&_format=json&_pretty=true", FORM)
    assert reply.headers["Content-Type"].startswith("application/fhir+json")
    assert reply.data.startswith(b'{\n  "resourceType"')
    assert self_link(reply.json) == [("_id", id_)]
    check(client.send("POST", "Patient/_search", "_format=ttl", FORM), 406, "Turtle")


WHOLE = {
    "resourceType": "Patient",
    "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Sum</div>'},
    "name": [{"family": "Summed"}],
    "birthDate": "1970-01-01",
    "photo": [{"title": "no part of a summary"}],
    "communication": [{"language": {"text": "neither"}}],
}


@clause("R4/search.html#summary", "the five forms, of searches and of reads")
@pytest.mark.parametrize(
    ("form", "members"),
    [
        ("true", {"name", "birthDate"}),
        ("text", {"text"}),
        ("data", {"name", "birthDate", "photo", "communication"}),
        ("false", {"text", "name", "birthDate", "photo", "communication"}),
    ],
)
def test_summary(client: FhirClient, stored: Store, form: str, members: set[str]) -> None:
    id_ = stored(WHOLE)
    read = client.get(f"Patient/{id_}?_summary={form}").json
    [found] = matches(client.get(f"Patient?_id={id_}&_summary={form}").json)
    assert read == found
    assert found.keys() - {"resourceType", "id", "meta"} == members
    tags = [each["code"] for each in found["meta"].get("tag", [])]
    assert tags == ([] if form == "false" else ["SUBSETTED"])


@clause("R4/search.html#summary", "count: the total and no entries, as _count=0; not of a read")
def test_summary_count(client: FhirClient, stored: Store) -> None:
    id_ = stored(WHOLE)
    for name in ("_summary=count", "_count=0"):
        bundle = client.get(f"Patient?_id={id_}&{name}").json
        assert (bundle["total"], bundle.get("entry")) == (1, None)
        assert [each["relation"] for each in bundle["link"]] == ["self"]
    check(client.get(f"Patient/{id_}?_summary=count"), 400, "_summary=count")


@clause(
    "R4/search.html#elements", "_elements of searches and reads: those, the mandatory ones, and SUBSETTED"
)
def test_elements(client: FhirClient, stored: Store) -> None:
    id_ = stored({**observation("Patient/1"), "note": [{"text": "left out"}]})
    read = client.get(f"Observation/{id_}?_elements=subject").json
    [found] = matches(client.get(f"Observation?_id={id_}&_elements=subject").json)
    assert read == found
    assert found.keys() == {"resourceType", "id", "meta", "status", "code", "subject"}
    assert [each["code"] for each in found["meta"]["tag"]] == ["SUBSETTED"]


@clause("R4/search.html#escaping", r"a backslash before , | $ and itself")
@pytest.mark.parametrize("name", ["a,b", "a|b", "a$b", r"a\b", r"a\,b", ",", r"\\"])
def test_escapes(client: FhirClient, stored: Store, name: str) -> None:
    marked = {"resourceType": "Patient", "name": [{"family": name}], "identifier": [{"value": name}]}
    id_ = stored(marked)
    written = name.replace("\\", "\\\\")
    for sign in ",|$":
        written = written.replace(sign, "\\" + sign)
    for query in (f"family:exact={quote(written)}", f"identifier={quote(written)}"):
        assert id_ in [each["id"] for each in matches(client.get(f"Patient?{query}").json)], query
    assert id_ in [
        each["id"] for each in matches(client.get(f"Patient?identifier={quote(written)},other").json)
    ]


@clause("R4/search.html#date", "a date without zone is in the configured zone, stored or asked for")
def test_zone() -> None:
    from zoneinfo import ZoneInfo

    berlin = ZoneInfo("Europe/Berlin")
    rows = Indexer(environment=Environment(berlin)).index(
        "Observation", {"resourceType": "Observation", "effectiveDateTime": "2024-07-01"}
    )
    assert rows.dates[0][1:3] == ("2024-06-30T22:00:00+00:00", "2024-07-01T22:00:00+00:00")
    for text, low in (("2024-07-01", "2024-06-30T22:00"), ("2024-01-01T08:00", "2024-01-01T07:00")):
        [criterion] = parse("Observation", [("date", text)], time_zone=berlin).clauses
        assert criterion.alternatives[0].low.isoformat().startswith(low)  # type: ignore[union-attr]
    [criterion] = parse("Observation", [("date", "2024-07-01T00:00:00Z")], time_zone=berlin).clauses
    assert criterion.alternatives[0].low.isoformat() == "2024-07-01T00:00:00+00:00"  # type: ignore[union-attr]
