"""$expunge: what is kept of the past, and of what is deleted, removed for good.

    curl -X POST 'http://127.0.0.1:8080/fhir/Patient/7/$expunge?expungeEverything=true'

On one resource, a type or the whole system. One call removes up to `limit` versions and `limit` resources;
while `more` is true there may be more, so call it again. With `dryRun` it counts and removes nothing.
"""

from __future__ import annotations

from fhir_server.definitions.operations import Parameter
from fhir_server.interactions.context import Context, Resource
from fhir_server.interactions.expunge import DEFAULT_LIMIT, Modes, expunge
from fhir_server.operations.declaration import INSTANCE, SYSTEM, TYPE, Call, Operation
from fhir_server.outcome import operation_outcome


def run(context: Context, call: Call) -> Resource:
    """Return Parameters with what was removed. Raises what `interactions.expunge` raises."""
    modes = Modes(
        previous_versions=_said(call, "expungePreviousVersions"),
        deleted_resources=_said(call, "expungeDeletedResources"),
        everything=_said(call, "expungeEverything"),
    )
    limit = call.one("limit")
    dry_run = _said(call, "dryRun")
    done = expunge(
        context,
        call.type_name,
        call.id,
        modes,
        DEFAULT_LIMIT if limit is None else int(limit.value),
        dry_run=dry_run,
    )
    parameters: list[dict[str, object]] = [
        {"name": "count", "valueInteger": done.versions},
        {"name": "resources", "valueInteger": done.resources},
        {"name": "more", "valueBoolean": done.more},
        {"name": "dryRun", "valueBoolean": dry_run},
    ]
    if done.issues:
        parameters.append({"name": "outcome", "resource": operation_outcome(done.issues)})
    return {"resourceType": "Parameters", "parameter": parameters}


def _said(call: Call, name: str) -> bool:
    found = call.one(name)
    return found is not None and found.value is True


EXPUNGE = Operation(
    code="expunge",
    definition="OperationDefinition/expunge",
    levels=frozenset({SYSTEM, TYPE, INSTANCE}),
    types=("Resource",),
    affects_state=True,
    parameters=(
        Parameter("expungePreviousVersions", "in", 0, 1, "boolean"),
        Parameter("expungeDeletedResources", "in", 0, 1, "boolean"),
        Parameter("expungeEverything", "in", 0, 1, "boolean"),
        Parameter("limit", "in", 0, 1, "integer"),
        Parameter("dryRun", "in", 0, 1, "boolean"),
        Parameter("count", "out", 1, 1, "integer"),
        Parameter("resources", "out", 1, 1, "integer"),
        Parameter("more", "out", 1, 1, "boolean"),
        Parameter("dryRun", "out", 1, 1, "boolean"),
        Parameter("outcome", "out", 0, 1, "OperationOutcome"),
    ),
    run=run,
)
