"""Certificates for tests, made by openssl: an authority, and entities that it signs."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificate:
    """Two PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; `file` is its own."""

    def __init__(self, folder: Path, name: str = "Test Authority") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._own = self._request(name, "-x509", "-days", "2")
        self.file = self._own.certificate

    def entity(self, name: str) -> Certificate:
        """Return a certificate with this common name."""
        return self._request(
            name, "-CA", str(self.file), "-CAkey", str(self._own.key), "-days", "2", "-x509",
            "-addext", f"subjectAltName=DNS:{name.lower()}.example",
        )  # fmt: skip

    def _request(self, name: str, *arguments: str) -> Certificate:
        slug = name.lower().replace(" ", "-")
        made = Certificate(self.folder / f"{slug}.pem", self.folder / f"{slug}.key")
        subprocess.run(
            ["openssl", "req", "-newkey", "rsa:3072", "-nodes", "-subj", f"/O=Hospital/CN={name}",
             "-keyout", str(made.key), "-out", str(made.certificate), *arguments],
            check=True, capture_output=True,
        )  # fmt: skip
        return made
