"""Where instances can be sent: AE title → address, out of the table of application entities."""

from __future__ import annotations

import ssl

from dicom_node.dimse import peers
from dicom_node.dimse.requestor import Remote
from fhir_server.database.engine import Engine


class Destinations:
    """The application entities that have a port; looked up anew each time, as the table may change."""

    def __init__(self, engine: Engine, tls: ssl.SSLContext | None = None) -> None:
        self._engine = engine
        self.tls = tls
        """With what we call those that are called over TLS."""

    def find(self, title: str) -> Remote | None:
        """Return where to find an AE, or None when it is not listed or has no port of its own.

        Raises Unavailable when the database is away.
        """
        peer = peers.find(self._engine, title.strip())
        if peer is None or peer.port is None or peer.host == peers.ANY_HOST:
            return None
        return Remote(peer.title, peer.host, peer.port, peer.tls)
