"""Where data that a call did not bring may be fetched: our own store, or the FHIR server of the caller.

CDS Hooks 2.0, "FHIR Resource Access". A call names a FHIR server, and may bring a token for it. Nothing is
fetched because a call says so:

- our own store, where `fhirServer` is our own base, or a base that the client's registration names as such.
  It is read with a grant that is limited to the patient of the call. Who is not registered gets nothing out
  of it, unless the store is open to everybody on this machine anyway (auth = off);
- over HTTP with the token, where `fhirServer` is our own base or one that is registered for the client.
  `authorization/outbound` says what that is bounded by. The token goes there and nowhere else; it is neither
  kept nor logged.

Everything else counts as missing. What is fetched comes whole or not at all: of a search every page, up to a
bound, of which all are of the same server.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urljoin, urlsplit

from cds_hooks.client_trust import NOBODY, Caller, names_base
from cds_hooks.prefetch import CannotBeHad, Resource, Source, SourceFailed, says_error
from cds_hooks.request import HookRequest
from cds_hooks.scopes import allow, scopes
from fhir_server.authorization.grant import Grant
from fhir_server.authorization.outbound import NotReached, Origin, Resolve, Session, origin_of, resolve
from fhir_server.interactions import read, search_type
from fhir_server.interactions.context import Context
from fhir_server.interactions.entry import Entry
from fhir_server.model import json_format
from fhir_server.outcome import FhirError, Forbidden, Gone, NotFound

MOST_BYTES: Final = 8 * 1024 * 1024
MOST_PAGES: Final = 20
MOST_RESOURCES: Final = 2000
CONNECTIONS: Final = 4
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_BUSY = frozenset({408, 425, 429})


class Access:
    """Finds the source of a call. `open_store`: our own store answers callers that nobody knows, too."""

    def __init__(
        self,
        entry: Entry | None,
        base_urls: Sequence[str],
        *,
        open_store: bool = True,
        resolver: Resolve = resolve,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._entry = entry
        self._base_urls = tuple(base_urls)
        self._open_store = open_store
        self._resolver = resolver
        self._context = context

    def ids_are_ours(self, request: HookRequest, caller: Caller = NOBODY) -> bool:
        """Whether the ids of a call are those of our store: its server is ours, or registered as such."""
        listed = self._base_urls if caller.client is None else (*self._base_urls, *caller.client.own_store)
        return request.fhir_server is not None and names_base(listed, request.fhir_server)

    def source(self, request: HookRequest, caller: Caller = NOBODY, within_s: float = 0.25) -> Source | None:
        """Return where the missing data of a call may be fetched within a time; None where nowhere."""
        server, client = request.fhir_server, caller.client
        if server is None:
            return None
        ours = names_base(self._base_urls, server)
        known = client is not None or self._open_store
        if self._entry is not None and known and self.ids_are_ours(request, caller):
            return OwnStore(self._entry, Grant.about_patient("cds-hooks", request.patient_id))
        token = request.access_token
        if token is None or request.expires_in <= 0 or not _TOKEN.fullmatch(token):
            return None
        origin = origin_of(server)
        if origin is None or not origin.is_secure:
            return None
        if not ours and (client is None or not names_base(client.fhir_servers, server)):
            return None
        deadline = time.monotonic() + within_s
        return Remote(server, origin, token, request.scope, deadline, self._resolver, self._context)


class OwnStore:
    """This installation's own FHIR store, read in one snapshot with the grant of the call."""

    def __init__(self, entry: Entry, grant: Grant) -> None:
        self._entry = entry
        self._grant = grant

    def fetch(self, queries: Mapping[str, str]) -> dict[str, list[Resource]]:
        """Run the queries in one reading unit."""

        def all_of_them(context: Context) -> dict[str, list[Resource]]:
            found = {}
            for key, query in queries.items():
                try:
                    found[key] = _run(context, key, query)
                except Forbidden as error:
                    raise CannotBeHad(key, "the grant of a call does not reach it") from error
            return found

        return self._entry.read(self._grant, all_of_them)


def _run(context: Context, key: str, query: str) -> list[Resource]:
    path, question, parameters = query.partition("?")
    if not question:
        type_name, _, identifier = path.partition("/")
        return _one(context, type_name, unquote(identifier))
    pairs = parse_qsl(parameters, keep_blank_values=True)
    if any(name == "_count" for name, _ in pairs):
        return search_type.resources(context, path, pairs)
    most = context.settings.max_count
    found = search_type.resources(context, path, [*pairs, ("_count", str(most))])
    if len(found) >= most:  # a longer list would be decided on in part
        raise CannotBeHad(key, f"this patient has {most} or more {path}; the list cannot be had whole")
    return found


def _one(context: Context, type_name: str, identifier: str) -> list[Resource]:
    try:
        version = read.read(context, type_name, identifier).version
    except (NotFound, Gone):
        return []
    return [] if version is None else [json_format.parse(version.text().encode())]


@dataclass(frozen=True, slots=True)
class Remote:
    """The FHIR server of the caller, asked with the token of the call."""

    base: str
    origin: Origin
    token: str
    scope: str | None
    deadline: float
    resolver: Resolve
    context: ssl.SSLContext | None

    def __repr__(self) -> str:
        """Return nothing of the token or the address."""
        return "Remote()"

    def fetch(self, queries: Mapping[str, str]) -> dict[str, list[Resource]]:
        """Run the queries over a few connections.

        Raises CannotBeHad where one is not allowed or refused, SourceFailed where the server breaks or is
        too slow.
        """
        given = scopes(self.scope)
        for key, query in queries.items():
            path, question, _ = query.partition("?")
            if not allow(given, "s" if question else "r", path.partition("/")[0]):
                raise CannotBeHad(key, "the scope of the token does not allow it")
        keys = list(queries)
        lanes = [keys[start::CONNECTIONS] for start in range(min(CONNECTIONS, len(keys)))]
        with ThreadPoolExecutor(len(lanes), thread_name_prefix="cds-fetch") as pool:
            parts = list(pool.map(lambda lane: self._lane(lane, queries, len(lanes)), lanes))
        return {key: found for part in parts for key, found in part.items()}

    def _lane(self, keys: Sequence[str], queries: Mapping[str, str], lanes: int) -> dict[str, list[Resource]]:
        with Session(
            self.origin,
            deadline=self.deadline,
            most_bytes=MOST_BYTES // lanes,
            resolver=self.resolver,
            context=self.context,
        ) as session:
            return {key: self._query(session, key, queries[key]) for key in keys}

    def _query(self, session: Session, key: str, query: str) -> list[Resource]:
        path, question, parameters = query.partition("?")
        if not question:
            return self._instance(session, key, path)
        counted = any(name == "_count" for name, _ in parse_qsl(parameters, keep_blank_values=True))
        url: str | None = f"{self.base}/{query}"
        seen: set[str] = set()
        found: list[Resource] = []
        while url is not None:
            if url in seen or len(seen) >= MOST_PAGES or len(found) > MOST_RESOURCES:
                raise CannotBeHad(key, "it has more pages than are followed")
            seen.add(url)
            page = self._resource(session, key, url)
            if page is None or page["resourceType"] != "Bundle":
                raise CannotBeHad(key, "its answer is no Bundle")
            found += entries(page, key)
            url = None if counted else self._next(page, key)
        return found

    def _instance(self, session: Session, key: str, path: str) -> list[Resource]:
        resource = self._resource(session, key, f"{self.base}/{path}")
        if resource is None:
            return []
        if resource["resourceType"] != path.partition("/")[0]:
            raise SourceFailed("another type came than was asked for")
        return [resource]

    def _resource(self, session: Session, key: str, url: str) -> Resource | None:
        """Return what an address answers; None where there is nothing (404, 410)."""
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/fhir+json"}
        try:
            answer = session.get(url, headers)
        except NotReached as error:
            if error.failed:
                raise SourceFailed(error.code) from error
            raise CannotBeHad(key, f"the FHIR server may not be asked ({error.code})") from error
        if answer.status in (404, 410):
            return None
        if answer.status >= 500 or answer.status in _BUSY:
            raise SourceFailed(str(answer.status))
        if answer.status != 200:
            raise CannotBeHad(key, f"the FHIR server answered {answer.status}")
        try:
            resource = json_format.parse(answer.body)
        except FhirError as error:
            raise SourceFailed("no JSON") from error
        if not isinstance(resource.get("resourceType"), str):
            raise SourceFailed("no resource")
        if resource["resourceType"] == "OperationOutcome":
            raise CannotBeHad(key, "the FHIR server answered with an OperationOutcome")
        return resource

    def _next(self, page: Resource, key: str) -> str | None:
        """Return the address of the next page, which must be below the same base."""
        links = page.get("link", [])
        for link in links if isinstance(links, list) else []:
            if isinstance(link, dict) and link.get("relation") == "next":
                url = urljoin(f"{self.base}/", str(link.get("url", "")))
                base, path = urlsplit(self.base).path.rstrip("/"), urlsplit(url).path
                if origin_of(url) != self.origin or not (path == base or path.startswith(f"{base}/")):
                    raise CannotBeHad(key, "its next page is on another server")
                if ".." in path:
                    raise CannotBeHad(key, "its next page is on another server")
                return url
        return None


def entries(bundle: Mapping[str, Any], key: str) -> list[Resource]:
    """Return the resources of a searchset that was fetched; raises as `_resource` does."""
    found: list[Resource] = []
    listed = bundle.get("entry", [])
    for entry in listed if isinstance(listed, list) else []:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            raise SourceFailed("an entry is no resource")
        if resource["resourceType"] != "OperationOutcome":
            found.append(resource)
        elif says_error(resource):
            raise CannotBeHad(key, "the FHIR server left something out, as its OperationOutcome says")
    return found
