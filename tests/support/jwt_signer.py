"""An EHR that signs tokens with a key of its own, and what it publishes of it."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import uuid4

from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

ISSUER = "https://ehr.example"
AUDIENCE = "https://cds.example/cds-services/one"


@cache
def key(kind: str = "P-384") -> Any:
    """Return a private key: P-256, P-384, P-521, secp256k1, Ed25519, RSA-1024, RSA-2048 or oct."""
    if kind.startswith("RSA"):
        return RSAKey.generate_key(int(kind[4:]), auto_kid=False)
    if kind == "oct":
        return OctKey.generate_key(384)
    return OKPKey.generate_key(kind) if kind == "Ed25519" else ECKey.generate_key(kind)


@dataclass
class Signer:
    """Makes tokens; every one has a jti of its own unless it is told another."""

    issuer: str = ISSUER
    kind: str = "P-384"
    algorithm: str = "ES384"
    kid: str = "key-1"
    jku: str = ""
    claims: dict[str, Any] = field(default_factory=dict)

    def public(self, **more: Any) -> dict[str, Any]:
        """Return the public key as a JWK."""
        return {**key(self.kind).as_dict(private=False), "kid": self.kid, **more}

    def jwks(self) -> dict[str, Any]:
        """Return the set with this key."""
        return {"keys": [self.public()]}

    def header(self, **more: Any) -> dict[str, Any]:
        """Return the header; None leaves a member out."""
        made = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid, "jku": self.jku or None, **more}
        return {name: value for name, value in made.items() if value is not None}

    def payload(self, audience: Any = AUDIENCE, **more: Any) -> dict[str, Any]:
        """Return the claims; None leaves one out."""
        now = int(time.time())
        made = {"iss": self.issuer, "aud": audience, "iat": now, "exp": now + 300, "jti": str(uuid4()),
                **self.claims, **more}  # fmt: skip
        return {name: value for name, value in made.items() if value is not None}

    def token(self, audience: Any = AUDIENCE, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a signed token."""
        return self.signed(self.header(**(header or {})), self.payload(audience, **claims))

    def signed(self, header: dict[str, Any], payload: Any, algorithm: str = "", signing: Any = None) -> str:
        """Sign a header and a payload as they are, by an algorithm and a key that they need not name."""
        text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        # by hand: the library would refuse to make half of what tests need
        chosen = jws.JWSRegistry.algorithms[algorithm or header["alg"]]
        body = f"{encoded(json.dumps(header).encode())}.{encoded(text)}"
        return f"{body}.{encoded(chosen.sign(body.encode(), signing or key(self.kind)))}"


def encoded(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
