"""What clients and packages define is indexed at once, and searched by when all of it is indexed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fhir_server.authorization.grant import Grant
from fhir_server.definitions import package as packages
from fhir_server.interactions import install
from fhir_server.interactions.delete import delete
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.reindex import Reindexer
from fhir_server.interactions.search_type import search
from fhir_server.interactions.update import update
from fhir_server.outcome import FhirError, Invalid, Unprocessable
from tests.rooms.fhir_server.interactions.conftest import Open
from tests.support.packages import package

GRANT = Grant("test")
URL = "http://example.org/fhir/SearchParameter/"
Resource = dict[str, Any]


def defined(code: str, expression: str | None, kind: str = "string", *base: str, **more: Any) -> Resource:
    made = {
        "resourceType": "SearchParameter",
        "id": code,
        "url": URL + code,
        "name": code.replace("-", ""),
        "status": "active",
        "description": "tested",
        "code": code,
        "base": list(base) or ["Patient"],
        "type": kind,
        **more,
    }
    return made if expression is None else {**made, "expression": expression}


NICKNAME = defined("nickname", "Patient.name.where(use='nickname').given")


def put(entry: Entry, resource: Resource) -> None:
    kind, id_ = resource["resourceType"], resource["id"]
    entry.write(GRANT, lambda context: update(context, kind, id_, resource))


def called(id_: str, *nicknames: str, **more: Any) -> Resource:
    name = [{"use": "nickname", "given": list(nicknames)}] if nicknames else []
    return {"resourceType": "Patient", "id": id_, "name": [{"family": "F"}, *name], **more}


def bundle(entry: Entry, query: str, strict: bool = True) -> Resource:
    kind, _, text = query.partition("?")
    pairs = [(part.partition("=")[0], part.partition("=")[2]) for part in text.split("&") if part]
    result = entry.read(GRANT, lambda context: search(context, kind, pairs, strict=strict))
    found: Resource = json.loads(result.text or "")
    return found


def ids(entry: Entry, query: str) -> list[str]:
    entries = bundle(entry, query).get("entry", [])
    return [each["resource"]["id"] for each in entries if each["search"]["mode"] != "outcome"]


def index_all(entry: Entry) -> None:
    reindexer = Reindexer(entry)
    for _ in range(200):
        if not reindexer.drain():
            return
    raise AssertionError("the jobs do not end")


def refusal(entry: Entry, query: str) -> str:
    with pytest.raises(FhirError) as caught:
        bundle(entry, query)
    assert caught.value.status == 400
    return caught.value.issues[0].diagnostics


def test_a_stored_parameter_is_searched_by_after_its_job(installation: Open) -> None:
    entry, other = installation(), installation()
    put(entry, called("a", "Bo"))
    assert ids(other, "Patient?family=F") == ["a"]
    assert "no search parameter 'nickname'" in refusal(other, "Patient?nickname=bo")
    put(entry, NICKNAME)
    put(other, called("b", "Boris"))
    says = refusal(other, "Patient?nickname=bo")
    assert "cannot be searched by yet" in says
    assert "$reindex-status?job=" in says
    lenient = bundle(other, "Patient?nickname=bo", strict=False)
    assert len(lenient["entry"]) == 3
    assert lenient["entry"][-1]["search"]["mode"] == "outcome"
    index_all(entry)
    assert ids(other, "Patient?nickname=bo") == ["a", "b"]
    assert ids(other, "Patient?nickname=bor") == ["b"]
    assert ids(entry, "Patient?nickname:exact=Bo") == ["a"]
    put(other, called("c"))
    assert ids(entry, "Patient?nickname:missing=true") == ["c"]
    put(other, called("a", "Zoe"))
    assert ids(entry, "Patient?nickname=bo") == ["b"]
    assert ids(entry, "Patient?_sort=-nickname") == ["a", "b", "c"]
    entry.write(GRANT, lambda context: delete(context, "Patient", "a"))
    assert ids(entry, "Patient?nickname=zoe") == []
