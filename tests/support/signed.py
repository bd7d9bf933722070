"""An authority of our own and certificates that it signs, made by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.dicom_peers import program


@dataclass(frozen=True)
class Signed:
    """A certificate, its key and the authority's own certificate, as PEM files."""

    certificate: Path
    key: Path
    authority: Path


def authority(folder: Path, name: str = "ca") -> Path:
    """Make an authority; return its certificate, beside which its key lies."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    _openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
        "-keyout", key, "-out", certificate,
    )  # fmt: skip
    return certificate


def signed(folder: Path, by: Path, name: str) -> Signed:
    """Make a certificate for `name` that an authority signs."""
    certificate, key, request = (folder / f"{name}.{ending}" for ending in ("pem", "key", "csr"))
    _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
    _openssl(
        "x509", "-req", "-in", request, "-CA", by, "-CAkey", by.with_suffix(".key"), "-CAcreateserial",
        "-days", "2", "-out", certificate,
    )  # fmt: skip
    return Signed(certificate, key, by)


def _openssl(*arguments: str | Path) -> None:
    command = [program("openssl"), *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
