"""The listening sockets of HTTP: one a worker, on one port, and Linux chooses among the workers that are up.

Were all workers to accept from one socket, whoever runs first takes all that waits: the connections of a
busy client can all end up with one worker, and the other cores idle as long as they stay open. So each
has a socket of its own in one SO_REUSEPORT group. The supervisor holds them all: a worker that dies leaves
its socket open, what waits there is answered when it is back, and until then new connections go to others.

Elsewhere than on Linux the workers share one socket.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from fhir_server.cli import balance
from fhir_server.cli.balance import Board
from fhir_server.cli.command import Refused

BACKLOG = 1024
_HAS_GROUPS = sys.platform == "linux"

# Classic BPF, linux/filter.h: code, jump if true, jump if false, operand.
_SO_ATTACH_REUSEPORT_CBPF = 51
_LOAD, _MODULO, _EQUAL, _RETURN = 0x20, 0x94, 0x15, 0x06
_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM
_BY_HASH = 0xFFFFFFFF  # no socket has this number: Linux then chooses by the addresses


class Group:
    """The listening sockets of `count` workers; numbers count from 0."""

    def __init__(self, host: str, port: int, flag: str, count: int, patience_s: float) -> None:
        """Open them; raises Refused when the port stays taken for `patience_s`."""
        first = bound(host, port, flag, patience_s)
        self._sockets = [first]
        self.board_fd: int | None = None
        if _HAS_GROUPS and count > 1:
            # One of a group shares its port with any other of this user, so first we had it alone.
            address, family = first.getsockname(), first.family
            first.close()
            self._sockets = [_member(family, address) for _ in range(count)]
            self.board_fd = balance.opened(count)
            self._board = Board(self.board_fd, count)
        for one in self._sockets:
            # Accepted sockets inherit it. Without, a small answer in two segments waits 40 ms for an ACK.
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.listen(BACKLOG)
            one.setblocking(False)
        self._up = [True] * count

    @property
    def port(self) -> int:
        """The port that was taken (0 asks for any)."""
        return int(self._sockets[0].getsockname()[1])

    def fileno(self, worker: int) -> int:
        """Return the descriptor that a worker accepts from."""
        return self._sockets[worker % len(self._sockets)].fileno()

    def is_up(self, worker: int, up: bool) -> None:
        """Send new connections to a worker, or to the others.

        Where no program is allowed (some sandboxes) Linux goes on dealing to all, and who comes to one
        that is down waits until it is back.
        """
        self._up[worker] = up
        if self.board_fd is not None:
            self._board.is_up(worker, up)
            numbers = [number for number, is_up in enumerate(self._up) if is_up]
            with suppress(OSError):
                _attach(self._sockets[0], program(numbers))

    def close(self) -> None:
        """Close them all; what a worker does after that is of no account."""
        for one in self._sockets:
            one.close()
        self._sockets = []
        if self.board_fd is not None:
            os.close(self.board_fd)
            self.board_fd = None


def program(numbers: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Return the program that chooses a socket at random among those with these numbers.

    >>> [code for code, *_ in program([0, 2])] == [_LOAD, _MODULO, _EQUAL, _RETURN, _EQUAL, _RETURN, _RETURN]
    True
    """
    found = [(_LOAD, 0, 0, _RANDOM), (_MODULO, 0, 0, len(numbers))] if numbers else []
    for place, number in enumerate(numbers):
        found += [(_EQUAL, 0, 1, place), (_RETURN, 0, 0, number)]
    return [*found, (_RETURN, 0, 0, _BY_HASH)]


def bound(host: str, port: int, flag: str, patience_s: float) -> socket.socket:
    """Return a socket bound to an address; Refused, in plain words, when it stays taken for `patience_s`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise Refused(f"{host} is no address of this machine: {error.strerror}") from None
    deadline = time.monotonic() + patience_s
    while True:
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind(address)
            if port:
                found.listen(1)  # two sockets may be bound with SO_REUSEADDR; only one can listen
        except OSError as error:
            found.close()
            if time.monotonic() >= deadline:
                raise Refused(
                    f"port {port} on {host} cannot be used ({error.strerror}); stop what holds it, or choose "
                    f"another with {flag}"
                ) from None
            time.sleep(0.01)
        else:
            return found


def _member(family: int, address: tuple[object, ...]) -> socket.socket:
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    found.bind(address)
    return found


def _attach(one: socket.socket, instructions: Sequence[tuple[int, int, int, int]]) -> None:
    """Give the group of a socket its program, in the place of the one before."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in instructions))
    one.setsockopt(
        socket.SOL_SOCKET,
        _SO_ATTACH_REUSEPORT_CBPF,
        struct.pack("HP", len(instructions), ctypes.addressof(code)),
    )
