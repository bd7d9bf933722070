"""$validation-outcome: what a stored version does not keep of the profiles that it claims.

`GET /fhir/Patient/7/$validation-outcome`, or with `?version=2` of a superseded version: the
OperationOutcome that was kept when the version was written, by the definitions of that moment;
$validate asks anew.
"""

from __future__ import annotations

from typing import Any

from fhir_server.interactions.context import Context
from fhir_server.interactions.read import read
from fhir_server.interactions.vread import vread
from fhir_server.outcome import Issue, operation_outcome
from fhir_server.storage import outcomes


def validation_outcome(
    context: Context, type_name: str, id_: str, version: str | None = None
) -> dict[str, Any]:
    """Return the OperationOutcome of a version, the current one if none is named.

    Raises what read and vread raise.
    """
    found = read(context, type_name, id_) if version is None else vread(context, type_name, id_, version)
    kept = outcomes.read(context.unit, found.version) if found.version is not None else []
    if kept:
        return {"resourceType": "OperationOutcome", "issue": kept}
    says = "no break of a profile was found when this version was written"
    return operation_outcome([Issue("information", "informational", says)])
