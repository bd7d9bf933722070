"""Secure transport: the profiles of PS3.15 Annex B on top of Python's ssl.

Both profiles speak TLS 1.2 and 1.3 only, with forward secrecy and authenticated encryption; so a peer
that offers no more than what those before BCP 195 had (CBC, RSA key exchange, NULL) is refused, which
is what "non-downgrading" means.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

PROFILES: Final[Mapping[str, str]] = {
    # B.10 Non-Downgrading BCP 195 TLS: the four suites of RFC 7525 4.2, RSA or ECDSA, and ChaCha20
    "bcp195": "ECDHE+AESGCM:DHE+AESGCM:ECDHE+CHACHA20:DHE+CHACHA20:!aNULL:!PSK:!DSS",
    # B.11 Extended BCP 195 TLS: keys of 256 bits only
    "extended": "ECDHE+AES256+AESGCM:DHE+AES256+AESGCM:ECDHE+CHACHA20:DHE+CHACHA20:!aNULL:!PSK:!DSS",
}
CLIENT_CERTIFICATES: Final = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}


class TlsFilesUnusable(ValueError):
    """A certificate, a key or a list of authorities cannot be used; the text says which and why."""


def server_context(
    certificate: str, key: str, authorities: str, *, profile: str = "bcp195", clients: str = "required"
) -> ssl.SSLContext:
    """Return the context of a listener. `authorities` are those that sign the certificates of peers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _prepare(context, certificate, key, authorities, profile)
    context.verify_mode = CLIENT_CERTIFICATES[clients]
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def client_context(
    certificate: str = "", key: str = "", authorities: str = "", *, profile: str = "bcp195"
) -> ssl.SSLContext:
    """Return the context with which we call others.

    The certificate of the other side must come from one of `authorities` (empty: those of the system).
    Its host name is not compared: application entities are known by address, and their certificates
    name devices.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    _prepare(context, certificate, key, authorities, profile)
    if not authorities:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def certificate_names(sock: ssl.SSLSocket) -> tuple[str, frozenset[str]]:
    """Return the subject of the other side's verified certificate, and all names it answers to.

    Names are the subject (`CN=CT1,O=Hospital`, most specific first), each common name as `CN=CT1`, each
    DNS name, and `sha256:` with the fingerprint. Empty without a certificate.
    """
    found: Mapping[str, Any] = sock.getpeercert() or {}
    raw = sock.getpeercert(binary_form=True)
    if not found or raw is None:
        return "", frozenset()
    parts = [
        (_SHORT.get(kind, kind), value) for name in found.get("subject", ()) for kind, value in reversed(name)
    ]
    subject = ",".join(f"{kind}={value}" for kind, value in reversed(parts))
    names = {subject, f"sha256:{hashlib.sha256(raw).hexdigest()}"}
    names |= {f"CN={value}" for kind, value in parts if kind == "CN"}
    names |= {value for kind, value in found.get("subjectAltName", ()) if kind == "DNS"}
    return subject, frozenset(names)


_SHORT = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
}


def _prepare(context: ssl.SSLContext, certificate: str, key: str, authorities: str, profile: str) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(PROFILES[profile])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    try:
        if certificate:
            context.load_cert_chain(certificate, key or None)
    except (OSError, ssl.SSLError) as error:
        raise TlsFilesUnusable(f"certificate {certificate} with key {key}: {_words(error)}") from error
    try:
        if authorities:
            folder = Path(authorities).is_dir()
            context.load_verify_locations(
                cafile=None if folder else authorities, capath=authorities if folder else None
            )
    except (OSError, ssl.SSLError) as error:
        raise TlsFilesUnusable(f"certificate authorities {authorities}: {_words(error)}") from error


def _words(error: OSError) -> str:
    return error.strerror or getattr(error, "reason", "") or type(error).__name__
