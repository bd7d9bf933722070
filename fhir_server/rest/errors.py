"""The one place where a refusal or a crash becomes HTTP (R4/http.html#Status-Codes)."""

from __future__ import annotations

from fhir_server.database.refusals import RETRY_AFTER_S, refusal_of
from fhir_server.model import json_format
from fhir_server.rest.response import Answer
from fhir_server.rest.routes import WrongMethod


def answer(error: Exception) -> Answer:
    """Return the answer to an exception: an OperationOutcome, whatever happened."""
    refusal = refusal_of(error)
    result = Answer(refusal.status, json_format.encode(refusal.as_json()))
    if isinstance(refusal, WrongMethod):
        result.headers.append(("Allow", ", ".join(refusal.allowed)))
    if refusal.status == 503:
        result.headers.append(("Retry-After", str(RETRY_AFTER_S)))
    return result
