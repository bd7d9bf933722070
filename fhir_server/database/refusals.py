"""What a caller may know of an exception: refusals as they are, the database's by kind, crashes by number.

A crash gets a random number that the caller and the log share. The log names the exception's
type and the lines it passed, never its message: that may hold a name or a value of a patient.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace

import psycopg2
from psycopg2 import errors as postgres

from fhir_server.observability import events
from fhir_server.outcome import FhirError, TooCostly, Unavailable

RETRY_AFTER_S = 2

log = logging.getLogger(__name__)


class Crash(FhirError):
    """500: a mistake of ours; the text gives the incident's number and nothing else."""

    status, code = 500, "exception"


def refusal_of(error: Exception) -> FhirError:
    """Return what a client may know of an exception; a crash is told to the log."""
    if isinstance(error, FhirError):
        return error
    if isinstance(error, postgres.LockNotAvailable):
        return Unavailable(
            "somebody else has been changing the same resources for too long; nothing was written. "
            f"Try again in {RETRY_AFTER_S} seconds",
            code="lock-error",
        )
    if isinstance(error, postgres.QueryCanceled):
        return TooCostly(
            "the database stopped the request at its time limit (setting statement_timeout_ms) and nothing "
            "was written; narrow a search, for instance by a patient, a code or a date, or divide the Bundle"
        )
    if isinstance(error, postgres.ReadOnlySqlTransaction):
        return Unavailable("the database takes no writes right now; try again")
    if isinstance(error, postgres.StatementTooComplex):
        return TooCostly("the search has more alternatives than the database can combine; divide it")
    if isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError)):
        log.warning("the database is not there: %s", type(error).__name__)
        return Unavailable(f"the database is not reachable right now; try again in {RETRY_AFTER_S} seconds")
    incident = secrets.token_hex(6)
    events.emit(replace(events.crashed(error), incident=incident))
    return Crash(f"something went wrong here that is not your fault; the log knows it as incident {incident}")
