"""ETag and If-None-Match on searches (RFC 9110 8.8.3, 13.1.2; R4/http.html#cread has them for reads)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.builders import observation, patient
from tests.support.clause import clause
from tests.support.http import FhirClient

Store = Callable[[dict[str, Any]], str]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def tag(client: FhirClient, query: str) -> str:
    reply = client.get(query)
    assert reply.status == 200
    text: str = reply.headers["ETag"]
    return text


@clause("RFC 9110 13.1.2", "304 as long as the answer is the same, whatever is written beside it")
@pytest.mark.parametrize("more", ["", "&_include=Observation:subject", "&_total=accurate", "&_summary=count"])
def test_known_page(client: FhirClient, stored: Store, more: str) -> None:
    subject = stored(patient("Tagged"))
    id_ = stored(observation(f"Patient/{subject}"))
    query = f"Observation?patient={subject}{more}"
    known = tag(client, query)
    assert known.startswith('W/"')
    for header in (known, known[2:], f'"x", {known}', "*"):
        reply = client.get(query, If_None_Match=header)
        assert (reply.status, reply.data, reply.headers["ETag"]) == (304, b"", known)
    stored(patient("Somebody else"))
    assert client.get(query, If_None_Match=known).status == 304
    assert client.get(query, If_None_Match='W/"x"').status == 200
    assert tag(client, query) == known
    stored(observation(f"Patient/{subject}"))
    assert client.get(query, If_None_Match=known).status == 200
    assert tag(client, query) != known
    assert id_


@clause("RFC 9110 8.8.3", "a change of what is included, a deletion and a return to the old text are told")
def test_changes(client: FhirClient, stored: Store) -> None:
    subject = stored(patient("Before"))
    id_ = stored(observation(f"Patient/{subject}"))
    query = f"Observation?_id={id_}&_include=Observation:subject"
    alone = tag(client, f"Observation?_id={id_}")
    tags = [tag(client, query)]
    for family in ("After", "Before"):
        client.put(f"Patient/{subject}", patient(family, id=subject))
        tags.append(tag(client, query))
    client.delete(f"Observation/{id_}")
    tags.append(tag(client, query))
    assert len(set(tags)) == 4
    assert tag(client, f"Observation?_id={id_}") != alone


@clause("RFC 9110 13.1.2", "pages have tags of their own; HEAD has the same; POST has none")
def test_pages(client: FhirClient, stored: Store) -> None:
    subject = stored(patient())
    for _ in range(3):
        stored(observation(f"Patient/{subject}"))
    query = f"Observation?patient={subject}&_count=2"
    first = client.get(query)
    following = next(each["url"] for each in first.json["link"] if each["relation"] == "next")
    second = following.partition("/fhir/")[2]
    assert tag(client, second) != first.headers["ETag"]
    assert client.get(second, If_None_Match=tag(client, second)).status == 304
    assert client.send("HEAD", query).headers["ETag"] == first.headers["ETag"]
    reply = client.send("POST", "Observation/_search", f"patient={subject}", FORM)
    assert reply.status == 200
    assert "ETag" not in reply.headers
    assert (
        client.send(
            "POST", "Observation/_search", f"patient={subject}", {**FORM, "If-None-Match": "*"}
        ).status
        == 200
    )


@clause("RFC 9110 8.8.3", "what lenient handling left out is part of the answer")
def test_lenient(client: FhirClient) -> None:
    query = "Patient?_id=none"
    lenient = client.get(f"{query}&nonsense=1", Prefer="handling=lenient")
    assert lenient.status == 200
    assert lenient.headers["ETag"] != tag(client, query)
