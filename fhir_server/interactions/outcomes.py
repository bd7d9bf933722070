"""$validation-outcome: what a stored version does not keep of the profiles that it claims.

`GET /fhir/Patient/7/$validation-outcome`, or with `?version=2` of a superseded version: the
OperationOutcome that was kept when the version was written, by the definitions of that moment;
$validate asks anew.
"""

from __future__ import annotations

from fhir_server.interactions.context import Context, Result
from fhir_server.interactions.read import read
from fhir_server.interactions.vread import vread
from fhir_server.model import json_format
from fhir_server.outcome import Issue, operation_outcome
from fhir_server.storage import outcomes

NAME = "validation-outcome"


def validation_outcome(context: Context, type_name: str, id_: str, version: str | None = None) -> Result:
    """Return the outcome as the text of a Result. Raises what read and vread raise."""
    found = read(context, type_name, id_) if version is None else vread(context, type_name, id_, version)
    assert found.version is not None
    issues = outcomes.read(context.unit, found.version)
    if not issues:
        says = "nothing was found when this version was written"
        issues = operation_outcome([Issue("information", "informational", says)])["issue"]
    return Result(
        200, text=json_format.encode({"resourceType": "OperationOutcome", "issue": issues}).decode()
    )
