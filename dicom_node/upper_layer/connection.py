"""A TCP or TLS connection as a stream of PDUs, with bounded memory and without delay.

What makes it fast with the senders of the field, which keep Nagle's algorithm on: every segment is
acknowledged at once (the kernel forgets QUICKACK, so it is said again before each receive), and what
we send goes out as one segment where it fits. Data is received into one buffer and handed on from
there in pieces as large as they came, so memory does not depend on the length of a PDU or an object.

Waits have ends without polling: the kernel's own time-outs on the socket.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final

from dicom_node.upper_layer import pdu
from dicom_node.upper_layer.errors import AssociationLost, ProtocolError

BUFFER_BYTES: Final = 256 * 1024
SMALL_BYTES: Final = 64 * 1024
"""Fragments up to this length are put together with the next ones before they are handed on."""

MAX_CONTROL_BYTES: Final = 1024 * 1024
"""Longest PDU other than P-DATA-TF; an A-ASSOCIATE-RQ of 128 contexts with 40 syntaxes each has 150 KB."""

_PDU = Struct(">BxI").unpack_from
_PDV = Struct(">IBB").unpack_from
_TIME = Struct("ll").pack
_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
_CORK: Final[int | None] = getattr(socket, "TCP_CORK", None)
_SEND_AT_ONCE = min(64, os.sysconf("SC_IOV_MAX"))


class Connection:
    """One connection, to be used by one thread; `hurry` alone may be called by others."""

    def __init__(self, sock: socket.socket, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.sock = sock
        self.secure = False
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # of the kernel, not of the heap: pages that no data ever reaches cost nothing
        self._view = memoryview(mmap.mmap(-1, buffer_bytes))
        self._at = self._end = 0
        self._pdu_left = 0  # of the P-DATA-TF being read
        self._pdv_left = 0  # of the presentation data value being read
        self._pdv: tuple[int, int] = (0, 0)  # its context and message control header
        self._timeout_s = 0.0
        self._deadline: float | None = None
        self._hurried = False

    def wait_at_most(self, timeout_s: float) -> None:
        """Bound every wait for the other side, on sending and receiving, from now on."""
        self._deadline = None
        self._set_timeout(timeout_s)

    def wait_until(self, deadline: float) -> None:
        """Bound all waits together by a moment of time.monotonic()."""
        self._deadline = deadline

    def first_byte(self) -> int:
        """Return the first byte of what comes, which stays there: a plain caller's or TLS's."""
        self._set_timeout(max(0.001, (self._deadline or time.monotonic()) - time.monotonic()))
        try:
            first = self.sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, TimeoutError):
            first = b""
        if not first:
            raise AssociationLost("the caller said nothing")
        return first[0]

    def secured(self, wrapped: ssl.SSLSocket) -> None:
        """Go on over TLS; `wrapped` has taken the socket."""
        self.sock = wrapped
        self.secure = True

    def control(self) -> tuple[int, bytes]:
        """Return type and body of the next PDU, which must not be a P-DATA-TF.

        Raises AssociationLost where the connection ends, ProtocolError for anything else.
        """
        kind, length = self._header()
        if kind == pdu.DATA_TF:
            raise ProtocolError("P-DATA-TF outside of an association", pdu.UNEXPECTED_PDU)
        return kind, self._body(length)

    def piece(self) -> tuple[int, int, bool, memoryview] | tuple[int, bytes]:
        """Return the next piece of P-DATA, or another PDU as type and body.

        A piece is its presentation context, its message control header (bit 0: command, bit 1: last
        fragment), whether the fragment ends with it, and the bytes, which are overwritten by the
        next call. A fragment comes in as many pieces as it takes to arrive.
        """
        while True:
            if left := self._pdv_left:
                at = self._at
                ready = self._end - at
                if not ready:
                    self._fill()
                    at = self._at
                    ready = self._end - at
                take = left if left < ready else ready
                self._at = at + take
                self._pdv_left = left = left - take
                context, control = self._pdv
                if not left and control == 0 and take <= SMALL_BYTES:
                    return self._gathered(at, at + take)
                return context, control, not left, self._view[at : at + take]
            if self._pdu_left:
                self._need(6)
                length, context, control = _PDV(self._view, self._at)
                if length < 2 or length + 4 > self._pdu_left:
                    what = f"a data value of {length} bytes in the {self._pdu_left} that are left of its PDU"
                    raise ProtocolError(what, pdu.INVALID_PARAMETER)
                self._at += 6
                self._pdu_left -= length + 4
                self._pdv = (context, control)
                if length == 2:  # an empty fragment is allowed, and may be the last
                    return context, control, True, self._view[:0]
                self._pdv_left = length - 2
                continue
            kind, length = self._header()
            if kind != pdu.DATA_TF:
                return kind, self._body(length)
            if length < 6:
                raise ProtocolError(f"a P-DATA-TF of {length} bytes", pdu.INVALID_PARAMETER)
            self._pdu_left = length

    def _gathered(self, start: int, end: int) -> tuple[int, int, bool, memoryview]:
        """Return a fragment with those that follow it in the buffer as one piece.

        Senders with short PDUs would else cost a round of hashing and writing for each. What follows is
        moved down over the headers between them.
        """
        view = self._view
        context, control = self._pdv
        while not control and not self._pdu_left and not self._pdv_left and self._end - self._at > 12:
            kind, length = _PDU(view, self._at)
            value, following, control_next = _PDV(view, self._at + 6)
            if (kind, following) != (pdu.DATA_TF, context) or value != length - 4 or control_next & 1:
                break
            if not 2 < value <= SMALL_BYTES:
                break
            control = control_next
            at = self._at + 12
            take = min(value - 2, self._end - at)
            view[end : end + take] = view[at : at + take]
            end += take
            self._at = at + take
            self._pdv_left = value - 2 - take
            self._pdv = (context, control)
        return context, control, not self._pdv_left, view[start:end]

    def has_more(self) -> bool:
        """Whether something of the other side is here already; never waits."""
        if self._end > self._at:
            return True
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            return True
        poll = select.poll()
        poll.register(self.sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def send(self, parts: Sequence[bytes | memoryview]) -> None:
        """Send parts as one stretch of bytes. Raises AssociationLost."""
        try:
            if self.secure or len(parts) == 1:
                self.sock.sendall(parts[0] if len(parts) == 1 else b"".join(parts))
                return
            waiting = list(parts)
            while waiting:
                sent = self.sock.sendmsg(waiting[:_SEND_AT_ONCE])
                while waiting and sent >= len(waiting[0]):
                    sent -= len(waiting.pop(0))
                if sent:
                    waiting[0] = memoryview(waiting[0])[sent:]
        except (OSError, ssl.SSLError) as error:
            raise AssociationLost(f"the connection broke while sending: {_words(error)}") from error

    def send_each(self, stretches: Iterable[Sequence[bytes | memoryview]]) -> None:
        """Send stretch by stretch as they are made; no segment leaves half full but the last."""
        self._cork(True)
        try:
            for parts in stretches:
                self.send(parts)
        finally:
            self._cork(False)

    def hurry(self) -> None:
        """Make the thread that uses this connection stop waiting: it reads the end of the stream."""
        self._hurried = True
        with contextlib.suppress(OSError):
            # not the method of an SSLSocket, which would forget its session under our feet
            socket.socket.shutdown(self.sock, socket.SHUT_RD)

    @property
    def hurried(self) -> bool:
        """Whether somebody asked to end it."""
        return self._hurried

    def close(self, linger_s: float = 0.0) -> None:
        """Close; with `linger_s`, let the other side read what we sent last and close first.

        A socket that is closed with unread bytes resets the connection, and the other side may
        lose our last words. What still comes is thrown away, within that time.
        """
        with contextlib.suppress(OSError, ValueError):
            if linger_s:
                socket.socket.shutdown(self.sock, socket.SHUT_WR)
                deadline = time.monotonic() + linger_s
                while (left := deadline - time.monotonic()) > 0:
                    self._set_timeout(left)
                    if not socket.socket.recv_into(self.sock, self._view):
                        break
        self.sock.close()

    def _header(self) -> tuple[int, int]:
        self._need(6)
        kind, length = _PDU(self._view, self._at)
        self._at += 6
        if not pdu.ASSOCIATE_RQ <= kind <= pdu.ABORT:
            raise ProtocolError(f"a PDU of type {kind:02X}H", pdu.UNRECOGNIZED_PDU)
        if kind != pdu.DATA_TF and length > MAX_CONTROL_BYTES:
            raise ProtocolError(f"a PDU of type {kind:02X}H and {length} bytes", pdu.INVALID_PARAMETER)
        return kind, length

    def _body(self, length: int) -> bytes:
        parts: list[bytes] = []
        while length:
            if self._at == self._end:
                self._fill()
            take = min(length, self._end - self._at)
            parts.append(bytes(self._view[self._at : self._at + take]))
            self._at += take
            length -= take
        return b"".join(parts)

    def _need(self, count: int) -> None:
        """Have `count` bytes in one piece; they are few."""
        while self._end - self._at < count:
            if self._at and self._at + count > len(self._view):
                rest = bytes(self._view[self._at : self._end])
                self._at, self._end = 0, len(rest)
                self._view[: self._end] = rest
            self._fill()

    def _fill(self) -> None:
        """Receive what is there, at least a byte."""
        if self._at == self._end:
            self._at = self._end = 0
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise AssociationLost("the other side took too long")
            self._set_timeout(left)
        try:
            if _QUICKACK is not None:
                self.sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            count = self.sock.recv_into(self._view[self._end :])
        except (BlockingIOError, TimeoutError):
            raise AssociationLost(f"nothing came for {self._timeout_s:g} s") from None
        except (OSError, ssl.SSLError) as error:
            raise AssociationLost(f"the connection broke: {_words(error)}") from error
        if not count:
            raise AssociationLost("the other side closed the connection")
        self._end += count

    def _set_timeout(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        if self.secure:  # OpenSSL would not notice the kernel's time-out
            self.sock.settimeout(timeout_s)
            return
        value = _TIME(int(timeout_s), max(1, int(timeout_s % 1 * 1_000_000)))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)

    def _cork(self, on: bool) -> None:
        if _CORK is not None and not self.secure:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.IPPROTO_TCP, _CORK, int(on))


def _words(error: OSError) -> str:
    return error.strerror or type(error).__name__
