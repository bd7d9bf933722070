"""$validation-outcome: what a stored version does not keep of the profiles that it claims.

`GET /fhir/Patient/7/$validation-outcome`, or with `?version=2` of a superseded version.
"""

from __future__ import annotations

from fhir_server.definitions.operations import Parameter
from fhir_server.interactions.context import Context, Resource
from fhir_server.interactions.outcomes import validation_outcome
from fhir_server.operations.declaration import INSTANCE, Call, Operation


def run(context: Context, call: Call) -> Resource:
    """Return the OperationOutcome. Raises what read and vread raise."""
    return validation_outcome(context, call.type_name or "", call.id or "", call.text("version"))


VALIDATION_OUTCOME = Operation(
    code="validation-outcome",
    definition="OperationDefinition/validation-outcome",
    levels=frozenset({INSTANCE}),
    types=("Resource",),
    affects_state=False,
    parameters=(
        Parameter("version", "in", 0, 1, "string"),
        Parameter("return", "out", 1, 1, "OperationOutcome"),
    ),
    run=run,
)
