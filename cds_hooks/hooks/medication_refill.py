"""medication-refill: a refill of a standing prescription is asked for (hook library 0.1).

Often nobody is at the screen, so `userId` may be absent. The requests in `medications` must be drafts; a
Medication that they refer to may stand beside them.
"""

from cds_hooks.hooks.hook import Context, Hook, resources
from fhir_server.outcome import Invalid


def _drafts(context: Context) -> None:
    for number, resource in enumerate(resources(context["medications"])):
        if resource["resourceType"] == "MedicationRequest" and resource.get("status") != "draft":
            place = f"context.medications.entry[{number}].resource.status"
            raise Invalid(f"{place} has to be draft; a refill is not ordered yet", expression=place)


HOOK = Hook(
    "medication-refill",
    required=("patientId",),
    optional=("userId", "encounterId"),
    bundles=("medications",),
    of=("MedicationRequest", "Medication"),
    also=_drafts,
)
