"""The operations that R4 defines (R4/operationslist.html), as facts; rest and operations serve them."""

from __future__ import annotations

from functools import cache

import msgspec

from fhir_server.definitions.load import load


class Parameter(msgspec.Struct, frozen=True, array_like=True):
    """One parameter of an operation: `use` is in or out, `max` is None for `*`."""

    name: str
    use: str
    min: int = 0
    max: int | None = None
    type: str | None = None
    parts: tuple[Parameter, ...] = ()
    targets: tuple[str, ...] = ()
    search_type: str | None = None


class OperationDefinition(msgspec.Struct, frozen=True, array_like=True):
    """One operation: where it may be called (system, type, instance) and on which types."""

    url: str
    code: str
    name: str
    affects_state: bool
    system: bool
    type: bool
    instance: bool
    resources: tuple[str, ...]
    parameters: tuple[Parameter, ...]


@cache
def all_operations() -> tuple[OperationDefinition, ...]:
    """Return the 46 operations of R4, sorted by url (the package's example is none of them).

    >>> len(all_operations())
    46
    """
    return load("operations", tuple[OperationDefinition, ...])


def for_type(type_name: str) -> tuple[OperationDefinition, ...]:
    """Return the operations that a resource type has, those of Resource among them.

    >>> [operation.code for operation in for_type("Patient")][:2]
    ['everything', 'match']
    """
    return tuple(
        operation
        for operation in all_operations()
        if type_name in operation.resources or "Resource" in operation.resources
    )
