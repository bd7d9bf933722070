"""The pages: what they show, that nothing in a record can run, that no entry is lost between pages."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import pytest

from fhir_server.console import reading
from tests.rooms.fhir_server.console.conftest import House
from tests.support.builders import observation, patient

HOSTILE = "<script>alert('x')</script>\"onload=\"alert(1)"


def named(id_: str, family: str, **more: Any) -> dict[str, Any]:
    return patient(family, id=id_, **more)


def links(page: str, prefix: str) -> list[str]:
    """Return the addresses of links that begin with `prefix`, in order, once each."""
    found = re.findall(r'href="([^"]+)"', page)
    return list(
        dict.fromkeys(unquote(each.replace("&amp;", "&")) for each in found if each.startswith(prefix))
    )


def test_front_door(house: House) -> None:
    client = house.app.test_client()
    assert client.get("/").headers["Location"] == "/console"
    assert client.get("/console").headers["Location"] == "/console/patients"
    page = house.get("/console/patients")
    assert "No patient found" in page
    assert "authorization is off" in page
    assert [each for each in links(page, "/console/") if "static" not in each] == [
        "/console/patients", "/console/studies", "/console/dicom", "/console/cds", "/console/jobs",
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["/console/patients", "/console/studies", "/console/cds", "/console/jobs"])
def test_every_page_says_what_it_may_do(house: House, path: str) -> None:
    answer = house.app.test_client().get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "style=" not in answer.text
    assert not re.search(r"<script(?! src=)", answer.text)
    assert not re.search(r"\son[a-z]+=", answer.text)


def test_what_a_record_holds_is_text(house: House) -> None:
    house.store(
        named("h", HOSTILE, identifier=[{"system": HOSTILE, "value": HOSTILE}]),
        observation("Patient/h", value=HOSTILE, id="o", effectiveDateTime="2020-01-01"),
        {
            "resourceType": "AllergyIntolerance",
            "id": "a",
            "patient": {"reference": "Patient/h"},
            "criticality": "high",
            "code": {"text": HOSTILE},
            "clinicalStatus": {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical",
                        "code": "active",
                    }
                ]
            },
        },
    )
    for path in (
        "/console/patients",
        "/console/patients/h",
        "/console/resources/Patient/h",
        "/console/resources/Observation/o",
        f"/console/patients?name={HOSTILE}",
        f"/console/resources/Patient/{HOSTILE.replace('/', '')}",
        f"/console/studies?name={HOSTILE}",
        f"/console/cds?name={HOSTILE}",
    ):
        text = house.app.test_client().get(path).text
        assert "<script>alert" not in text, path
        assert '"onload="' not in text, path


def test_patients_by_name_birth_date_and_identifier(house: House) -> None:
    house.store(
        named("a", "Ünal", birthDate="1970-05-01", identifier=[{"system": "urn:m", "value": "17"}]),
        named("b", "Berg", birthDate="1980-06-02", deceasedBoolean=True),
    )
    for query, found in (
        ("name=unal", ["a"]),
        ("birthdate=1980", ["b"]),
        ("identifier=urn:m|17", ["a"]),
        ("name=unal&birthdate=1980", []),
        ("", ["b", "a"]),
    ):
        page = house.get(f"/console/patients?{query}")
        assert [each.rpartition("/")[2] for each in links(page, "/console/patients/")] == found, query
        assert "/fhir/Patient?" in page, "the same as curl"
    assert "deceased" in house.get("/console/patients?name=berg")
    refused = house.get("/console/patients?birthdate=yesterday", 400)
    assert "yesterday" in refused
    assert 'role="alert"' in refused


def test_patients_page_by_page(house: House) -> None:
    count = 2 * reading.PATIENTS_A_PAGE + 3
    house.store(*(named(f"p{number:03}", f"Family {number:03}") for number in range(count)))
    seen: list[str] = []
    address = "/console/patients?name=family"
    for _ in range(4):
        page = house.get(address)
        seen += links(page, "/console/patients/")
        following = links(page, "/console/patients?")
        if 'rel="next"' not in page:
            break
        address = following[-1]
        assert "name=family" in address
    assert [each.rpartition("/")[2] for each in seen] == [f"p{number:03}" for number in range(count)]


def test_timeline_shows_every_entry_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ITEMS_A_KIND", 7)
    resources: list[dict[str, Any]] = [named("t", "Time", birthDate="1950-01-01")]
    for number in range(40):
        # several on a day, two at one moment, other zones, dates without a time
        moment = (
            f"2020-01-{1 + number // 4:02}T{(5 * number) % 24:02}:00:00+0{number % 3}:00"
            if number % 5
            else f"2020-01-{1 + number // 4:02}"
        )
        resources.append(observation("Patient/t", id=f"o{number}", effectiveDateTime=moment))
    for number in range(12):
        resources.append(
            {
                "resourceType": "Encounter",
                "id": f"e{number}",
                "status": "finished",
                "class": {"code": "AMB"},
                "subject": {"reference": "Patient/t"},
                "period": {"start": f"2020-01-{1 + number:02}T09:00:00Z"},
            }
        )
    resources.append(observation("Patient/t", id="undated"))
    house.store(*resources)
    seen: list[str] = []
    address = "/console/patients/t"
    for _ in range(30):
        page = house.get(address)
        body = page[page.index('class="timeline"') : page.index("<aside")]
        seen += links(body, "/console/resources/")
        earlier = re.search(r'href="(\?[^"]*before=[^"]*)">Earlier', page)
        if earlier is None:
            break
        address = "/console/patients/t" + earlier[1].replace("&amp;", "&")
    assert sorted(seen) == sorted(
        f"/console/resources/{each['resourceType']}/{each['id']}" for each in resources[1:]
    )


def test_a_moment_with_more_entries_than_a_stretch(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ITEMS_A_KIND", 3)
    at = "2020-01-01T10:00:00Z"
    house.store(
        named("m", "Moment"),
        *(observation("Patient/m", id=f"m{number}", effectiveDateTime=at) for number in range(5)),
        observation("Patient/m", id="before", effectiveDateTime="2019-01-01"),
    )
    page = house.get("/console/patients/m")
    earlier = re.search(r'href="(\?[^"]*before=[^"]*)">Earlier', page)
    assert earlier is not None
    assert "/console/resources/Observation/before" in house.get(f"/console/patients/m{earlier[1]}")


def test_timeline_filters(house: House) -> None:
    patient_id = house.admit()
    everything = house.get(f"/console/patients/{patient_id}")
    for address in ("Condition/stroke-demo-stroke", "Encounter/stroke-demo-encounter"):
        assert f"/console/resources/{address}" in everything
    only = house.get(f"/console/patients/{patient_id}?kind=encounters")
    timeline = only[only.index('class="timeline"') : only.index("<aside")]
    assert "/console/resources/Encounter/" in timeline
    assert "/console/resources/Condition/" not in timeline
    assert "Ischemic stroke" in only, "active problems stay beside it"


def test_resource_with_its_versions_and_what_changed(house: House) -> None:
    house.store(named("v", "First"))
    house.store(named("v", "Second"))
    page = house.get("/console/resources/Patient/v")
    assert "Version 2" in page
    assert "&#34;Second&#34;" in page
    assert "First" in house.get("/console/resources/Patient/v?version=1")
    changed = house.get("/console/resources/Patient/v?version=2&against=1")
    assert re.search(r'<tr class="old">.*First', changed)
    assert re.search(r'<tr class="new">.*Second', changed)
    assert "versionId" not in changed, "what always differs is left out"


def test_deleted_resource_keeps_its_history(house: House) -> None:
    house.store(named("d", "Gone"))
    house.app.test_client().delete("/fhir/Patient/d")
    page = house.get("/console/resources/Patient/d")
    assert '<span class="tag bad">deleted</span>' in page
    assert "Gone" in page
    assert "was deleted" in house.get("/console/patients/d", 410)


@pytest.mark.parametrize(
    "path",
    [
        "/console/patients/nobody",
        "/console/resources/Nothing/7",
        "/console/resources/Patient/nobody",
        "/console/studies/1.2.3",
        "/console/nothing",
        "/nothing",
    ],
)
def test_not_there(house: House, path: str) -> None:
    assert "Not here" in house.get(path, 404)


def test_crash_shows_its_number_only(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any) -> Any:
        raise RuntimeError("Margarethe Musterfrau")

    monkeypatch.setattr(reading, "patients", crash)
    page = house.get("/console/patients", 500)
    assert "incident" in page
    assert "Musterfrau" not in page


def test_server_page(house: House) -> None:
    house.store(named("s", "Server"))
    page = house.get("/console/jobs")
    assert "/console/resources/Patient/s" in page
    assert "Database" in page


def test_study_with_its_images(house: House) -> None:
    uid = house.scan(house.admit())
    listed = house.get("/console/studies?name=beispiel&modality=ct&date=2026")
    assert links(listed, "/console/studies/2.") == [f"/console/studies/{uid}"]
    page = house.get(f"/console/studies/{uid}")
    assert f"/console/patients/{'stroke-demo'}" in page
    picture = re.search(r'id="picture" src="([^"]+)"', page)
    assert picture is not None
    answer = house.app.test_client().get(picture[1])
    assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")
    assert len(page.split('data-frames="')[1].split('"')[0].split()) == 4
    windowed = house.get(f"/console/studies/{uid}?image=2&window=40,80")
    assert "rendered?window=40,80" in windowed
    assert ">2 / 4<" in windowed
    assert f'href="/console/studies/{uid}"' in house.get("/console/patients/stroke-demo")


def test_card_of_a_patient(house: House) -> None:
    patient_id = house.admit()
    client = house.app.test_client()
    assert "Martha Beispiel" in house.get("/console/cds")
    page = client.post("/console/cds", data={"patient": patient_id, "service": "stroke-early-aspirin"}).text
    assert "fewer dead or dependent per 1000" in page
    assert "<strong>Demonstration model" in page
    assert "<td>" in page
    house.store(named("well", "Well"))
    refused = client.post("/console/cds", data={"patient": "well", "service": "stroke-early-aspirin"})
    assert (refused.status_code, "has no encounter" in refused.text) == (400, True)
