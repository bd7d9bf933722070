"""A resource against the rules of R4, all problems at once (R4/validation.html)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from fhir_server.definitions import structures
from fhir_server.observability import events
from fhir_server.outcome import Issue
from fhir_server.validation import bundles, codes, explain, invariants, questionnaires, resolution, values
from fhir_server.validation.conformance import rules
from fhir_server.validation.knowledge import R4, Task
from fhir_server.validation.profiles import check as profiles
from fhir_server.validation.structure import Structure

MAX_ISSUES = 100
MAX_COUNTED = 10_000
"""Nobody reads on; a client that sends a million wrong values does not get a worker for minutes."""

_ALONE = Structure(in_transaction=False)
_IN_TRANSACTION = Structure(in_transaction=True)

TOO_DEEP = Issue("error", "structure", "the resource is nested deeper than we can follow", rule="limit-depth")

Check = Callable[[Any, Task], Iterator[Issue]]


def structural(resource: Any, task: Task) -> Iterator[Issue]:
    """Yield what breaks the structure that R4 gives to a type."""
    structure = _IN_TRANSACTION if task.in_transaction else _ALONE
    try:
        if not structure.accepts(resource):
            yield from explain.resource_problems(resource, None, task.in_transaction)
    except RecursionError:
        yield TOO_DEEP


FIRST: Check = structural
# In this order. A check relies on a resource of a known type, and on its structure unless task.malformed.
FURTHER: tuple[Check, ...] = (
    invariants.check,
    values.check,
    resolution.check,
    bundles.check,
    codes.check,
    rules.check,
    questionnaires.check,
    profiles.check,
)
CLAIMED: tuple[Check, ...] = (questionnaires.check, profiles.check)


def validate(resource: Any, task: Task = R4) -> list[Issue]:
    """Return everything that is wrong with a resource, an empty list if nothing is.

    An issue of severity warning is advice (R4's best practice) and no reason to refuse a resource.
    `task` says against which profiles and with which knowledge; without it R4 alone is asked. The
    entries of a transaction Bundle may hold references that its processing resolves
    (`Practitioner?identifier=…`). At most 100 problems are listed, then one line says how many
    there are. No exception leaves: a check of ours that fails is told as a warning.

    Where the structure is faulty, the other checks are asked all the same. What they say of a faulty
    element, and of the elements in it, is left out, and so are invariants of the elements around it
    unless all that is wrong there is that it is missing.

    >>> patient = {"resourceType": "Patient", "gender": "femal", "name": [{"famly": "Li"}]}
    >>> for issue in validate(patient):
    ...     print(issue.expression, "–", issue.diagnostics.partition("; ")[2])
    Patient.gender – did you mean 'female'?
    Patient.name[0].famly – did you mean 'family'?
    """
    if not task.in_transaction and _is_transaction(resource):
        task = replace(task, in_transaction=True)
    found = _Found()
    faults: dict[str, bool] = {}
    for issue in FIRST(resource, task):
        place = issue.expression or ""
        faults[place] = faults.get(place, True) and issue.rule == "element-required"
        if issue.rule == "choice-type":
            faults.update((stem, False) for stem in _stems(place))
        if not found.add(issue) or issue is TOO_DEEP:
            return found.listed()
    if not faults:
        _ask_further(resource, task, found, lambda issue: True)
    elif isinstance(resource, dict) and structures.is_resource_type(resource.get("resourceType")):
        _ask_further(resource, replace(task, malformed=True), found, _apart_from(faults))
    return found.listed() if found.count else []


def validate_claims(resource: Any, task: Task) -> list[Issue]:
    """Return what a resource, which keeps R4's rules, breaks of its profiles and its Questionnaire.

    With `validate` it is the whole; a write asks for both, as they refuse in different ways.
    """
    found = _Found()
    _ask_further(resource, task, found, lambda issue: True, CLAIMED)
    return found.listed() if found.count else []


def _ask_further(
    resource: Any,
    task: Task,
    found: _Found,
    counts: Callable[[Issue], bool],
    checks: tuple[Check, ...] | None = None,
) -> None:
    for check in FURTHER if checks is None else checks:
        try:
            for issue in check(resource, task):
                if counts(issue) and not found.add(issue):
                    return
        except Exception as error:  # the write of a right resource must not fail by a flaw of ours
            if not task.malformed:
                events.emit(events.crashed(error))
                what = f"{check.__module__.rpartition('.')[2]} was not checked to the end: a fault of ours"
                found.add(Issue("warning", "exception", what, rule="limit-fault"))


def _apart_from(faults: Mapping[str, bool]) -> Callable[[Issue], bool]:
    """Return whether an issue of a later check tells something new beside faults at these elements.

    `faults` says of each whether it is only missing: what is around it is whole all the same.

    >>> tells = _apart_from({"Patient.name[0].use": False})
    >>> [tells(Issue("error", "invariant", "…", place)) for place in ("Patient", "Patient.name[1]")]
    [False, True]
    >>> [tells(Issue("error", "value", "…", place)) for place in ("Patient", "Patient.name[0].use")]
    [True, False]
    """
    faulty = set(faults)
    around = {place for fault, is_missing in faults.items() if not is_missing for place in _prefixes(fault)}

    def counts(issue: Issue) -> bool:
        place = issue.expression or ""
        if issue.code == "invariant" and place in around:
            return False
        return faulty.isdisjoint(_prefixes(place))

    return counts


def _stems(place: str) -> Iterator[str]:
    """Yield what the choice may be called that has a type which it may not have.

    >>> list(_stems("Patient.multipleBirthCode"))
    ['Patient.multiple', 'Patient.multipleBirth']
    """
    start = place.rindex(".") + 2
    for end in range(start, len(place)):
        if place[end].isupper():
            yield place[:end]


def _prefixes(place: str) -> Iterator[str]:
    """Yield an element and those around it, with index and without: what it stands in may be faulty.

    >>> list(_prefixes("Patient.name[0].use"))
    ['Patient.name[0].use', 'Patient.name[0]', 'Patient.name', 'Patient']
    """
    yield place
    for end in range(len(place) - 1, 0, -1):
        if place[end] in ".[":
            yield place[:end]


class _Found:
    """Counts problems, and keeps the first errors and warnings."""

    def __init__(self) -> None:
        self.count = 0
        self._refusals = 0
        self._errors: list[Issue] = []
        self._advice: list[Issue] = []

    def add(self, issue: Issue) -> bool:
        """Take an issue; return whether more are wanted. Advice never ends it: an error may follow."""
        self.count += 1
        alike = self._advice
        if issue.severity in ("error", "fatal"):
            alike = self._errors
            self._refusals += 1
        if len(alike) < MAX_ISSUES:
            alike.append(issue)
        return self._refusals < MAX_COUNTED

    def listed(self) -> list[Issue]:
        """Return the first errors, and advice in what room they leave."""
        listed = (self._errors + self._advice)[:MAX_ISSUES]
        if self.count > MAX_ISSUES:
            many = f"{self.count}" if self._refusals < MAX_COUNTED else f"{self.count} or more"
            what = f"{many} problems in all; the first {MAX_ISSUES} are listed"
            listed.append(Issue(listed[0].severity, "too-long", what, rule="limit-problems"))
        return listed


def _is_transaction(resource: Any) -> bool:
    return (
        isinstance(resource, dict)
        and resource.get("resourceType") == "Bundle"
        and resource.get("type") == "transaction"
    )
