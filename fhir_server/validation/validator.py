"""A resource against the rules of R4, all problems at once (R4/validation.html)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from fhir_server.outcome import Issue
from fhir_server.validation import codes, explain, invariants
from fhir_server.validation.knowledge import R4, Task
from fhir_server.validation.structure import Structure

MAX_ISSUES = 100

_ALONE = Structure(in_transaction=False)
_IN_TRANSACTION = Structure(in_transaction=True)

Check = Callable[[Any, Task], Iterator[Issue]]


def structural(resource: Any, task: Task) -> Iterator[Issue]:
    """Yield what breaks the structure that R4 gives to a type."""
    structure = _IN_TRANSACTION if task.in_transaction else _ALONE
    if not structure.accepts(resource):
        yield from explain.resource_problems(resource, None, task.in_transaction)


# In this order; what the first finds makes the others pointless, as they may rely on it.
FIRST: Check = structural
FURTHER: tuple[Check, ...] = (invariants.check, codes.check)


def validate(resource: Any, task: Task = R4) -> list[Issue]:
    """Return everything that is wrong with a resource, an empty list if nothing is.

    An issue of severity warning is advice (R4's best practice) and no reason to refuse a resource.
    `task` says against which profiles and with which knowledge; without it R4 alone is asked. The
    entries of a transaction Bundle may hold references that its processing resolves
    (`Practitioner?identifier=…`). At most 100 problems are listed, then one line says how many
    there are.

    >>> patient = {"resourceType": "Patient", "gender": "femal", "name": [{"famly": "Li"}]}
    >>> for issue in validate(patient):
    ...     print(issue.expression, "–", issue.diagnostics.partition("; ")[2])
    Patient.gender – did you mean 'female'?
    Patient.name[0].famly – did you mean 'family'?
    """
    if not task.in_transaction and _is_transaction(resource):
        task = replace(task, in_transaction=True)
    found = _listed(FIRST(resource, task))
    if FURTHER and not found:
        found = _listed(chain.from_iterable(check(resource, task) for check in FURTHER))
    return found


def _listed(problems: Iterator[Issue]) -> list[Issue]:
    """Return the first errors, and warnings in what room they leave."""
    found: dict[str, list[Issue]] = {"error": [], "warning": []}
    count = 0
    for issue in problems:
        count += 1
        alike = found[issue.severity]
        if len(alike) < MAX_ISSUES:
            alike.append(issue)
    listed = (found["error"] + found["warning"])[:MAX_ISSUES]
    if count > MAX_ISSUES:
        what = f"{count} problems in all; the first {MAX_ISSUES} are listed"
        listed.append(Issue(listed[0].severity, "too-long", what))
    return listed


def _is_transaction(resource: Any) -> bool:
    return (
        isinstance(resource, dict)
        and resource.get("resourceType") == "Bundle"
        and resource.get("type") == "transaction"
    )
