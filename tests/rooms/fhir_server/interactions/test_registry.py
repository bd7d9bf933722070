"""What is installed is found, by every process, at once, and never a half of it."""

from __future__ import annotations

import threading
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
from fhir_server.interactions.registry import Shelf
from fhir_server.interactions.update import update
from fhir_server.outcome import Conflict, NotFound, Unprocessable
from tests.rooms.fhir_server.interactions.conftest import Open
from tests.support.builders import patient
from tests.support.packages import PROFILE, package, profile, value_set

GRANT = Grant("test")
VALUES = "http://example.org/fhir/ValueSet/tested"
Resource = dict[str, Any]


def put(entry: Entry, *resources: Resource, lenient: bool = False, **more: Any) -> install.Installation:
    checked = install.check(packages.read(package(*resources, **more)))
    return entry.write(GRANT, lambda context: install.install(context, checked, lenient=lenient))


def find(entry: Entry, canonical: str, type_name: str = "StructureDefinition") -> Resource | None:
    return entry.read(GRANT, lambda context: context.knowledge().conformance.find(type_name, canonical))


def version(entry: Entry, canonical: str, type_name: str = "StructureDefinition") -> str | None:
    found = find(entry, canonical, type_name)
    return None if found is None else found.get("version", "")


def title(entry: Entry) -> Any:
    found = find(entry, PROFILE)
    assert found is not None
    return found["title"]


def test_versions_stand_side_by_side(installation: Open) -> None:
    entry = installation()
    for number in ("1.0.0", "2.0.0-ballot", "1.10.0", "1.9.0"):
        put(entry, profile(version=number), version=number)
    assert version(entry, PROFILE) == "2.0.0-ballot"
    assert version(entry, f"{PROFILE}|1.9.0") == "1.9.0"
    assert version(entry, f"{PROFILE}|3.0.0") is None
    put(entry, profile(version="2.0.0"), version="2.0.0")
    assert version(entry, PROFILE) == "2.0.0"
    assert version(entry, VALUES, "ValueSet") is None
    entry.write(GRANT, lambda context: install.remove(context, "example.tested", "2.0.0"))
    assert version(entry, PROFILE) == "2.0.0-ballot"
    gone = entry.write(GRANT, lambda context: install.remove(context, "example.tested"))
    assert len(gone) == 4
    assert version(entry, PROFILE) is None
    with pytest.raises(NotFound, match="installed: none"):
        entry.write(GRANT, lambda context: install.remove(context, "example.tested"))


def test_the_same_bytes_change_nothing_and_others_replace(installation: Open) -> None:
    entry = installation()
    assert put(entry, profile(title="first")).status == "installed"
    assert put(entry, profile(title="first")).status == "unchanged"
    assert title(entry) == "first"
    assert put(entry, profile(title="second")).status == "replaced"
    assert title(entry) == "second"
    assert len(entry.read(GRANT, install.installed)) == 1


def test_canonicals_of_the_same_package_get_its_version(installation: Open) -> None:
    entry = installation()
    part, elsewhere = "http://example.org/fhir/ValueSet/part", "http://example.org/fhir/ValueSet/elsewhere"
    for number in ("1.0.0", "2.0.0"):
        whole = value_set(VALUES, number)
        whole["compose"]["include"].append({"valueSet": [part, elsewhere]})
        put(entry, whole, value_set(part, number), version=number)
    old = find(entry, f"{VALUES}|1.0.0", "ValueSet")
    assert old is not None
    assert old["compose"]["include"][1]["valueSet"] == [f"{part}|1.0.0", elsewhere]


def test_what_is_missing_is_said(installation: Open) -> None:
    entry = installation()
    wanted = {"hl7.fhir.r4.core": "4.0.1", "example.other": "1.2.3"}
    made = put(entry, profile(), dependencies=wanted)
    assert [note.partition(",")[0] for note in made.notes] == ["it depends on example.other 1.2.3"]
    put(entry, value_set(VALUES), name="example.other", version="1.2.4")
    made = put(entry, profile(title="again"), dependencies=wanted)
    assert "installed is 1.2.4" in made.notes[0]


def test_a_faulty_definition_refuses_the_package_or_is_left_out(installation: Open) -> None:
    entry = installation()
    faulty = {"resourceType": "ValueSet", "url": VALUES, "status": "acitve"}
    with pytest.raises(Unprocessable) as caught:
        put(entry, profile(), faulty)
    assert "was not installed: 1 of its definitions" in str(caught.value)
    fault = caught.value.issues[1]
    assert fault.diagnostics.startswith("ValueSet-1.json: ")
    assert fault.expression == "ValueSet.status"
    assert version(entry, PROFILE) is None
    made = put(entry, profile(), faulty, lenient=True)
    assert made.counts == {"StructureDefinition": 1}
    assert "left out as faulty" in made.notes[0]
    assert version(entry, PROFILE) == "1.0.0"


def test_every_process_sees_an_install_with_its_next_request(installation: Open) -> None:
    one, other = installation(), installation()
    assert version(one, PROFILE) is version(other, PROFILE) is None
    put(one, profile())
    assert version(other, PROFILE) == version(one, PROFILE) == "1.0.0"


@pytest.mark.parametrize(
    ("type_name", "more"),
    [
        ("StructureDefinition", profile()),
        ("ValueSet", {}),
        ("CodeSystem", {"content": "complete"}),
        ("ConceptMap", {}),
        ("Questionnaire", {}),
        (
            "SearchParameter",
            {
                "name": "A", "description": "a", "code": "a", "base": ["Patient"], "type": "token",
                "expression": "Patient.active",
            },
        ),
    ],
)  # fmt: skip
def test_a_stored_definition_is_known_after_its_commit(
    installation: Open, type_name: str, more: dict[str, Any]
) -> None:
    one, other = installation(), installation()
    url = "http://example.org/stored"
    assert find(other, url, type_name) is None
    resource = {
        "status": "active",
        **more,
        "resourceType": type_name,
        "id": "x",
        "url": url,
        "version": "1",
    }
    one.write(GRANT, lambda context: update(context, type_name, "x", resource))
    assert version(other, url, type_name) == version(other, f"{url}|1", type_name) == "1"
    one.write(GRANT, lambda context: update(context, type_name, "x", {**resource, "version": "2"}))
    assert version(other, url, type_name) == "2"
    one.write(GRANT, lambda context: delete(context, type_name, "x"))
    assert find(other, url, type_name) is None


def test_a_package_wins_over_a_stored_resource_of_the_same_version(installation: Open) -> None:
    entry = installation()
    stored = profile(title="stored")
    entry.write(GRANT, lambda context: create(context, "StructureDefinition", stored))
    put(entry, profile(title="published"))
    assert title(entry) == "published"
    newer = profile(version="1.0.1")
    entry.write(GRANT, lambda context: create(context, "StructureDefinition", newer))
    assert version(entry, PROFILE) == "1.0.1"


def test_other_writes_leave_the_generation_alone(installation: Open) -> None:
    entry = installation()
    sql = "SELECT definitions_generation FROM installation"
    before = entry.read(GRANT, lambda context: context.unit.execute(sql))
    entry.write(GRANT, lambda context: create(context, "Patient", patient()))
    assert entry.read(GRANT, lambda context: context.unit.execute(sql)) == before


def test_a_unit_that_judged_by_what_is_old_runs_again(installation: Open) -> None:
    one, other = installation(), installation()
    assert version(one, PROFILE) is None
    seen: list[str | None] = []

    def work(context: Any) -> None:
        if len(seen) == 1:  # while the first unit runs, and before its commit
            assert put(other, profile()).status == "installed"
        found = context.knowledge().conformance.find("StructureDefinition", PROFILE)
        seen.append(None if found is None else found["version"])
        if len(seen) == 1:
            work(context)

    one.write(GRANT, work)
    assert seen == [None, None, "1.0.0"]


def test_two_installs_at_once_and_readers_see_whole_packages(installation: Open) -> None:
    """Profile and value set of one package have one version: nobody ever sees two."""
    numbers = [f"1.{n}.0" for n in range(6)]
    entries = [installation(connections=2) for _ in range(2)]
    reader = installation(connections=2)
    done = threading.Event()
    mixed: list[Any] = []
    failed: list[BaseException] = []
    first = put(entries[0], profile(version="1.0.0"), value_set(VALUES, "1.0.0"))
    assert first.status == "installed"

    def install_all(entry: Entry) -> None:
        try:
            for number in numbers:
                # under one name and version: each replaces the other's
                put(entry, profile(version=number), value_set(VALUES, number))
        except BaseException as error:
            failed.append(error)

    def read_all() -> None:
        def work(context: Any) -> tuple[Any, Any]:
            find = context.knowledge().conformance.find
            a, b = find("StructureDefinition", PROFILE), find("ValueSet", VALUES)
            return a and a["version"], b and b["version"]

        count = 0
        while not done.is_set() or not count:
            for unit in (reader.read, reader.write):
                try:
                    a, b = unit(GRANT, work)
                except Conflict:  # there was an install during each of its runs
                    continue
                except BaseException as error:
                    failed.append(error)
                    return
                count += 1
                if a != b:
                    mixed.append((a, b))

    threads = [threading.Thread(target=install_all, args=(entry,), daemon=True) for entry in entries]
    looking = threading.Thread(target=read_all, daemon=True)
    for thread in (looking, *threads):
        thread.start()
    for thread in threads:
        thread.join(60)
    done.set()
    looking.join(60)
    assert failed == []
    assert mixed == []
    assert version(reader, PROFILE) == numbers[-1]
    assert len(reader.read(GRANT, install.installed)) == 1


def test_us_core_stands_side_by_side_and_costs_what_is_used(
    installation: Open, shared: Callable[[str], Path]
) -> None:
    entry = installation()
    for number in ("7.0.0", "3.1.1", "6.1.0"):
        file = shared(f"data/packages/hl7.fhir.us.core-{number}.tgz")
        checked = install.check(packages.read(file.read_bytes()))
        entry.write(GRANT, lambda context, checked=checked: install.install(context, checked))
    url = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient"
    assert version(entry, url) == "7.0.0"
    old = find(entry, f"{url}|3.1.1")
    assert old is not None
    race = next(each for each in old["snapshot"]["element"] if each["id"] == "Patient.extension:race")
    assert race["type"][0]["profile"] == [
        "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race|3.1.1"
    ]
    assert version(entry, race["type"][0]["profile"][0]) == "3.1.1"


def test_a_shelf_forgets_what_was_not_used_for_longest() -> None:
    shelf: Shelf[str] = Shelf(10)
    shelf.put("a", "A", 4)
    shelf.put("b", "B", 4)
    assert shelf.get("a") == "A"
    shelf.put("c", "C", 4)
    shelf.put("d", "D", 9)  # more than half: never kept
    assert [shelf.get(key) for key in "abcd"] == ["A", None, "C", None]
