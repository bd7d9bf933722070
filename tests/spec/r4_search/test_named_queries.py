"""_query: OperationDefinitions of the kind query (R4/search.html#query)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.entry import Entry
from fhir_server.rest.handlers import BUILT
from fhir_server.search.named import EXPRESSION, LANGUAGE
from tests.spec.r4_http.test_errors import check
from tests.support.builders import observation, patient
from tests.support.clause import clause
from tests.support.http import FhirClient, Reply

Resource = dict[str, Any]
BORN = "Patient?birthdate=ge{{%from}}&birthdate=lt{{ %to }}&family={{%family}}&_sort=-birthdate"


def definition(code: str, expression: str | None, **more: Any) -> Resource:
    """Return a query on Patient with the parameters from (1..1), to (0..1) and family (0..*)."""
    said = {"url": EXPRESSION, "valueExpression": {"language": LANGUAGE, "expression": expression}}
    inputs = [
        {"name": name, "use": "in", "min": int(least), "max": most, "type": "string", "searchType": kind}
        for name, least, most, kind in (
            ("from", 1, "1", "date"), ("to", 0, "1", "date"), ("family", 0, "*", "string"),
        )
    ]  # fmt: skip
    found = {"name": "return", "use": "out", "min": 1, "max": "1", "type": "Bundle"}
    return {
        "resourceType": "OperationDefinition",
        "url": f"http://example.org/queries/{code}",
        "name": "Query",
        "status": "active",
        "kind": "query",
        "code": code,
        "resource": ["Patient"],
        "system": False,
        "type": True,
        "instance": False,
        "parameter": [*inputs, {**found, **({"extension": [said]} if expression is not None else {})}],
    } | more


@pytest.fixture
def stored(client: FhirClient) -> Iterator[Callable[[Resource], str]]:
    """Store a resource and return its id; it is deleted afterwards, for a definition has its code alone."""
    made: list[str] = []

    def store(resource: Resource) -> str:
        reply = client.post(resource["resourceType"], resource)
        assert reply.status == 201, reply.data
        made.append(f"{resource['resourceType']}/{reply.json['id']}")
        return str(reply.json["id"])

    yield store
    for address in reversed(made):
        client.send("DELETE", address)


@pytest.fixture
def people(client: FhirClient, stored: Any) -> dict[str, str]:
    """Names by id, born in 2950, 2960, 2970 and 2980 beside all others, and the queries `born` and `seen`."""
    stored(definition("born", BORN))
    stored(
        definition("seen", "Patient?_has:Observation:patient:code={{%from}}&_revinclude=Observation:patient")
    )
    names = ("Query", "Other", "Querulous", "Query")
    return {
        stored(patient(family, birthDate=str(2950 + 10 * number))): family
        for number, family in enumerate(names)
    }


def found(reply: Reply, people: dict[str, str]) -> list[int]:
    """Return which of the people an answer has, by number."""
    assert reply.status == 200, reply.data
    ids = list(people)
    return [
        ids.index(each["resource"]["id"])
        for each in reply.json.get("entry", [])
        if each["search"]["mode"] == "match"
    ]


@clause("R4/search.html#query", "a named query with parameters, beside other criteria; self tells its name")
@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("_query=born&from=2960", [3, 2, 1]),
        ("_query=born&from=2960&to=2980", [2, 1]),
        ("from=2950-01-01&_query=born&family=quer", [3, 2, 0]),
        ("_query=born&from=2950&family=quer&family=queru", [2]),
        ("_query=born&from=2950&family=queru,other", [2, 1]),
        ("_query=born&from=2950&name=other", [1]),
        ("_query=born&from=2950&_sort=birthdate&_count=2", [0, 1]),
        ("_query=born&from=3000", []),
    ],
)
def test_named(client: FhirClient, people: dict[str, str], query: str, numbers: list[int]) -> None:
    reply = client.get(f"Patient?{query}")
    assert found(reply, people) == numbers
    [own] = [each["url"] for each in reply.json["link"] if each["relation"] == "self"]
    assert sorted(own.partition("?")[2].replace("%2C", ",").split("&")) == sorted(query.split("&"))


@clause("R4/search.html#query", "pages of a named query, its count, its plan, by POST and in a Bundle")
def test_answers(client: FhirClient, stored: Any, people: dict[str, str]) -> None:
    first = client.get("Patient?_query=born&from=2950&_count=3")
    assert found(first, people) == [3, 2, 1]
    [following] = [each["url"] for each in first.json["link"] if each["relation"] == "next"]
    second = client.get(following.partition("/fhir/")[2])
    assert found(second, people) == [0]
    assert client.get("Patient?_query=born&from=2960&_summary=count").json["total"] == 3
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert found(client.send("POST", "Patient/_search", b"_query=born&from=2970", form), people) == [3, 2]
    entry = {"request": {"method": "GET", "url": "Patient?_query=born&from=2970"}}
    made = client.post("", {"resourceType": "Bundle", "type": "batch", "entry": [entry]}).json
    assert len(made["entry"][0]["resource"]["entry"]) == 2
    code = "http://loinc.org|8867-4"
    coded = {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}
    seen = stored({**observation(f"Patient/{next(iter(people))}"), "code": coded})
    reply = client.get(f"Patient?_query=seen&from={code}")
    assert found(reply, people) == [0]
    assert [
        each["resource"]["id"] for each in reply.json["entry"] if each["search"]["mode"] == "include"
    ] == [seen]


@clause("R4/search.html#query", "a query that is not known is refused, however lenient; so is what it lacks")
@pytest.mark.parametrize(
    ("query", "says"),
    [
        (
            "Patient?_query=bron&from=1",
            "no named query 'bron'; did you mean born? Known are born, seen",
        ),
        ("Observation?_query=born", "Observation has no named query 'born'"),
        ("Patient?_query=born", "the named query born needs the parameter from"),
        ("Patient?_query=born&from=", "from has no value"),
        ("Patient?_query=born&from=2950&from=2960", "from is given more than once"),
        ("Patient?_query=born&from=soon", "birthdate: 'gesoon' is not a date"),
        ("Patient?_query=born&_query=born&from=2950", "one _query"),
        ("Patient?_query:x=born", "one _query"),
        ("Patient?_query=born&from=2950&_contained=both", "_contained=both and _query exclude each other"),
        (
            "Patient?_query=seen&from=x&_summary=text",
            "_summary=text and what the named query",
        ),
        ("?_type=Patient&_query=born&from=2950", "_query is for a search on one type"),
        ("Observation?patient._query=born", "_query is for a search on one type"),
    ],
)
def test_refused(client: FhirClient, people: dict[str, str], query: str, says: str) -> None:
    check(client.get(query), 400, says)
    check(client.get(query, Prefer="handling=lenient"), 400, says)


@clause("R4/search.html#query", "other criteria that nobody knows are left out beside it when lenient")
def test_lenient(client: FhirClient, people: dict[str, str]) -> None:
    check(client.get("Patient?_query=born&from=2980&colour=red"), 400, "colour")
    reply = client.get("Patient?_query=born&from=2980&colour=red", Prefer="handling=lenient")
    assert found(reply, people) == [3]
    assert "colour" in reply.json["entry"][-1]["resource"]["issue"][0]["diagnostics"]


@clause(
    "R4/operationdefinition.html",
    "a definition that cannot be run is refused when asked for",
)
@pytest.mark.parametrize(
    ("expression", "more", "says"),
    [
        (None, {}, "does not say what is searched"),
        ("Patient?name={{%nobody}}", {}, "has no parameter 'nobody'"),
        ("Observation?code={{%from}}", {}, "searches 'Observation', which its definition does not have"),
        ("Patient?_filter=name eq {{%from}}", {}, "has a parameter in _filter"),
        ("Patient?_query=born", {}, "has a parameter in _query"),
        ("Patient?colour=red", {}, "Patient has no search parameter 'colour'"),
        ("Patient?_total=accurate", {}, "has _total, which only who asks can give"),
        ("Patient?active=true", {"status": "retired"}, "is not active"),
    ],
)
def test_unfit(client: FhirClient, stored: Any, expression: str | None, more: Resource, says: str) -> None:
    stored(definition("unfit", expression, **more))
    check(client.get("Patient?_query=unfit&from=1", Prefer="handling=lenient"), 400, says)


@clause("R4/search.html#query", "two definitions of one name: neither is taken")
def test_two(client: FhirClient, stored: Any, people: dict[str, str]) -> None:
    stored(definition("born", "Patient?active=true", url="http://example.org/queries/again"))
    says = (
        "several definitions of the named query 'born': http://example.org/queries/again, http://example.org"
    )
    check(client.get("Patient?_query=born&from=2950"), 400, says)


@clause(
    "R4/capabilitystatement.html",
    "named queries are listed as long as they are there",
)
def test_announced(client: FhirClient, entry: Entry, stored: Any) -> None:
    def listed() -> list[Resource]:
        [of_type] = [
            each for each in client.get("metadata").json["rest"][0]["resource"] if each["type"] == "Patient"
        ]
        return [each for each in of_type.get("operation", []) if each["name"] in ("born", "unfit")]

    assert listed() == []
    id_ = stored(definition("born", BORN))
    stored(definition("unfit", None))
    assert listed() == [{"name": "born", "definition": "http://example.org/queries/born"}]
    assert client.send("DELETE", f"OperationDefinition/{id_}").status == 204
    assert listed() == []
    assert Capabilities(entry.settings, BUILT, entry.clock()).last().tag
