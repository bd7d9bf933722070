"""`xinglin load`: what goes in is there, once, and what cannot go in is told."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from fhir_server.cli.loading.run import Fate, Report, load, work
from fhir_server.cli.loading.sources import Document, files
from fhir_server.database.engine import Engine
from fhir_server.interactions.context import Settings, utc_now
from fhir_server.interactions.entry import Entry
from tests.support.builders import bundle, identified, observation, patient, post


@pytest.fixture
def entry(fresh_database_url: str) -> Any:
    engine = Engine(fresh_database_url)
    yield Entry(engine, Settings(base_urls=("http://127.0.0.1/fhir",)), utc_now)
    engine.close()


def run(entry: Entry, *paths: Path, unpack: bool = False) -> Report:
    def submit(kind: str, documents: list[Document]) -> Future[Fate]:
        future: Future[Fate] = Future()
        future.set_result(work(entry, kind, documents, unpack))
        return future

    return load(files(list(paths)), submit, unpack=unpack, in_flight=1)


def stored(entry: Entry) -> dict[tuple[str, str], int]:
    from fhir_server.authorization.grant import Grant
    from fhir_server.definitions.structures import type_name

    sql = "SELECT type, id, version FROM resource WHERE NOT deleted"
    rows = entry.read(Grant("test"), lambda context: context.unit.execute(sql))
    return {(type_name(code), id_): version for code, id_, version in rows}


def named(id_: str, family: str = "Chalmers") -> dict[str, Any]:
    return {**patient(family), "id": id_}


def text(resource: dict[str, Any]) -> bytes:
    return json.dumps(resource).encode()


def test_every_packing_is_read(entry: Entry, tmp_path: Path) -> None:
    (tmp_path / "plain.json").write_bytes(text(named("plain")))
    (tmp_path / "lines.ndjson").write_bytes(text(named("line-1")) + b"\n\n" + text(named("line-2")) + b"\n")
    (tmp_path / "packed.json.bz2").write_bytes(bz2.compress(text(named("bz2"))))
    (tmp_path / "packed.ndjson.gz").write_bytes(gzip.compress(text(named("gz"))))
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("inner/a.json", text(named("zip")))
        archive.writestr("readme.txt", "not a resource")
    with tarfile.open(tmp_path / "archive.tar.xz", "w:xz") as tar:
        info = tarfile.TarInfo("folder/b.json.gz")
        content = gzip.compress(text(named("tar")))
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    report = run(entry, tmp_path)
    assert report.fate.rejected == []
    assert {id_ for _, id_ in stored(entry)} == {"plain", "line-1", "line-2", "bz2", "gz", "zip", "tar"}


XML = '<?xml version="1.0"?><Patient xmlns="http://hl7.org/fhir"><id value="{}"/>{}</Patient>'


def test_xml(entry: Entry, tmp_path: Path) -> None:
    """Resources and transactions as XML, packed too; what is wrong is told with line and column."""
    (tmp_path / "a.xml").write_text(XML.format("plain", '<birthDate value="1970-01"/>'))
    (tmp_path / "b.xml.gz").write_bytes(gzip.compress(XML.format("packed", "").encode()))
    inner = XML.format("inner", "").partition("?>")[2]
    request = '<request><method value="PUT"/><url value="Patient/inner"/></request>'
    (tmp_path / "c.xml").write_text(
        '<Bundle xmlns="http://hl7.org/fhir"><type value="transaction"/>'
        f"<entry><resource>{inner}</resource>{request}</entry></Bundle>"
    )
    (tmp_path / "d.xml").write_text(XML.format("wrong", '\n<birthdate value="1970"/>'))
    (tmp_path / "e.xml").write_text("<project/>")
    report = run(entry, tmp_path)
    assert set(stored(entry)) == {("Patient", each) for each in ("plain", "packed", "inner")}
    reasons = dict(report.fate.rejected)
    assert "line 2, column 1: <birthdate> is no element of Patient" in reasons[str(tmp_path / "d.xml")]
    assert "line 1, column 1" in reasons[str(tmp_path / "e.xml")]
    assert len(reasons) == 2
    again = run(entry, tmp_path)
    assert (again.fate.created, again.fate.updated, again.fate.unchanged) == (0, 0, 3)


def test_the_second_load_changes_nothing(entry: Entry, tmp_path: Path) -> None:
    weight = {**observation("Patient/p", value=""), "id": "w"}
    del weight["valueString"]
    # 1.50 and 1.0e2 are written otherwise by the database; they must count as equal all the same
    odd = text({**weight, "valueQuantity": {"value": 0, "unit": "kg"}}).replace(
        b'"value": 0', b'"value": 1.0e2'
    )
    (tmp_path / "w.json").write_bytes(odd)
    body = bundle("transaction", post(named("p"), "urn:uuid:p"), post(observation("urn:uuid:p", id="o")))
    (tmp_path / "t.json").write_bytes(text(body))
    first, second = run(entry, tmp_path), run(entry, tmp_path)
    assert (first.fate.created, second.fate.created) == (3, 0)
    assert (second.fate.updated, second.fate.unchanged) == (0, 3)
    assert set(stored(entry).values()) == {1}


def test_a_rejected_line_is_told_and_the_others_are_stored(entry: Entry, tmp_path: Path) -> None:
    path = tmp_path / "mixed.ndjson"
    lines = [
        text(named("good")),
        b'{"resourceType": "Patient", ',
        text({**named("bad"), "gender": "unheard"}),
    ]
    path.write_bytes(b"\n".join(lines))
    report = run(entry, path)
    assert set(stored(entry)) == {("Patient", "good")}
    assert [place for place, _ in report.fate.rejected] == [f"{path}:2", f"{path}:3"]
    assert "line 1, column" in report.fate.rejected[0][1]
    assert "Patient.gender" in report.fate.rejected[1][1]


def test_batches_go_first_and_a_transaction_waits_for_its_targets(entry: Entry, tmp_path: Path) -> None:
    by_number = observation("Patient?identifier=urn:test:mrn|late")
    (tmp_path / "1.json").write_bytes(text(bundle("transaction", post(by_number))))
    (tmp_path / "2.json").write_bytes(text(bundle("transaction", post(identified("late")))))
    (tmp_path / "3.json").write_bytes(text(bundle("batch", post(identified("other")))))
    never = observation("Patient?identifier=urn:test:mrn|nobody")
    (tmp_path / "4.json").write_bytes(text(bundle("transaction", post(never))))
    report = run(entry, tmp_path)
    assert report.fate.created == 3
    [(place, reason)] = report.fate.rejected
    assert place.endswith("4.json")
    assert "matches nothing" in reason


def test_the_later_file_wins_and_it_is_said(entry: Entry, tmp_path: Path) -> None:
    (tmp_path / "1.json").write_bytes(text(named("same", "First")))
    (tmp_path / "2.json").write_bytes(text(named("same", "Second")))
    report = run(entry, tmp_path)
    assert stored(entry) == {("Patient", "same"): 2}
    assert len(report.overwritten) == 1
    assert "Patient/same" in report.overwritten[0]


@pytest.mark.parametrize("unpack", [False, True])
def test_another_bundle_is_stored_or_taken_apart(entry: Entry, tmp_path: Path, unpack: bool) -> None:
    item = {"fullUrl": "http://x/Patient/inner", "resource": named("inner")}
    collection = {**bundle("collection", item), "id": "outer"}
    (tmp_path / "b.json").write_bytes(text(collection))
    run(entry, tmp_path, unpack=unpack)
    assert set(stored(entry)) == {("Patient", "inner") if unpack else ("Bundle", "outer")}


def test_synthea_by_an_independent_count(entry: Entry, shared: Callable[[str], Path], tmp_path: Path) -> None:
    """Hospitals, practitioners and the ten smallest patients; counted by the standard library alone."""
    folder = shared("data/synthea")
    batches = sorted(folder.glob("0-*"))
    patients = sorted(
        (path for path in folder.glob("*.bz2") if path not in batches), key=lambda p: p.stat().st_size
    )
    chosen = [*patients[:10], *batches]
    wanted = Counter(
        item["resource"]["resourceType"]
        for _, item in {
            (item["resource"]["resourceType"], item["resource"]["id"]): item
            for path in chosen
            for item in json.loads(bz2.decompress(path.read_bytes()))["entry"]
        }.items()
    )
    first, second = run(entry, *chosen), run(entry, *chosen)
    assert first.fate.rejected == second.fate.rejected == []
    assert Counter(type_name for type_name, _ in stored(entry)) == wanted
    assert set(stored(entry).values()) == {1}
    assert second.fate.unchanged == first.fate.created == sum(wanted.values())
