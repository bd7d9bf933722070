"""A grant that is limited to a patient: what it lets be seen, and that nothing tells of the rest."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from fhir_server.authorization.grant import Grant
from fhir_server.interactions import create, delete, history, read, search_system, search_type, update, vread
from fhir_server.interactions.entry import Entry
from fhir_server.outcome import Forbidden, NotFound

ANYONE = Grant("test")


@pytest.fixture
def two(entry: Entry) -> tuple[str, str]:
    """Two patients, each with an Observation that the other one performed and a Condition she asserted."""
    ids = (f"a-{uuid4().hex[:12]}", f"b-{uuid4().hex[:12]}")

    def store(context: Any) -> None:
        for number, id_ in enumerate(ids):
            about, other = ({"reference": f"Patient/{each}"} for each in (id_, ids[1 - number]))
            code = {"text": "x", "coding": [{"system": "urn:test", "code": id_}]}
            link = [{"other": other, "type": "seealso"}]
            observed = {"status": "final", "code": code, "subject": about, "performer": [other]}
            for resource in (
                {"resourceType": "Patient", "id": id_, "gender": "female", "link": link},
                {"resourceType": "Observation", "id": f"o-{id_}", **observed},
                {"resourceType": "Condition", "id": f"c-{id_}", "subject": about, "asserter": other},
            ):
                update.update(context, str(resource["resourceType"]), str(resource["id"]), resource)

    entry.write(ANYONE, store)
    return ids


def found(entry: Entry, grant: Grant, type_name: str, *pairs: tuple[str, str]) -> list[str]:
    resources = entry.read(grant, lambda context: search_type.resources(context, type_name, pairs))
    return sorted(str(each["id"]) for each in resources)


def test_a_search_finds_what_is_about_the_patient(entry: Entry, two: tuple[str, str]) -> None:
    mine, other = two
    grant = Grant.about_patient("test", mine)
    for type_name, prefix in (("Observation", "o-"), ("Condition", "c-"), ("Patient", "")):
        assert found(entry, grant, type_name) == [f"{prefix}{mine}"]
        assert found(entry, grant, type_name, ("_id", f"{prefix}{mine},{prefix}{other}")) == [
            f"{prefix}{mine}"
        ]
        assert len(found(entry, ANYONE, type_name, ("_id", f"{prefix}{mine},{prefix}{other}"))) == 2
    assert found(entry, grant, "Observation", ("patient", other)) == []
    assert found(entry, grant, "Observation", ("patient", f"{mine},{other}")) == [f"o-{mine}"]
    assert found(entry, grant, "Observation", ("performer", f"Patient/{mine}")) == [], (
        "what she did, not hers"
    )
    assert found(entry, grant, "Patient", ("gender", "female")) == [mine]
    assert found(entry, grant, "AllergyIntolerance") == []


def test_a_page_of_a_search_is_narrowed_too(entry: Entry, two: tuple[str, str]) -> None:
    mine, other = two
    ids = [("_id", f"o-{mine},o-{other}"), ("_total", "accurate")]
    grant = Grant.about_patient("test", mine)
    page = entry.read(grant, lambda context: search_type.search(context, "Observation", ids))
    assert page.text is not None
    assert f"o-{other}" not in page.text.replace(f"o-{mine},o-{other}", "").replace(
        f"o-{mine}%2Co-{other}", ""
    )
    assert '"total":1' in page.text.replace(" ", "")


def test_a_read_tells_nothing_of_others(entry: Entry, two: tuple[str, str]) -> None:
    mine, other = two
    grant = Grant.about_patient("test", mine)

    def get(type_name: str, id_: str) -> Any:
        return entry.read(grant, lambda context: read.read(context, type_name, id_)).version

    for type_name, prefix in (("Patient", ""), ("Observation", "o-"), ("Condition", "c-")):
        assert get(type_name, f"{prefix}{mine}").id == f"{prefix}{mine}"
        with pytest.raises(NotFound) as there:
            get(type_name, f"{prefix}{other}")
        with pytest.raises(NotFound) as nowhere:
            get(type_name, "nowhere")
        assert str(there.value).replace(f"{prefix}{other}", "nowhere") == str(nowhere.value)
    for type_name in ("Medication", "Practitioner", "Group", "SearchParameter"):
        with pytest.raises(Forbidden):
            get(type_name, "any")


@pytest.mark.parametrize(
    ("type_name", "name", "value"),
    [
        ("Observation", "_include", "Observation:performer"),
        ("Patient", "_revinclude", "Observation:performer"),
        ("Patient", "_has:Observation:performer:code", "urn:test|x"),
        ("Observation", "performer:Patient.gender", "female"),
        ("Observation", "_filter", "patient.gender eq female"),
        ("Observation", "_contained", "true"),
    ],
)
def test_references_are_not_followed(
    entry: Entry, two: tuple[str, str], type_name: str, name: str, value: str
) -> None:
    grant = Grant.about_patient("test", two[0])
    entry.read(ANYONE, lambda context: search_type.search(context, type_name, [(name, value)]))
    with pytest.raises(Forbidden):
        entry.read(grant, lambda context: search_type.search(context, type_name, [(name, value)]))


def test_nothing_else_is_allowed(entry: Entry, two: tuple[str, str]) -> None:
    mine, _ = two
    grant = Grant.about_patient("test", mine)
    resource = {"resourceType": "Patient", "id": mine}
    for work in (
        lambda context: update.update(context, "Patient", mine, resource),
        lambda context: create.create(context, "Patient", {"resourceType": "Patient"}),
        lambda context: delete.delete(context, "Patient", mine),
        lambda context: vread.vread(context, "Patient", mine, "1"),
        lambda context: history.history(context, "Patient", mine, []),
        lambda context: search_system.search(context, [("_type", "Patient")]),
        lambda context: search_type.search(context, "Practitioner", []),
    ):
        with pytest.raises(Forbidden):
            entry.write(grant, work)


def test_an_id_with_signs_of_a_search_is_one_id(entry: Entry, two: tuple[str, str]) -> None:
    grant = Grant.about_patient("test", f"{two[0]},{two[1]}")
    assert found(entry, grant, "Patient") == []
    assert found(entry, grant, "Observation") == []
