"""`backup` and `restore`: what comes back is what was there, or it is said that it is not."""

from __future__ import annotations

import json
import shutil

import psycopg2
import pytest

from fhir_server.cli import manifest
from fhir_server.cli.backup import backup
from fhir_server.cli.command import Refused
from fhir_server.cli.installation import database
from fhir_server.cli.restore import restore
from fhir_server.config import Config
from fhir_server.database import dump, migrating
from fhir_server.database.embedded import Embedded
from tests.support.server import xinglin

FILES = {
    "dicom/store/abc/abcdef.dcm": b"\0" * 128 + b"DICM" + bytes(range(256)) * 5000,
    "dicom/store/012/0123.dcm": b"another",
    "dicom/quarantine/2026-01-01/x.dcm": b"refused",
    "models/stroke/1/model.txt": b"tree",
}


@pytest.fixture(scope="module")
def filled(folder):
    """A running installation with rows and files; gives its settings."""
    data_dir = folder / "data"
    embedded = Embedded(data_dir, durable=False)
    url = embedded.start()
    migrating.upgrade(url)
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE odd (a text, b jsonb, c numeric, d timestamptz, e float8, f bytea)")
        cursor.execute(
            "INSERT INTO odd SELECT 'x' || n, jsonb_build_object('v', n / 7.0), n / 3.0,"
            " now() + n * '1 h'::interval, n / 9.0, sha256(n::text::bytea) FROM generate_series(1, 5000) n"
        )
        cursor.execute("INSERT INTO odd VALUES (NULL, '{\"v\": 1.50}', 'NaN', 'infinity', '-0', '')")
    connection.close()
    for name, content in FILES.items():
        (data_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (data_dir / name).write_bytes(content)
    (data_dir / "dicom" / "incoming").mkdir()
    (data_dir / "dicom" / "incoming" / "half.dcm").write_bytes(b"hal")
    yield Config(data_dir=data_dir)
    embedded.stop(quick=True)


@pytest.fixture(scope="module")
def taken(filled, folder):
    target = folder / "backup"
    backup(filled, target)
    return target


def _copy(taken, folder, name):
    target = folder / name
    shutil.copytree(taken, target)
    return target


def test_a_restore_brings_back_every_row_and_every_byte(filled, taken, folder):
    fresh = Config(data_dir=folder / "restored")
    found = restore(fresh, taken)
    assert found.tables["public.odd"].rows == 5001
    restored, original = _sums(fresh), _sums(filled)
    different = {name for name in original if original[name] != restored[name]}
    assert different <= {"public.feed_epoch"}  # the feed knows that this is another life of the database
    for name, content in FILES.items():
        assert (fresh.data_dir / name).read_bytes() == content
    assert not (fresh.data_dir / "dicom" / "incoming").exists()


def _sums(config):
    with database(config) as url:
        return dump.sums(url)


def test_the_commands_say_what_they_did(taken, folder):
    done = xinglin("backup", "--check", str(taken), "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["files"], document["verified"]) == (4, True)
    done = xinglin("restore", str(taken), "--data-dir", str(folder / "by-command"))
    assert (done.returncode, "each compared with the backup" in done.stdout) == (0, True), done.stderr
    done = xinglin("restore", str(taken), "--data-dir", str(folder / "by-command"))
    assert (done.returncode, "is not empty" in done.stderr) == (1, True)


@pytest.mark.parametrize("name", ["database.dump", "files.ndjson", "files/dicom/store/012/0123.dcm"])
def test_one_changed_byte_is_found(taken, folder, name):
    copy = _copy(taken, folder, f"changed-{name.replace('/', '-')}")
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(Refused, match="not what the manifest says"):
        manifest.verify(copy)
    if name != "files.ndjson":
        with pytest.raises(Refused, match="not what the manifest says"):
            restore(Config(data_dir=folder / f"into-{copy.name}"), copy)


def test_a_table_that_comes_back_different_is_named(taken, folder):
    copy = _copy(taken, folder, "other-sums")
    document = json.loads((copy / "manifest.json").read_text())
    document["tables"]["public.odd"]["content"] = "1"
    (copy / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(Refused, match=r"public\.odd differ from the backup"):
        restore(Config(data_dir=folder / "other"), copy)


def test_an_unfinished_backup_is_no_backup(taken, folder):
    copy = _copy(taken, folder, "unfinished")
    (copy / "manifest.json").unlink()
    with pytest.raises(Refused, match="no complete backup"):
        restore(Config(data_dir=folder / "never"), copy)


def test_a_folder_with_something_in_it_is_not_written_to(filled, taken):
    with pytest.raises(Refused, match="is not empty"):
        backup(filled, taken)


def test_no_password_is_seen_on_a_command_line(monkeypatch, tmp_path):
    seen = {}

    def run(command, **named):
        seen.update(command=command, env=named["env"])
        raise KeyboardInterrupt

    monkeypatch.setattr(dump.subprocess, "run", run)
    with pytest.raises(KeyboardInterrupt):
        dump._run("pg_dump", "postgresql://u:hush@h/d")
    assert "hush" not in " ".join(seen["command"])
    assert seen["env"]["PGPASSWORD"] == "hush"
