"""Our application entity: one port, one title, the table of services (PS3.8, PS3.4).

`serve` is the DIMSE process. Everything that has to do with pynetdicom's switches is here, set
once before the first association: they are module-wide, and this process is theirs alone.
"""

from __future__ import annotations

import logging
import socket
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from pynetdicom import AE, _config, evt
from pynetdicom.transport import ThreadedAssociationServer

from dicom_node.dimse import peers
from dicom_node.dimse.echo import VERIFICATION, echo
from dicom_node.dimse.store import store
from dicom_node.files.store import FileStore
from dicom_node.ingest import Durability, Ingest, Outcome
from fhir_server.config import Config, ConfigError
from fhir_server.database.engine import Engine
from fhir_server.observability import events

MAXIMUM_PDU_BYTES = 131_072
MAX_ASSOCIATIONS = 32
IDLE_S = 300.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
# result, source, reason (PS3.8 table 9-21)
_CALLING_TITLE_UNKNOWN = (1, 1, 3)
_CONGESTED = (2, 3, 1)

log = logging.getLogger("dicom_node")


class Stop(Protocol):
    """What tells a process to end: a threading or multiprocessing Event."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set."""


class ApplicationEntity:
    """The listener with its services; `start` returns at once, `stop` ends all associations."""

    def __init__(self, config: Config, engine: Engine, ingest: Ingest) -> None:
        _config.UNRESTRICTED_STORAGE_SERVICE = True  # any storage SOP class, private ones too, in any syntax
        _config.STORE_RECV_CHUNKED_DATASET = True  # data sets go to files, not into memory
        _config.LOG_HANDLER_LEVEL = "none"  # its handlers print data sets
        self._config = config
        self._engine = engine
        self._server: Any = None
        self._ae = AE(config.ae_title)
        self._ae.maximum_pdu_size = MAXIMUM_PDU_BYTES
        self._ae.maximum_associations = MAX_ASSOCIATIONS
        self._ae.network_timeout = IDLE_S
        self._ae.require_called_aet = True
        self._ae.add_supported_context(VERIFICATION)
        self._handlers = [
            (evt.EVT_REQUESTED, self._admit),
            (evt.EVT_C_ECHO, echo),
            (evt.EVT_C_STORE, store, [ingest, _note]),
            (evt.EVT_CONN_CLOSE, lambda event: ingest.hurry()),
        ]

    def start(self) -> int:
        """Listen; return the port. Raises OSError when it is taken."""
        address = (self._config.dimse_host, self._config.dimse_port)
        self._server = self._ae.make_server(address, evt_handlers=self._handlers, server_class=_Server)
        self._ae._servers.append(self._server)
        _in_thread(self._server.serve_forever, "dimse-listener")
        return int(self._server.server_address[1])

    def close_door(self) -> None:
        """Accept no more associations; those there are go on."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def stop(self) -> None:
        """Stop listening and abort what is still running."""
        self._ae.shutdown()

    def _admit(self, event: Any) -> None:
        """Reject a caller who is not in the table of peers; the called title is checked by the AE."""
        requestor = event.assoc.requestor
        try:
            known = peers.peers(self._engine)
            if peers.may_call(known, str(requestor.primitive.calling_ae_title), str(requestor.address)):
                return
            rejection = _CALLING_TITLE_UNKNOWN
        except Exception:  # pynetdicom would go on after an exception: nobody comes in unchecked
            log.exception("the table of peers cannot be read")
            rejection = _CONGESTED
        log.warning("association rejected: calling AE title or its host is not known, or cannot be looked up")
        event.assoc.acse.send_reject(*rejection)
        event.assoc.kill()


class _Server(ThreadedAssociationServer):  # type: ignore[misc]
    """pynetdicom's server over sockets that answer at once."""

    daemon_threads = True
    request_queue_size = 64

    def get_request(self) -> tuple[Any, Any]:
        accepted, address = super().get_request()
        if self.ssl_context is None:
            accepted = _EagerSocket(fileno=accepted.detach())
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return accepted, address


class _EagerSocket(socket.socket):
    """A socket that acknowledges what it got before it waits for more.

    Senders with Nagle's algorithm on (dcmtk as Debian builds it) wait for the acknowledgement
    of each small segment; the kernel would delay it by 40 ms, and forgets QUICKACK after every
    use.
    """

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        if _QUICKACK is not None:
            self.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        return super().recv(bufsize, flags)


_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


def serve(config: Config, stop: Stop, ready: Callable[[int], None] | None = None) -> None:
    """Run the DIMSE process until `stop` is set; `ready` is told the port once it is open.

    What a former process left unfinished is put into the index first.
    """
    engine = Engine(config.database_url, size=MAX_ASSOCIATIONS // 2, application_name="xinglin dimse")
    check_exposure(config, engine)
    files = FileStore(config.data_dir / "dicom")
    ingest = Ingest(files, engine, _now, Durability(config.dimse_durability), config.dimse_backlog)
    tempfile.tempdir = str(ingest.folder)  # pynetdicom's files: same disk, cleared away with ours
    if count := ingest.recover():
        log.info("indexed %d instances that a former process had kept", count)
    entity = ApplicationEntity(config, engine, ingest)
    port = entity.start()
    if ready is not None:
        ready(port)
    try:
        stop.wait()
    finally:
        entity.close_door()
        ingest.finish(config.stop_grace_s)
        entity.stop()
        ingest.close()
        engine.close()


def check_exposure(config: Config, engine: Engine) -> None:
    """Raise ConfigError when the listener would be open to the network for everybody."""
    if config.dimse_host not in _LOOPBACK and not peers.peers(engine):
        raise ConfigError(
            f"dimse_host is {config.dimse_host}, open to the network, and no application entity is listed;"
            " add those that may call with `xinglin ae add TITLE HOST [PORT]`"
        )


def _note(outcome: Outcome, ms: float) -> None:
    events.emit(events.InstanceReceived(outcome.verdict.name.lower(), outcome.size_bytes, ms))


def _now() -> datetime:
    return datetime.now(UTC)


def _in_thread(run: Callable[[], None], name: str) -> None:
    threading.Thread(target=run, name=name, daemon=True).start()
