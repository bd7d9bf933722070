"""Which EHRs may call the decision services, and whom one call comes from.

CDS Hooks 2.0, "Trusting CDS Clients". An EHR is registered with `xinglin cds client add`: its issuer, where
its keys are, the FHIR servers that data may be fetched from for it, and the browser origins its pages have.
The token itself is checked by `fhir_server/authorization/jwt_trust`.

How much is asked of callers is the setting `cds_auth`: required, every call of a service needs a token;
optional, a call may come without one, but a token that comes must be good; off, tokens are not looked at.
Discovery is answered without a token in every mode: it holds nothing about patients and has always to be
there. A token that comes with it is checked all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from cds_hooks.records.clients import Client
from cds_hooks.records.watched import Watched
from fhir_server.authorization.jwks import KeySets
from fhir_server.authorization.jwt_trust import ALGORITHMS, Issuer, Trust, Untrusted, Used, bearer, usable
from fhir_server.authorization.outbound import Origin, is_base, names_this_machine, origin_of
from fhir_server.outcome import Invalid, Unavailable

MODES: Final = ("off", "optional", "required")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a call comes from: a registered client, or nobody that we know."""

    client: Client | None = None
    tenant: str | None = None

    @property
    def name(self) -> str | None:
        """How the record of a call names it: the issuer of its token, and the tenant that it speaks for.

        Two tenants of one EHR are two callers: their patients, users and cards are not each other's. An
        issuer has no fragment (`checked`), so that no two callers have one name.

        >>> Caller(Client("north", "https://ehr.example"), "ward 7").name
        'https://ehr.example#tenant=ward%207'
        """
        if self.client is None:
            return None
        return self.client.issuer + ("" if self.tenant is None else f"#tenant={quote(self.tenant, safe='')}")


NOBODY: Final = Caller()


def mode(setting: str, base_urls: Sequence[str]) -> str:
    """Return what `cds_auth` comes to; when it is not set, whoever can be reached from elsewhere asks.

    >>> mode("", ["http://127.0.0.1:8080/fhir"]), mode("", ["https://cds.example/fhir"])
    ('off', 'required')
    >>> mode("optional", ["https://cds.example/fhir"])
    'optional'
    """
    if setting:
        return setting
    origins = [origin_of(url) for url in base_urls]
    return "off" if all(found is not None and found.is_here for found in origins) else "required"


class ClientTrust:
    """Says whom a call comes from. `roots` are the addresses below which `/cds-services` stands."""

    def __init__(
        self,
        mode: str,
        roots: Sequence[str],
        clients: Callable[[], Sequence[Client]],
        used: Used,
        key_sets: KeySets | None = None,
        **options: Any,
    ) -> None:
        self.mode = mode
        self._roots = tuple(root.rstrip("/") for root in roots)
        self._clients: Watched[Mapping[str, Client] | None] = Watched(
            lambda _known: {client.issuer: client for client in clients()}, None
        )
        self._trust = Trust(self._issuer, used, key_sets or KeySets(), **options)

    def caller(self, authorization: str | None, path: str, *, needed: bool = True) -> Caller:
        """Return whom a request to `path` comes from.

        `needed` is False for what everybody may read. Raises Untrusted (401), Unavailable (503) when the
        database cannot say who is registered or whether a token was used.
        """
        if self.mode == "off":
            return NOBODY
        token = bearer(authorization)
        if token is None:
            if self.mode == "required" and needed:
                raise Untrusted.because(
                    "missing",
                    "this address needs a JSON Web Token of a registered client: Authorization: Bearer ...",
                )
            if authorization and needed:
                raise Untrusted.because("form", "Authorization has to be a bearer token")
            return NOBODY
        claims = self._trust.verify(token, tuple(f"{root}{path}" for root in self._roots))
        return Caller(self._known()[claims.issuer], claims.tenant)

    def origins(self) -> frozenset[str] | None:
        """Return the browser origins that may call; None where all may, as nobody is asked who he is."""
        if self.mode == "off":
            return None
        try:
            return frozenset(origin for client in self._known().values() for origin in client.origins)
        except Unavailable:
            return frozenset()

    def _known(self) -> Mapping[str, Client]:
        known = self._clients.value()
        if known is None:
            raise Unavailable("who is registered cannot be read right now; try again")
        return known

    def _issuer(self, name: str) -> Issuer | None:
        client = self._known().get(name)
        if client is None:
            # it may have been registered a moment ago; a stranger costs one more look at a small table
            return None
        return Issuer(client.issuer, client.jwks_url, client.keys, frozenset(client.tenants))


def open_to_all() -> ClientTrust:
    """Return a trust that asks nobody: for an installation on loopback and for tests."""

    class Nothing:
        def first(self, issuer: str, token_id: str, until: Any) -> bool:
            raise AssertionError("nobody is asked for a token")

    return ClientTrust("off", (), lambda: (), Nothing())


def names_base(listed: Sequence[str], url: str) -> bool:
    """Whether a FHIR base is among those that were registered.

    An entry with a path means exactly that base; one without means every base of its origin.

    >>> names_base(["https://EHR.example/fhir"], "https://ehr.example:443/fhir")
    True
    >>> names_base(["https://ehr.example/fhir"], "https://ehr.example/other")
    False
    >>> names_base(["https://ehr.example"], "https://ehr.example/tenant/7")
    True
    """
    if not is_base(url):
        return False
    return any(
        origin_of(entry) == origin_of(url) and _path(entry) in ("", _path(url))
        for entry in listed
        if is_base(entry)
    )


def _path(url: str) -> str:
    return "/".join(url.split("/")[3:]).rstrip("/")


def checked(client: Client) -> Client:
    """Return a registration in the form it is kept in; raises Invalid (400) for what could not work."""
    if not _NAME.fullmatch(client.name):
        raise Invalid(f"{client.name!r} is no name of a client: letters, digits, . _ -, at most 64")
    if not client.issuer.strip() or len(client.issuer) > 255 or client.issuer != client.issuer.strip():
        raise Invalid("the issuer is the iss of the client's tokens, letter by letter, at most 255")
    if "#" in client.issuer:
        raise Invalid(f"an issuer has no fragment, which would name a tenant; got {client.issuer!r}")
    if not client.jwks_url and not client.keys:
        raise Invalid("give the address of the client's key set, its keys, or both")
    if client.jwks_url:
        _secure(client.jwks_url, "the key set")
    for number, key in enumerate(client.keys):
        _check_key(key, number)
    return replace(
        client,
        fhir_servers=tuple(_base(url) for url in client.fhir_servers),
        own_store=tuple(_base(url) for url in client.own_store),
        origins=tuple(_browser_origin(url) for url in client.origins),
    )


def _secure(url: str, what: str) -> Origin:
    origin = origin_of(url)
    if origin is None:
        raise Invalid(f"{what} has to be an absolute https URL; got {url!r}")
    if not origin.is_secure:
        raise Invalid(f"{what} has to be at https; http is for this machine alone")
    return origin


def _base(url: str) -> str:
    _secure(url, "a FHIR server")
    if not is_base(url):
        raise Invalid(f"{url!r} is no base of a FHIR server: nothing may stand behind its path")
    return url.rstrip("/")


def _browser_origin(url: str) -> str:
    origin = _secure(url, "a browser origin")
    if _path(url) or not is_base(url):
        raise Invalid(f"{url!r} is no browser origin: scheme, host and port, nothing more")
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    usual = origin.port == {"https": 443, "http": 80}[origin.scheme]
    return f"{origin.scheme}://{host}" + ("" if usual else f":{origin.port}")


def _check_key(key: Mapping[str, Any], number: int) -> None:
    if "d" in key or "k" in key:
        raise Invalid(
            f"keys[{number}] has a private or secret part; whoever has it can speak for the client. Let the"
            " client make a new pair and give you the public half"
        )
    if not isinstance(key.get("kid"), str) or not key["kid"]:
        raise Invalid(f"keys[{number}] has no kid, by which tokens name it")
    if not any(usable(key, algorithm) for algorithm in ALGORITHMS):
        raise Invalid(f"keys[{number}] is none that a signature can be verified with: RSA, EC or Ed25519")


def is_loopback_origin(url: str) -> bool:
    """Whether an address is on this machine.

    >>> is_loopback_origin("http://localhost:8080/fhir"), is_loopback_origin("https://a.example")
    (True, False)
    """
    found = origin_of(url)
    return found is not None and names_this_machine(found.host)
