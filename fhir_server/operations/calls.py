"""A call of an operation by an entry of a batch or transaction (R4/http.html#transaction)."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_server.interactions.context import Context, Prepared, Resource
from fhir_server.operations import registry
from fhir_server.operations.declaration import INSTANCE, SYSTEM, TYPE, Call
from fhir_server.operations.parameters import arguments
from fhir_server.outcome import MethodNotAllowed


def prepare(
    code: str,
    method: str,
    type_name: str | None,
    id_: str | None,
    pairs: Sequence[tuple[str, str]],
    body: Resource | None,
) -> Prepared:
    """Return the call of `$code` at the level that type and id say, its arguments read.

    >>> prepare("validate", "GET", "Patient", "7", [], None).affects_state
    False

    Raises NotFound (404) where there is no such operation, MethodNotAllowed (405) for a GET of one that
    changes something, Invalid (400) for arguments that it does not take.
    """
    level = SYSTEM if type_name is None else TYPE if id_ is None else INSTANCE
    found = registry.find(code, level, type_name)
    if method not in found.methods:
        raise MethodNotAllowed(f"${code} changes something and takes POST, not {method}")
    call = Call(type_name, id_, arguments(found, pairs, body, type_name))

    def run(context: Context) -> Resource:
        return found.run(context, call)

    return Prepared(code, found.affects_state, run)
