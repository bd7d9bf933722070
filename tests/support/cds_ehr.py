"""An EHR's FHIR server on loopback: what it holds, and what it was asked."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.web_peer import Asked, Reply, WebPeer, json_reply, web_peer

PATIENT = {"resourceType": "Patient", "id": "p1"}


def condition(identifier: str, patient: str = "p1") -> dict[str, Any]:
    """Return a Condition of a patient."""
    return {"resourceType": "Condition", "id": identifier, "subject": {"reference": f"Patient/{patient}"}}


def searchset(*resources: Mapping[str, Any], following: str = "") -> dict[str, Any]:
    """Return a searchset, with a link to another page where one is named."""
    link = [{"relation": "next", "url": following}] if following else []
    entry = [{"resource": dict(each)} for each in resources]
    return {"resourceType": "Bundle", "type": "searchset", "link": link, "entry": entry}


class Ehr:
    """Answers below /fhir; `replies` are answers by path and query, or by path alone."""

    def __init__(self) -> None:
        self.replies: dict[str, Any] = {
            "/fhir/Patient/p1": PATIENT,
            "/fhir/Condition": searchset(condition("c1"), condition("c2")),
            "/fhir/Observation": searchset(),
        }
        self.peer: WebPeer

    @property
    def base(self) -> str:
        """Return the base of the server."""
        return f"{self.peer.url}/fhir"

    @property
    def asked(self) -> list[Asked]:
        """Return what it was asked."""
        return self.peer.asked

    def answer(self, asked: Asked) -> Reply:
        """Answer one request."""
        found = self.replies.get(asked.path, self.replies.get(urlsplit(asked.path).path))
        if callable(found):
            found = found()
        if isinstance(found, Reply):
            return found
        if found is None:
            return json_reply({"resourceType": "OperationOutcome", "issue": []}, 404)
        return json_reply(found, kind="application/fhir+json")


@contextmanager
def ehr(context: ssl.SSLContext | None = None) -> Iterator[Ehr]:
    """Give a running EHR for the block."""
    made = Ehr()
    with web_peer(made.answer, context) as peer:
        made.peer = peer
        yield made


def tls(folder: Path, *, address: str = "127.0.0.1") -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of a server with a certificate for an address, and of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "EHR")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "ehr.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    certificate = made.public_bytes(serialization.Encoding.PEM).decode()
    return server, ssl.create_default_context(cadata=certificate)
