"""The one place where a refusal or a crash becomes HTTP (R4/http.html#Status-Codes)."""

from __future__ import annotations

from fhir_server.database.refusals import RETRY_AFTER_S, refusal_of
from fhir_server.interactions.patch import FORMATS
from fhir_server.model import json_format, positions
from fhir_server.outcome import Contended, Gone, operation_outcome
from fhir_server.rest.body import UnsupportedEncoding, UnsupportedPatch
from fhir_server.rest.ranges import RangeNotSatisfiable
from fhir_server.rest.response import Answer, etag
from fhir_server.rest.routes import WrongMethod


def answer(error: Exception, sent: bytes | None = None) -> Answer:
    """Return the answer to an exception: an OperationOutcome, whatever happened.

    Issues get the line and column of their elements in `sent`, the resource that the request brought.
    """
    refusal = refusal_of(error)
    issues = refusal.issues if sent is None else positions.placed(refusal.issues, sent)
    result = Answer(refusal.status, json_format.encode(operation_outcome(issues)))
    if isinstance(refusal, WrongMethod):
        result.headers.append(("Allow", ", ".join(refusal.allowed)))
    if isinstance(refusal, Gone) and refusal.version is not None:  # with it a client may bring it back
        result.headers.append(("ETag", etag(refusal.version)))
    if isinstance(refusal, UnsupportedPatch):
        result.headers.append(("Accept-Patch", ", ".join(FORMATS)))
    if isinstance(refusal, UnsupportedEncoding):
        result.headers.append(("Accept-Encoding", "gzip"))
    if isinstance(refusal, RangeNotSatisfiable):
        result.headers.append(("Content-Range", f"bytes */{refusal.size_bytes}"))
    if refusal.status in (429, 503) or isinstance(refusal, Contended):
        result.headers.append(("Retry-After", str(RETRY_AFTER_S)))
    return result
