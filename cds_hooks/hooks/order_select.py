"""order-select: the user selected orders; `selections` name some of the `draftOrders` (library 1.0).

The library speaks of ids and shows references (`MedicationRequest/103`); an id alone is read too, and so is
a reference with an address before it.
"""

from cds_hooks.hooks.hook import Context, Hook, resources
from fhir_server.outcome import Invalid


def _selections(context: Context) -> None:
    selections = context.get("selections")
    if not isinstance(selections, list) or not selections or not all(isinstance(s, str) for s in selections):
        raise Invalid(
            "context.selections has to list at least one reference into context.draftOrders",
            expression="context.selections",
            code="required" if selections is None else "value",
        )
    drafts = resources(context["draftOrders"])
    drafted = {f"{draft['resourceType']}/{draft.get('id')}" for draft in drafts}
    drafted |= {str(draft["id"]) for draft in drafts if "id" in draft}
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
