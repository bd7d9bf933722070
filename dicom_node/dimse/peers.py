"""The application entities that we know: title → host, port (`xinglin ae add|list|remove`).

With an empty table every calling title is let in from this machine itself, and nobody from
elsewhere; with entries, a caller needs one, and must come from its host unless that is `*`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from fhir_server.database.engine import Engine
from fhir_server.outcome import Invalid, NotFound

ANY_HOST = "*"


@dataclass(frozen=True, slots=True)
class Peer:
    """One entry; without a port it can call us but not be sent to."""

    title: str
    host: str
    port: int | None = None


def add(engine: Engine, peer: Peer, clock: Callable[[], datetime]) -> None:
    """Add an application entity, or give a known one a new host and port."""
    title = checked_title(peer.title)
    if peer.port is not None and not 0 < peer.port < 65_536:
        raise Invalid(f"port {peer.port} is none; it can be 1 to 65535")
    if not peer.host.strip():
        raise Invalid(f"{title} needs a host: a name, an address, or {ANY_HOST} for any")
    with engine.connection() as connection:
        connection.cursor().execute(
            "INSERT INTO dicom_peer (title, host, port, created_at) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (title) DO UPDATE SET host = excluded.host, port = excluded.port",
            (title, peer.host.strip(), peer.port, clock()),
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
        cursor.execute("SELECT title, host, port FROM dicom_peer ORDER BY title")
        return [Peer(*row) for row in cursor.fetchall()]


def may_call(known: list[Peer], title: str, address: str) -> bool:
    """Whether the AE of this title may call from this address.

    >>> may_call([], "ANY", "127.0.0.1"), may_call([], "ANY", "10.0.0.7")
    (True, False)
    >>> may_call([Peer("CT1", "10.0.0.7")], "CT2", "10.0.0.7")
    False
    """
    if not known:
        return ip_address(address).is_loopback
    return any(peer.title == title.strip() and _at(peer.host, address) for peer in known)


def checked_title(title: str) -> str:
    r"""Return an AE title without its padding (PS3.5 6.2: 1 to 16 characters, no backslash or control).

    >>> checked_title(" CT1 ")
    'CT1'
    """
    bare = title.strip()
    if not 0 < len(bare) <= 16 or not bare.isascii() or not bare.isprintable() or "\\" in bare:
        raise Invalid(f"{title!r} is no AE title; it has 1 to 16 printable ASCII characters and no backslash")
    return bare


def _at(host: str, address: str) -> bool:
    if host in (ANY_HOST, address):
        return True
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return address.removeprefix("::ffff:") in {entry[4][0] for entry in found}
