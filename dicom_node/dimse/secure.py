"""TLS as the settings have it: as the called side, and as the calling one (PS3.15 Annex B)."""

from __future__ import annotations

import ssl

from dicom_node.upper_layer import tls
from fhir_server.config import Config, ConfigError


def as_server(config: Config) -> ssl.SSLContext:
    """Return the context of the listener. Raises ConfigError where a file cannot be used."""
    try:
        return tls.server_context(
            config.dimse_tls_cert,
            config.dimse_tls_key,
            config.dimse_tls_ca,
            profile=config.dimse_tls_profile,
            clients=config.dimse_tls_clients,
        )
    except tls.TlsFilesUnusable as error:
        raise ConfigError(f"DIMSE over TLS: {error}") from error


def as_client(config: Config) -> ssl.SSLContext | None:
    """Return what we call others over TLS with, for `requestor.associate`; None without dimse_tls_cert.

    Raises ConfigError where a file cannot be used.
    """
    if not config.dimse_tls_cert:
        return None
    try:
        return tls.client_context(
            config.dimse_tls_cert,
            config.dimse_tls_key,
            config.dimse_tls_ca,
            profile=config.dimse_tls_profile,
        )
    except tls.TlsFilesUnusable as error:
        raise ConfigError(f"DIMSE over TLS: {error}") from error
