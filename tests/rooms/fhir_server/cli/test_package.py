"""`xinglin package`: install, list and remove, also beside a running server."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fhir_server.app import create_entry
from fhir_server.authorization.grant import Grant
from fhir_server.cli import checks
from fhir_server.cli.main import main
from fhir_server.config import Config
from fhir_server.database import dump
from fhir_server.interactions.create import create
from tests.support.packages import PROFILE, package, profile, value_set
from tests.support.server import Server

NAMELESS = {"resourceType": "Patient", "meta": {"profile": [PROFILE]}, "gender": "male"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "example.tested-1.0.0.tgz"
    made.write_bytes(package(profile(), value_set("http://example.org/v"), dependencies={"x.y": "1.0.0"}))
    return made


Command = Callable[..., Any]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs `xinglin package` here and returns its answer."""

    def run(*arguments: str, code: int = 0) -> Any:
        assert main(["package", *arguments, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def at_database(fresh_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XINGLIN_DATABASE_URL", fresh_database_url)
    monkeypatch.setenv("XINGLIN_DATA_DIR", str(tmp_path))
    return fresh_database_url


def test_install_list_remove(at_database: str, file: Path, command: Command) -> None:
    [made] = command("install", str(file))["packages"]
    assert (made["name"], made["version"], made["status"]) == ("example.tested", "1.0.0", "installed")
    assert made["counts"] == {"StructureDefinition": 1, "ValueSet": 1}
    assert [note.partition(",")[0] for note in made["notes"]] == ["it depends on x.y 1.0.0"]
    [again] = command("install", str(file))["packages"]
    assert again["status"] == "unchanged"
    [listed] = command("list")["packages"]
    assert (listed["name"], listed["definitions"], listed["installed_by"]) == (
        "example.tested",
        2,
        "system/package",
    )
    findings = {each.subject: each.says for each in checks.definitions(Config(), at_database)}
    assert findings["packages"] == "example.tested 1.0.0"
    assert command("remove", "example.tested@1.0.0")["removed"] == [
        {"name": "example.tested", "version": "1.0.0"}
    ]
    assert command("list")["packages"] == []
    assert "is not installed" in command("remove", "example.tested", code=1)["error"]


def test_one_refused_package_does_not_stop_the_others(
    at_database: str, file: Path, tmp_path: Path, command: Command
) -> None:
    bad = tmp_path / "bad.tgz"
    bad.write_bytes(package({**profile(), "status": "new"}, name="example.bad"))
    report = command("install", str(bad), str(file), code=1)
    assert report["refused"] == 1
    assert [each["status"] for each in report["packages"]] == ["refused", "installed"]
    assert any("StructureDefinition-0.json" in reason for reason in report["packages"][0]["reasons"])
    report = command("install", "--lenient", str(bad))
    assert report["packages"][0]["status"] == "installed"


@pytest.mark.parametrize("arguments", [["package"], ["package", "install"], ["package", "remove"]])
def test_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_a_file_that_is_not_there(at_database: str, command: Command) -> None:
    assert "cannot be read" in command("install", "nowhere.tgz", code=1)["error"]


def test_a_dump_brings_packages_and_outcomes_back(
    at_database: str, blank_database_url: str, file: Path, tmp_path: Path, command: Command
) -> None:
    command("install", str(file))
    config = Config(base_url=("http://127.0.0.1/fhir",))
    entry = create_entry(config, at_database, connections=1)
    entry.write(Grant("test"), lambda context: create(context, "Patient", dict(NAMELESS)))
    entry.engine.close()
    entry.settings.registry.close()
    sums = dump.dump(at_database, tmp_path / "dump")
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
def data_dir(running: Server) -> Iterator[str]:
    """The data folder of a running server; packages that are left behind are removed."""
    found = str(running.log.with_name("data"))
    yield found
    main(["package", "remove", "example.tested", "--data-dir", found])


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
    running: Server, data_dir: str, file: Path, command: Command
) -> None:
    def asked() -> set[str | None]:
        return {_warnings(running) for _ in range(30)}

    assert asked() == {None}
    command("install", str(file), "--data-dir", data_dir)
    assert asked() == {"1"}
    command("remove", "example.tested", "--data-dir", data_dir)
    assert asked() == {None}
