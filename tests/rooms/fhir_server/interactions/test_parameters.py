"""What clients and packages define is indexed at once, and searched by when all of it is indexed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fhir_server.authorization.grant import Grant
from fhir_server.definitions import package as packages
from fhir_server.interactions import install
from fhir_server.interactions.create import create
from fhir_server.interactions.delete import delete
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.reindex import Reindexer, latest, status
from fhir_server.interactions.search_system import search as search_all
from fhir_server.interactions.search_type import search
from fhir_server.interactions.update import update
from fhir_server.outcome import FhirError, Invalid, Unprocessable
from fhir_server.storage.jobs import OPEN, Job
from tests.rooms.fhir_server.interactions.conftest import Open
from tests.support.index_dump import dump
from tests.support.packages import package
from tests.support.server import wait_for

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
    wait_for(lambda: not reindexer.drain() and not open_jobs(entry))


def open_jobs(entry: Entry) -> list[Job]:
    return [each for each in entry.read(GRANT, latest) if each.state in OPEN]


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


def test_another_expression_begins_anew(installation: Open) -> None:
    entry, other = installation(), installation()
    put(entry, called("a", "Bo"))
    put(entry, {**called("b"), "name": [{"use": "maiden", "given": ["Bo"]}]})
    put(entry, NICKNAME)
    index_all(entry)
    assert ids(other, "Patient?nickname=bo") == ["a"]
    put(entry, defined("nickname", "Patient.name.where(use='maiden').given"))
    assert "cannot be searched by yet" in refusal(other, "Patient?nickname=bo")
    index_all(entry)
    assert ids(other, "Patient?nickname=bo") == ["b"]
    # what makes no difference to the index is searched by at once
    put(entry, defined("nickname", "Patient.name.where(use='maiden').given", description="other words"))
    assert ids(other, "Patient?nickname=bo") == ["b"]


@pytest.mark.parametrize("ending", ["delete", "retired", "draft"])
def test_what_is_retired_is_not_searched_by_and_leaves_nothing(installation: Open, ending: str) -> None:
    entry, other = installation(), installation()
    put(entry, called("a", "Bo"))
    before = dump(entry.engine)
    put(entry, NICKNAME)
    index_all(entry)
    assert dump(entry.engine) != before
    assert ids(other, "Patient?nickname=bo") == ["a"]
    if ending == "delete":
        entry.write(GRANT, lambda context: delete(context, "SearchParameter", "nickname"))
    else:
        put(entry, {**NICKNAME, "status": ending})
    assert "no search parameter 'nickname'" in refusal(other, "Patient?nickname=bo")
    put(other, called("a", "Bo"))
    index_all(entry)
    assert dump(entry.engine) == before
    put(entry, NICKNAME)
    assert "cannot be searched by yet" in refusal(other, "Patient?nickname=bo")
    index_all(entry)
    assert ids(other, "Patient?nickname=bo") == ["a"]


@pytest.mark.parametrize(
    ("resource", "says"),
    [
        (defined("x", "Patient.name.where("), "expected"),
        (defined("x", "Patient.nam.given"), "Patient has no 'nam'"),
        (defined("x", "Patient.birthDate"), "gives date, of which a string parameter makes nothing"),
        (defined("x", None), "no expression"),
        (defined("x", "Patient.name", "special"), "cannot be indexed"),
        (defined("x", "Observation.code", "token"), "selects nothing of Patient"),
        (defined("x", "Patient.name", "string", "Patient", "Practitioner"), "nothing of Practitioner"),
        (defined("name", "Patient.name.given"), "keeps R4's meaning"),
        (defined("_count", "Patient.name.given", id="count"), "meaning of its own"),
        (defined("a.b", "Patient.name.given", id="ab"), "cannot stand in a search"),
        (defined("x", "Patient.meta.lastUpdated", "date"), "_lastUpdated"),
        (defined("x", "Patient", "composite"), "two components"),
        (
            defined(
                "x", "Patient", "composite",
                component=[{"definition": URL + "nobody", "expression": "active"}] * 2,
            ),
            "no search parameter that is known here",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_indexed_is_refused(installation: Open, resource: Resource, says: str) -> None:
    entry = installation()
    with pytest.raises((Unprocessable, Invalid)) as caught:
        put(entry, resource)
    assert says in caught.value.issues[0].diagnostics
    if "FHIRPath" not in caught.value.issues[0].diagnostics[:12]:
        put(entry, {**resource, "status": "draft"})


def test_an_unknown_base_is_refused(installation: Open) -> None:
    with pytest.raises(FhirError, match="Pateint"):
        put(installation(), defined("x", "Patient.name", "string", "Pateint"))


def test_two_definitions_of_one_code(installation: Open) -> None:
    entry = installation()
    put(entry, NICKNAME)
    with pytest.raises(Unprocessable, match="is defined by http://example"):
        put(entry, {**NICKNAME, "id": "other", "url": URL + "other"})
    put(entry, {**NICKNAME, "id": "other", "url": URL + "other", "base": ["Practitioner"],
                "expression": "Practitioner.name.given"})  # fmt: skip


def test_what_r4_says_itself_is_answered_by_r4(installation: Open) -> None:
    entry = installation()
    put(entry, called("a"))
    same = defined("family", "Patient.name.family")
    put(entry, same)
    assert ids(entry, "Patient?family=f") == ["a"]
    assert Reindexer(entry).drain() == 1  # the index of the first form, nothing else
    derived = "http://hl7.org/fhir/SearchParameter/individual-family"
    put(entry, {**same, "expression": "Patient.name.where(use='official').family", "derivedFrom": derived})
    assert ids(entry, "Patient?family=f") == ["a"]


SINGLE = {"maritalStatus": {"coding": [{"system": "http://s", "code": "S", "display": "Single"}]}}
KILO = {"value": 5, "system": "http://unitsofmeasure.org", "code": "kg", "unit": "kg"}
KINDS = [
    (defined("alias", "Patient.name.where(use='old').family"), "alias=x",
     {"name": [{"use": "old", "family": "X"}]}),
    (defined("single", "Patient.maritalStatus", "token"), "single=http://s|S", SINGLE),
    (defined("single", "Patient.maritalStatus", "token"), "single:text=singl", SINGLE),
    (defined("boss", "Patient.managingOrganization", "reference", target=["Organization"]), "boss=9",
     {"managingOrganization": {"reference": "Organization/9"}}),
    (defined("died", "Patient.deceased.ofType(dateTime)", "date"), "died=ge2020",
     {"deceasedDateTime": "2020-05"}),
    (defined("order", "Patient.multipleBirth.ofType(integer)", "number"), "order=gt1",
     {"multipleBirthInteger": 2}),
    (defined("weight", "Patient.extension('urn:w').value", "quantity"),
     "weight=5|http://unitsofmeasure.org|kg", {"extension": [{"url": "urn:w", "valueQuantity": KILO}]}),
    (defined("weight", "Patient.extension('urn:w').value", "quantity"),
     "weight=5000|http://unitsofmeasure.org|g", {"extension": [{"url": "urn:w", "valueQuantity": KILO}]}),
    (defined("rules", "Patient.implicitRules", "uri"), "rules=http://r", {"implicitRules": "http://r"}),
    (defined("parts", "Patient.name.given.count()", "number"), "parts=2", {"name": [{"given": ["A", "B"]}]}),
    (defined("tags", "Patient.meta.tag", "token"), "tags=t", {"meta": {"tag": [{"code": "t"}]}}),
]  # fmt: skip


@pytest.mark.parametrize(("definition", "query", "content"), KINDS)
def test_every_kind(installation: Open, definition: Resource, query: str, content: Resource) -> None:
    entry = installation()
    put(entry, {"resourceType": "Patient", "id": "before", **content})
    put(entry, called("no"))
    put(entry, definition)
    put(entry, {"resourceType": "Patient", "id": "since", **content})
    index_all(entry)
    assert sorted(ids(entry, f"Patient?{query}")) == ["before", "since"]
    missing = f"Patient?{definition['code']}:missing=true"
    assert ids(entry, missing) == (["no"] if definition["code"] != "parts" else [])


def test_references_are_chained_and_included(installation: Open) -> None:
    entry = installation()
    put(entry, {"resourceType": "Organization", "id": "9", "name": "Nine"})
    put(entry, {**called("a"), "managingOrganization": {"reference": "Organization/9"}})
    put(entry, defined("boss", "Patient.managingOrganization", "reference", target=["Organization"]))
    assert "yet" in refusal(entry, "Patient?boss.name=nine")
    assert "yet" in refusal(entry, "Organization?_has:Patient:boss:family=F")
    assert "yet" in refusal(entry, "Patient?_include=Patient:boss")
    index_all(entry)
    assert ids(entry, "Patient?boss.name=nine") == ["a"]
    assert ids(entry, "Patient?boss:Organization.name=nine") == ["a"]
    assert ids(entry, "Organization?_has:Patient:boss:family=F") == ["9"]
    assert ids(entry, "Patient?_include=Patient:boss") == ["a", "9"]
    assert ids(entry, "Organization?_revinclude=Patient:boss") == ["9", "a"]
    assert ids(entry, "Patient?_filter=boss re Organization/9") == ["a"]


def test_several_types_and_all(installation: Open) -> None:
    entry = installation()
    put(entry, {**called("a"), "language": "de"})
    put(entry, {"resourceType": "Organization", "id": "o", "name": "O", "language": "de"})
    put(entry, defined("spoken", "Resource.language", "token", "Resource"))
    put(
        entry,
        defined(
            "calling", "Patient.name.given | Practitioner.name.given", "string", "Patient", "Practitioner"
        ),
    )
    index_all(entry)
    assert ids(entry, "Patient?spoken=de") == ["a"]
    assert ids(entry, "Organization?spoken=de") == ["o"]
    assert ids(entry, "Practitioner?calling=x") == []
    result = entry.read(GRANT, lambda context: search_all(context, [("spoken", "de")]))
    assert [each["resource"]["id"] for each in json.loads(result.text or "")["entry"]] == ["a", "o"]


def test_a_composite_of_own_and_official_parameters(installation: Open) -> None:
    entry = installation()
    put(entry, defined("contact-kind", "Patient.contact.relationship", "token"))
    parts = [
        {"definition": URL + "contact-kind", "expression": "relationship"},
        {"definition": "http://hl7.org/fhir/SearchParameter/individual-family", "expression": "name.family"},
    ]
    put(entry, defined("kin", "Patient.contact", "composite", component=parts))
    mother = {"relationship": [{"coding": [{"code": "M"}]}], "name": {"family": "Roe"}}
    father = {"relationship": [{"coding": [{"code": "F"}]}], "name": {"family": "Doe"}}
    put(entry, {**called("a"), "contact": [mother, father]})
    index_all(entry)
    assert ids(entry, "Patient?kin=M$roe") == ["a"]
    assert ids(entry, "Patient?kin=M$doe") == []
    put(entry, defined("contact-kind", "Patient.contact.relationship.where(coding.exists())", "token"))
    index_all(entry)
    assert ids(entry, "Patient?kin=F$doe") == ["a"]


def test_an_expression_that_fails_stops_nobody_and_is_told(installation: Open) -> None:
    entry = installation()
    put(entry, called("a", "Bo"))
    put(entry, called("b", "Bo", "Bobo"))
    put(entry, defined("one", "Patient.name.where(use='nickname').given.single()"))
    put(entry, called("c", "Bo", "Bobo"))
    index_all(entry)
    found = bundle(entry, "Patient?one=bo")
    assert [each["resource"].get("id") for each in found["entry"][:-1]] == ["a"]
    assert "2 resources are not indexed" in found["entry"][-1]["resource"]["issue"][0]["diagnostics"]
    [job] = [each for each in entry.read(GRANT, latest) if each.reason.startswith("SearchParameter")]
    assert (job.state, job.failed) == ("incomplete", 2)
    _, failures = entry.read(GRANT, lambda context: status(context, job.id))
    assert [(name, id_) for name, id_, _ in failures] == [("Patient", "b"), ("Patient", "c")]
    put(entry, called("b", "Bo"))
    put(entry, called("c"))
    assert ids(entry, "Patient?one=bo") == ["a", "b"]
    assert "entry" in (found := bundle(entry, "Patient?one=bo"))
    assert len(found["entry"]) == 2


def test_the_parameters_of_a_package(installation: Open, shared: Callable[[str], Path]) -> None:
    entry, other = installation(), installation()
    race = {
        "url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race",
        "extension": [{"url": "ombCategory", "valueCoding": {"system": "urn:r", "code": "2106-3"}}],
    }
    put(entry, {**called("a"), "extension": [race]})
    with open(shared("data/packages/hl7.fhir.us.core-6.1.0.tgz"), "rb") as stream:
        checked = install.check(packages.read(stream))
    made = entry.write(GRANT, lambda context: install.install(context, checked))
    [note] = [note for note in made.notes if "can be searched by when" in note]
    assert note.startswith("CareTeam?role, Condition?asserted-date, Encounter?discharge-disposition")
    assert not [note for note in made.notes if "is not searched by" in note]
    assert "yet" in refusal(other, "Patient?race=2106-3")
    index_all(entry)
    assert ids(other, "Patient?race=2106-3") == ["a"]
    entry.write(GRANT, lambda context: install.remove(context, "hl7.fhir.us.core"))
    assert "no search parameter 'race'" in refusal(other, "Patient?race=2106-3")


def test_a_package_gives_way_to_what_is_in_use(installation: Open) -> None:
    entry = installation()
    put(entry, NICKNAME)
    other = {**NICKNAME, "url": URL + "packaged"}
    faulty = defined("broken", "Patient.nam")
    checked = install.check(packages.read(io.BytesIO(package(other, faulty))))
    made = entry.write(GRANT, lambda context: install.install(context, checked))
    left_out = [note for note in made.notes if "is not searched by" in note]
    assert len(left_out) == 2
    assert "is defined by" in left_out[0] + left_out[1]
    entry.write(GRANT, lambda context: delete(context, "SearchParameter", "nickname"))
    put(entry, called("a", "Bo"))
    index_all(entry)
    assert ids(entry, "Patient?nickname=bo") == ["a"]  # the package's, now


def test_conditions_by_a_parameter(installation: Open) -> None:
    entry = installation()
    put(entry, NICKNAME)
    index_all(entry)

    def make(context: Any) -> Any:
        return create(context, "Patient", called("ignored", "Bo"), "nickname=bo")

    assert entry.write(GRANT, make).status == 201
    assert entry.write(GRANT, make).status == 200


def test_what_is_written_together_with_the_definition_is_indexed(installation: Open) -> None:
    entry = installation()
    put(entry, called("before", "Bo"))

    def both(context: Any) -> None:
        update(context, "Patient", "first", called("first", "Bo"))
        update(context, "SearchParameter", "nickname", NICKNAME)
        update(context, "Patient", "last", called("last", "Bo"))

    entry.write(GRANT, both)
    index_all(entry)
    assert sorted(ids(entry, "Patient?nickname=bo")) == ["before", "first", "last"]
    with pytest.raises(Unprocessable, match="is defined by"):
        entry.write(GRANT, lambda context: create(context, "SearchParameter", {**NICKNAME, "url": URL + "b"}))


def test_what_is_contained_is_indexed_too(installation: Open) -> None:
    entry = installation()
    inside = {"resourceType": "Patient", "id": "i", "name": [{"use": "nickname", "given": ["Bo"]}]}
    link = [{"other": {"reference": "#i"}, "type": "seealso"}]
    report = {
        "resourceType": "Encounter",
        "id": "e",
        "status": "finished",
        "class": {"code": "AMB"},
        "subject": {"reference": "#i"},
        "contained": [inside],
    }
    put(entry, report)
    put(entry, {**called("a"), "contained": [inside], "link": link})
    put(entry, NICKNAME)
    assert "yet" in refusal(entry, "Encounter?subject:Patient.nickname=bo")
    index_all(entry)
    assert ids(entry, "Encounter?subject:Patient.nickname=bo") == ["e"]
    assert sorted(ids(entry, "Patient?nickname=bo&_contained=true")) == ["a", "e"]
    entry.write(GRANT, lambda context: delete(context, "SearchParameter", "nickname"))
    index_all(entry)
    assert "no search parameter" in refusal(entry, "Patient?nickname=bo")
