"""`restore`: a backup back into an installation that is empty and does not run; verified.

Files first, the database last and in one transaction: an interrupted restore leaves the
database empty, and can be begun again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from fhir_server.cli import manifest
from fhir_server.cli.command import Refused, add_json, add_settings, answer, say
from fhir_server.cli.installation import database, held
from fhir_server.cli.manifest import Manifest
from fhir_server.config import Config

EXAMPLES = """\
  xinglin restore /backup/2026-01-31 --data-dir /srv/xinglin-new
  xinglin restore /backup/2026-01-31 --database-url postgresql://xinglin@db.example.org/empty
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="a folder that `xinglin backup` wrote")
    add_json(parser)
    add_settings(parser, "database_url", "data_dir", "postgres_user")


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Restore and compare."""
    found = restore(config, arguments.folder)
    rows = sum(table.rows for table in found.tables.values())
    document = {"rows": rows, "files": found.files, "schema": found.schema, "verified": True}
    answer(
        arguments, document, f"restored {rows} rows and {found.files} files, each compared with the backup"
    )
    return 0


def restore(config: Config, folder: Path) -> Manifest:
    """Restore `folder` and return its manifest, when all of it is there again and equal."""
    from fhir_server.database import dump, feed
    from fhir_server.database.engine import Engine
    from fhir_server.database.unit_of_work import run_write

    found = Manifest.read(folder)
    if manifest.hashed(folder / manifest.DUMP) != found.dump_blake2b:
        raise Refused(f"{folder / manifest.DUMP} is not what the manifest says; take another backup")
    with held(config.data_dir), database(config) as url:
        if dump.sums(url):
            raise Refused("the database is not empty; restore into a new data folder or a new database")
        _put_back(folder, config.data_dir)
        try:
            dump.restore(url, folder / manifest.DUMP)
        except dump.DumpError as error:
            raise Refused(str(error)) from None
        restored = dump.sums(url)
        if different := sorted(
            name
            for name in found.tables.keys() | restored.keys()
            if found.tables.get(name) != restored.get(name)
        ):
            raise Refused(
                f"restored, but {', '.join(different)} differ from the backup; do not use this database"
            )
        if "public.feed_epoch" in restored:
            engine = Engine(url, size=1)
            # Readers of the feed may have seen changes that are later than the backup.
            run_write(engine, (), lambda unit: feed.adopt(unit, restored=True))
            engine.close()
    return found


def _put_back(folder: Path, data_dir: Path) -> None:
    told = time.monotonic()
    for count, kept in enumerate(manifest.listing(folder), 1):
        target = data_dir / kept.path
        if not target.exists() or manifest.hashed(target) != kept.blake2b:
            _, digest = manifest.copy(folder / manifest.FILES / kept.path, target)
            if digest != kept.blake2b:
                raise Refused(f"{folder / manifest.FILES / kept.path} is not what the manifest says")
        if time.monotonic() - told > 5:
            say(f"{count} files put back")
            told = time.monotonic()
