"""Which service answers a request, and what it is answered when none does (PS3.7 sections 9 and 10).

One thread an association: requests are carried out in the order in which they came, also where the
sender did not wait for the answers (asynchronous operations window).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from dicom_node.dimse import status
from dicom_node.dimse.command import AFFECTED_SOP_CLASS_UID, RESPONSE, CommandField, text
from dicom_node.dimse.exchange import Exchange, Message
from dicom_node.dimse.service import Handler, Request, Response, Service
from dicom_node.dimse.store import EXTENDED, Receiver, is_storage
from dicom_node.upper_layer import pdu
from dicom_node.upper_layer.errors import UpperLayerError
from dicom_node.upper_layer.negotiation import Offer, Terms
from dicom_node.upper_layer.pdu import Associate
from fhir_server.observability import events
from fhir_server.outcome import FhirError

_KNOWN = frozenset(CommandField)
_OF_ONE_CLASS = frozenset(
    (CommandField.C_ECHO_RQ, CommandField.C_FIND_RQ, CommandField.C_GET_RQ, CommandField.C_MOVE_RQ)
)


class Dispatch:
    """The table of services of one application entity."""

    def __init__(self, services: Sequence[Service], receiver: Receiver) -> None:
        self._by_class: Mapping[str, Service] = {
            uid: service for service in services for uid in service.sop_classes
        }
        self._receiver = receiver

    def offer(self, rights: frozenset[str]) -> Offer:
        """Return what we accept of a caller with these rights."""

        def terms(abstract_syntax: str, request: Associate) -> Terms | int:
            service = self._by_class.get(abstract_syntax)
            if service is not None:
                if not _may(rights, service.name):
                    return pdu.USER_REJECTION
                reports = CommandField.N_EVENT_REPORT_RQ in service.handlers
                return Terms(service.transfer_syntaxes, reports, service.extended)
            service_class, _ = request.common.get(abstract_syntax, ("", []))
            if not is_storage(abstract_syntax, service_class):
                return pdu.ABSTRACT_SYNTAX_UNKNOWN
            # who may not send may still ask to be sent: by C-GET, as SCP of storage
            if not _may(rights, "store") and not _may(rights, "get"):
                return pdu.USER_REJECTION
            return Terms(None, True, _storage_extended)

        return terms

    def serve(self, exchange: Exchange) -> None:
        """Answer requests until the other side releases the association."""
        while (message := exchange.next()) is not None:
            self.answer(exchange, message)

    def answer(self, exchange: Exchange, message: Message) -> None:
        """Carry one request out and respond to it."""
        field = message.field
        if field & RESPONSE:
            exchange.drain()  # to a request of ours that nobody waits for any more
            return
        service = self._by_class.get(message.context.abstract_syntax)
        if service is None and field == CommandField.C_STORE_RQ:
            if _may(exchange.caller.rights, "store"):
                self._receive(exchange, message)
            else:
                _refuse(exchange, message, status.NOT_AUTHORIZED, "no right to store")
            return
        uid = text(message.command, AFFECTED_SOP_CLASS_UID)
        if uid and field in _OF_ONE_CLASS and uid not in self._by_class:
            _refuse(exchange, message, status.NO_SUCH_SOP_CLASS, f"SOP class {uid} is not supported")
            return
        handler = service.handlers.get(CommandField(field)) if service and field in _KNOWN else None
        if handler is None:
            reason = f"no such operation on SOP class {message.context.abstract_syntax}"
            _refuse(exchange, message, status.UNRECOGNIZED_OPERATION, reason)
            return
        request = Request(exchange, message.context, message.command, exchange.whole(message))
        responses = _guarded(handler, request)
        try:
            for response in responses:
                exchange.respond(message, response)
        finally:
            responses.close()

    def _receive(self, exchange: Exchange, message: Message) -> None:
        try:
            self._receiver.receive(exchange, message)
        except FhirError as error:  # before anything was read
            _refuse(exchange, message, status.of_error(error), str(error))


def _refuse(exchange: Exchange, message: Message, code: int, reason: str) -> None:
    exchange.drain()
    exchange.respond(message, Response(code, comment=reason))


def _guarded(handler: Handler, request: Request) -> Generator[Response, None, None]:
    """Yield the responses of a handler; whatever it raises becomes the final one."""
    answered = False
    try:
        for response in handler(request):
            answered = True
            yield response
        if not answered:
            yield Response(status.PROCESSING_FAILURE, comment="the service gave no answer")
    except UpperLayerError:
        raise  # the association is gone; there is nobody to tell
    except FhirError as error:
        yield Response(status.of_error(error), comment=str(error))
    except Exception as error:
        events.emit(events.crashed(error))
        yield Response(status.PROCESSING_FAILURE, comment="a fault of this node; its log has the incident")


def _may(rights: frozenset[str], name: str) -> bool:
    return name == "echo" or "*" in rights or name in rights


def _storage_extended(asked: bytes) -> bytes:
    return EXTENDED[: max(len(asked), 1)]
