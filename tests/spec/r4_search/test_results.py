"""_elements, _summary, _include and paging links (R4/search.html#return)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.spec.r4_http.test_errors import check
from tests.support.builders import observation, patient
from tests.support.clause import clause
from tests.support.http import FhirClient

Store = Callable[[dict[str, Any]], str]


def link(client: FhirClient, query: str, relation: str) -> str:
    """Return the path of a link of the Bundle that a query answers."""
    links = {each["relation"]: each["url"] for each in client.get(query).json["link"]}
    return links[relation].partition("/fhir/")[2]


@clause("R4/search.html#elements", "an unknown element is refused, whether or not there is a match")
def test_unknown_element(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    for found in (id_, "nobody"):
        check(client.get(f"Patient?_id={found}&_elements=name,foo"), 400, "no element 'foo'")
        check(client.get(f"Patient?_id={found}&_elements=Patient.foo"), 400, "no element 'foo'")


@clause("R4/search.html#elements", "included resources: their own elements, and no refusal for the others")
def test_elements_with_an_include(client: FhirClient, stored: Store) -> None:
    subject = stored(patient(birthDate="1970", gender="female"))
    id_ = stored(observation(f"Patient/{subject}"))
    wanted = "_elements=subject,Patient.birthDate&_include=Observation:subject"
    reply = client.get(f"Observation?_id={id_}&{wanted}")
    assert reply.status == 200
    match, included = (entry["resource"] for entry in reply.json["entry"])
    assert match.keys() == {"resourceType", "id", "meta", "status", "code", "subject"}
    assert included.keys() == {"resourceType", "id", "meta", "birthDate"}


@clause("R4/http.html#paging", "a page link takes no further criteria; they would be ignored")
def test_criteria_beside_a_cursor(client: FhirClient, stored: Store) -> None:
    for _ in range(2):
        stored(patient())
    following = link(client, "Patient?_count=1", "next")
    assert client.get(following).status == 200
    assert client.get(f"{following}&_format=json").status == 200
    check(client.get(f"{following}&name=other"), 400, "name beside _cursor")


@clause("R4/http.html#paging", "a page link of another search or history is refused")
def test_cursors_of_elsewhere(client: FhirClient, stored: Store) -> None:
    id_ = stored(patient())
    stored(patient())
    client.put(f"Patient/{id_}", patient("Changed", id=id_))
    levels = ("_history", "Patient/_history", f"Patient/{id_}/_history")
    cursors = {level: link(client, f"{level}?_count=1", "next").partition("_cursor=")[2] for level in levels}
    cursors["Patient"] = link(client, "Patient?_count=1", "next").partition("_cursor=")[2]
    for made_for, cursor in cursors.items():
        for level in (*cursors, "Observation", "Observation/_history"):
            reply = client.get(f"{level}?_cursor={cursor}")
            if level == made_for:
                assert reply.status == 200
            else:
                check(reply, 400, "not one of ours")
            tampered = cursor[:-2] + ("AA" if cursor[-2:] != "AA" else "BB")
            check(client.get(f"{level}?_cursor={tampered}"), 400, "not one of ours")
