"""The code sets as ValueSets: all of them, valid FHIR, and saying what the services read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cds_hooks.facts import value_sets
from cds_hooks.facts.as_value_sets import MODULES, code_sets, resources
from cds_hooks.facts.value_sets import ICD10, CodeSet
from fhir_server.app import create_app
from fhir_server.cli.main import main
from fhir_server.config import Config
from tests.support.clause import clause


def test_every_code_set_of_the_facts_is_among_them() -> None:
    constants = {
        id(value)
        for module in MODULES
        for name, value in vars(module).items()
        if isinstance(value, CodeSet) and name.isupper()
    }
    listed = {id(found) for found in code_sets().values()}
    assert constants <= listed
    text = "".join(path.read_text() for path in Path(value_sets.__file__).parent.glob("*.py"))
    named = set(re.findall(r"^([A-Z_]+) = CodeSet\(", text, re.MULTILINE))
    assert {name.strip("_").lower().replace("_", "-") for name in named} <= set(code_sets()), (
        "a module is missing"
    )
    assert len(code_sets()) >= 40


@pytest.mark.parametrize("name", code_sets())
def test_what_is_listed_is_what_is_read(name: str) -> None:
    (made,) = [found for found in resources() if found["id"] == f"xinglin-{name}"]
    found = code_sets()[name]
    for include in made["compose"]["include"]:
        for concept in include.get("concept", ()):
            assert found.holds({"coding": [{"system": include["system"], "code": concept["code"]}]})
        for chosen in include.get("filter", ()):
            assert include["system"] in ICD10
            for prefix in found.icd10:
                code = prefix if len(prefix) <= 3 else f"{prefix[:3]}.{prefix[3:]}"
                assert re.fullmatch(chosen["value"], code)
                assert found.holds({"coding": [{"system": include["system"], "code": code}]})
    count = sum(len(include.get("concept", ())) for include in made["compose"]["include"])
    assert count == sum(len(set(codes)) for codes in found.codes.values()), "a code is listed twice, or not"


@clause("R4/valueset.html", "the code sets of the decision services are ValueSets that this server takes")
def test_they_are_valid_and_can_be_stored(fresh_database_url: str, tmp_path: Path) -> None:
    app = create_app(Config(database_url=fresh_database_url, data_dir=tmp_path, worker=False)).test_client()
    made = list(resources())
    assert len({found["url"] for found in made}) == len({found["id"] for found in made}) == len(made)
    for found in made:
        answer = app.put(f"/fhir/ValueSet/{found['id']}", json=found)
        assert answer.status_code == 201, (found["id"], answer.text)
        assert "X-Warnings" not in answer.headers, (found["id"], answer.headers.get("X-Warnings"))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sets.ndjson"
    assert main(["cds", "value-sets", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "urn:xinglin:value-set:atrial-fibrillation: atrial fibrillation (" in said
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert lines == list(resources())
    (prescribing,) = [found for found in lines if found["url"].endswith("drugs-prescribing")]
    concepts = prescribing["compose"]["include"][0]["concept"]
    assert {"code": "6809", "display": "metformin"} in concepts
    assert main(["cds", "value-sets", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["value_sets"]) == len(lines)
