"""Jobs: what they find, whom they wait for, who may end them, and what is left when somebody is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fhir_server.app import create_entry
from fhir_server.config import Config
from fhir_server.database.engine import Mode
from fhir_server.database.migrating import upgrade
from fhir_server.interactions import reindex
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.reindex import Asked, Reindexer
from fhir_server.interactions.update import update
from fhir_server.model import json_format
from fhir_server.outcome import Invalid, NotFound
from fhir_server.search.index import FORM
from fhir_server.storage import reader
from fhir_server.storage.jobs import OPEN, Job
from tests.rooms.fhir_server.interactions.conftest import Open
from tests.rooms.fhir_server.interactions.test_parameters import (
    GRANT,
    NICKNAME,
    URL,
    called,
    ids,
    index_all,
    open_jobs,
    put,
    refusal,
)
from tests.support.index_dump import dump
from tests.support.server import ROOT, wait_for

Resource = dict[str, Any]


def ask(entry: Entry, **asked: Any) -> Job:
    return entry.write(GRANT, lambda context: reindex.ask(context, Asked(**asked)))


def look(entry: Entry, job: Job) -> Job:
    return entry.read(GRANT, lambda context: reindex.status(context, job.id))[0]


def run(entry: Entry, sql: str) -> list[Any]:
    with entry.engine.connection(Mode.SINGLE) as connection:
        cursor = connection.cursor()
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def observation(id_: str, patient: str, code: str) -> Resource:
    return {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "code": {"text": "a code", "coding": [{"system": "http://c", "code": code}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": "2024-05-06",
        "valueQuantity": {"value": 7, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"},
    }


def filled(entry: Entry) -> None:
    for number in range(12):
        put(entry, called(f"p{number}", f"Nick{number}"))
        put(entry, observation(f"o{number}", f"p{number}", str(number % 3)))


DAMAGE = (
    "UPDATE resource SET keys = '{}', chart = NULL WHERE id = 'o3'",
    "UPDATE resource SET chart_date = now() WHERE id = 'o4'",
    "DELETE FROM idx_string WHERE pk = (SELECT pk FROM resource WHERE id = 'p5')",
    "UPDATE idx_date SET high = high + interval '1 day' WHERE pk = (SELECT pk FROM resource WHERE id = 'o6')",
    "INSERT INTO idx_quantity (pk, param, low, high) SELECT pk, 1, 1, 1 FROM resource WHERE id = 'o7'",
)


def test_a_whole_job_mends_what_is_wrong_and_only_that(installation: Open) -> None:
    entry = installation()
    filled(entry)
    index_all(entry)
    before = dump(entry.engine)
    stamps = run(entry, "SELECT pk, version, last_updated, stamp FROM resource_version ORDER BY 1, 2")
    for statement in DAMAGE:
        run(entry, statement)
    damaged = dump(entry.engine)
    assert damaged != before
    job = ask(entry, dry_run=True, batch=5)
    index_all(entry)
    job = look(entry, job)
    assert (job.state, sum(each.changed for each in job.types)) == ("completed", 5)
    assert dump(entry.engine) == damaged
    job = ask(entry, types=["Patient"], batch=5)
    index_all(entry)
    assert [(each.type_name, each.total, each.seen, each.changed) for each in look(entry, job).types] == [
        ("Patient", 12, 12, 1)
    ]
    job = ask(entry)
    index_all(entry)
    assert sum(each.changed for each in look(entry, job).types) == 4
    assert dump(entry.engine) == before
    assert run(entry, "SELECT pk, version, last_updated, stamp FROM resource_version ORDER BY 1, 2") == stamps
    assert sum(each.changed for each in look(entry, job).types) == 4


def test_what_the_worker_does_by_itself_after_an_upgrade(installation: Open) -> None:
    entry = installation()
    filled(entry)
    before = dump(entry.engine)
    run(entry, "UPDATE resource SET keys = '{}'")
    assert run(entry, "SELECT count(*) FROM index_form") == [(0,)]
    index_all(entry)
    assert dump(entry.engine) == before
    [(types, least)] = run(entry, "SELECT count(*), min(form) FROM index_form")
    assert (types, least) == (146, FORM)
    Reindexer(entry).drain()
    assert len(entry.read(GRANT, reindex.latest)) == 1


def test_a_job_is_asked_for_once(installation: Open) -> None:
    entry = installation()
    filled(entry)
    job = ask(entry, types=["Observation"], rate=5)
    again = ask(entry, types=["Observation"], rate=700, batch=3)
    assert (again.id, again.rate, again.batch) == (job.id, 700, 3)
    assert ask(entry, types=["Observation"], dry_run=True).id != job.id
    assert ask(entry, types=["Patient"]).id != job.id


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"types": ["Pateint"]}, "Pateint"),
        ({"urls": ["http://nobody"]}, "no SearchParameter that has an index of its own"),
        ({"rate": -1}, "rate is"),
        ({"batch": 0}, "batch is"),
    ],
)
def test_what_makes_no_sense_is_refused(installation: Open, asked: dict[str, Any], says: str) -> None:
    entry = installation()
    with pytest.raises(Invalid, match=says):
        ask(entry, **asked)
    with pytest.raises(NotFound, match="no job"):
        entry.write(GRANT, lambda context: reindex.cancel(context, "x"))


def test_the_rate_bounds_all_workers_together(installation: Open) -> None:
    entry = installation()
    filled(entry)
    index_all(entry)
    job = ask(entry, types=["Patient"], rate=4, batch=200)
    one, other = Reindexer(entry), Reindexer(installation())
    begun = time.monotonic()
    wait_for(lambda: (one.drain(), other.drain()) and look(entry, job).state == "completed")
    # twelve in chunks of a second's worth; one second of them may be caught up
    assert time.monotonic() - begun > 0.9


def test_what_is_cancelled_stays_unsearchable_until_it_is_asked_for_again(installation: Open) -> None:
    entry = installation()
    filled(entry)
    index_all(entry)
    put(entry, NICKNAME)
    [job] = open_jobs(entry)
    ask(entry, urls=[URL + "nickname"], batch=5, rate=0)
    reindexer = Reindexer(entry)
    wait_for(lambda: reindexer.drain() and sum(each.seen for each in look(entry, job).types))
    assert "5 of 12 resources are indexed" in refusal(entry, "Patient?nickname=nick1")
    ended = entry.write(GRANT, lambda context: reindex.cancel(context, job.id))
    assert ended.state == "cancelled"
    index_all(entry)
    assert "then it was cancelled; POST /fhir/$reindex?url=" in refusal(entry, "Patient?nickname=nick1")
    ask(entry, urls=[URL + "nickname"])
    index_all(entry)
    assert ids(entry, "Patient?nickname=nick1&_sort=_id") == ["p1", "p10", "p11"]


def test_a_job_waits_for_what_was_being_written_when_it_was_asked_for(installation: Open) -> None:
    entry, other = installation(), installation()
    put(entry, called("before", "Bo"))
    index_all(entry)
    indexed, go_on = threading.Event(), threading.Event()

    def slowly(context: Any) -> None:
        update(context, "Patient", "slow", called("slow", "Bo"))
        context.unit.execute("SELECT 1")  # what was deferred is written, and not committed
        indexed.set()
        assert go_on.wait(60)

    writer = threading.Thread(target=lambda: other.write(GRANT, slowly))
    writer.start()
    assert indexed.wait(60)
    put(entry, NICKNAME)
    reindexer = Reindexer(entry)
    assert [reindexer.drain() for _ in range(3)] == [0, 0, 0]
    [job] = open_jobs(entry)
    assert (job.state, job.earlier) == ("waiting", 1)
    go_on.set()
    writer.join()
    index_all(entry)
    assert sorted(ids(entry, "Patient?nickname=bo")) == ["before", "slow"]


def test_a_write_that_indexed_without_the_parameter_runs_again(installation: Open) -> None:
    entry, other = installation(), installation()
    put(other, called("first", "Bo"))  # this process knows the parameters, of which there are none
    runs: list[int] = []

    def late(context: Any) -> None:
        runs.append(1)
        if len(runs) == 1:
            context.indexer()
            put(entry, NICKNAME)
        update(context, "Patient", "late", called("late", "Bo"))

    other.write(GRANT, late)
    assert len(runs) == 2
    index_all(entry)
    assert sorted(ids(entry, "Patient?nickname=bo")) == ["first", "late"]


def test_writers_and_workers_together_leave_the_index_of_a_fresh_load(
    installation: Open, blank_database_url: str
) -> None:
    entry = installation(connections=8)
    filled(entry)
    stop, wrong = threading.Event(), []

    def write(seed: int) -> None:
        number = seed
        try:
            while not stop.is_set():
                number += 7
                which = number % 12
                put(entry, called(f"p{which}", f"Nick{number}", active=bool(number % 2)))
                pair = (observation(f"o{which}", f"p{number % 5}", str(number)),
                        observation(f"o{(which + 5) % 12}", f"p{number % 4}", str(number)))  # fmt: skip

                def both(context: Any, pair: Any = pair) -> None:
                    for each in pair:
                        update(context, "Observation", each["id"], each)

                entry.write(GRANT, both)
        except Exception as error:
            wrong.append(error)

    def work(reindexer: Reindexer) -> None:
        try:
            while not stop.is_set():
                reindexer.drain()
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in (1, 2, 3)]
    threads += [threading.Thread(target=work, args=(Reindexer(installation()),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    jobs: list[Job] = []
    put(entry, NICKNAME)
    for _ in range(4):
        jobs.append(ask(entry, batch=3, rate=0))
        wait_for(lambda: look(entry, jobs[-1]).state not in OPEN)
    put(entry, {**NICKNAME, "expression": "Patient.name.where(use='nickname').given.first()"})
    wait_for(lambda: not open_jobs(entry))
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert {look(entry, job).state for job in jobs} == {"completed"}
    fresh = fresh_load(entry, blank_database_url)
    assert dump(entry.engine) == fresh


def fresh_load(entry: Entry, url: str) -> dict[str, list[Any]]:
    """Return the index of the same resources in a database that never saw a job."""
    upgrade(url)
    other = create_entry(Config(base_url=("http://127.0.0.1/fhir",)), url, connections=2)
    # the same parameter has the same name in the index there
    [(last,)] = run(entry, "SELECT max(pk) FROM search_parameter")
    run(other, f"SELECT setval(pg_get_serial_sequence('search_parameter', 'pk'), {last - 1})")
    for type_name in ("SearchParameter", "Patient", "Observation"):
        for (id_,) in run(entry, "SELECT id FROM resource ORDER BY pk"):
            found = entry.read(GRANT, lambda context, id_=id_, name=type_name: _stored(context, name, id_))
            if found is not None:
                put(other, found)
    made = dump(other.engine)
    other.engine.close()
    other.settings.registry.close()
    return made


def _stored(context: Any, type_name: str, id_: str) -> Resource | None:
    version = reader.read(context.unit, type_name, id_)
    if version is None or version.deleted:
        return None
    found: Resource = json_format.parse(version.text().encode())
    del found["meta"]["versionId"], found["meta"]["lastUpdated"]
    return {name: value for name, value in found.items() if name != "meta" or value}


@pytest.mark.parametrize("command", ["reindex", "worker"])
def test_who_is_killed_goes_on_where_it_was(
    installation: Open, fresh_database_url: str, tmp_path: Path, command: str
) -> None:
    entry = installation()
    for number in range(60):
        put(entry, called(f"p{number}", f"Nick{number}"))
    index_all(entry)
    before = dump(entry.engine)
    run(entry, "UPDATE resource SET keys = '{}'")
    run(entry, "DELETE FROM idx_string")
    settings = ["--database-url", fresh_database_url, "--base-url", "http://127.0.0.1/fhir"]
    if command == "reindex":
        settings += ["--type", "Patient", "--rate", "10"]
    else:
        settings += ["--data-dir", str(tmp_path)]
        ask(entry, types=["Patient"], rate=10)
    process = subprocess.Popen(
        [sys.executable, "-m", "fhir_server", command, *settings],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip

    def begun() -> Job | None:
        found = entry.read(GRANT, reindex.latest)[0]
        assert process.poll() is None, process.stderr.read() if process.stderr else None
        whole = [each for each in found.types if each.type_name == "Patient" and each.seen]
        return found if found.state == "running" and whole else None

    job = wait_for(begun)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert 0 < look(entry, job).types[0].seen < 60
    ask(entry, types=["Patient"], rate=0)
    index_all(entry)
    job = look(entry, job)
    assert (job.state, job.types[0].seen, job.types[0].changed) == ("completed", 60, 60)
    assert dump(entry.engine) == before


def prescription(number: int) -> Resource:
    inside = {
        "resourceType": "Medication",
        "id": "m",
        "code": {"coding": [{"system": "http://c", "code": f"c{number}"}], "text": "Inside"},
    }
    return {
        "resourceType": "MedicationRequest",
        "id": f"r{number}",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/p"},
        "medicationReference": {"reference": "#m"},
        "contained": [inside],
    }


INSIDE = "(SELECT c.pk FROM contained c JOIN resource r ON r.pk = c.container WHERE r.id = 'r{}')"


def test_what_is_contained_is_mended_too(installation: Open) -> None:
    entry = installation()
    for number in range(8):
        put(entry, prescription(number))
    put(entry, called("p", "Nick"))
    index_all(entry)
    rows = (
        "SELECT r.id, c.rid, c.keys, i.param, i.value FROM contained c JOIN resource r ON r.pk = c.container "
        "LEFT JOIN idx_string i ON i.pk = c.pk ORDER BY 1, 4, 5"
    )
    before = run(entry, rows)
    assert len({row[0] for row in before}) == 8
    job = ask(entry)
    index_all(entry)
    assert sum(each.changed for each in look(entry, job).types) == 0
    for statement in (
        f"UPDATE contained SET keys = '{{}}' WHERE pk = {INSIDE.format(1)}",
        f"DELETE FROM idx_string WHERE pk = {INSIDE.format(2)}",
        f"DELETE FROM idx_string WHERE pk = {INSIDE.format(3)}",
        f"DELETE FROM contained WHERE pk = {INSIDE.format(3)}",
        "INSERT INTO contained (pk, container, rid, type, container_type, id, keys) "
        "SELECT -1, pk, rid, type, type, 'x', '{}' FROM resource WHERE id = 'p'",
    ):
        run(entry, statement)
    job = ask(entry)
    index_all(entry)
    assert sum(each.changed for each in look(entry, job).types) == 4
    assert run(entry, rows) == before
