"""`xinglin package`: install, list and remove, also beside a running server."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fhir_server.app import create_entry
from fhir_server.authorization.grant import Grant
from fhir_server.cli import checks
from fhir_server.config import Config
from fhir_server.database import dump
from fhir_server.interactions.create import create
from tests.support.packages import PROFILE, package, profile, value_set
from tests.support.server import Server, xinglin

NAMELESS = {"resourceType": "Patient", "meta": {"profile": [PROFILE]}, "gender": "male"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "example.tested-1.0.0.tgz"
    made.write_bytes(package(profile(), value_set("http://example.org/v"), dependencies={"x.y": "1.0.0"}))
    return made


def command(*arguments: str, code: int = 0, **variables: str) -> Any:
    done = xinglin("package", *arguments, "--json", **variables)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_install_list_remove(fresh_database_url: str, file: Path, tmp_path: Path) -> None:
    where = {"XINGLIN_DATABASE_URL": fresh_database_url, "XINGLIN_DATA_DIR": str(tmp_path)}
    [made] = command("install", str(file), **where)["packages"]
    assert (made["name"], made["version"], made["status"]) == ("example.tested", "1.0.0", "installed")
    assert made["counts"] == {"StructureDefinition": 1, "ValueSet": 1}
    assert [note.partition(",")[0] for note in made["notes"]] == ["it depends on x.y 1.0.0"]
    [again] = command("install", str(file), **where)["packages"]
    assert again["status"] == "unchanged"
    [listed] = command("list", **where)["packages"]
    assert (listed["name"], listed["definitions"], listed["installed_by"]) == (
        "example.tested",
        2,
        "system/package",
    )
    findings = {each.subject: each.says for each in checks.definitions(Config(), fresh_database_url)}
    assert findings["packages"] == "example.tested 1.0.0"
    assert command("remove", "example.tested@1.0.0", **where)["removed"] == [
        {"name": "example.tested", "version": "1.0.0"}
    ]
    assert command("list", **where)["packages"] == []
    assert "is not installed" in command("remove", "example.tested", code=1, **where)["error"]


def test_one_refused_package_does_not_stop_the_others(
    fresh_database_url: str, file: Path, tmp_path: Path
) -> None:
    where = {"XINGLIN_DATABASE_URL": fresh_database_url, "XINGLIN_DATA_DIR": str(tmp_path)}
    bad = tmp_path / "bad.tgz"
    bad.write_bytes(package({**profile(), "status": "new"}, name="example.bad"))
    report = command("install", str(bad), str(file), code=1, **where)
    assert report["refused"] == 1
    assert [each["status"] for each in report["packages"]] == ["refused", "installed"]
    assert any("StructureDefinition-0.json" in reason for reason in report["packages"][0]["reasons"])
    report = command("install", "--lenient", str(bad), **where)
    assert report["packages"][0]["status"] == "installed"


def test_usage_and_files_that_are_not_there(tmp_path: Path) -> None:
    assert xinglin("package").returncode == 2
    assert xinglin("package", "install").returncode == 2


def test_a_dump_brings_packages_and_outcomes_back(
    fresh_database_url: str, blank_database_url: str, file: Path, tmp_path: Path
) -> None:
    where = {"XINGLIN_DATABASE_URL": fresh_database_url, "XINGLIN_DATA_DIR": str(tmp_path)}
    command("install", str(file), **where)
    config = Config(base_url=("http://127.0.0.1/fhir",))
    entry = create_entry(config, fresh_database_url, connections=1)
    entry.write(Grant("test"), lambda context: create(context, "Patient", dict(NAMELESS)))
    entry.engine.close()
    entry.settings.registry.close()
    sums = dump.dump(fresh_database_url, tmp_path / "dump")
    assert sums["public.validation_outcome"].rows == sums["public.package"].rows == 1
    dump.restore(blank_database_url, tmp_path / "dump")
    assert dump.sums(blank_database_url) == sums
    restored = create_entry(config, blank_database_url, connections=1)
    found = restored.read(
        Grant("test"),
        lambda context: context.knowledge().conformance.find("StructureDefinition", PROFILE),
    )
    assert found is not None
    restored.engine.close()
    restored.settings.registry.close()


@pytest.fixture
def installed(running: Server, file: Path) -> Iterator[str]:
    """The data folder of a running server in which the package is installed by the command."""
    data_dir = str(running.log.with_name("data"))
    yield data_dir
    xinglin("package", "remove", "example.tested", "--data-dir", data_dir)


def _warnings(server: Server) -> str | None:
    """Create a resource over a new connection; return how many warnings the answer tells of."""
    request = urllib.request.Request(
        f"{server.url}/fhir/Patient",
        json.dumps(NAMELESS).encode(),
        {"Content-Type": "application/fhir+json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 201
        warnings: str | None = answer.headers["X-Warnings"]
        return warnings


@pytest.mark.slow
def test_both_workers_know_what_was_installed_beside_them(
    running: Server, installed: str, file: Path
) -> None:
    def asked() -> set[str | None]:
        return {_warnings(running) for _ in range(30)}

    assert asked() == {None}
    command("install", str(file), "--data-dir", installed)
    assert asked() == {"1"}
    command("remove", "example.tested", "--data-dir", installed)
    assert asked() == {None}
