"""What an operation is: where it may be called, with what, and the function that carries it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fhir_server.definitions.operations import Parameter, all_operations
from fhir_server.definitions.structures import is_resource_type
from fhir_server.interactions.context import Context, Resource

SYSTEM, TYPE, INSTANCE = "system", "type", "instance"


@dataclass(frozen=True, slots=True)
class Argument:
    """One value that came in.

    `value` is JSON: a resource, a primitive, or the list of parts of a parameter that is made of
    parts. `type` is the FHIR type it came as. `place` is its FHIRPath in the Parameters that were
    sent; None when it stood in the URL or was the body by itself.
    """

    value: Any
    type: str
    place: str | None = None


Arguments: TypeAlias = Mapping[str, Sequence[Argument]]
"""The arguments of a call by the names of their parameters, in the order they came."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call: on which type and resource (None above their levels), with what.

    `sent` is the JSON text of the body, for line and column of what is wrong in it.
    """

    type_name: str | None = None
    id: str | None = None
    arguments: Arguments = field(default_factory=dict)
    sent: bytes | None = None

    def one(self, name: str) -> Argument | None:
        """Return the argument of a parameter that may be there once."""
        found = self.arguments.get(name, ())
        return found[0] if found else None

    def text(self, name: str) -> str | None:
        """Return the value of a parameter that is a text."""
        found = self.one(name)
        return None if found is None else str(found.value)


Run: TypeAlias = Callable[[Context, Call], Resource]
"""Carries an operation out; the answer is the resource of `return`, or Parameters where more comes out."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation (R4/operationdefinition.html).

    `definition` is the canonical of its OperationDefinition, relative to our base where it is our
    own. `types` are the resource types it is defined on, ("Resource",) for all.
    """

    code: str
    definition: str
    levels: frozenset[str]
    types: tuple[str, ...]
    affects_state: bool
    parameters: tuple[Parameter, ...]
    run: Run

    @property
    def inputs(self) -> dict[str, Parameter]:
        """The parameters that come in, by name."""
        return {parameter.name: parameter for parameter in self.parameters if parameter.use == "in"}

    @property
    def body_parameter(self) -> str | None:
        """The parameter that a bare resource in the body is meant as: the only one that is a resource."""
        found = [name for name, parameter in self.inputs.items() if holds_resource(parameter)]
        return found[0] if len(found) == 1 else None

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods it takes: GET too unless it changes something (R4/operations.html#3.2.0.1)."""
        return ("POST",) if self.affects_state else ("GET", "POST")

    def is_on(self, type_name: str | None) -> bool:
        """Say whether the operation is defined on a type (None: on the system)."""
        return type_name is None or "Resource" in self.types or type_name in self.types


def holds_resource(parameter: Parameter) -> bool:
    """Say whether the values of a parameter are resources."""
    return parameter.type in ("Resource", "DomainResource", "Any") or is_resource_type(parameter.type)


def of_r4(name: str, run: Run) -> Operation:
    """Return an operation as R4 defines it, with the function that carries it out.

    >>> of_r4("Resource-validate", lambda context, call: {}).methods
    ('GET', 'POST')
    """
    url = f"http://hl7.org/fhir/OperationDefinition/{name}"
    facts = next(found for found in all_operations() if found.url == url)
    levels = {SYSTEM: facts.system, TYPE: facts.type, INSTANCE: facts.instance}
    return Operation(
        code=facts.code,
        definition=url,
        levels=frozenset(level for level, there in levels.items() if there),
        types=facts.resources,
        affects_state=facts.affects_state,
        parameters=facts.parameters,
        run=run,
    )
