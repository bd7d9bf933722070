"""The compartments of R4 (R4/compartmentdefinition.html): Patient, Encounter, Practitioner …"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from fhir_server.definitions.load import load


@cache
def _facts() -> dict[str, dict[str, tuple[str, ...]]]:
    return load("compartments", dict[str, dict[str, tuple[str, ...]]])


def compartment_types() -> tuple[str, ...]:
    """Return the types that have a compartment.

    >>> compartment_types()
    ('Device', 'Encounter', 'Patient', 'Practitioner', 'RelatedPerson')
    """
    return tuple(_facts())


def members(compartment: str) -> Mapping[str, tuple[str, ...]]:
    """Return the resource types in a compartment with the parameters that put them there.

    A type without parameters is never in the compartment and is left out. `{def}` stands for the
    resource that the compartment is named after.

    >>> members("Patient")["Observation"]
    ('subject', 'performer')
    >>> members("Patient")["Patient"]
    ('link', '{def}')

    Raises KeyError when there is no such compartment.
    """
    return _members(compartment)


@cache
def _members(compartment: str) -> Mapping[str, tuple[str, ...]]:
    found = {name: codes for name, codes in _facts()[compartment].items() if codes}
    found[compartment] = (*found.get(compartment, ()), "{def}")
    return found
