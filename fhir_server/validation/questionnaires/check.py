"""The check of all Questionnaires and QuestionnaireResponses in a resource: itself, contained, in Bundles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhir_server.outcome import Issue
from fhir_server.validation.knowledge import R4, Task
from fhir_server.validation.questionnaires import questionnaires, responses
from fhir_server.validation.questionnaires.surroundings import Bundled, Surroundings

KINDS = {"Questionnaire": questionnaires.check, "QuestionnaireResponse": responses.check}
MAX_ERRORS = 1000
MAX_ADVICE = 1000


def check(resource: Any, task: Task = R4) -> Iterator[Issue]:
    """Yield what is wrong with questionnaires and responses in a structurally right resource.

    >>> item = {"linkId": "q", "type": "string", "enableWhen": [{"question": "p", "operator": "exists"}]}
    >>> form = {"resourceType": "Questionnaire", "status": "draft", "item": [item]}
    >>> [(issue.severity, issue.expression) for issue in check(form)]
    [('error', 'Questionnaire.item[0].enableWhen[0].question')]

    After a thousand errors it stops, and of warnings it yields a thousand.
    """
    errors = advice = 0
    try:
        for issue in _all(resource, task, None):
            if issue.severity == "error":
                errors += 1
            else:
                advice += 1
                if advice > MAX_ADVICE:
                    continue
            yield issue
            if errors == MAX_ERRORS:
                return
    except RecursionError:  # deeper than we can follow
        return


def _all(resource: Any, task: Task, bundle: Bundled | None) -> Iterator[Issue]:
    kind = resource.get("resourceType")
    contained = resource.get("contained", ())
    if kind in KINDS or contained:
        yield from _held(resource, kind, contained, Surroundings(task, contained, bundle))
    elif kind == "Bundle":
        entries = resource.get("entry", ())
        if any(_concerns(entry.get("resource")) for entry in entries):
            bundle = Bundled(resource)
            for place, entry in enumerate(entries):
                inner = entry.get("resource")
                if _concerns(inner):
                    for issue in _all(inner, task, bundle):
                        yield issue.within(f"Bundle.entry[{place}].resource")
    elif kind == "Parameters":
        yield from _parameters(resource.get("parameter", ()), "Parameters", task)


def _held(resource: Any, kind: str, contained: Any, around: Surroundings) -> Iterator[Issue]:
    if kind in KINDS:
        yield from KINDS[kind](resource, around)
    for place, inner in enumerate(contained):
        if inner.get("resourceType") in KINDS:
            for issue in KINDS[inner["resourceType"]](inner, around):
                yield issue.within(f"{kind}.contained[{place}]")


def _concerns(resource: Any) -> bool:
    return isinstance(resource, dict) and (
        resource.get("resourceType") in KINDS
        or resource.get("resourceType") in ("Bundle", "Parameters")
        or "contained" in resource
    )


def _parameters(parameters: Any, path: str, task: Task) -> Iterator[Issue]:
    name = "parameter" if path == "Parameters" else "part"
    for place, parameter in enumerate(parameters):
        here = f"{path}.{name}[{place}]"
        if _concerns(parameter.get("resource")):
            for issue in _all(parameter["resource"], task, None):
                yield issue.within(f"{here}.resource")
        yield from _parameters(parameter.get("part", ()), here, task)
