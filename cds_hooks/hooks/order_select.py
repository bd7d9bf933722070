"""order-select: the user selected orders; `selections` name some of the `draftOrders` (library 1.0)."""

from cds_hooks.hooks.hook import Context, Hook, resources
from fhir_server.outcome import Invalid


def _selections(context: Context) -> None:
    selections = context.get("selections")
    if not isinstance(selections, list) or not selections or not all(isinstance(s, str) for s in selections):
        raise Invalid(
            "context.selections has to list at least one reference into context.draftOrders",
            expression="context.selections",
        )
    drafted = {f"{r['resourceType']}/{r.get('id')}" for r in resources(context["draftOrders"])}
    for number, selection in enumerate(selections):
        if "/".join(selection.split("/")[-2:]) not in drafted:
            raise Invalid(
                f"context.selections[{number}] is not among context.draftOrders",
                expression=f"context.selections[{number}]",
            )


HOOK = Hook(
    "order-select",
    required=("userId", "patientId"),
    optional=("encounterId",),
    bundles=("draftOrders",),
    also=_selections,
)
