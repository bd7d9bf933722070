"""Whether a grant allows an interaction, and how it narrows a search.

Every interaction asks here before it looks: the answer must not depend on whether the
resource exists.

A grant that is limited to a patient allows read and search-type, of the Patient itself and of what is about
the patient: types with a search parameter `patient`, or a `subject` that may be one, and of those the
resources that refer to this patient by it. That is less than R4's compartment, which also holds what the
patient did or said about somebody else. Such a search follows no references: chains, `_has`, includes and
contained resources would look beyond the patient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fhir_server.authorization.grant import Grant
from fhir_server.definitions import structures
from fhir_server.outcome import Forbidden
from fhir_server.search.ast import All, Clause, Criterion, Either, Not, Query
from fhir_server.search.parse import Reader
from fhir_server.search.registry import standard
from fhir_server.search.values import escape

_ALLOWED = frozenset({"read", "search-type"})


def permit(grant: Grant, interaction: str, type_name: str | None) -> None:
    """Raise Forbidden unless `grant` allows `interaction` on resources of a type (None: on all)."""
    if grant.patient is None:
        return
    if interaction not in _ALLOWED:
        raise Forbidden(f"{interaction} is not part of a grant that is limited to a patient")
    if type_name is None or about(type_name) is None:
        raise Forbidden(f"{type_name or 'a resource'} is not about a patient, to whom this grant is limited")


def narrow(grant: Grant, query: Query, reader: Callable[[], Reader]) -> Query:
    """Return `query` with the clauses that keep it inside what `grant` may see.

    `reader` makes what reads criteria in the environment of the search. Raises Forbidden (403) for what
    looks beyond the patient that the grant is limited to.
    """
    if grant.patient is None:
        return query
    reaching = query.includes or query.parts is not None or query.contained != "false"
    if reaching or not all(isinstance(each, Clause) for each in _flat(query.clauses)):
        raise Forbidden("a grant that is limited to a patient follows no references")
    return query.also(inside(grant, query.type_name, reader()))


def inside(grant: Grant, type_name: str, reader: Reader) -> Criterion:
    """Return that a resource of a type is about the patient that a grant is limited to.

    >>> from fhir_server.search.types.protocol import Environment
    >>> reader = Reader("Observation", Environment(), standard())
    >>> inside(Grant("x", "7"), "Observation", reader).parameter.code
    'patient'

    Raises Forbidden (403) for a type that is not about patients.
    """
    permit(grant, "read", type_name)
    code, patient = about(type_name), grant.patient or ""
    parameter = standard().get(type_name, code or "")
    assert parameter is not None
    return reader.clause(parameter, None, escape(patient if code == "_id" else f"Patient/{patient}"))


def about(type_name: str) -> str | None:
    """Return the parameter by which resources of a type are about a patient, None where there is none.

    >>> [about(name) for name in ("Patient", "Observation", "Medication", "Practitioner")]
    ['_id', 'patient', None, None]
    """
    if not structures.is_resource_type(type_name):
        return None
    if type_name == "Patient":
        return "_id"
    for code in ("patient", "subject"):
        parameter = standard().get(type_name, code)
        if parameter is not None and parameter.kind == "reference" and "Patient" in parameter.targets:
            return code
    return None


def _flat(criteria: tuple[Criterion, ...]) -> Iterator[Criterion]:
    """Give the criteria that others are made of."""
    for each in criteria:
        if isinstance(each, (Either, All)):
            yield from _flat(each.criteria)
        elif isinstance(each, Not):
            yield from _flat((each.criterion,))
        else:
            yield each
