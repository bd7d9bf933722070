"""`backup`: database and files together into a new folder, consistent and verified.

The server may run. Files of instances are written once and before their rows, so what is
copied before and after the database's snapshot holds every file that the snapshot names.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from fhir_server import __version__
from fhir_server.cli import manifest
from fhir_server.cli.command import Refused, add_json, add_settings, answer, say
from fhir_server.cli.installation import database
from fhir_server.cli.manifest import Kept, Manifest
from fhir_server.config import Config

EXAMPLES = """\
  xinglin backup /backup/2026-01-31
  xinglin backup --check /backup/2026-01-31
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "folder", metavar="DIR", type=Path, help="a folder that does not exist yet, or is empty"
    )
    parser.add_argument("--check", action="store_true", help="read a backup again and verify every hash")
    add_json(parser)
    add_settings(parser, "database_url", "data_dir")


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Take a backup, or check one."""
    folder: Path = arguments.folder
    found = manifest.verify(folder) if arguments.check else backup(config, folder)
    rows = sum(table.rows for table in found.tables.values())
    document = {"folder": str(folder), "rows": rows, "files": found.files, "made_at": found.made_at,
                "bytes": found.dump_bytes + found.file_bytes, "verified": True}  # fmt: skip
    answer(arguments, document, f"{folder}: {rows} rows, {found.files} files, verified")
    return 0


def backup(config: Config, folder: Path) -> Manifest:
    """Write a backup of the installation to `folder` and return its manifest, read back and verified."""
    from fhir_server.database import dump, migrating

    if folder.exists() and any(folder.iterdir()):
        raise Refused(f"{folder} is not empty; name a new folder")
    fresh = folder.with_name(f"{folder.name}.part")
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700, parents=True)
    kept: dict[str, Kept] = {}
    with database(config) as url:
        _copy_new(config.data_dir, fresh, kept)
        try:
            tables = dump.dump(url, fresh / manifest.DUMP)
        except dump.DumpError as error:
            raise Refused(str(error)) from None
        schema, postgres = migrating.schema_state(url).current, dump.server_version(url)
    _copy_new(config.data_dir, fresh, kept)
    with open(fresh / manifest.LISTING, "w") as file:
        file.writelines(f"{json.dumps(asdict(entry))}\n" for entry in kept.values())
    Manifest(
        format=manifest.FORMAT,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        release=__version__,
        schema=schema,
        postgres=postgres,
        tables=tables,
        files=len(kept),
        file_bytes=sum(entry.size_bytes for entry in kept.values()),
        dump_bytes=(fresh / manifest.DUMP).stat().st_size,
        dump_blake2b=manifest.hashed(fresh / manifest.DUMP),
        listing_blake2b=manifest.hashed(fresh / manifest.LISTING),
    ).write(fresh)
    found = manifest.verify(fresh)
    os.sync()
    if folder.exists():
        folder.rmdir()
    fresh.rename(folder)
    return found


def _copy_new(data_dir: Path, fresh: Path, kept: dict[str, Kept]) -> None:
    """Copy the files that are not in `kept` yet, and note them there."""
    told = time.monotonic()
    for path in manifest.walk(data_dir):
        if path in kept:
            continue
        try:
            size, digest = manifest.copy(data_dir / path, fresh / manifest.FILES / path)
        except FileNotFoundError:
            continue  # deleted meanwhile; then its row is gone, too, or the restore will say so
        kept[path] = Kept(path, size, digest)
        if time.monotonic() - told > 5:
            say(f"{len(kept)} files copied")
            told = time.monotonic()
