"""C-STORE SCP: an instance comes over an association (PS3.4 Annex B).

The fragments go from the connection's buffer to `ingest` as they come, undecoded, so memory does not
depend on the size of the object.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from dicom_node.dimse import command as commands
from dicom_node.dimse.command import text
from dicom_node.dimse.exchange import Exchange, Message
from dicom_node.dimse.service import Response
from dicom_node.dimse.status import CANNOT_UNDERSTAND, FAILED, OF_VERDICT
from dicom_node.dimse.trail import Trail
from dicom_node.failures import NOT_STORED, Failures
from dicom_node.ingest import Ingest, Outcome
from fhir_server.authorization.permit import permit

Listener = Callable[[Outcome, float], None]
"""Told of every instance: what became of it, and how many milliseconds that took."""

STORAGE_SERVICE_CLASS: Final = "1.2.840.10008.4.2"

EXTENDED: Final = bytes((2, 0, 3, 0, 0, 0))
"""What we say in extended negotiation (PS3.4 B.3.1.2): level 2, every attribute is kept; signatures stay
valid, for no byte is changed; elements are not coerced."""

# Of the UIDs of DICOM itself, those that name something else than the storage of an object. All others
# are stored: known ones, retired ones, those of next year's edition, and everybody's private ones.
_NOT_STORAGE: Final = (
    "1.2.840.10008.1.1",
    "1.2.840.10008.1.20.",
    "1.2.840.10008.1.40",
    "1.2.840.10008.1.42",
    "1.2.840.10008.3.1.",
    "1.2.840.10008.5.1.1.",
    "1.2.840.10008.5.1.4.1.2.",
    "1.2.840.10008.5.1.4.1.1.200.",
    "1.2.840.10008.5.1.4.31",
    "1.2.840.10008.5.1.4.32.",
    "1.2.840.10008.5.1.4.33",
    "1.2.840.10008.5.1.4.34.",
    "1.2.840.10008.5.1.4.37.",
    "1.2.840.10008.5.1.4.38.",
    "1.2.840.10008.5.1.4.39.",
    "1.2.840.10008.5.1.4.41",
    "1.2.840.10008.5.1.4.42",
    "1.2.840.10008.5.1.4.43.",
    "1.2.840.10008.5.1.4.44.",
    "1.2.840.10008.5.1.4.45.",
)
_STORAGE_NEVERTHELESS: Final = frozenset(
    (
        "1.2.840.10008.5.1.1.27",  # stored print, hardcopy grayscale and colour image (retired)
        "1.2.840.10008.5.1.1.29",
        "1.2.840.10008.5.1.1.30",
        "1.2.840.10008.5.1.4.1.1.200.1",  # CT defined procedure protocol and the others of their kind
        "1.2.840.10008.5.1.4.1.1.200.2",
        "1.2.840.10008.5.1.4.1.1.200.3",
        "1.2.840.10008.5.1.4.1.1.200.7",
        "1.2.840.10008.5.1.4.1.1.200.8",
        "1.2.840.10008.5.1.4.34.7",  # RT beams delivery instruction
        "1.2.840.10008.5.1.4.34.10",  # RT brachy application setup delivery instruction
        "1.2.840.10008.5.1.4.38.1",  # hanging protocol
        "1.2.840.10008.5.1.4.39.1",  # color palette
        "1.2.840.10008.5.1.4.43.1",  # implant templates
        "1.2.840.10008.5.1.4.44.1",
        "1.2.840.10008.5.1.4.45.1",
    )
)


def is_storage(abstract_syntax: str, service_class: str = "") -> bool:
    """Whether an abstract syntax is the storage of something.

    `service_class` is what common extended negotiation says of it (PS3.7 D.3.3.6), if it does.

    >>> is_storage("1.2.840.10008.5.1.4.1.1.2"), is_storage("1.3.12.2.1107.5.9.1")
    (True, True)
    >>> is_storage("1.2.840.10008.5.1.4.1.2.2.1")
    False
    """
    if abstract_syntax in _STORAGE_NEVERTHELESS or service_class == STORAGE_SERVICE_CLASS:
        return True
    return bool(abstract_syntax) and not service_class and not abstract_syntax.startswith(_NOT_STORAGE)


class Receiver:
    """Takes the C-STORE requests of one process."""

    def __init__(self, ingest: Ingest, seen: Listener, trail: Trail, failures: Failures) -> None:
        self._ingest = ingest
        self._seen = seen
        self._trail = trail
        self._failures = failures

    def receive(self, exchange: Exchange, message: Message) -> None:
        """Keep what a C-STORE-RQ brings and answer it.

        A status that is not success carries the reason as Error Comment (0000,0902).
        """
        begun = time.monotonic()
        permit(exchange.caller.grant, "create", "ImagingStudy")
        command, context = message.command, message.context
        if message.data_set == b"":
            exchange.respond(message, Response(CANNOT_UNDERSTAND, comment="there is no data set"))
            return
        reception = self._ingest.begin(
            context.transfer_syntax,
            exchange.caller.calling_ae,
            text(command, commands.AFFECTED_SOP_CLASS_UID),
            text(command, commands.AFFECTED_SOP_INSTANCE_UID),
        )
        try:
            for piece in _pieces(exchange, message):
                reception.write(piece)
            outcome = reception.finish()
        finally:
            reception.abandon()
        status = OF_VERDICT[outcome.verdict]
        exchange.respond(message, Response(status, comment=outcome.reason))
        if status in FAILED:
            caller = exchange.caller
            reason = outcome.reason or outcome.verdict.value
            self._failures.note(NOT_STORED, caller.calling_ae, caller.address, f"{status:04X}: {reason}")
        self._seen(outcome, (time.monotonic() - begun) * 1000)
        if exchange.received is None:
            exchange.received = self._trail.received(exchange.caller)
        self._trail.took(exchange.received, outcome, exchange.caller.calling_ae)

    def end(self, exchange: Exchange) -> None:
        """Account for what an association brought; it has ended."""
        if exchange.received is not None:
            self._trail.end(exchange.received)


def _pieces(exchange: Exchange, message: Message) -> Iterable[bytes | memoryview]:
    return [message.data_set] if message.data_set is not None else exchange.fragments(message.context)
