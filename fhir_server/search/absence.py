"""What nearly every resource of a type has: there, a key says that it is absent (`:missing=true`).

What is absent stands in no index, so `:missing=true` walks the type until the page is full: at once
where many lack the value, through all of the type where nobody does. For the parameters below, which are
those that records are kept by, the few that lack the value have a key for that.
"""

from __future__ import annotations

from functools import lru_cache

from fhir_server.search import keys
from fhir_server.search.ast import Parameter

USUAL = {
    "AllergyIntolerance": ("patient", "code", "clinical-status"),
    "CarePlan": ("patient", "subject", "status"),
    "Claim": ("patient", "status"),
    "Condition": (
        "patient", "subject", "encounter", "code", "category", "clinical-status", "onset-date",
        "recorded-date",
    ),
    "DiagnosticReport": ("patient", "subject", "encounter", "code", "category", "status", "date"),
    "DocumentReference": ("patient", "subject", "type", "category", "status", "date"),
    "Encounter": ("patient", "subject", "status", "class", "type", "date"),
    "ExplanationOfBenefit": ("patient", "status"),
    "Goal": ("patient", "subject", "lifecycle-status"),
    "Immunization": ("patient", "vaccine-code", "status", "date"),
    "Location": ("name",),
    "MedicationAdministration": ("patient", "subject", "status", "code", "effective-time"),
    "MedicationRequest": ("patient", "subject", "encounter", "status", "intent", "code", "authoredon"),
    "Observation": ("patient", "subject", "encounter", "category", "code", "status", "date"),
    "Organization": ("name",),
    "Patient": ("identifier", "name", "family", "given", "gender", "birthdate"),
    "Practitioner": ("identifier", "name"),
    "Procedure": ("patient", "subject", "encounter", "code", "status", "date"),
    "ServiceRequest": ("patient", "subject", "encounter", "code", "status", "intent", "authored"),
}  # fmt: skip
"""Codes of R4's parameters by type. Who adds one indexes again what is stored, as migration m0014 did."""


@lru_cache(maxsize=256)
def pairs(type_name: str) -> tuple[tuple[str, str], ...]:
    """Return the keys of what is present and what is absent, for each of the type's parameters.

    >>> (present, absent), *_ = pairs("Patient")
    >>> present == keys.key("Patient", "identifier", keys.PRESENT)
    True
    """
    return tuple(
        (keys.key(type_name, code, keys.PRESENT), keys.key(type_name, code, keys.ABSENT))
        for code in USUAL.get(type_name, ())
    )


def is_kept(parameter: Parameter) -> bool:
    """Tell whether there is a key for the absence of a parameter's value."""
    return not parameter.index and parameter.code in USUAL.get(parameter.type_name, ())
