"""The patient chart: whose a resource is and when it happened, in columns of the resource row.

"The newest of one patient" is what hospitals ask most. The columns `chart` (the patient's rid) and
`chart_date` stand in the row and in one index, so such a page is a walk of that index, or a sort
of rows that another index found, and in both cases nothing is looked up for each candidate.

A type has a chart where it refers to one patient and has one clinical date: both parameters must
be single. Only the newest-first order goes by it, because an index has its nulls at one end: a
resource without a date comes last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeGuard

from fhir_server.fhirpath.extract import extractor
from fhir_server.search import elements, keys
from fhir_server.search.ast import Clause, Criterion, Parameter, Query
from fhir_server.search.registry import standard
from fhir_server.search.types import reference
from fhir_server.search.types.protocol import Columns, Environment

DATES = (
    "date", "effective-time", "effective", "started", "recorded-date", "authoredon", "authored",
    "authored-on", "whenhandedover", "collected", "created", "sent", "start-date", "datetime", "datewritten",
)  # fmt: skip
"""Codes of the clinical date, the first that a type has: what its records are sorted by."""


@dataclass(frozen=True, slots=True)
class Chart:
    """The two parameters of a type that make its chart."""

    patient: Parameter
    date: Parameter


@lru_cache(maxsize=256)
def chart(type_name: str) -> Chart | None:
    """Return the chart of a type, None where it has none.

    >>> found = chart("Condition"); found.patient.code, found.date.code
    ('patient', 'recorded-date')
    >>> chart("Organization") is None
    True
    """
    parameters = standard().for_type(type_name)
    patient = parameters.get("patient")
    date = next((parameters[code] for code in DATES if code in parameters), None)
    if patient is None or date is None or date.kind != "date":
        return None
    single = not elements.facts(patient).many and not elements.facts(date).many
    return Chart(patient, date) if single and len(date.sources) <= 1 else None


def reader(type_name: str, environment: Environment) -> Callable[[dict[str, Any]], str | None] | None:
    """Return what gives the rid of the patient of a resource, as the column `chart` holds it.

    >>> read = reader("Observation", Environment())
    >>> read({"subject": {"reference": "Patient/7"}}) == keys.rid("Patient", "7")
    True
    """
    found = chart(type_name)
    if found is None or found.patient.expression is None:
        return None
    select = extractor(found.patient.expression, type_name)
    cells = reference.extract(found.patient, environment)

    def patient(resource: dict[str, Any]) -> str | None:
        for element_type, value in select(resource):
            for text in cells(element_type, value):
                if is_patient(text):
                    return keys.rid_of(text)
        return None

    return patient


def column(type_name: str) -> int | None:
    """Return the column hash of the rows whose `low` is the chart_date."""
    found = chart(type_name)
    return None if found is None else keys.column_hash(type_name, found.date.code)


def asked(query: Query) -> tuple[Clause, str] | None:
    """Return the clause that names the patient, and his rid, where a page can go by the chart."""
    found = chart(query.type_name)
    if found is None or not query.sort:
        return None
    first = query.sort[0]
    if not first.descending or first.parameter.code != found.date.code:
        return None
    for criterion in query.clauses:
        if (rid := _patient_of(criterion, found)) is not None:
            assert isinstance(criterion, Clause)
            return criterion, rid
    return None


def _patient_of(criterion: Criterion, found: Chart) -> str | None:
    if (
        not isinstance(criterion, Clause)
        or criterion.modifier is not None
        or len(criterion.alternatives) != 1
    ):
        return None
    if not refers_to_patient(criterion.parameter):
        return None
    texts = reference.where(criterion.alternatives[0], Columns()).texts  # type: ignore[arg-type, union-attr]
    return keys.rid_of(texts[0]) if len(texts) == 1 and is_patient(texts[0]) else None


@lru_cache(maxsize=4096)
def refers_to_patient(parameter: Parameter) -> bool:
    """Return whether the patients that a parameter refers to are those in the chart of its type.

    >>> observation = standard().for_type("Observation")
    >>> refers_to_patient(observation["patient"]), refers_to_patient(observation["subject"])
    (True, True)
    >>> refers_to_patient(observation["performer"])
    False
    """
    if parameter.kind != "reference" or (found := chart(parameter.type_name)) is None:
        return False
    # `subject` may refer to others too, but its patients are those of `patient`.
    patients = f"{parameter.expression}.where(resolve() is Patient)"
    return found.patient.expression in (parameter.expression, patients)


def is_patient(text: Any) -> TypeGuard[str]:
    """Tell whether the text of a reference key is the address of a Patient.

    >>> is_patient("Patient/7"), is_patient("Patient/7/_history/1"), is_patient("Group/7")
    (True, False, False)
    """
    return isinstance(text, str) and text.startswith("Patient/") and text.count("/") == 1
