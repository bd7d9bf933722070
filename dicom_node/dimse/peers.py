"""The application entities that we know, and what each may do (`xinglin ae add|list|remove`).

With an empty table every calling title is let in from this machine itself, and nobody from
elsewhere; with entries, a caller needs one, and must come from its host unless that is `*`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Final

from fhir_server.database.engine import Engine
from fhir_server.outcome import Invalid, NotFound

ANY_HOST: Final = "*"
ALL: Final = "*"
RIGHTS: Final = (
    "store",
    "find",
    "move",
    "get",
    "commitment",
    "worklist",
    "mpps",
    "availability",
)
"""The services that a right is named after; everybody who may call may also C-ECHO."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One entry; without a port it can call us but not be sent to.

    `tls`: it must call over TLS, and is called so. `certificate` is a name that its certificate must
    have: the subject, `CN=...`, a DNS name, or `sha256:` and its fingerprint. `called_title` is
    another title that it may call us by. `character_set` is that of what we answer it (empty: that of
    the request). `max_associations` 0: as the settings say.
    """

    title: str
    host: str
    port: int | None = None
    rights: frozenset[str] = frozenset({ALL})
    called_title: str = ""
    tls: bool = False
    certificate: str = ""
    user_name: str = ""
    password_hash: str = ""
    max_associations: int = 0
    character_set: str = ""

    def may(self, right: str) -> bool:
        """Whether it has a right.

        >>> Peer("CT1", "10.0.0.7", rights=frozenset({"store"})).may("find")
        False
        """
        return ALL in self.rights or right in self.rights


_COLUMNS: Final = ", ".join(one.name for one in fields(Peer))
_CHANGED: Final = ", ".join(
    f"{one.name} = excluded.{one.name}" for one in fields(Peer) if one.name != "title"
)
_PLACES: Final = ", ".join(["%s"] * (len(fields(Peer)) + 1))


def add(engine: Engine, peer: Peer, clock: Callable[[], datetime]) -> None:
    """Add an application entity, or give a known one all of this anew."""
    title = checked_title(peer.title)
    if peer.port is not None and not 0 < peer.port < 65_536:
        raise Invalid(f"port {peer.port} is none; it can be 1 to 65535")
    if not peer.host.strip():
        raise Invalid(f"{title} needs a host: a name, an address, or {ANY_HOST} for any")
    if unknown := sorted(peer.rights - {ALL, *RIGHTS}):
        raise Invalid(f"{unknown[0]!r} is no right; there are {', '.join(RIGHTS)}, and {ALL} for all")
    if peer.called_title:
        checked_title(peer.called_title)
    if peer.max_associations < 0:
        raise Invalid(
            f"{title} may have {peer.max_associations} associations; write 1 or more, or 0 for the setting"
        )
    row = {one.name: getattr(peer, one.name) for one in fields(peer)}
    row |= {"title": title, "host": peer.host.strip(), "rights": sorted(peer.rights)}
    with engine.connection() as connection:
        connection.cursor().execute(
            f"INSERT INTO dicom_peer ({_COLUMNS}, created_at) VALUES ({_PLACES})"
            f" ON CONFLICT (title) DO UPDATE SET {_CHANGED}",
            (*row.values(), clock()),
        )
        connection.commit()


def remove(engine: Engine, title: str) -> None:
    """Remove an application entity. Raises NotFound when there is none of this title."""
    with engine.connection() as connection:
        cursor = connection.cursor()
        cursor.execute("DELETE FROM dicom_peer WHERE title = %s", (title.strip(),))
        if not cursor.rowcount:
            raise NotFound(f"no application entity {title.strip()!r} is known; `xinglin ae list` shows all")
        connection.commit()


def peers(engine: Engine) -> list[Peer]:
    """Return all entries by title."""
    with engine.connection() as connection:
        cursor = connection.cursor()
        cursor.execute(f"SELECT {_COLUMNS} FROM dicom_peer ORDER BY title")
        return [_peer(row) for row in cursor.fetchall()]


def find(engine: Engine, title: str) -> Peer | None:
    """Return the entry of a title, or None."""
    with engine.connection() as connection:
        cursor = connection.cursor()
        cursor.execute(f"SELECT {_COLUMNS} FROM dicom_peer WHERE title = %s", (title.strip(),))
        row = cursor.fetchone()
        return _peer(row) if row else None


def may_call(known: list[Peer], title: str, address: str) -> bool:
    """Whether the AE of this title may call from this address.

    >>> may_call([], "ANY", "127.0.0.1"), may_call([], "ANY", "10.0.0.7")
    (True, False)
    >>> may_call([Peer("CT1", "10.0.0.7")], "CT2", "10.0.0.7")
    False
    """
    return ip_address(address).is_loopback if not known else entry(known, title, address) is not None


def entry(known: list[Peer], title: str, address: str) -> Peer | None:
    """Return the entry that lets the AE of this title in from this address, or None."""
    for peer in known:
        if peer.title == title.strip() and _at(peer.host, address):
            return peer
    return None


def checked_title(title: str) -> str:
    r"""Return an AE title without its padding (PS3.5 6.2: 1 to 16 characters, no backslash or control).

    >>> checked_title(" CT1 ")
    'CT1'
    """
    bare = title.strip()
    if not 0 < len(bare) <= 16 or not bare.isascii() or not bare.isprintable() or "\\" in bare:
        raise Invalid(f"{title!r} is no AE title; it has 1 to 16 printable ASCII characters and no backslash")
    return bare


def _peer(row: tuple[Any, ...]) -> Peer:
    values = dict(zip((one.name for one in fields(Peer)), row, strict=True))
    return Peer(**{**values, "rights": frozenset(values["rights"])})


def _at(host: str, address: str) -> bool:
    if host in (ANY_HOST, address):
        return True
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return address.removeprefix("::ffff:") in {entry[4][0] for entry in found}
