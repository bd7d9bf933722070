"""Many resources in one unit of work, each under its own id: the loading of files."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_server.authorization.permit import permit
from fhir_server.interactions import drafts, integrity
from fhir_server.interactions.context import Context, Resource
from fhir_server.interactions.update import check_id
from fhir_server.outcome import FhirError, Invalid
from fhir_server.storage.writer import Draft, Written


def store_many(context: Context, resources: Sequence[Resource]) -> list[Written | FhirError]:
    """Upsert resources that carry an id, create those that do not; return the fate of each.

    A resource that breaks a rule is refused by itself, the others are written together. Of
    several with the same id the last one wins: they must not stand in the same call.
    """
    fates: list[Written | FhirError | None] = []
    pending: list[Draft] = []
    for resource in resources:
        try:
            pending.append(_draft(context, resource))
            fates.append(None)
        except FhirError as error:
            fates.append(error)
    refused = integrity.alone(context, pending)
    written = iter(
        integrity.store(context, [each for number, each in enumerate(pending) if number not in refused])
    )
    done = (refused[number] if number in refused else next(written) for number in range(len(pending)))
    return [next(done) if fate is None else fate for fate in fates]


def _draft(context: Context, resource: Resource) -> Draft:
    type_name = resource.get("resourceType")
    if not isinstance(type_name, str):
        raise Invalid("there is no resourceType; every resource names its type", expression="resourceType")
    own = resource.get("id")
    permit(context.grant, "update" if own is not None else "create", type_name)
    checked = drafts.judge(context, resource)
    if own is None:
        return drafts.draft(context, resource, drafts.new_id(), "C", must_be_new=True, issues=checked.outcome)
    check_id(resource, own)
    return drafts.draft(context, resource, own, "U", issues=checked.outcome)
