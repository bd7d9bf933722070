"""`xinglin forward` and `xinglin ae echo`, as somebody at a terminal sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dicom_node.files.store import FileStore
from dicom_node.ingest import Ingest
from fhir_server.cli.main import main
from fhir_server.database.engine import Engine
from fhir_server.interactions.context import utc_now
from tests.support.dicom_data import ROOT_UID, ct, encoded
from tests.support.dicom_peers import free_port, storescp

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(fresh_database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*words: str) -> tuple[int, str, str]:
        code = main([*words, "--database-url", fresh_database_url, "--data-dir", str(tmp_path)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def test_rules(run: Run) -> None:
    code, out, err = run("forward", "add", "ct-to-pacs", "PACS", "--modality", "CT,MR", "--source", "CT*")
    assert (code, out) == (0, "ct-to-pacs -> PACS: source CT*, modality CT,MR\n")
    assert "xinglin ae add PACS HOST PORT" in err
    flags = ("--study", "*stroke*", "--quiet", "60", "--hours", "19:00-06:00", "--priority", "5")
    assert run("forward", "add", "night", "TELERAD", *flags)[0] == 0
    code, out, _ = run("forward", "list", "--json")
    (first, second) = json.loads(out)["rules"]
    assert first["criteria"] == {"source": "CT*", "modality": "CT,MR"}
    assert (second["quiet_s"], second["hours"], second["priority"]) == (60, "19:00-06:00", 5)
    code, _, err = run("forward", "add", "night", "PACS")
    assert code == 1
    assert "there is a rule 'night' already" in err
    assert run("forward", "add", "late", "PACS", "--hours", "25:00-26:00")[0] == 1
    assert run("forward", "remove", "night")[0] == 0
    assert run("forward", "remove", "night")[0] == 1


def test_a_study_by_hand_the_queue_and_retry(run: Run, fresh_database_url: str, tmp_path: Path) -> None:
    engine = Engine(fresh_database_url, size=2)
    ingest = Ingest(FileStore(tmp_path / "dicom"), engine, utc_now)
    ingest.store([encoded(ct())], "1.2.840.10008.1.2.1", "CT1")
    ingest.close()
    assert run("forward", "queue")[1] == "nothing waits\n"
    assert run("forward", "send", "1.2.3", "PACS")[0] == 1
    assert run("forward", "send", f"{ROOT_UID}.1", "PACS")[1] == "1 instances are queued for PACS\n"
    assert "1 instances of 1 studies wait" in run("forward", "queue")[1]
    with engine.connection() as connection:
        connection.cursor().execute("UPDATE dicom_forward_job SET state = 'failed', reason = 'A700'")
        connection.commit()
    engine.close()
    (failed,) = json.loads(run("forward", "queue", "--json")[1])["failed"]
    assert (failed["destination"], failed["reason"]) == ("PACS", "A700")
    assert run("forward", "retry", "OTHER")[1] == "0 studies are tried again\n"
    assert run("forward", "retry", "PACS")[1] == "1 studies are tried again\n"


def test_echo(run: Run) -> None:
    with storescp() as peer:
        assert run("ae", "add", "DEST", "127.0.0.1", str(peer.port))[0] == 0
        code, out, _ = run("ae", "echo", "DEST")
        assert code == 0
        assert out.startswith("DEST answers (")
    code, out, _ = run("ae", "echo", "DEST", "--json")
    found = json.loads(out)
    assert (code, found["answered"]) == (1, False)
    assert "cannot be reached" in found["words"]
    assert run("ae", "add", "WS", "*", str(free_port()))[0] == 0
    assert run("ae", "echo", "WS")[0] == 1
