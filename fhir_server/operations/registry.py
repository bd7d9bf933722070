"""The table of operations: found by code, level and type; the CapabilityStatement is made from it too."""

from __future__ import annotations

from fhir_server import __version__
from fhir_server.definitions import published
from fhir_server.definitions.operations import OperationDefinition, all_operations
from fhir_server.interactions.capabilities import Offered
from fhir_server.interactions.context import Resource
from fhir_server.operations.declaration import INSTANCE, SYSTEM, TYPE, Operation
from fhir_server.operations.expunge import EXPUNGE
from fhir_server.operations.fhirpath import FHIRPATH
from fhir_server.operations.install import INSTALL
from fhir_server.operations.reindex import CANCEL, REINDEX, STATUS
from fhir_server.operations.validate import VALIDATE
from fhir_server.operations.validation_outcome import VALIDATION_OUTCOME
from fhir_server.outcome import NotFound
from fhir_server.validation.explain import did_you_mean

OPERATIONS: tuple[Operation, ...] = (
    VALIDATE,
    FHIRPATH,
    INSTALL,
    VALIDATION_OUTCOME,
    EXPUNGE,
    REINDEX,
    STATUS,
    CANCEL,
)

_LEVELS = {
    SYSTEM: "the whole system: /fhir/${code}",
    TYPE: "a type: /fhir/{type}/${code}",
    INSTANCE: "one resource: /fhir/{type}/7/${code}",
}


def find(code: str, level: str, type_name: str | None = None) -> Operation:
    """Return the operation of an address.

    >>> find("validate", "type", "Patient").definition
    'http://hl7.org/fhir/OperationDefinition/Resource-validate'

    Raises NotFound (404) when there is none of that name, or not on that type or at that level.
    """
    named = [operation for operation in OPERATIONS if operation.code == code]
    if not named:
        if any(defined.code == code for defined in all_operations()):
            what = f"there is no operation ${code} here yet, though R4 defines one"
        else:
            what = f"there is no operation ${code}"
        hint = did_you_mean(code, {one.code for one in OPERATIONS})
        raise NotFound(f"{what}; /fhir/metadata lists those there are{hint}", code="not-supported")
    on_type = [operation for operation in named if operation.is_on(type_name)]
    if not on_type:
        types = sorted({name for operation in named for name in operation.types})
        raise NotFound(
            f"${code} is no operation on {type_name}, but on {', '.join(types)}", code="not-supported"
        )
    for operation in on_type:
        if level in operation.levels:
            return operation
    may = [
        text.format(code=code, type=type_name or "Patient")
        for name, text in _LEVELS.items()
        if any(name in operation.levels for operation in on_type)
    ]
    here = {SYSTEM: "the whole system", TYPE: "a type", INSTANCE: "one resource"}[level]
    raise NotFound(f"${code} cannot be called on {here}, but on {' or on '.join(may)}", code="not-supported")


def definitions(base_url: str) -> dict[str, Resource]:
    """Return the OperationDefinitions of our own operations by id, as they are read here.

    >>> definitions("http://a.org/fhir")["reindex"]["url"]
    'http://a.org/fhir/OperationDefinition/reindex'
    """
    made: dict[str, Resource] = {}
    for one in OPERATIONS:
        if ":" in one.definition:
            continue
        facts = OperationDefinition(
            f"{base_url}/{one.definition}",
            one.code,
            "".join(part.capitalize() for part in one.code.split("-")),
            one.affects_state,
            SYSTEM in one.levels,
            TYPE in one.levels,
            INSTANCE in one.levels,
            one.types,
            one.parameters,
        )
        resource = published.operation_definition(facts)
        made[one.definition.rpartition("/")[2]] = {**resource, "version": __version__}
    return made


def offered() -> tuple[Offered, ...]:
    """Return the operations as the CapabilityStatement lists them."""
    return tuple(
        Offered(
            operation.code,
            operation.definition,
            SYSTEM in operation.levels,
            operation.types if operation.levels & {TYPE, INSTANCE} else (),
        )
        for operation in OPERATIONS
    )
