"""The command line: one sub-command, one file."""

from fhir_server.cli.main import main

__all__ = ["main"]
