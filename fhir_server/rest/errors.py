"""The one place where a refusal or a crash becomes HTTP (R4/http.html#Status-Codes).

A crash gets a random number that the client and the log share. The log names the exception's
type and the lines it passed, never its message: that may hold a name or a value of a patient.
"""

from __future__ import annotations

import logging
import secrets
import traceback

import psycopg2
from psycopg2 import errors as postgres

from fhir_server.model import json_format
from fhir_server.outcome import FhirError, TooCostly, Unavailable
from fhir_server.rest.response import Answer
from fhir_server.rest.routes import WrongMethod

RETRY_AFTER_S = 2

log = logging.getLogger(__name__)


class Crash(FhirError):
    """500: a mistake of ours; the text gives the incident's number and nothing else."""

    status, code = 500, "exception"


def answer(error: Exception) -> Answer:
    """Return the answer to an exception: an OperationOutcome, whatever happened."""
    refusal = refusal_of(error)
    result = Answer(refusal.status, json_format.encode(refusal.as_json()))
    if isinstance(refusal, WrongMethod):
        result.headers.append(("Allow", ", ".join(refusal.allowed)))
    if refusal.status == 503:
        result.headers.append(("Retry-After", str(RETRY_AFTER_S)))
    return result


def refusal_of(error: Exception) -> FhirError:
    """Return what a client may know of an exception."""
    if isinstance(error, FhirError):
        return error
    if isinstance(error, postgres.QueryCanceled):
        return TooCostly(
            "the database stopped the request at its time limit (setting statement_timeout_ms); "
            "narrow it, for instance by a patient, a code or a date"
        )
    if isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError)):
        log.warning("the database is not there: %s", type(error).__name__)
        return Unavailable(f"the database is not reachable right now; try again in {RETRY_AFTER_S} seconds")
    incident = secrets.token_hex(6)
    log.error("incident %s: %s at %s", incident, type(error).__name__, _passed(error))
    return Crash(f"something went wrong here that is not your fault; the log knows it as incident {incident}")


def _passed(error: Exception) -> str:
    """Return the last lines of code that an exception passed, innermost first."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
