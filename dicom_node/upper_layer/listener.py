"""The listener of one process: accepts connections and gives each a thread of its own.

Several processes accept from the same listening sockets, which whoever starts them has opened; the
busier one lets the others go first. Nothing that a caller does or leaves undone keeps the loop from
accepting: TLS handshake and negotiation happen in the thread of the connection, and when too many
callers have said nothing yet, the one that has been silent for longest is closed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from dicom_node.upper_layer.association import ARTIM_S
from dicom_node.upper_layer.connection import Connection
from dicom_node.upper_layer.errors import UpperLayerError

MOST_SILENT: Final = 200
"""Connections without an association that a process keeps."""

YIELD_S: Final = 0.002
_TLS_HANDSHAKE: Final = 0x16
BACKLOG: Final = 256

log = logging.getLogger("dicom_node")


@dataclass(frozen=True, slots=True)
class Door:
    """A listening socket: for plain TCP, for TLS, or for both, told apart by the first byte."""

    socket: socket.socket
    tls: ssl.SSLContext | None = None
    plain: bool = True


@dataclass(eq=False, slots=True)
class Visit:
    """A connection from its acceptance to its end. `associated` ends the time for saying who it is."""

    connection: Connection
    address: str
    deadline: float
    begun: float = field(default_factory=time.monotonic)
    associated: bool = False


Serve = Callable[[Visit], None]


class Listener:
    """Accepts until told to stop. `serve` runs in the thread of each connection."""

    def __init__(
        self,
        doors: Sequence[Door],
        serve: Serve,
        *,
        busy: Callable[[], bool] = lambda: False,
        artim_s: float = ARTIM_S,
        most_silent: int = MOST_SILENT,
    ) -> None:
        self._doors = {door.socket.fileno(): door for door in doors}
        self._serve = serve
        self._busy = busy
        self._artim_s = artim_s
        self._most_silent = most_silent
        self._visits: set[Visit] = set()
        self._lock = threading.Condition()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._accept, name="dimse-listener", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        for door in self._doors.values():
            door.socket.setblocking(False)
        self._thread.start()

    def close_door(self) -> None:
        """Accept no more; connections that there are go on."""
        if self._thread.is_alive():
            os.write(self._wake_write, b"x")
            self._thread.join()

    def stop(self, grace_s: float = 5.0) -> None:
        """Stop accepting and abort what is still running; wait for its threads."""
        self.close_door()
        with self._lock:
            for visit in self._visits:
                visit.connection.hurry()
            self._lock.wait_for(lambda: not self._visits, grace_s)
        for descriptor in (self._wake_read, self._wake_write):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _accept(self) -> None:
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        for descriptor in self._doors:
            poll.register(descriptor, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if self._wake_read in ready:
                return
            if self._busy() and select.select([self._wake_read], [], [], YIELD_S)[0]:
                return
            for descriptor in ready:
                self._take(self._doors[descriptor])

    def _take(self, door: Door) -> None:
        try:
            accepted, address = door.socket.accept()
        except (BlockingIOError, ConnectionError):
            return  # another process was faster, or the caller has gone again
        except OSError as error:  # out of descriptors, for example: the caller stays in the queue
            log.error("a connection cannot be accepted: %s", error.strerror)
            select.select([self._wake_read], [], [], 0.1)
            return
        accepted.setblocking(True)
        thread = threading.Thread(target=self._visit, args=(door, accepted, address[0]), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads: this caller has to come again
            log.error("no thread can be started for a connection")
            accepted.close()

    def _visit(self, door: Door, accepted: socket.socket, address: str) -> None:
        visit: Visit | None = None
        try:
            visit = Visit(
                Connection(accepted), address.removeprefix("::ffff:"), time.monotonic() + self._artim_s
            )
            self._enter(visit)
            self._secure(door, visit)
            self._serve(visit)
        except (ssl.SSLError, OSError, UpperLayerError) as error:
            log.info("a connection ended: %s", _words(error))
        except Exception:
            log.exception("a connection ended by a fault of ours")
        finally:
            if visit is not None:
                visit.connection.close()
                with self._lock:
                    self._visits.discard(visit)
                    self._lock.notify_all()
            else:
                accepted.close()

    def _enter(self, visit: Visit) -> None:
        with self._lock:
            silent = [other for other in self._visits if not other.associated]
            if len(silent) >= self._most_silent:
                min(silent, key=lambda other: other.begun).connection.hurry()
            self._visits.add(visit)

    def _secure(self, door: Door, visit: Visit) -> None:
        """Do the TLS handshake, where this door or the caller's first byte asks for it."""
        if door.tls is None:
            return
        connection = visit.connection
        if door.plain:
            connection.wait_until(visit.deadline)
            if connection.first_byte() != _TLS_HANDSHAKE:
                return
        sock = connection.sock
        sock.settimeout(max(0.1, visit.deadline - time.monotonic()))
        wrapped = door.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        connection.secured(wrapped)
        wrapped.do_handshake()


def _words(error: BaseException) -> str:
    """Return what may be logged of an error: its kind and, of ours and OpenSSL's, the reason."""
    if isinstance(error, UpperLayerError):
        return str(error)
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return f"{type(error).__name__} {reason or ''}".strip()
