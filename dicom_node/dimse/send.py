"""C-STORE SCU: instances of the archive to another application entity (PS3.4 Annex B, PS3.7 9.1.1).

Each instance goes out as it is stored where the peer takes that, else in a plain transfer syntax; its
data set streams from its file. A connection that is lost is opened again, and sending goes on with the
instance that got no answer.
"""

from __future__ import annotations

import itertools
import ssl
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Protocol

from dicom_node.dimse import command
from dicom_node.dimse.command import Command, CommandField
from dicom_node.dimse.requestor import Remote, associate
from dicom_node.files.part10 import read_meta
from dicom_node.files.store import PIECE_BYTES, FileStore
from dicom_node.index.locate import Located
from dicom_node.pixels.transcode import data_set
from dicom_node.sending.contexts import choices, plan
from dicom_node.upper_layer.errors import AssociationLost, UpperLayerError
from dicom_node.upper_layer.negotiation import Context
from fhir_server.observability import events
from fhir_server.outcome import FhirError

TRIES_OF_ONE: Final = 2
"""How often an instance is sent whose association is lost; then it fails, and the next one has its turn."""

LOST_IN_A_ROW: Final = 2
"""Instances that may be lost one after the other before the rest counts as not reached."""

TIMEOUT_S: Final = 60.0
"""How long a peer may take to answer; some index before they do."""

CONNECT_S: Final = 15.0

_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116})


class Fate(Enum):
    """What became of an instance on its way."""

    SENT = "sent"
    WARNED = "sent, and the peer has a warning"
    REFUSED = "refused by the peer"
    NO_CONTEXT = "the peer takes neither its SOP class nor a transfer syntax that it can be brought into"
    NOT_WRITABLE = "it cannot be brought into a transfer syntax that the peer takes"
    MISSING = "its file is not there"
    LOST = "the association was lost while it was sent"
    UNREACHED = "the peer was not reached"


@dataclass(frozen=True, slots=True)
class Result:
    """One instance and its fate; `status` is that of the peer's response, 0 where it gave none."""

    instance: Located
    fate: Fate
    status: int = 0
    reason: str = ""

    @property
    def arrived(self) -> bool:
        """Whether the peer has the instance."""
        return self.fate in (Fate.SENT, Fate.WARNED)


@dataclass(frozen=True, slots=True)
class Originator:
    """Whose C-MOVE the sending is a part of (PS3.7 9.1.1.1.8 and 9.1.1.1.9)."""

    title: str
    message_id: int


class Storer(Protocol):
    """An association that instances can be sent on; `Association` of dimse/service.py is one."""

    @property
    def contexts(self) -> Sequence[Context]:
        """The accepted presentation contexts."""

    def request(
        self, context: Context, command: Command, data_set: bytes | Iterable[bytes] | None = None
    ) -> tuple[Command, bytes]:
        """Send a request and return its response."""


@dataclass(frozen=True, slots=True)
class Outlet:
    """The way out of an archive; `service` is what metrics count its instances under."""

    files: FileStore
    service: str
    originator: Originator | None = None
    priority: int = 0

    def send(
        self,
        instances: Iterable[Located],
        remote: Remote,
        calling_ae: str,
        *,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Generator[Result, None, None]:
        """Yield a result for each instance, in their order within one association.

        Who stops asking ends the association after the instance that was answered last. Does not
        raise for what peer, network or data sets do. `timeout_s` bounds connecting and every answer.
        """
        wanted = list(instances)
        for pairs, proposals in plan((each.sop_class, each.transfer_syntax) for each in wanted):
            some = deque(each for each in wanted if (each.sop_class, each.transfer_syntax) in pairs)
            losses = lost_in_a_row = 0
            while some:
                gone, established = "", False
                try:
                    with associate(
                        remote,
                        calling_ae,
                        proposals,
                        timeout_s=min(timeout_s, CONNECT_S),
                        response_s=timeout_s,
                        tls=tls,
                    ) as association:
                        established = True
                        while some:
                            result = self.store(association, some[0])
                            losses = lost_in_a_row = 0
                            some.popleft()
                            try:
                                yield result
                            except GeneratorExit:
                                return  # out of the block, which releases the association
                except AssociationLost as error:
                    losses += 1
                    if not established:
                        gone = str(error)
                    elif losses == TRIES_OF_ONE:  # it may be this very instance that the peer cannot stand
                        yield Result(some.popleft(), Fate.LOST, reason=str(error))
                        losses, lost_in_a_row = 0, lost_in_a_row + 1
                        gone = str(error) if lost_in_a_row == LOST_IN_A_ROW else ""
                except _Broken as broken:
                    yield Result(some.popleft(), Fate.NOT_WRITABLE, reason=broken.reason)
                except (UpperLayerError, OSError) as error:
                    gone = str(error)
                if gone:
                    yield from (Result(each, Fate.UNREACHED, reason=gone) for each in some)
                    some.clear()

    def store(self, association: Storer, instance: Located, *, as_scp: bool = False) -> Result:
        """Send one instance on an association and return what the peer said. Raises AssociationLost.

        `as_scp` is for C-GET, where the requestor of the association is the one that stores.
        """
        begun = time.monotonic()
        result = self._store(association, instance, as_scp)
        ms = (time.monotonic() - begun) * 1000
        name = result.fate.name.lower()
        events.emit(events.InstanceSent(self.service, name, instance.size_bytes if result.arrived else 0, ms))
        return result

    def _store(self, association: Storer, instance: Located, as_scp: bool) -> Result:
        contexts = choices(association.contexts, instance.sop_class, instance.transfer_syntax, as_scp=as_scp)
        if not contexts:
            return Result(instance, Fate.NO_CONTEXT, reason=Fate.NO_CONTEXT.value)
        context = contexts[0]
        path = self.files.path(instance.digest)
        as_stored = context.transfer_syntax == instance.transfer_syntax
        pieces = _pieces(path) if as_stored else _plain(path, context)
        asked: Command = {
            command.AFFECTED_SOP_CLASS_UID: instance.sop_class,
            command.COMMAND_FIELD: CommandField.C_STORE_RQ,
            command.PRIORITY: self.priority,
            command.AFFECTED_SOP_INSTANCE_UID: instance.sop_uid,
        }
        if self.originator is not None:
            asked[command.MOVE_ORIGINATOR_AE_TITLE] = self.originator.title
            asked[command.MOVE_ORIGINATOR_MESSAGE_ID] = self.originator.message_id
        with closing(pieces):
            try:
                first = next(pieces)  # what cannot be read shows here, before a byte of it is sent
            except FileNotFoundError:
                return Result(instance, Fate.MISSING, reason=Fate.MISSING.value)
            except (FhirError, ValueError, OSError) as error:
                return Result(instance, Fate.NOT_WRITABLE, reason=_said(error))
            answer, _ = association.request(context, asked, itertools.chain([first], _rest(pieces)))
        status = command.number(answer, command.STATUS)
        comment = command.text(answer, command.ERROR_COMMENT)
        if status == 0:
            return Result(instance, Fate.SENT)
        if status in _WARNINGS or status & 0xF000 == 0xB000:
            return Result(instance, Fate.WARNED, status, comment)
        return Result(instance, Fate.REFUSED, status, f"the peer answered {status:04X}")


class _Broken(Exception):
    """A data set that cannot be read on, when a part of it is on its way already."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _rest(pieces: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from pieces
    except (FhirError, ValueError, OSError) as error:
        raise _Broken(_said(error)) from error


def _pieces(path: Path) -> Generator[bytes, None, None]:
    """Yield the data set of a file as it is."""
    with open(path, "rb", buffering=0) as file:
        first = file.read(PIECE_BYTES)
        yield first[read_meta(first).data_set_at :]
        while piece := file.read(PIECE_BYTES):
            yield piece


def _plain(path: Path, context: Context) -> Generator[bytes, None, None]:
    """Yield the data set of a file in the syntax of a context, in pieces worth a PDU."""
    pending: list[bytes] = []
    size = 0
    for piece in data_set(path, context.transfer_syntax):
        pending.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield b"".join(pending)
            pending, size = [], 0
    if pending:
        yield b"".join(pending)


def _said(error: Exception) -> str:
    """Return the reason in words; those of the system name files, so only their kind is told."""
    return type(error).__name__ if isinstance(error, OSError) else str(error)[:200]
