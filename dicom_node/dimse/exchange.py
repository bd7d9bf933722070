"""Messages over an association: commands with their data sets, in both directions (PS3.7 6.3, PS3.8 Annex E).

What PS3.8 calls data values become commands and data sets here. One thread uses an exchange; while it
waits for the answer to a request of ours, what else arrives is noted (a cancel), kept for later (a
small request) or carried out at once (a C-STORE, which is too large to keep).
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from dicom_node.audit import Transfer
from dicom_node.dimse import command as commands
from dicom_node.dimse.command import Command, CommandField, MalformedCommand, number
from dicom_node.dimse.service import Caller, Response
from dicom_node.upper_layer import pdu
from dicom_node.upper_layer.association import Association
from dicom_node.upper_layer.errors import AssociationLost
from dicom_node.upper_layer.negotiation import Context

MAX_COMMAND_BYTES: Final = 64 * 1024
MAX_DATA_SET_BYTES: Final = 16 * 1024 * 1024
"""Longest data set of a message that is not a C-STORE: an identifier, a report of an event."""

MOST_WAITING: Final = 64
PENDING: Final = frozenset({0xFF00, 0xFF01})


@dataclass(slots=True)
class Message:
    """A command that came. `data_set` None: it has one, which is still on its way."""

    context: Context
    command: Command
    data_set: bytes | None = b""

    @property
    def field(self) -> int:
        """Its command field."""
        return number(self.command, commands.COMMAND_FIELD)


Answer = Callable[["Exchange", Message], None]
"""Carries a request of the other side out and responds to it."""


class Exchange:
    """The messages of one association; what a service sees as its `Association`."""

    def __init__(self, association: Association, caller: Caller, answer: Answer | None = None) -> None:
        self.caller = caller
        self.association = association
        self.contexts: Sequence[Context] = tuple(association.contexts.values())
        self.extended: Mapping[str, bytes] = association.extended
        self._answer = answer
        self._waiting: deque[Message] = deque()
        self._waiting_bytes = 0
        self._cancelled: set[int] = set()
        self._pending: tuple[Message | None, int, bytes] = (None, 0, b"")  # the command of many answers
        self._last_id = 0
        self.count = 0
        """How many commands have come."""
        self.received: Transfer | None = None
        """The account of the instances that came, for the audit; kept by whoever takes them."""
        self._unread = False  # a data set whose command was handed out

    def next(self) -> Message | None:
        """Return the next message; None when the other side has released the association.

        Its data set, when it is still on its way, is read by `fragments` or `whole`.
        """
        if self._waiting:
            kept = self._waiting.popleft()
            self._waiting_bytes -= len(kept.data_set or b"")
            return kept
        self._cancelled.clear()  # they are about requests that have been answered
        while (message := self._read()) is not None:
            if message.field != CommandField.C_CANCEL_RQ:
                return message
        return None

    def fragments(self, context: Context) -> Iterator[memoryview]:
        """Yield the data set of the command that came last, as it comes; a piece is gone with the next."""
        read = self.association.piece
        while self._unread:
            piece = read()
            if piece is None or piece.command or piece.context is not context:
                self._break_off("a data set is interrupted by something else")
            if piece.last:
                self._unread = False
            yield piece.data

    def whole(self, message: Message) -> bytes:
        """Return the data set of a message, bounded."""
        if message.data_set is None:
            parts: list[bytes] = []
            size = 0
            for piece in self.fragments(message.context):
                size += len(piece)
                if size > MAX_DATA_SET_BYTES:
                    self._break_off(f"a data set of more than {MAX_DATA_SET_BYTES} bytes with this command")
                parts.append(bytes(piece))
            message.data_set = b"".join(parts)
        return message.data_set

    def drain(self) -> None:
        """Read what is left of the last data set, and forget it."""
        while self._unread:
            piece = self.association.piece()
            if piece is None or piece.command:
                self._break_off("a data set is interrupted by something else")
            self._unread = not piece.last

    def respond(self, message: Message, response: Response) -> None:
        """Send a response to a request."""
        if response.more and response.data_set and not response.comment and not response.fields:
            if self._pending[0] is not message or self._pending[1] != response.status:
                command = commands.answered(message.command, response.status)
                command[commands.COMMAND_DATA_SET_TYPE] = commands.DATA_SET_FOLLOWS
                self._pending = (message, response.status, commands.encode(command))
            self.association.hold(message.context, self._pending[2], response.data_set)
            return
        command = commands.answered(message.command, response.status)
        if response.comment:
            command[commands.ERROR_COMMENT] = response.comment[:64]
        command.update(response.fields)
        if response.data_set:
            command[commands.COMMAND_DATA_SET_TYPE] = commands.DATA_SET_FOLLOWS
        self.association.send(message.context, commands.encode(command), response.data_set or None)

    def cancelled(self, message_id: int) -> bool:
        """Whether a C-CANCEL-RQ for this request has come; never waits."""
        while message_id not in self._cancelled and not self._unread and self._room():
            if not self.association.connection.has_more():
                break
            self._take_in()
        return message_id in self._cancelled

    def quiet(self, wait_s: float) -> bool:
        """Whether nothing comes from the other side for so long; what comes is left for `next`."""
        if self._waiting or self.association.connection.has_more():
            return False
        poll = select.poll()
        poll.register(self.association.connection.sock.fileno(), select.POLLIN)
        return not poll.poll(wait_s * 1000)

    def request(
        self, context: Context, command: Command, data_set: bytes | Iterable[bytes] | None = None
    ) -> tuple[Command, bytes]:
        """Send a request, wait for its one response, return that and its data set."""
        for response in self.requests(context, command, data_set):
            return response
        raise AssociationLost("the other side released the association instead of answering")

    def requests(
        self, context: Context, command: Command, data_set: bytes | Iterable[bytes] | None = None
    ) -> Iterator[tuple[Command, bytes]]:
        """Send a request and yield its responses with their data sets, the final one last.

        The message id is filled into `command`, for `cancel`.
        """
        message_id = self.send(context, command, data_set)
        while True:
            message = self._response(message_id)
            yield message.command, self.whole(message)
            if number(message.command, commands.STATUS) not in PENDING:
                return

    def send(
        self, context: Context, command: Command, data_set: bytes | Iterable[bytes] | None = None
    ) -> int:
        """Send a request without waiting for its response; return the message id it was given."""
        self._last_id = message_id = self._last_id % 0xFFFF + 1
        command[commands.MESSAGE_ID] = message_id
        follows = commands.NO_DATA_SET if data_set is None else commands.DATA_SET_FOLLOWS
        command[commands.COMMAND_DATA_SET_TYPE] = follows
        self.association.send(context, commands.encode(command), data_set)
        return message_id

    def cancel(self, context: Context, message_id: int) -> None:
        """Ask the other side to stop answering a request of ours (PS3.7 9.3.2.3)."""
        command: Command = {
            commands.COMMAND_FIELD: CommandField.C_CANCEL_RQ,
            commands.MESSAGE_ID_BEING_RESPONDED_TO: message_id,
            commands.COMMAND_DATA_SET_TYPE: commands.NO_DATA_SET,
        }
        self.association.send(context, commands.encode(command))

    def _read(self) -> Message | None:
        """Read the next command; note it, if it is a cancel."""
        if self._unread:
            self.drain()
        raw = b""
        context: Context | None = None
        while True:
            piece = self.association.piece()
            if piece is None:
                return None
            if not piece.command or (context is not None and piece.context is not context):
                self._break_off("a command was expected")
            context = piece.context
            raw += piece.data
            if len(raw) > MAX_COMMAND_BYTES:
                self._break_off(f"a command of more than {MAX_COMMAND_BYTES} bytes")
            if piece.last:
                break
        try:
            command = commands.decode(raw)
        except MalformedCommand as error:
            self._break_off(str(error))
        self.count += 1
        message = Message(context, command)
        if commands.has_data_set(command):
            message.data_set = None
            self._unread = True
        if message.field == CommandField.C_CANCEL_RQ:
            self._cancelled.add(number(command, commands.MESSAGE_ID_BEING_RESPONDED_TO))
        return message

    def _response(self, message_id: int) -> Message:
        """Wait for the response to a request of ours; look after whatever else comes before it."""
        while True:
            message = self._take_in()
            if message is None:
                continue
            if number(message.command, commands.MESSAGE_ID_BEING_RESPONDED_TO) == message_id:
                return message
            self.drain()  # the answer to a request that nobody waits for any more

    def _take_in(self) -> Message | None:
        """Read one message; return it if it is a response, else note it, answer it or keep it."""
        message = self._read()
        if message is None:
            raise AssociationLost("the other side released the association in the middle of an operation")
        if message.field == CommandField.C_CANCEL_RQ:
            return None
        if message.field & commands.RESPONSE:
            return message
        if message.field == CommandField.C_STORE_RQ and self._answer is not None:
            self._answer(self, message)
            return None
        if self._answer is None or not self._room():
            self._break_off("a request that cannot be taken at this moment")
        self._waiting_bytes += len(self.whole(message))
        self._waiting.append(message)
        return None

    def _room(self) -> bool:
        return len(self._waiting) < MOST_WAITING and self._waiting_bytes < MAX_DATA_SET_BYTES

    def _break_off(self, reason: str) -> NoReturn:
        self.association.abort(2, pdu.INVALID_PARAMETER)
        raise AssociationLost(f"aborted by us: {reason}")
