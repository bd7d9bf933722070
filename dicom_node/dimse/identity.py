"""Whether a caller is who it says it is (PS3.7 D.3.3.7), and how passcodes are kept."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from datetime import datetime
from typing import Any, Final

from dicom_node.dimse.peers import Peer
from dicom_node.upper_layer.pdu import UserIdentity

USERNAME, PASSCODE, KERBEROS, SAML, JWT = 1, 2, 3, 4, 5

_COST: Final = (2**14, 8, 1)  # of scrypt: 16 MiB and some 50 ms a try
_PROVEN: dict[str, bytes] = {}
"""Hash → digest of a passcode that has fitted it, so that a busy sender pays for scrypt once."""


class NotIdentified(Exception):
    """The identity is missing, wrong, or of a kind that we cannot check; the text says which."""


def verified(
    identity: UserIdentity | None, peer: Peer | None, jwt_key: bytes, now: datetime
) -> tuple[str, bool]:
    """Return the user on whose behalf a caller acts, and whether to confirm it in our answer.

    A peer with a user name must give it, with its passcode if it has one. The name of a caller that
    needs none is taken as it is, but its passcode proves nothing to us and is not confirmed.
    Raises NotIdentified.
    """
    needs = peer is not None and bool(peer.user_name)
    if identity is None:
        if needs:
            raise NotIdentified("a user identity is needed and none came")
        return "", False
    if identity.kind == JWT:
        user = _bearer(identity.primary, jwt_key, now)
        if peer is not None and needs and user != peer.user_name:
            raise NotIdentified("another user than that of the entry")
        return user, identity.response_wanted
    if identity.kind not in (USERNAME, PASSCODE):
        raise NotIdentified(f"user identity of type {identity.kind} is not supported; 1, 2 and 5 are")
    user = identity.primary.decode("utf-8", "replace")
    if peer is None or not needs:
        return (user, identity.response_wanted) if identity.kind == USERNAME else ("", False)
    if user != peer.user_name:
        raise NotIdentified("another user than that of the entry")
    if peer.password_hash and not (
        identity.kind == PASSCODE and fits(identity.secondary, peer.password_hash)
    ):
        raise NotIdentified("the passcode is missing or wrong")
    return user, identity.response_wanted


def password_hash(passcode: str) -> str:
    """Return what is kept of a passcode.

    >>> fits(b"secret", password_hash("secret")), fits(b"guess", password_hash("secret"))
    (True, False)
    """
    salt = secrets.token_bytes(16)
    cost, block, parallel = _COST
    key = hashlib.scrypt(passcode.encode(), salt=salt, n=cost, r=block, p=parallel, dklen=32)
    return "$".join(("scrypt", str(cost), str(block), str(parallel), salt.hex(), key.hex()))


def fits(passcode: bytes, kept: str) -> bool:
    """Whether a passcode is the one of which `kept` is the hash."""
    digest = hashlib.blake2b(passcode, key=kept.encode()[-64:]).digest()
    if hmac.compare_digest(_PROVEN.get(kept, b""), digest):
        return True
    _, cost, block, parallel, salt, key = kept.split("$")
    found = hashlib.scrypt(
        passcode, salt=bytes.fromhex(salt), n=int(cost), r=int(block), p=int(parallel), dklen=32
    )
    if not hmac.compare_digest(found, bytes.fromhex(key)):
        return False
    _PROVEN[kept] = digest
    return True


def _bearer(token: bytes, key: bytes, now: datetime) -> str:
    """Return the subject of a signed JSON Web Token (RFC 7519, HS256)."""
    if not key:
        raise NotIdentified("a JSON Web Token came, and no dimse_jwt_key is set")
    try:
        head, body, signature = token.split(b".")
        header: dict[str, Any] = json.loads(_base64(head))
        claims: dict[str, Any] = json.loads(_base64(body))
        given = _base64(signature)
        algorithm, until, since = header["alg"], float(claims["exp"]), float(claims.get("nbf", 0))
        subject = str(claims["sub"])
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise NotIdentified("the token is no signed JWT with sub and exp") from error
    if algorithm != "HS256":
        raise NotIdentified("the token is signed by another algorithm than HS256")
    if not hmac.compare_digest(hmac.digest(key, head + b"." + body, "sha256"), given):
        raise NotIdentified("the signature of the token is not that of dimse_jwt_key")
    if not since <= now.timestamp() < until:
        raise NotIdentified("the token is not valid at this time")
    return subject


def _base64(raw: bytes) -> bytes:
    return base64.urlsafe_b64decode(raw + b"=" * (-len(raw) % 4))
