"""Trust in a caller that signs a JSON Web Token with a key of its own (RFC 7515, 7517, 7519).

CDS Hooks 2.0, "Trusting CDS Clients"; the assertions of SMART backend services have the same form. What
is believed is what an operator has registered: which issuers there are, and where the keys of each one
are or what they are. Everything else in a token is a claim of somebody unknown until its signature holds,
and nothing is fetched, looked up or stored on the word of it. A key inside a token (`jwk`, `x5c`, `x5u`)
is never used, nor is a `jku` that is not the registered one.

A token is good for one request: its `jti` is noted in the database, so that all workers of an installation
know it. The note is made last; a token that is refused for another reason leaves no trace.
"""

from __future__ import annotations

import base64
import binascii
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from fhir_server.authorization.jwks import Key, KeySetError, KeySets
from fhir_server.outcome import Unauthorized

# RFC 9864 would have EdDSA called Ed25519; clients that sign say what they always said
warnings.filterwarnings("ignore", message="EdDSA is deprecated")

RECOMMENDED: Final = ("ES384", "RS384")
ALGORITHMS: Final[Mapping[str, tuple[str, str]]] = {
    "ES384": ("EC", "P-384"),
    "RS384": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "ES512": ("EC", "P-521"),
    "RS256": ("RSA", ""),
    "RS512": ("RSA", ""),
    "PS256": ("RSA", ""),
    "PS384": ("RSA", ""),
    "PS512": ("RSA", ""),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
"""Algorithm → type of key, curve. All asymmetric: neither `none` nor what shares a secret (HS256 ...)."""

MOST_CHARACTERS: Final = 16 * 1024
MOST_ID: Final = 255
LEAST_RSA_BITS: Final = 2048
MOST_RSA_BITS: Final = 8192
SKEW_S: Final = 60.0
LONGEST_S: Final = 3600.0


class Untrusted(Unauthorized):
    """401: the token is not believed; `reason` is a stable code, the text tells the caller what to mend."""

    reason = "untrusted"

    @classmethod
    def because(cls, reason: str, text: str) -> Untrusted:
        """Return a refusal with its code."""
        error = cls(text, expression="Authorization", code="expired" if reason == "expired" else "login")
        error.reason = reason
        return error


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who may sign, as registered: `name` is `iss`; keys at `jwks_url`, or given by themselves, or both.

    `tenants` are the values of the claim `tenant` that count (none: every value, and none at all).
    """

    name: str
    jwks_url: str = ""
    keys: tuple[Key, ...] = ()
    tenants: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. `more` are the claims that have no field here."""

    issuer: str
    token_id: str
    audience: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime
    subject: str | None = None
    tenant: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


class Used(Protocol):
    """The tokens that were used, as all workers of an installation know them."""

    def first(self, issuer: str, token_id: str, until: datetime) -> bool:
        """Note a token until a time; say whether it is used for the first time."""


class Trust:
    """Verifies tokens. `issuers` returns what is registered under an `iss`, or None; threads share it.

    `skew_s` is how far another clock may be off; `longest_s` the longest life of a token, which bounds
    how long its `jti` has to be remembered.
    """

    def __init__(
        self,
        issuers: Callable[[str], Issuer | None],
        used: Used,
        key_sets: KeySets,
        *,
        clock: Callable[[], float] = time.time,
        skew_s: float = SKEW_S,
        longest_s: float = LONGEST_S,
    ) -> None:
        self._issuers = issuers
        self._used = used
        self._key_sets = key_sets
        self._clock = clock
        self._skew_s = skew_s
        self._longest_s = longest_s

    def verify(self, token: str, audience: str | Collection[str]) -> Claims:
        """Return the claims of a token that was made for `audience`: one address, or those it is known by.

        Raises Untrusted (401), Unavailable (503) when the database cannot say whether it was used.
        """
        header, payload = _parts(token)
        algorithm, kid = _algorithm(header), _text(header, "kid", "header")
        issuer = self._issuer(payload, header)
        signed = self._verified(token, algorithm, issuer, kid)
        claims = self._claims(signed, (audience,) if isinstance(audience, str) else tuple(audience))
        if issuer.tenants and claims.tenant not in issuer.tenants:
            raise Untrusted.because("tenant", "tenant is not one that is registered for this issuer")
        until = claims.expires_at + timedelta(seconds=self._skew_s + 1)
        if not self._used.first(claims.issuer, claims.token_id, until):
            raise Untrusted.because("replayed", "jti was used before; make a new token for every request")
        return claims

    def _issuer(self, payload: Mapping[str, Any], header: Mapping[str, Any]) -> Issuer:
        name = _text(payload, "iss", "payload")
        issuer = self._issuers(name)
        if issuer is None:
            raise Untrusted.because("issuer", "iss is none that is registered here")
        if "jku" in header and (not issuer.jwks_url or header["jku"] != issuer.jwks_url):
            raise Untrusted.because("jku", "jku is not the address that is registered for this issuer")
        return issuer

    def _verified(self, token: str, algorithm: str, issuer: Issuer, kid: str) -> Mapping[str, Any]:
        """Return the payload, its signature verified by one of the issuer's keys of this kid."""
        keys: Sequence[Key] = [key for key in issuer.keys if key.get("kid") == kid]
        if not keys and issuer.jwks_url:
            try:
                keys = self._key_sets.keys(issuer.jwks_url, kid)
            except KeySetError as error:
                raise Untrusted.because("jwks", f"the key set of this issuer: {error}") from error
        if not keys:
            raise Untrusted.because("kid", "kid is no key of this issuer")
        fitting = [found for key in keys if (found := usable(key, algorithm)) is not None]
        if not fitting:
            raise Untrusted.because("key", f"the key of this kid is none that {algorithm} may be used with")
        for key in fitting:
            try:
                return _object(
                    jws.deserialize_compact(token, key, [algorithm], registry=_registry(algorithm)).payload
                )
            except JoseError:
                continue
        raise Untrusted.because("signature", "the signature is not one of this issuer's key")

    def _claims(self, payload: Mapping[str, Any], audience: tuple[str, ...]) -> Claims:
        named = payload.get("aud")
        listed = (named,) if isinstance(named, str) else tuple(named) if isinstance(named, list) else ()
        if not listed or not all(isinstance(each, str) for each in listed):
            raise Untrusted.because("audience", "aud has to be the address that is called, or a list with it")
        if not set(listed) & set(audience):
            shown = " or ".join(audience)
            raise Untrusted.because(
                "audience", f"aud is another address than the one that is called: {shown}"
            )
        now = self._clock()
        issued, expires = _number(payload, "iat"), _number(payload, "exp")
        if expires + self._skew_s <= now:
            raise Untrusted.because("expired", "exp is past; make a new token for every request")
        if issued - self._skew_s > now:
            raise Untrusted.because("early", "iat is in the future; the clocks differ")
        if "nbf" in payload and _number(payload, "nbf") - self._skew_s > now:
            raise Untrusted.because("early", "nbf is in the future; the clocks differ")
        if expires < issued:
            raise Untrusted.because("expired", "exp is before iat")
        if expires - now > self._longest_s + self._skew_s:
            raise Untrusted.because("too-long", f"exp may be at most {self._longest_s:.0f} s ahead")
        return Claims(
            issuer=_text(payload, "iss", "payload"),
            token_id=_text(payload, "jti", "payload"),
            audience=listed,
            issued_at=datetime.fromtimestamp(issued, UTC),
            expires_at=datetime.fromtimestamp(expires, UTC),
            subject=_optional(payload, "sub"),
            tenant=_optional(payload, "tenant"),
            more={name: value for name, value in payload.items() if name not in _CLAIMS},
        )


_CLAIMS = frozenset({"iss", "jti", "aud", "iat", "exp", "nbf", "sub", "tenant"})


def usable(key: Key, algorithm: str) -> RSAKey | ECKey | OKPKey | None:
    """Return the key for an algorithm, None where the two do not go together or the key is unfit.

    A key with a private part is known to others than its owner and is unfit.

    >>> usable({"kty": "oct", "k": "c2VjcmV0"}, "ES384") is None
    True
    """
    kind, curve = ALGORITHMS[algorithm]
    if key.get("kty") != kind or (curve and key.get("crv") != curve) or "d" in key:
        return None
    if key.get("use", "sig") != "sig" or "verify" not in key.get("key_ops", ["verify"]):
        return None
    if key.get("alg", algorithm) not in (algorithm, *(("EdDSA", "Ed25519") if kind == "OKP" else ())):
        return None
    # what else stands in a key (certificates, hints of its maker) says nothing about it
    plain = {name: value for name, value in key.items() if name in ("kty", "crv", "x", "y", "n", "e")}
    try:
        if kind == "RSA":
            rsa = RSAKey.import_key(plain)
            bits = rsa.raw_value.key_size
            return rsa if LEAST_RSA_BITS <= bits <= MOST_RSA_BITS else None
        return ECKey.import_key(plain) if kind == "EC" else OKPKey.import_key(plain)
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def bearer(header: str | None) -> str | None:
    """Return the token of an Authorization header; None where there is none of a bearer.

    >>> bearer("Bearer abc"), bearer("bearer  abc "), bearer("Basic abc"), bearer(None)
    ('abc', 'abc', None, None)
    """
    scheme, _, token = (header or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _registry(algorithm: str) -> jws.JWSRegistry:
    # the header was read above; members that the library does not know are no reason to refuse
    return jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)


def _parts(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return header and payload, unverified."""
    if len(token) > MOST_CHARACTERS or not token.isascii():
        raise Untrusted.because("form", f"the token is no JWT of at most {MOST_CHARACTERS} characters")
    pieces = token.split(".")
    if len(pieces) != 3:
        raise Untrusted.because("form", "the token is no JWT: header, payload and signature between dots")
    header, payload = (_object(_decoded(piece)) for piece in pieces[:2])
    if str(header.get("typ", "JWT")).upper() != "JWT":
        raise Untrusted.because("form", "typ has to be JWT")
    if "crit" in header or "b64" in header:
        raise Untrusted.because("form", "crit and b64 are not taken")
    return header, payload


def _algorithm(header: Mapping[str, Any]) -> str:
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        known = ", ".join(ALGORITHMS)
        raise Untrusted.because(
            "algorithm",
            f"alg is not one that is taken: {known}; {' and '.join(RECOMMENDED)} are recommended, none and"
            " what shares a secret is refused",
        )
    return algorithm


def _decoded(piece: str) -> bytes:
    try:
        return base64.b64decode(piece + "=" * (-len(piece) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise Untrusted.because("form", "the token is not written in base64url") from error


def _object(text: bytes) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Untrusted.because("form", "header and payload have to be JSON") from error
    if not isinstance(found, dict):
        raise Untrusted.because("form", "header and payload have to be JSON objects")
    return found


def _text(part: Mapping[str, Any], name: str, where: str) -> str:
    value = part.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MOST_ID or "\0" in value:
        raise Untrusted.because(
            "form", f"{name} in the {where} has to be a text of at most {MOST_ID} characters"
        )
    return value


def _optional(payload: Mapping[str, Any], name: str) -> str | None:
    return _text(payload, name, "payload") if payload.get(name) is not None else None


def _number(payload: Mapping[str, Any], name: str) -> float:
    """Return a NumericDate (RFC 7519 2): seconds since 1970, a fraction allowed; within the years we know."""
    value = payload.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 253_402_300_800:
        raise Untrusted.because("form", f"{name} has to be a number of seconds since 1970")
    return float(value)
