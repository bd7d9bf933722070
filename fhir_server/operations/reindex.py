"""$reindex, $reindex-status and $reindex-cancel: the search index made anew, while the server runs.

    POST /fhir/$reindex                     all types
    POST /fhir/Observation/$reindex         one type; `type` in Parameters names several
    POST /fhir/$reindex?url=…               what a SearchParameter that is stored or installed leaves
    GET  /fhir/$reindex-status?job=…        how far a job is; without job, the last ones
    POST /fhir/$reindex-cancel?job=…

`dryRun` changes nothing and counts what would change; `rate` is resources a second (0: no limit),
`batch` resources a transaction. The background worker does the work (interactions/reindex.py).
"""

from __future__ import annotations

from typing import Any

from fhir_server.definitions.operations import Parameter
from fhir_server.interactions import reindex
from fhir_server.interactions.context import Context, Resource
from fhir_server.interactions.reindex import Asked, as_parameters
from fhir_server.operations.declaration import SYSTEM, TYPE, Call, Operation
from fhir_server.outcome import Invalid


def run(context: Context, call: Call) -> Resource:
    """Return the job that was written, or the open one that does the same. Raises what `ask` raises."""
    types = [str(each.value) for each in call.arguments.get("type", ())]
    if call.type_name is not None:
        if types and types != [call.type_name]:
            raise Invalid(f"the address says {call.type_name}; name several types at /fhir/$reindex")
        types = [call.type_name]
    dry_run = call.one("dryRun")
    asked = Asked(
        types,
        [str(each.value) for each in call.arguments.get("url", ())],
        dry_run is not None and dry_run.value is True,
        _number(call, "rate"),
        _number(call, "batch"),
    )
    return as_parameters(reindex.ask(context, asked), (), context.settings.base_url)


def _number(call: Call, name: str) -> int | None:
    found = call.one(name)
    return None if found is None else int(found.value)


def status(context: Context, call: Call) -> Resource:
    """Return one job with what it could not index, or the last jobs, each as a parameter `job`."""
    id_ = call.text("job")
    base = context.settings.base_url
    if id_ is not None:
        return as_parameters(*reindex.status(context, id_), base)
    parts: list[dict[str, Any]] = [
        {
            "name": "job",
            "part": [
                {"name": "id", "valueId": job.id},
                {"name": "status", "valueCode": job.state},
                {"name": "reason", "valueString": job.reason},
                {"name": "says", "valueString": reindex.said(job)},
                {"name": "statusUrl", "valueUrl": f"{base}/$reindex-status?job={job.id}"},
            ],
        }
        for job in reindex.latest(context)
    ]
    return {"resourceType": "Parameters", **({"parameter": parts} if parts else {})}


def cancel(context: Context, call: Call) -> Resource:
    """Return the job, which has ended. Raises NotFound (404)."""
    id_ = call.text("job")
    if id_ is None:
        raise Invalid("$reindex-cancel needs the parameter job, the id that $reindex gave", code="required")
    return as_parameters(reindex.cancel(context, id_), (), context.settings.base_url)


_ANSWER = (
    Parameter("job", "out", 1, 1, "id"),
    Parameter("status", "out", 1, 1, "code"),
    Parameter("statusUrl", "out", 1, 1, "url"),
    Parameter("says", "out", 1, 1, "string"),
    Parameter("seen", "out", 1, 1, "integer"),
    Parameter("total", "out", 0, 1, "integer"),
    Parameter("changed", "out", 1, 1, "integer"),
    Parameter("overtaken", "out", 1, 1, "integer"),
    Parameter("failed", "out", 1, 1, "integer"),
)

REINDEX = Operation(
    code="reindex",
    definition="OperationDefinition/reindex",
    levels=frozenset({SYSTEM, TYPE}),
    types=("Resource",),
    affects_state=True,
    parameters=(
        Parameter("type", "in", 0, None, "code"),
        Parameter("url", "in", 0, None, "uri"),
        Parameter("dryRun", "in", 0, 1, "boolean"),
        Parameter("rate", "in", 0, 1, "integer"),
        Parameter("batch", "in", 0, 1, "integer"),
        *_ANSWER,
    ),
    run=run,
)

STATUS = Operation(
    code="reindex-status",
    definition="OperationDefinition/reindex-status",
    levels=frozenset({SYSTEM}),
    types=(),
    affects_state=False,
    parameters=(Parameter("job", "in", 0, 1, "id"), *_ANSWER),
    run=status,
)

CANCEL = Operation(
    code="reindex-cancel",
    definition="OperationDefinition/reindex-cancel",
    levels=frozenset({SYSTEM}),
    types=(),
    affects_state=True,
    parameters=(Parameter("job", "in", 1, 1, "id"), *_ANSWER),
    run=cancel,
)
