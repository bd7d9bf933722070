"""We call another application entity: associate, ask, release (PS3.7, as SCU).

with associate(Remote("CT1", "10.0.0.7", 104), "XINGLIN", [Proposed(VERIFICATION)]) as association:
    answer, _ = association.request(association.contexts[0], {COMMAND_FIELD: C_ECHO_RQ, ...})
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from dicom_node.dimse.exchange import Answer, Exchange
from dicom_node.dimse.service import Caller
from dicom_node.files.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.upper_layer import association
from dicom_node.upper_layer.connection import Connection
from dicom_node.upper_layer.errors import AssociationLost, UpperLayerError
from dicom_node.upper_layer.negotiation import Identity, Proposed, proposal
from dicom_node.upper_layer.pdu import UserIdentity

OURS: Final = Identity(IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)
TIMEOUT_S: Final = 30.0
RESPONSE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Remote:
    """Whom we call."""

    title: str
    host: str
    port: int
    tls: bool = False


@contextmanager
def associate(
    remote: Remote,
    calling_ae: str,
    proposed: Sequence[Proposed],
    *,
    timeout_s: float = TIMEOUT_S,
    response_s: float = RESPONSE_S,
    roles: Mapping[str, tuple[bool, bool]] | None = None,
    extended: Mapping[str, bytes] | None = None,
    user: UserIdentity | None = None,
    tls: ssl.SSLContext | None = None,
    answer: Answer | None = None,
) -> Iterator[Exchange]:
    """Give an association for the block; released at its end, aborted when the block raises.

    `timeout_s` bounds connecting and negotiating, `response_s` every wait for the other side after
    that. `roles` are ours, SOP class → (SCU, SCP); `extended` is extended negotiation information. With
    `remote.tls`, `tls` is needed. `answer` carries out what the other side requests of us meanwhile
    (the C-STOREs of a C-GET, an N-EVENT-REPORT). Raises Rejected (with `transient`) and AssociationLost.
    """
    connection = _connect(remote, timeout_s, tls)
    request = proposal(calling_ae, remote.title, proposed, OURS, roles=roles, extended=extended, user=user)
    established = association.propose(connection, request, timeout_s)
    connection.wait_at_most(response_s)
    caller = Caller(calling_ae, remote.title, remote.host)
    try:
        yield Exchange(established, caller, answer)
    except BaseException:
        established.abort()
        raise
    established.release()


def _connect(remote: Remote, timeout_s: float, tls: ssl.SSLContext | None) -> Connection:
    if remote.tls and tls is None:
        raise UpperLayerError(f"{remote.title} is called over TLS, and no dimse_tls_cert is set")
    try:
        sock = socket.create_connection((remote.host, remote.port), timeout_s)
    except OSError as error:
        what = error.strerror or type(error).__name__
        raise AssociationLost(
            f"{remote.title} at {remote.host}:{remote.port} cannot be reached: {what}"
        ) from error
    connection = Connection(sock)
    if not remote.tls or tls is None:
        sock.settimeout(None)
        return connection
    try:
        connection.secured(tls.wrap_socket(sock, server_hostname=remote.host))
    except (OSError, ssl.SSLError) as error:
        connection.close()
        what = getattr(error, "verify_message", "") or getattr(error, "reason", "") or type(error).__name__
        raise AssociationLost(f"no TLS with {remote.title} at {remote.host}:{remote.port}: {what}") from error
    return connection
