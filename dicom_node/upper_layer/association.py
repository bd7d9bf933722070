"""An association: how it begins, carries data and ends (PS3.8 section 9.2).

The standard's state machine in straight lines: one thread a connection, so the state is where the
thread is. What the other side may not send in a state ends in an A-ABORT with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from struct import Struct
from typing import Final, NamedTuple

from dicom_node.upper_layer import pdu
from dicom_node.upper_layer.connection import Connection
from dicom_node.upper_layer.errors import AssociationLost, ProtocolError, Rejected
from dicom_node.upper_layer.negotiation import (
    NO_APPLICATION_CONTEXT,
    NO_PROTOCOL,
    Agreed,
    Context,
    Refusal,
    agreed,
)
from dicom_node.upper_layer.pdu import Associate

ARTIM_S: Final = 30.0
"""How long a caller may take to say who it is, TLS handshake included."""

LINGER_S: Final = 2.0
"""How long the other side may take to close after our last word."""

HELD_BYTES: Final = 16 * 1024
"""How much of small answers goes out at once; a hundredth of a second of the slowest network."""

_DATA = Struct(">BxIIBB").pack
_PDU_AND_PDV_BYTES = 12
COMMAND, LAST = 1, 2


class Piece(NamedTuple):
    """A piece of a message: `last` ends the command or the data set that it belongs to."""

    context: Context
    command: bool
    last: bool
    data: memoryview


class Association:
    """An established association; used by one thread."""

    def __init__(self, connection: Connection, request: Associate, terms: Agreed) -> None:
        self.connection = connection
        self.request = request
        """The A-ASSOCIATE-RQ that it began with."""
        self.contexts = terms.contexts
        self.extended = terms.extended
        self.window = terms.window
        self.ended = False
        self._held: list[bytes | memoryview] = []
        self._held_bytes = 0
        self.at_release: Callable[[], None] = lambda: None
        """Called before the other side is told that it is released: what it used is free then."""
        self._fragment_bytes = max(8, (terms.send_bytes - 6) & ~1)

    def piece(self) -> Piece | None:
        """Return the next piece of a message; None when the other side released the association.

        Its bytes are overwritten by the next call. Raises AssociationLost; what breaks the protocol
        is answered with an A-ABORT first.
        """
        try:
            got = self.connection.piece()
            if len(got) == 4:
                number, control, whole, data = got
                context = self.contexts.get(number)
                if context is None:
                    raise ProtocolError(f"data on presentation context {number}, not accepted", 6)
                return Piece(context, control & COMMAND != 0, whole and control & LAST != 0, data)
            self._control(*got)
            return None
        except ProtocolError as error:
            self.abort(2, error.reason)
            raise AssociationLost(f"aborted by us: {error}") from error
        except AssociationLost:
            if self.connection.hurried:
                self.abort(0, 0)
            self._end()
            raise

    def send(self, context: Context, command: bytes, data_set: bytes | Iterable[bytes] | None = None) -> None:
        """Send a message: its command and, if any, its data set, in one go. Raises AssociationLost.

        When the pieces of a data set raise in the middle, the association is aborted: half a message
        cannot be taken back.
        """
        head = [*self._held, *self._fragments(context.id, command, COMMAND)]
        self._held, self._held_bytes = [], 0
        try:
            if data_set is None:
                self.connection.send([b"".join(head)])
            elif isinstance(data_set, (bytes, bytearray, memoryview)):
                self.connection.send([*head, *self._fragments(context.id, data_set, 0)])
            else:
                self.connection.send_each(self._stretches(context.id, head, data_set))
        except AssociationLost:
            self._end()
            raise

    def hold(self, context: Context, command: bytes, data_set: bytes) -> None:
        """Keep a message for the next `send`, or for when there is a stretch of them that is worth it.

        For answers by the hundred: each by itself would cost a call to the kernel.
        """
        self._held += self._fragments(context.id, command, COMMAND)
        self._held += self._fragments(context.id, data_set, 0)
        self._held_bytes += len(command) + len(data_set)
        if self._held_bytes >= HELD_BYTES:
            held, self._held, self._held_bytes = self._held, [], 0
            try:
                self.connection.send([b"".join(held)])
            except AssociationLost:
                self._end()
                raise

    def release(self) -> None:
        """End the association in good order, as its requestor (PS3.8 7.2)."""
        if self.ended:
            return
        try:
            self.connection.wait_at_most(ARTIM_S)
            self.connection.send([pdu.RELEASE_RQ_PDU])
            while True:
                got = self.connection.piece()
                if got[0] == pdu.RELEASE_RP and len(got) == 2:
                    break
                if got[0] == pdu.RELEASE_RQ and len(got) == 2:  # both at once: we answer and go on waiting
                    self.connection.send([pdu.RELEASE_RP_PDU])
                elif len(got) == 2:
                    break
        except (AssociationLost, ProtocolError):
            pass  # we wanted to leave anyhow
        self._end()

    def abort(self, source: int = 0, reason: int = 0) -> None:
        """End the association at once; `source` 0: our service wants it, 2: the protocol was broken."""
        if not self.ended:
            _last_word(self.connection, pdu.encode_abort(source, reason))
            self.ended = True

    def _control(self, kind: int, body: bytes) -> None:
        if kind == pdu.RELEASE_RQ:
            self.at_release()
            self.connection.send([pdu.RELEASE_RP_PDU])
            self.ended = True
            self.connection.close(LINGER_S)
            return
        if kind == pdu.ABORT:
            source, reason = (*body[2:4], 0, 0)[:2]
            self._end()
            by = "user" if source == 0 else "provider"
            raise AssociationLost(f"aborted by the other side (service {by}, reason {reason})")
        raise ProtocolError(f"a PDU of type {kind:02X}H within an association", pdu.UNEXPECTED_PDU)

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self.connection.close()

    def _fragments(self, context: int, data: bytes | memoryview, kind: int) -> list[bytes | memoryview]:
        """Return data as P-DATA-TF PDUs of one value each, headers and fragments in turn."""
        size, limit = len(data), self._fragment_bytes
        if size <= limit:
            return [_DATA(pdu.DATA_TF, size + 6, size + 2, context, kind | LAST), data]
        parts: list[bytes | memoryview] = []
        view = memoryview(data)
        for at in range(0, size, limit):
            fragment = view[at : at + limit]
            length = len(fragment)
            last = LAST if at + length >= size else 0
            parts += (_DATA(pdu.DATA_TF, length + 6, length + 2, context, kind | last), fragment)
        return parts

    def _stretches(
        self, context: int, head: Sequence[bytes | memoryview], pieces: Iterable[bytes]
    ) -> Iterator[Sequence[bytes | memoryview]]:
        """Yield a message whose data set comes in pieces; the last fragment is known one piece late."""
        limit = self._fragment_bytes
        before: Sequence[bytes | memoryview] = head
        held = b""
        for piece in pieces:
            held = held + piece if held else bytes(piece)
            whole = (len(held) - 1) // limit * limit if held else 0
            if whole > 0:
                view = memoryview(held)
                parts: list[bytes | memoryview] = list(before)
                before = ()
                for at in range(0, whole, limit):
                    parts += (_DATA(pdu.DATA_TF, limit + 6, limit + 2, context, 0), view[at : at + limit])
                yield parts
                held = held[whole:]
        yield [*before, _DATA(pdu.DATA_TF, len(held) + 6, len(held) + 2, context, LAST), held]


Decide = Callable[[Associate], Refusal | tuple[Associate, Agreed]]
"""What the application entity makes of a request: refuses it, or answers it."""


def accept(connection: Connection, decide: Decide, deadline: float) -> Association | None:
    """Receive an A-ASSOCIATE-RQ until `deadline` and answer it; None when there is no association.

    The connection is closed then, after what there was to say.
    """
    connection.wait_until(deadline)
    try:
        kind, body = connection.control()
        if kind == pdu.ABORT:
            connection.close()
            return None
        if kind != pdu.ASSOCIATE_RQ:
            raise ProtocolError(f"a PDU of type {kind:02X}H before any association", pdu.UNEXPECTED_PDU)
        request = pdu.decode_associate(kind, body)
        decided = _refused(request) or decide(request)
        if isinstance(decided, Refusal):
            said = pdu.encode_reject(decided.result, decided.source, decided.reason)
            _last_word(connection, said)
            return None
        said_associate, terms = decided
        connection.send([pdu.encode_associate(pdu.ASSOCIATE_AC, said_associate)])
        return Association(connection, request, terms)
    except ProtocolError as error:
        _last_word(connection, pdu.encode_abort(2, error.reason))
        raise
    except AssociationLost:
        connection.close()
        raise


def propose(connection: Connection, request: Associate, timeout_s: float) -> Association:
    """Send an A-ASSOCIATE-RQ and return the association. Raises Rejected and AssociationLost."""
    connection.wait_until(time.monotonic() + timeout_s)
    try:
        connection.send([pdu.encode_associate(pdu.ASSOCIATE_RQ, request)])
        kind, body = connection.control()
        if kind == pdu.ASSOCIATE_RJ:
            connection.close()
            reason, transient = pdu.rejection(body)
            raise Rejected(f"{request.called_ae} rejected the association: {reason}", transient=transient)
        if kind == pdu.ABORT:
            connection.close()
            raise Rejected(
                f"{request.called_ae} aborted the association while it was negotiated", transient=True
            )
        if kind != pdu.ASSOCIATE_AC:
            raise ProtocolError(f"a PDU of type {kind:02X}H as answer to A-ASSOCIATE-RQ", pdu.UNEXPECTED_PDU)
        terms = agreed(request, pdu.decode_associate(kind, body))
        return Association(connection, request, terms)
    except ProtocolError as error:
        _last_word(connection, pdu.encode_abort(2, error.reason))
        raise AssociationLost(str(error)) from error
    except AssociationLost:
        connection.close()
        raise


def _refused(request: Associate) -> Refusal | None:
    if not request.protocol_version & 1:
        return NO_PROTOCOL
    if request.application_context != pdu.APPLICATION_CONTEXT:
        return NO_APPLICATION_CONTEXT
    return None


def _last_word(connection: Connection, said: bytes) -> None:
    """Say why and close; never raises, never waits long."""
    try:
        connection.wait_at_most(LINGER_S)
        connection.send([said])
    except (AssociationLost, OSError):
        pass
    connection.close(LINGER_S)
