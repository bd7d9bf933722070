"""allergyintolerance-create: an allergy is about to be added (hook library 0.1).

`allergyIntolerance` is the resource. The library's own examples put it into an object with the one member
`resource`, as in the entry of a Bundle; that is read as well.
"""

from typing import Any

from cds_hooks.hooks.hook import Context, Hook, Resource, check_resource
from fhir_server.outcome import Invalid

_PLACE = "context.allergyIntolerance"


def _given(context: Context) -> tuple[Any, str]:
    value = context.get("allergyIntolerance")
    if isinstance(value, dict) and "resource" in value and "resourceType" not in value:
        return value["resource"], f"{_PLACE}.resource"
    return value, _PLACE


def _check(context: Context) -> None:
    value, place = _given(context)
    if value is None:
        raise Invalid(
            f"{place} is missing; it has to be an AllergyIntolerance", expression=place, code="required"
        )
    check_resource(value, place, ("AllergyIntolerance",))


def _allergy(context: Context) -> list[Resource]:
    return [_given(context)[0]]


HOOK = Hook(
    "allergyintolerance-create",
    required=("userId", "patientId"),
    optional=("encounterId",),
    also=_check,
    beside=_allergy,
)
