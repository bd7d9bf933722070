"""`xinglin reindex`: asks, works, shows, ends."""

from __future__ import annotations

import json

from fhir_server.app import create_entry
from fhir_server.authorization.grant import Grant
from fhir_server.cli.main import main
from fhir_server.config import Config
from fhir_server.interactions.update import update
from fhir_server.storage.jobs import OPEN
from tests.support.builders import patient


def test_from_a_dry_run_to_the_status(fresh_database_url: str, capsys) -> None:
    url = fresh_database_url
    entry = create_entry(Config(), url, connections=1)
    for number in range(3):
        found = {**patient(), "id": f"p{number}"}
        entry.write(
            Grant("test"), lambda context, found=found: update(context, "Patient", found["id"], found)
        )
    entry.engine.close()

    def run(*arguments: str) -> tuple[int, dict]:
        code = main(["reindex", *arguments, "--database-url", url, "--json"])
        return code, json.loads(capsys.readouterr().out)

    code, document = run("--dry-run")
    [job] = document["jobs"]
    assert (code, job["status"], job["dry_run"]) == (0, "completed", True)
    assert job["types"]["Patient"] == {
        "done": True, "total": 3, "seen": 3, "changed": 0, "overtaken": 0, "failed": 0,
    }  # fmt: skip
    code, document = run("--type", "Patient", "--rate", "7", "--background")
    [job] = document["jobs"]
    assert (code, job["status"] in OPEN) == (0, True)
    code, document = run("--cancel", job["job"])
    assert (code, document["jobs"][0]["status"]) == (0, "cancelled")
    assert job["job"] in {each["job"] for each in run("--status")[1]["jobs"]}
    assert run("--status", job["job"])[1]["jobs"][0]["status"] == "cancelled"
    assert main(["reindex", "--type", "Pateint", "--database-url", url]) == 1
    assert "Pateint" in capsys.readouterr().err
