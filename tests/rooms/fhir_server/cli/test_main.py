"""The table of commands: usage, exit codes, where a flag's value comes from."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys

import pytest

from fhir_server.cli.command import Refused, answer
from tests.support.server import ROOT, xinglin

cli = importlib.import_module("fhir_server.cli.main")  # the package gives the function under this name

EXAMPLES = "  xinglin probe\n"


def add_arguments(parser):
    from fhir_server.cli.command import add_json, add_settings

    parser.add_argument("paths", nargs="*")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--unpack", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    add_json(parser)
    add_settings(parser, "port", "dimse", "base_url")


def run(arguments, config):
    if "refuse" in arguments.paths:
        raise Refused("two\nlines")
    answer(arguments, {**vars(arguments), "port": config.port, "dimse": config.dimse,
                       "base_url": config.base_url}, "done")  # fmt: skip
    return 0


@pytest.fixture
def probe(monkeypatch, capsys):
    """Run this module as the command `probe`; give (exit code, document, standard error)."""
    monkeypatch.setitem(cli.COMMANDS, "probe", (__name__, "a command for tests"))

    def call(*arguments):
        code = cli.main(["probe", "--json", *arguments])
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if captured.out else None, captured.err

    return call


def test_a_flag_beats_the_variable_the_variable_the_file_the_file_the_default(probe, monkeypatch, tmp_path):
    assert probe()[1]["port"] == 8080
    file = tmp_path / "x.toml"
    file.write_text('port = 1\nbase_url = ["http://a", "http://b"]\n[probe]\njobs = 2\nonly = ["x", "y"]\n')
    _, document, _ = probe("--config", str(file))
    assert (document["port"], document["jobs"], document["only"]) == (1, 2, ["x", "y"])
    assert document["base_url"] == ["http://a", "http://b"]
    monkeypatch.setenv("XINGLIN_PORT", "3")
    monkeypatch.setenv("XINGLIN_PROBE_JOBS", "4")
    monkeypatch.setenv("XINGLIN_PROBE_UNPACK", "yes")
    _, document, _ = probe("--config", str(file))
    assert (document["port"], document["jobs"], document["unpack"]) == (3, 4, True)
    _, document, _ = probe("--config", str(file), "--port", "5", "--jobs", "6", "--no-dimse")
    assert (document["port"], document["jobs"], document["dimse"]) == (5, 6, False)


def test_a_refusal_is_one_line_and_one_document(probe):
    code, document, error = probe("refuse")
    assert (code, document, error) == (1, {"error": "two lines"}, "xinglin: two lines\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot = 1\n", "'prot' is no setting"),
        ("[prob]\njobs = 1\n", "no command 'prob'"),
        ("[probe]\njob = 1\n", "[probe] has no flag 'job'"),
        ("port = 'x'\n", "which is no int"),
        ("port = \n", "cannot be read as TOML"),
    ],
)
def test_a_wrong_setting_is_wrong_usage(probe, tmp_path, text, says):
    file = tmp_path / "x.toml"
    file.write_text(text)
    code, _, error = probe("--config", str(file))
    assert (code, says in error) == (2, True), error


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_names_every_command(arguments):
    done = xinglin(*arguments)
    assert all(name in done.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize("arguments", [("nonsense",), ("serve", "--nonsense"), ("backup",)])
def test_wrong_usage_is_exit_code_2(arguments):
    assert xinglin(*arguments).returncode == 2


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_examples_and_a_caption(name):
    module = importlib.import_module(cli.COMMANDS[name][0])
    assert f"xinglin {name}" in module.EXAMPLES
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    assert module.__doc__.splitlines()[0]


def test_help_imports_no_library():
    text = (
        "import sys; from fhir_server.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'flask', 'sqlalchemy', 'psycopg2', 'granian', 'pydicom', 'numpy'}\n"
        "print(sorted(set(sys.modules) & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
