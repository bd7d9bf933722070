"""Who is let in: titles, hosts, certificates, users, limits → a Caller with its rights, or a refusal.

PS3.8 9.3.4 has the numbers of a rejection, PS3.7 D.3.3.7 user identity, PS3.15 Annex B certificates.
"""

from __future__ import annotations

import math
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from dicom_node.audit import Party
from dicom_node.dimse import peers
from dicom_node.dimse.identity import KERBEROS, NotIdentified, verified
from dicom_node.dimse.peers import Peer
from dicom_node.dimse.service import Caller
from dicom_node.dimse.trail import Trail
from dicom_node.failures import REJECTED, Failures
from dicom_node.upper_layer.negotiation import (
    CALLED_UNKNOWN,
    CALLING_UNKNOWN,
    CONGESTED,
    LIMIT_REACHED,
    NOT_IDENTIFIED,
    Refusal,
)
from dicom_node.upper_layer.pdu import Associate
from dicom_node.upper_layer.slots import Slots
from dicom_node.upper_layer.tls import certificate_names
from fhir_server.authorization.grant import Grant
from fhir_server.config import Config
from fhir_server.database.engine import Engine
from fhir_server.observability import events
from fhir_server.outcome import FhirError

NOTED_EVERY_S: Final = 60.0
MOST_NOTED: Final = 1000


@dataclass(frozen=True, slots=True)
class Admitted:
    """A caller that was let in; `slot` is to be given back when its association ends."""

    caller: Caller
    slot: str
    identity_response: bytes | None = None


class Admission:
    """Decides on every request for an association to this node."""

    def __init__(
        self,
        config: Config,
        engine: Engine,
        slots: Slots,
        congested: Callable[[], str],
        trail: Trail,
        clock: Callable[[], datetime],
        failures: Failures,
    ) -> None:
        self._failures = failures
        self._config = config
        self._engine = engine
        self._slots = slots
        self._congested = congested
        self._trail = trail
        self._clock = clock
        self._title = config.ae_title.strip()
        self._noted: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._lock = threading.Lock()
        self._jwt_key = Path(config.dimse_jwt_key).read_bytes().strip() if config.dimse_jwt_key else b""

    def decide(self, request: Associate, address: str, sock: ssl.SSLSocket | None) -> Refusal | Admitted:
        """Return the caller behind a request, or why it is not let in; the latter is noted."""
        try:
            known = peers.peers(self._engine)
        except FhirError:
            return CONGESTED  # nobody comes in unchecked; a later try may find the database there
        except Exception as error:
            events.emit(events.crashed(error))
            return CONGESTED
        decided = self._checked(request, address, sock, known)
        if isinstance(decided, Refusal):
            events.emit(events.AssociationRejected(decided.result, decided.source, decided.reason))
            self._failures.note(REJECTED, request.calling_ae, address, decided.words)
            if self._is_news((address, request.calling_ae, decided.words)):
                self._tell(request, address, decided)
        return decided

    def _checked(
        self, request: Associate, address: str, sock: ssl.SSLSocket | None, known: list[Peer]
    ) -> Refusal | Admitted:
        peer = peers.entry(known, request.calling_ae, address)
        if peer is None and (known or not ip_address(address.partition("%")[0]).is_loopback):
            return CALLING_UNKNOWN
        if request.called_ae not in {self._title, peer.called_title if peer else self._title}:
            return CALLED_UNKNOWN
        subject, names = certificate_names(sock) if sock is not None else ("", frozenset[str]())
        if peer is not None and (
            (peer.tls and sock is None) or (peer.certificate and peer.certificate not in names)
        ):
            return NOT_IDENTIFIED
        try:
            user, confirm = verified(request.identity, peer, self._jwt_key, self._clock())
        except NotIdentified as error:
            return Refusal(NOT_IDENTIFIED.result, NOT_IDENTIFIED.source, NOT_IDENTIFIED.reason, str(error))
        if self._congested():
            return CONGESTED
        title = request.calling_ae
        most_of_title = (peer.max_associations if peer else 0) or self._config.dimse_max_associations_per_ae
        most = self._config.dimse_max_associations
        if not self._slots.take(title, most=most, most_of_title=most_of_title):
            return CONGESTED if self._slots.total() >= most else LIMIT_REACHED
        rights = peer.rights if peer else frozenset({peers.ALL})
        caller = Caller(title, request.called_ae, address, user, subject, Grant(f"ae/{title}"), rights)
        if confirm or (user and peer is not None and peer.user_name):
            self._trail.recognised(caller)
        return Admitted(caller, title, b"" if confirm else None)

    def _is_news(self, what: tuple[str, str, str]) -> bool:
        """Whether a refusal was not noted lately: who knocks all day long must not fill the database."""
        now = time.monotonic()
        with self._lock:
            if now - self._noted.get(what, -math.inf) < NOTED_EVERY_S:
                return False
            self._noted[what] = now
            self._noted.move_to_end(what)
            while len(self._noted) > MOST_NOTED:
                self._noted.popitem(last=False)
            return True

    def _tell(self, request: Associate, address: str, refusal: Refusal) -> None:
        identity = request.identity
        if refusal.source == NOT_IDENTIFIED.source and identity is not None and identity.kind < KERBEROS:
            user = identity.primary.decode("utf-8", "replace")
            caller = Caller(request.calling_ae, request.called_ae, address, user)
            self._trail.recognised(caller, refusal.words)
            return
        source = Party(request.calling_ae, address, requestor=True)
        self._trail.refused(source, request.called_ae, refusal.words)
