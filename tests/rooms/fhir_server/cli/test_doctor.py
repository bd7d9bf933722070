"""`doctor` and `ae`, as a person uses them."""

from __future__ import annotations

import json
import os
import socket

import pytest

from fhir_server.app import create_entry
from fhir_server.authorization.grant import Grant
from fhir_server.cli import checks
from fhir_server.config import Config
from fhir_server.definitions.structures import type_code
from fhir_server.interactions.create import create
from tests.support.builders import patient
from tests.support.server import xinglin


def _states(found):
    return {finding.subject: finding.state for finding in found}


def test_a_fresh_machine_is_told_how_to_begin(folder):
    done = xinglin("doctor", "--data-dir", str(folder / "none"), "--port", "0", "--json")
    assert done.returncode == 0, done.stdout
    found = {each["subject"]: each for each in json.loads(done.stdout)["findings"]}
    assert "`xinglin serve` makes it" in found["database"]["says"]
    assert not (folder / "none").exists()


@pytest.mark.skipif("XINGLIN_TEST_DATABASE_URL" in os.environ, reason="an outside database may log anything")
def test_the_embedded_database_logs_no_patient_data(database_url):
    [finding] = checks.privacy(Config(), database_url)
    assert (finding.subject, finding.state) == ("database log", "ok")


@pytest.mark.parametrize(
    ("name", "value", "harmless"),
    [
        ("log_min_error_statement", "error", False), ("log_min_error_statement", "panic", True),
        ("log_min_messages", "warning", False), ("log_min_messages", "fatal", True),
        ("log_statement", "mod", False), ("log_statement", "ddl", True),
        ("log_error_verbosity", "default", False), ("log_min_duration_statement", "250", False),
    ],
)  # fmt: skip
def test_what_a_log_setting_lets_through(name, value, harmless):
    [test] = [check for setting, _, check in checks._LOG_SETTINGS if setting == name]
    assert test(value) is harmless


def test_a_stock_postgres_s_settings_are_named(monkeypatch, database_url):
    stock = dict.fromkeys(("log_min_duration_statement", "log_min_duration_sample"), "-1")
    stock |= {"log_min_error_statement": "error", "log_min_messages": "warning", "log_statement": "none",
              "log_error_verbosity": "default", "log_transaction_sample_rate": "0",
              "log_parameter_max_length_on_error": "0", "auto_explain.log_min_duration": ""}  # fmt: skip
    monkeypatch.setattr(checks, "_show", lambda connection, name: stock[name])
    [finding] = checks.privacy(Config(), database_url)
    assert finding.state == "advice"
    for name in ("log_min_error_statement = panic", "log_min_messages = log", "log_error_verbosity = terse"):
        assert name in finding.says


def test_the_database_is_examined(database_url):
    found = _states([*checks.server(Config(), database_url), *checks.schema(Config(), database_url)])
    assert found == {"database": "ok", "schema": "ok"}
    for many in (Config(workers=100), Config(job_threads=100)):
        assert _states(checks.server(many, database_url))["connections"] == "broken"
    assert "connections" not in _states(checks.server(Config(job_threads=100, worker=False), database_url))


def test_types_without_words_are_named(fresh_database_url):
    entry = create_entry(Config(), fresh_database_url, connections=1)
    entry.write(Grant.system("test"), lambda context: create(context, "Patient", patient()))
    mark = "INSERT INTO text_missing (type) VALUES (%s), (%s)"
    codes = (type_code("Patient"), type_code("Observation"))
    entry.write(Grant.system("test"), lambda context: context.unit.defer(mark, codes))
    found = [each.says for each in checks.search_index(Config(), fresh_database_url)]
    [says] = [each for each in found if "_text" in each]
    assert "refused: Patient; run `xinglin reindex --type Patient`" in says
    off = checks.search_index(Config(full_text=("off",)), fresh_database_url)
    assert not [each for each in off if "_text" in each.says]
    entry.engine.close()


def test_a_port_that_is_taken_is_broken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = _states(checks.ports(Config(port=taken.getsockname()[1], dimse_port=0, data_dir=tmp_path)))
    assert found == {"HTTP port": "broken", "DIMSE port": "ok"}


def test_exposure_is_told():
    found = _states(checks.exposure(Config(host="10.0.0.7")))
    assert (found["authorization"], found["encryption"]) == ("broken", "advice")
    public = ("https://fhir.example.org/fhir",)
    for setting, state in (("", "ok"), ("required", "ok"), ("optional", "advice"), ("off", "advice")):
        found = _states(checks.exposure(Config(base_url=public, cds_auth=setting)))
        assert found["decision services"] == state
    assert _states(checks.exposure(Config()))["decision services"] == "ok"


def test_application_entities_are_added_listed_and_removed(folder):
    data = ("--data-dir", str(folder / "ae"))
    assert xinglin("migrate", *data).returncode == 0
    assert xinglin("ae", "add", "CT1", "10.0.0.7", "104", *data).returncode == 0
    passcode = folder / "passcode"
    passcode.write_text("secret\n")
    more = (
        "--right", "find", "--right", "move", "--tls", "--certificate", "CN=WS", "--called", "OLD",
        "--most", "2", "--user", "ward7", "--password-file", str(passcode), "--character-set", "ISO_IR 100",
    )  # fmt: skip
    done = xinglin("ae", "add", "WS", "*", *more, *data, "--json")
    plain = {
        "title": "CT1", "host": "10.0.0.7", "port": 104, "rights": ["*"], "called_title": "", "tls": False,
        "certificate": "", "user_name": "", "password": False, "max_associations": 0, "character_set": "",
    }  # fmt: skip
    assert json.loads(done.stdout)["entities"] == [
        plain,
        {
            "title": "WS", "host": "*", "port": None, "rights": ["find", "move"], "called_title": "OLD",
            "tls": True, "certificate": "CN=WS", "user_name": "ward7", "password": True,
            "max_associations": 2, "character_set": "ISO_IR 100",
        },
    ]  # fmt: skip
    for wrong in (
        ("X" * 17, "*"), ("CT1", "*", "70000"), ("CT1", "*", "--certificate", "CN=1"),
        ("CT1", "*", "--password-file", str(passcode)),
        ("CT1", "*", "--user", "x", "--password-file", "/none"),
        ("CT1", "*", "--most", "-1"),
    ):  # fmt: skip
        refused = xinglin("ae", "add", *wrong, *data)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1), refused.stderr
    assert xinglin("ae", "add", "WS", "*", *data).returncode == 0  # all of it anew
    assert xinglin("ae", "remove", "CT1", *data).returncode == 0
    assert xinglin("ae", "list", *data).stdout == "WS               *\n"
    done = xinglin("ae", "remove", "CT1", *data)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
