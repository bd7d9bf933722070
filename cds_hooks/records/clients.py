"""The EHRs that may call the decision services, as they are registered (`xinglin cds client`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg2

from fhir_server.database.engine import Engine, Mode
from fhir_server.outcome import Conflict, NotFound

_COLUMNS = "name, issuer, jwks_url, keys, tenants, fhir_servers, own_store, origins"
_ADD = f"""
INSERT INTO cds_client ({_COLUMNS}, created_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (name) DO UPDATE SET issuer = excluded.issuer, jwks_url = excluded.jwks_url, keys = excluded.keys,
    tenants = excluded.tenants, fhir_servers = excluded.fhir_servers, own_store = excluded.own_store,
    origins = excluded.origins
"""


@dataclass(frozen=True, slots=True)
class Client:
    """One registered EHR.

    `issuer` is the `iss` of its tokens; `jwks_url` where its public keys are, `keys` those that were handed
    over; `tenants` the values of the claim tenant that count (none: all). `fhir_servers` are bases that data
    may be fetched from with the token of a call, `own_store` bases of it whose data are in our own store
    under the same ids, `origins` the browser origins that its pages call from.
    """

    name: str
    issuer: str
    jwks_url: str = ""
    keys: tuple[Mapping[str, Any], ...] = ()
    tenants: tuple[str, ...] = ()
    fhir_servers: tuple[str, ...] = ()
    own_store: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


class Clients:
    """The table cds_client."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, client: Client, at: datetime) -> None:
        """Register a client, or give a known name all of this anew.

        Raises Conflict (409) when another name has the same issuer.
        """
        row = (
            client.name, client.issuer, client.jwks_url, json.dumps([dict(key) for key in client.keys]),
            list(client.tenants), list(client.fhir_servers), list(client.own_store), list(client.origins), at,
        )  # fmt: skip
        with self._engine.connection() as connection, connection.cursor() as cursor:
            try:
                cursor.execute(_ADD, row)
            except psycopg2.errors.UniqueViolation as error:
                raise Conflict(f"{client.issuer} is the issuer of another client already") from error
            connection.commit()

    def remove(self, name: str) -> None:
        """Forget a client; raises NotFound (404) when there is none of this name."""
        with self._engine.connection() as connection, connection.cursor() as cursor:
            cursor.execute("DELETE FROM cds_client WHERE name = %s", (name,))
            if not cursor.rowcount:
                raise NotFound(f"no client {name!r} is registered; `xinglin cds client list` shows all")
            connection.commit()

    def all(self) -> list[Client]:
        """Return all clients by name."""
        with self._engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT {_COLUMNS} FROM cds_client ORDER BY name")
            return [_client(row) for row in cursor.fetchall()]


def _client(row: tuple[Any, ...]) -> Client:
    name, issuer, jwks_url, keys, *lists = row
    tenants, fhir_servers, own_store, origins = (tuple(found) for found in lists)
    return Client(name, issuer, jwks_url, tuple(keys), tenants, fhir_servers, own_store, origins)
