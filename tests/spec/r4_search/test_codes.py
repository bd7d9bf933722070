"""Modifiers of tokens that know more than the code: :text, :in, :not-in, :above, :below."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fhir_server.search import keys
from fhir_server.search.conditions import LONG
from tests.spec.r4_http.test_errors import check
from tests.spec.r4_search.conftest import Search
from tests.spec.r4_search.test_keyed import coded, condition
from tests.spec.r4_search.test_several import addresses
from tests.spec.r4_validation.conftest import Doors, doors
from tests.support.builders import observation, patient
from tests.support.clause import clause
from tests.support.http import FhirClient

__all__ = ["doors"]
GENDERS = "http://hl7.org/fhir/ValueSet/administrative-gender"
ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
PAIN = "urn:test:pain"


def worded(id: str, text: str | None, *displays: str) -> dict[str, Any]:
    code: dict[str, Any] = {"coding": [{"system": "s", "code": "c", "display": each} for each in displays]}
    return condition(id, code={**code, **({"text": text} if text else {})})


@clause("R4/search.html#token", ":text is a string search on text and display, from the beginning")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("code:text=headache", ["text", "display", "second"]),
        ("code:text=HEAD", ["text", "display", "second"]),
        ("code:text=céph", ["accent"]),
        ("code:text=ache", []),
        ("code:text=severe,ceph", ["accent", "middle"]),
        (r"code:text=severe\, old", ["middle"]),
        ("code:text=headache&code:text=migraine", ["second"]),
        ("code:text=" + "w" * 300, ["long"]),
        ("code:text=" + "w" * 299 + "x", []),
    ],
)
def test_text(search: Search, query: str, ids: list[str]) -> None:
    found = search(
        f"Condition?{query}",
        worded("text", "Headache", "Headache"),
        worded("display", None, "headache, chronic"),
        worded("second", None, "Migraine", "Headache"),
        worded("accent", "Céphalée"),
        worded("middle", "Severe, old headache"),
        worded("long", "W" * 300),
        condition("none"),
    )
    assert sorted(found) == sorted(ids)


@clause("R4/search.html#token", ":text on a Coding is its display, on an Identifier the text of its type")
def test_text_elsewhere(search: Search) -> None:
    record = {"type": {"text": "Medical record", "coding": [{"display": "MR number"}]}, "value": "7"}
    one = {"resourceType": "Patient", "id": "record", "identifier": [record]}
    assert search("Patient?identifier:text=medical", one) == ["record"]
    two = {"resourceType": "Patient", "id": "tag", "meta": {"tag": [{"code": "x", "display": "Ward 7"}]}}
    assert search("Patient?_tag:text=ward", two) == ["tag"]


@pytest.fixture
def client(doors: Doors) -> FhirClient:
    return doors()


@pytest.fixture
def put(client: FhirClient) -> Callable[..., None]:
    def store(*resources: dict[str, Any]) -> None:
        for each in resources:
            reply = client.put(f"{each['resourceType']}/{each['id']}", each)
            assert reply.status == 201, reply.data

    return store


Put = Callable[..., None]


def of_code(id: str, system: str, code: str) -> dict[str, Any]:
    return {**observation("Patient/x", id=id), "code": {"coding": [{"system": system, "code": code}]}}


def pains() -> tuple[dict[str, Any], ...]:
    """A code system with a hierarchy, a value set of it, and an Observation of each code."""
    tree = [
        {"code": "pain", "concept": [{"code": "head", "concept": [{"code": "migraine"}]}, {"code": "back"}]},
        {"code": "fever"},
    ]
    system = {"resourceType": "CodeSystem", "id": "pains", "url": PAIN, "status": "active"}
    system |= {"content": "complete", "caseSensitive": True, "hierarchyMeaning": "is-a", "concept": tree}
    heads = {"property": "concept", "op": "is-a", "value": "head"}
    chosen = {"resourceType": "ValueSet", "id": "heads", "url": "urn:test:heads", "status": "active"}
    chosen["compose"] = {"include": [{"system": PAIN, "filter": [heads]}]}
    every = {**chosen, "id": "every", "url": "urn:test:every", "compose": {"include": [{"system": PAIN}]}}
    two = {**chosen, "id": "two", "url": "urn:test:two"}
    two["compose"] = {
        "include": [{"valueSet": ["urn:test:every"]}],
        "exclude": [{"valueSet": ["urn:test:heads"]}],
    }
    observations = [of_code(code, PAIN, code) for code in ("pain", "head", "migraine", "back", "fever")]
    other = of_code("other", "urn:other", "head")
    bare = {**observation("Patient/x", id="bare"), "code": {"text": "head"}}
    return system, chosen, every, two, *observations, other, bare


@clause("R4/search.html#token", ":in and :not-in with a canonical or a stored ValueSet; :above and :below")
def test_stored(client: FhirClient, put: Put) -> None:
    put(*pains())
    for query, expected in (
        ("code:in=urn:test:heads", "head migraine"),
        ("code:in=ValueSet/heads", "head migraine"),
        ("code:in=http://127.0.0.1/fhir/ValueSet/heads", "head migraine"),
        ("code:in=urn:test:two", "back fever pain"),
        ("code:in=urn:test:heads,urn:test:two", "back fever head migraine pain"),
        ("code:in=urn:test:every&code:not=urn:test:pain|fever,urn:test:pain|back", "head migraine pain"),
        ("code:not-in=urn:test:every", "bare other"),
        ("code:not-in=urn:test:heads", "back bare fever other pain"),
        ("code:not-in=urn:test:heads,urn:test:two", "bare other"),
        (f"code:below={PAIN}|head", "head migraine"),
        (f"code:below={PAIN}|pain", "back head migraine pain"),
        (f"code:below={PAIN}|migraine,{PAIN}|back", "back migraine"),
        (f"code:above={PAIN}|migraine", "head migraine pain"),
        ("combo-code:in=urn:test:heads", "head migraine"),
    ):
        found = addresses(client.get(f"Observation?{query}").json)
        assert sorted(found) == [f"Observation/{id_}" for id_ in expected.split()], query
    assert addresses(client.get("?_type=Observation,Condition&code:in=ValueSet/heads&_sort=_id").json) == [
        "Observation/head",
        "Observation/migraine",
    ]
    # A changed value set is another one from the next search on.
    changed = {**pains()[1], "compose": {"include": [{"system": PAIN, "concept": [{"code": "fever"}]}]}}
    assert client.put("ValueSet/heads", changed).status == 200
    for name in ("urn:test:heads", "ValueSet/heads"):
        assert addresses(client.get(f"Observation?code:in={name}").json) == ["Observation/fever"]


@clause("R4/search.html#token", ":in with a value set of R4 itself; a code has the system of its binding")
def test_of_r4(client: FhirClient, put: Put) -> None:
    put(patient(id="f", gender="female"), patient(id="n"))
    assert addresses(client.get(f"Patient?gender:in={GENDERS}").json) == ["Patient/f"]
    assert addresses(client.get(f"Patient?gender:in={GENDERS}|4.0.1").json) == ["Patient/f"]
    assert addresses(client.get(f"Patient?gender:not-in={GENDERS}").json) == ["Patient/n"]
    visit = {"resourceType": "Encounter", "id": "e", "status": "finished"}
    put(
        {**visit, "class": {"system": ACT, "code": "ACUTE"}}, {**visit, "id": "v", "class": {"code": "ACUTE"}}
    )
    assert addresses(client.get(f"Encounter?class:below={ACT}|IMP").json) == ["Encounter/e"]
    assert addresses(client.get(f"Encounter?class:above={ACT}|ACUTE").json) == ["Encounter/e"]


@clause("R4/search.html#token", "what cannot be written out in full is refused by its name")
@pytest.mark.parametrize(
    ("query", "says", "code"),
    [
        ("code:in=urn:nobody", "value set urn:nobody cannot be listed: it is not known here", "not-found"),
        ("code:in=ValueSet/nobody", "there is no ValueSet/nobody here", "not-found"),
        ("code:not-in=urn:nobody", "urn:nobody", "not-found"),
        (
            "code:in=http://snomed.info/sct?fhir_vs",
            "codes of http://snomed.info/sct are not all",
            "not-found",
        ),
        ("code:below=http://snomed.info/sct|1", "only a part", "not-found"),
        ("code:below=urn:nobody|1", "the code system urn:nobody is not here", "not-found"),
        (f"code:below={ACT}|IMQ", "has no code 'IMQ'", "not-found"),
        ("code:below=1", "asks for system|code", "invalid"),
        ("identifier:in=urn:x", "is for codes; the values here are Identifier", "invalid"),
        ("status:text=x", "have neither text nor display", "invalid"),
        ("patient:below=x", "patient has no modifier 'below'", "invalid"),
    ],
)
def test_refused(client: FhirClient, query: str, says: str, code: str) -> None:
    reply = client.get(f"Observation?{query}")
    check(reply, 400, says)
    assert reply.issue["code"] == code


@clause("R4/search.html#token", "a value set of more codes than a search can take: too-costly")
def test_too_large(client: FhirClient, put: Put) -> None:
    listed = [{"code": f"c{number}"} for number in range(2_001)]
    large = {"resourceType": "ValueSet", "id": "large", "url": "urn:test:large", "status": "active"}
    large["compose"] = {"include": [{"system": "urn:test:many", "concept": listed}]}
    put(large)
    for name in ("urn:test:large", "ValueSet/large"):
        reply = client.get(f"Observation?code:in={name}")
        check(reply, 400, "more than 2000 codes")
        assert reply.issue["code"] == "too-costly"
    large["compose"] = {"include": [{"system": "urn:test:many", "concept": listed[1:]}]}
    assert client.put("ValueSet/large", large).status == 200
    put(of_code("o", "urn:test:many", "c2000"))
    put(observation("Patient/x", id="p"))
    assert addresses(client.get("Observation?code:in=urn:test:large").json) == ["Observation/o"]
    assert addresses(client.get("Observation?code:not-in=urn:test:large").json) == ["Observation/p"]


@clause("R4/search.html#token", ":not with several values is none of them, however many")
def test_not_any(search: Search) -> None:
    many = ",".join(f"x{number}" for number in range(LONG + 4))
    found = search(
        f"Condition?code:not=a,{many}",
        condition("a", code=coded(("s", "a"))),
        condition("x", code=coded(("s", "x3"))),
        condition("b", code=coded(("s", "b"))),
        condition("none"),
    )
    assert found == ["b", "none"]
    assert keys.key("Condition", "code", "a") != keys.key("Condition", "code:text", "a")
