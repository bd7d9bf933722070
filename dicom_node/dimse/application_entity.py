"""Our application entity: one title, its ports, the table of services (PS3.8, PS3.4).

`serve` is a DIMSE process; there are as many as the setting dimse_workers says, all accepting from the
sockets that their supervisor opened.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from dicom_node.dimse import commitment, echo, find, get, move, mpps, peers, secure, worklist
from dicom_node.dimse.admission import Admission, Admitted
from dicom_node.dimse.destinations import Destinations
from dicom_node.dimse.dispatch import Dispatch
from dicom_node.dimse.exchange import Exchange
from dicom_node.dimse.requestor import OURS
from dicom_node.dimse.service import Service
from dicom_node.dimse.store import Receiver
from dicom_node.dimse.trail import APPLICATION_START, APPLICATION_STOP, Trail
from dicom_node.failures import Failures
from dicom_node.files.store import FileStore
from dicom_node.ingest import Durability, Ingest, Outcome
from dicom_node.upper_layer.association import accept
from dicom_node.upper_layer.errors import AssociationLost
from dicom_node.upper_layer.listener import BACKLOG, Door, Listener, Visit
from dicom_node.upper_layer.negotiation import Agreed, Refusal, answer
from dicom_node.upper_layer.pdu import Associate
from dicom_node.upper_layer.slots import Slots
from dicom_node.workflow.commitment import Checks
from fhir_server.config import Config, ConfigError
from fhir_server.database.engine import Engine
from fhir_server.observability import events

CONNECTIONS = 12
"""To the database, of one process."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def services(
    config: Config, engine: Engine, files: FileStore, clock: Callable[[], datetime]
) -> list[Service]:
    """Return the table of services besides C-STORE: one line each."""

    def character_set(title: str) -> str:
        peer = peers.find(engine, title)
        return peer.character_set if peer else ""

    checks = Checks(files, config.ae_title, clock, hashes=config.commitment_verifies_hash)
    destinations = Destinations(engine, secure.as_client(config))
    return [
        echo.service(),
        find.service(config, engine, clock),
        move.service(engine, files, destinations, clock),
        get.service(engine, files, clock),
        worklist.service(engine, character_set),
        mpps.service(engine, clock, character_set),
        commitment.service(engine, checks, clock),
    ]


class Stop(Protocol):
    """What tells a process to end: a threading or multiprocessing Event."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set."""


class ApplicationEntity:
    """The listener with its services; `start` returns at once, `stop` ends all associations.

    `sockets` are listening already: the plain one and, with dimse_tls = own-port, that of TLS. Without
    them, it opens its own.
    """

    def __init__(
        self,
        config: Config,
        engine: Engine,
        ingest: Ingest,
        *,
        sockets: Sequence[socket.socket] = (),
        slots: Slots | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config = config
        self._slots = slots or Slots()
        self._ingest = ingest
        failures = Failures(engine, clock)
        self.trail = Trail(engine, clock, config.ae_title)
        self._admission = Admission(
            config, engine, self._slots, ingest.congested, self.trail, clock, failures
        )
        self._receiver = Receiver(ingest, _note, self.trail, failures)
        self._dispatch = Dispatch(services(config, engine, ingest.files, clock), self._receiver)
        self._sockets = list(sockets) or listening(config)
        self.ports = [one.getsockname()[1] for one in self._sockets]
        """Of `sockets`, in their order."""
        doors = _doors(config, self._sockets)
        self._listener = Listener(
            doors, self._serve, busy=self._slots.busier_than_another, artim_s=config.dimse_artim_s
        )

    def start(self) -> int:
        """Accept from now on; return the port of the first socket."""
        self._listener.start()
        return int(self.ports[0])

    def close_door(self) -> None:
        """Accept no more associations; those there are go on."""
        self._listener.close_door()

    def stop(self) -> None:
        """Stop listening and abort what is still running."""
        self._listener.stop()
        for one in self._sockets:
            one.close()
        self._slots.close()

    def _serve(self, visit: Visit) -> None:
        """Be the other side of one connection, in its thread."""
        admitted: Admitted | None = None
        counted = False

        def decide(request: Associate) -> Refusal | tuple[Associate, Agreed]:
            nonlocal admitted, counted
            sock = visit.connection.sock
            found = self._admission.decide(
                request, visit.address, sock if isinstance(sock, ssl.SSLSocket) else None
            )
            if isinstance(found, Refusal):
                return found
            admitted, counted = found, True
            offer = self._dispatch.offer(found.caller.rights)
            return answer(request, offer, OURS, identity_response=found.identity_response)

        def ended() -> None:
            nonlocal counted
            if counted and admitted is not None:
                counted = False
                self._slots.give_back(admitted.slot)
                self._ingest.hurry()

        try:
            association = accept(visit.connection, decide, visit.deadline)
            if association is None or admitted is None:
                return
            visit.associated = True
            association.at_release = ended
            visit.connection.wait_at_most(self._config.dimse_idle_s)
            self._converse(Exchange(association, admitted.caller, self._dispatch.answer))
        finally:
            ended()

    def _converse(self, exchange: Exchange) -> None:
        begun = time.monotonic()
        lost = True
        try:
            self._dispatch.serve(exchange)
            lost = False
        except AssociationLost:
            pass  # the event says so; whoever was in the middle of something has cleaned up
        finally:
            self._receiver.end(exchange)
            exchange.association.abort()  # nothing after a release; else a fault of ours, which is told above
            events.emit(events.AssociationEnded(exchange.count, (time.monotonic() - begun) * 1000, lost))


def listening(config: Config) -> list[socket.socket]:
    """Open the sockets that the settings name: the plain one, and that of TLS where it has its own."""
    ports = [config.dimse_port]
    if config.dimse_tls == "own-port":
        ports.append(config.dimse_tls_port)
    return [
        socket.create_server(
            (config.dimse_host, port),
            family=socket.AF_INET6 if ":" in config.dimse_host else socket.AF_INET,
            backlog=BACKLOG,
        )
        for port in ports
    ]


def serve(
    config: Config,
    stop: Stop,
    ready: Callable[[int], None] | None = None,
    *,
    sockets: Sequence[socket.socket] = (),
    process: int = 0,
) -> None:
    """Run a DIMSE process until `stop` is set; `ready` is told the port once it accepts.

    What a former process left unfinished is put into the index first.
    """
    engine = Engine(config.database_url, size=CONNECTIONS, application_name="xinglin dimse")
    check_exposure(config, engine)
    files = FileStore(config.data_dir / "dicom", direct=config.dicom_direct_io)
    durability = Durability(config.dimse_durability)
    ingest = Ingest(files, engine, _now, durability, config.dimse_backlog, config.ae_title)
    ingest.recover()
    slots = Slots(config.data_dir / "run" / "dimse.slots", process)
    entity = ApplicationEntity(config, engine, ingest, sockets=sockets, slots=slots)
    port = entity.start()
    if process <= 1:  # one of them tells it for all
        entity.trail.activity(APPLICATION_START)
    if ready is not None:
        ready(port)
    try:
        stop.wait()
    finally:
        entity.close_door()
        ingest.finish(config.stop_grace_s)
        entity.stop()
        if process <= 1:
            entity.trail.activity(APPLICATION_STOP)
        ingest.close()
        engine.close()


def check_exposure(config: Config, engine: Engine) -> None:
    """Raise ConfigError when the listener would be open to the network for everybody."""
    if config.dimse_host not in _LOOPBACK and not peers.peers(engine):
        raise ConfigError(
            f"dimse_host is {config.dimse_host}, open to the network, and no application entity is listed;"
            " add those that may call with `xinglin ae add TITLE HOST [PORT]`"
        )


def _doors(config: Config, sockets: Sequence[socket.socket]) -> list[Door]:
    if config.dimse_tls == "off":
        return [Door(one) for one in sockets]
    context = secure.as_server(config)
    if config.dimse_tls == "own-port":
        return [Door(sockets[0]), Door(sockets[1], context, plain=False)]
    return [Door(sockets[0], context, plain=config.dimse_tls == "same-port")]


def _note(outcome: Outcome, ms: float) -> None:
    events.emit(events.InstanceReceived(outcome.verdict.name.lower(), outcome.size_bytes, ms))


def _now() -> datetime:
    return datetime.now(UTC)
