"""Messages that wait in the queue → the application entities that they are for (PS3.7 chapter 10).

Results of storage commitment go out with the roles turned round: we call, and stay the SCP (PS3.7 D.3.3.4).
One peer at a time and all that waits for it on one association; one that does not answer holds up no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from dicom_node.dimse import command as commands
from dicom_node.dimse import commitment
from dicom_node.dimse.command import Command, CommandField, number
from dicom_node.dimse.destinations import Destinations
from dicom_node.dimse.exchange import Exchange
from dicom_node.dimse.exchange import Message as Incoming
from dicom_node.dimse.requestor import Remote, associate
from dicom_node.dimse.service import Response
from dicom_node.encode import Unsayable, encode
from dicom_node.upper_layer.errors import UpperLayerError
from dicom_node.upper_layer.negotiation import Context, Proposed
from dicom_node.workflow import messages
from dicom_node.workflow.messages import AVAILABILITY, COMMITMENT_REQUEST, COMMITMENT_RESULT, Message
from fhir_server.database.engine import Engine

AVAILABILITY_NOTIFICATION: Final = "1.2.840.10008.5.1.4.33"
AT_A_TIME: Final = 50
HOLD: Final = timedelta(minutes=2)
CONNECT_S: Final = 10.0
RESPONSE_S: Final = 60.0
REPORT_S: Final = 2.0
"""How long a peer is given to report on the association of the request; most open one of their own."""

_CLASSES: Final = {
    COMMITMENT_RESULT: commitment.PUSH_MODEL,
    COMMITMENT_REQUEST: commitment.PUSH_MODEL,
    AVAILABILITY: AVAILABILITY_NOTIFICATION,
}
_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116})
_HAD_ALREADY: Final = 0x0111
_PASSING: Final = frozenset({0x0110, 0x0210, 0x0213})

log = logging.getLogger("dicom_node")


class Delivery:
    """The drain of outgoing messages."""

    def __init__(
        self,
        engine: Engine,
        destinations: Destinations,
        ae_title: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._destinations = destinations
        self._ae_title = ae_title
        self._clock = clock

    def drain(self) -> int:
        """Deliver what is due; return how many messages were taken."""
        with self._engine.connection() as connection:
            taken = messages.take(connection.cursor(), self._clock(), AT_A_TIME, HOLD)
            connection.commit()
        ordered = sorted(taken, key=lambda one: (one.peer, one.kind == COMMITMENT_RESULT, one.pk))
        for (title, _), group in groupby(ordered, key=lambda one: (one.peer, one.kind == COMMITMENT_RESULT)):
            self._deliver(title, list(group))
        return len(taken)

    def _deliver(self, title: str, group: Sequence[Message]) -> None:
        """Deliver messages of one peer, those of one role together."""
        remote = self._destinations.find(title)
        if remote is None:
            self._failed(group, f"{title} has no host and port; `xinglin ae add {title} HOST PORT`")
            return
        left = list(group)
        try:
            self._call(remote, left)
        except UpperLayerError as error:
            self._failed(left, str(error))
        except Unsayable as error:  # nothing that would get better
            self._failed(left[:1], str(error), for_good=True)

    def _call(self, remote: Remote, left: list[Message]) -> None:
        """Send messages one by one and take each off `left` when its fate is known."""
        classes = sorted({_CLASSES[message.kind] for message in left})
        as_scp = left[0].kind == COMMITMENT_RESULT
        with associate(
            remote,
            self._ae_title,
            [Proposed(one) for one in classes],
            timeout_s=CONNECT_S,
            response_s=RESPONSE_S,
            roles={commitment.PUSH_MODEL: (False, True)} if as_scp else None,
            tls=self._destinations.tls,
            answer=self._answer,
        ) as exchange:
            contexts = {context.abstract_syntax: context for context in exchange.contexts}
            asked = False
            while left:
                message = left[0]
                context = contexts.get(_CLASSES[message.kind])
                if context is None:
                    problem = f"{remote.title} does not take {_CLASSES[message.kind]}"
                    self._failed([message], problem, for_good=True)
                else:
                    self._send(exchange, context, message)
                    asked = asked or message.kind == COMMITMENT_REQUEST
                left.pop(0)
            while asked and not exchange.quiet(REPORT_S):
                waiting = exchange.next()
                if waiting is None:
                    break
                self._answer(exchange, waiting)

    def _send(self, exchange: Exchange, context: Context, message: Message) -> None:
        command, data_set = _encoded(message, context.transfer_syntax)
        answer, _ = exchange.request(context, command, data_set)
        status = number(answer, commands.STATUS)
        if status in _WARNINGS or status in (0, _HAD_ALREADY):
            with self._engine.connection() as connection:
                messages.delivered(connection.cursor(), [message.pk])
                connection.commit()
            return
        said = commands.text(answer, commands.ERROR_COMMENT)
        problem = f"{message.peer} answered status {status:04X} {said}".rstrip()
        self._failed([message], problem, for_good=status not in _PASSING)

    def _answer(self, exchange: Exchange, message: Incoming) -> None:
        """Take a report that comes on the association of the request."""
        data_set = exchange.whole(message)
        if message.field == CommandField.N_EVENT_REPORT_RQ:
            response = commitment.take_report(
                message.command, data_set, message.context.transfer_syntax, self._engine, self._clock
            )
        else:
            response = Response(0x0211, comment="this association is for storage commitment")
        exchange.respond(message, response)

    def _failed(self, group: Sequence[Message], problem: str, *, for_good: bool = False) -> None:
        now = self._clock()
        with self._engine.connection() as connection:
            cursor = connection.cursor()
            for message in group:
                if messages.failed(cursor, message, now, problem, for_good=for_good):
                    log.error("message %d to %s is given up: %s", message.pk, message.peer, problem)
            connection.commit()
        if group and not group[0].attempts:
            log.warning("%d messages to %s wait: %s", len(group), group[0].peer, problem)


def _encoded(message: Message, transfer_syntax: str) -> tuple[Command, bytes]:
    if message.kind == COMMITMENT_RESULT:
        return commitment.report(message.attributes, transfer_syntax)
    if message.kind == COMMITMENT_REQUEST:
        return commitment.request_for(message.attributes, transfer_syntax)
    command: Command = {
        commands.COMMAND_FIELD: CommandField.N_CREATE_RQ,
        commands.AFFECTED_SOP_CLASS_UID: AVAILABILITY_NOTIFICATION,
        commands.AFFECTED_SOP_INSTANCE_UID: message.sop_uid,
    }
    return command, encode(message.attributes, transfer_syntax, character_set="")
