"""Who the embedded Postgres runs as, and what that account can reach.

Postgres refuses to run as root. Started by root, the server drops to the owner of the data
folder, or to a named account; no account is ever made and no permission outside the data
folder is ever changed, so what the account cannot reach is said instead.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FALLBACKS = ("postgres", "nobody")
"""Accounts tried in this order when root owns the data folder and none is named."""


class EmbeddedError(RuntimeError):
    """The embedded Postgres cannot be used; the message says why and what would help."""


@dataclass(frozen=True, slots=True)
class Account:
    """The system account of the database processes; `drop` is true when we have to change to it."""

    name: str
    uid: int
    gid: int
    drop: bool

    def as_popen(self) -> dict[str, Any]:
        """Return the arguments of subprocess.Popen that start a program as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.drop else {}

    def blocked_by(self, path: Path) -> Path | None:
        """Return the first folder on the way to `path` that this account cannot enter, or None.

        >>> account("", Path("/")).blocked_by(Path("/"))
        """
        if not self.drop:
            return None
        return next((folder for folder in _way(path) if not self._may(folder, 0o1)), None)

    def reads(self, path: Path) -> bool:
        """Tell whether this account can reach and read the file `path`."""
        return self.blocked_by(path.parent) is None and (not self.drop or self._may(path, 0o4))

    def _may(self, path: Path, bit: int) -> bool:
        facts = path.stat()
        shift = 6 if facts.st_uid == self.uid else 3 if facts.st_gid == self.gid else 0
        return bool(stat.S_IMODE(facts.st_mode) >> shift & bit)


def account(name: str, folder: Path) -> Account:
    """Return the account that shall run Postgres on `folder` (which exists).

    Without root that is always ourselves. As root: `name` if given, else the owner of the
    folder, else the first of FALLBACKS that the system has. Raises EmbeddedError when there
    is none, or when the folder's owner is somebody else and we are not root.
    """
    own = os.geteuid()
    owner = folder.stat().st_uid
    if own != 0:
        if owner != own:
            raise EmbeddedError(f"{folder} belongs to {_name(owner)}; run as that user, or as root")
        # Some containers run under a uid without a name; initdb says so in its own words.
        return Account(_name(own), own, os.getegid(), drop=False)
    if not name and owner != 0:
        return Account(_name(owner), owner, _group(owner, folder), drop=True)
    for candidate in (name,) if name else FALLBACKS:
        try:
            entry = pwd.getpwnam(candidate)
        except KeyError:
            continue
        if entry.pw_uid == 0:
            raise EmbeddedError("Postgres does not run as root; name another account (postgres_user)")
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, drop=True)
    raise EmbeddedError(
        f"running as root, and this system has no account {' or '.join((name,) if name else FALLBACKS)}; "
        "set postgres_user to one that exists, or start as an ordinary user"
    )


def _group(uid: int, folder: Path) -> int:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return folder.stat().st_gid


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _way(path: Path) -> Iterator[Path]:
    yield from reversed((path, *path.parents))
