"""Why a workitem is not created or changed: an HTTP status, and the Warning that PS3.18 chapter 11 words."""

from __future__ import annotations

from fhir_server.outcome import Conflict, FhirError, Invalid

ALREADY = "The UPS is already in the requested state of {}."
COMPLETED_ALREADY = "The UPS is already COMPLETED."
INCONSISTENT = "The submitted request is inconsistent with the state of the UPS Instance."
INCONSISTENT_UPDATE = "The submitted request is inconsistent with the current state of the Workitem."
NO_PERFORMER = "The performer cannot be contacted."
NOT_CLAIMED = "The target URI did not reference a claimed Workitem."
TRANSACTION_MISSING = "The Transaction UID is missing."
TRANSACTION_WRONG = "The Transaction UID is incorrect."
CREATED_MODIFIED = "The Workitem was created with modifications."
UPDATED_MODIFIED = "The Workitem was updated with modifications."
NO_DELETION_LOCK = "Deletion Lock not granted."


class NotAllowed(Conflict):
    """409: the workitem is in a state that does not allow it; `warning` is the standard's sentence."""

    def __init__(self, warning: str, diagnostics: str) -> None:
        self.warning = warning
        super().__init__(diagnostics)


class Unfit(Invalid):
    """400: the request lacks what it needs, or holds what it may not."""


class NotBuilt(FhirError):
    """501: a part of the standard that this server does not have."""

    status, code = 501, "not-supported"
