"""$fhirpath: what an expression finds in a resource (R4/fhirpath.html), for people who write expressions.

R4 defines no such operation. Parameters and answer are those of the engines behind fhirpath-lab, so
that its page can ask this server: `parameters` echoes what was asked, then there is one `result` for
each item of `context`, with the items found and what trace() saw as its parts; without a context one
`result`, and none when nothing was found. That form is looser than R4's rule for Parameters (inv-1: one
of value, resource and part), where a result and a trace have a name and parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhir_server import __version__
from fhir_server.definitions.operations import Parameter
from fhir_server.definitions.structures import is_resource_type
from fhir_server.fhirpath import api
from fhir_server.fhirpath.api import Element, Expression, FhirPathError, Watch
from fhir_server.interactions.context import Context, Resource
from fhir_server.interactions.read import read
from fhir_server.model import json_format
from fhir_server.operations.declaration import INSTANCE, SYSTEM, Argument, Call, Operation
from fhir_server.operations.typed_values import as_json, item_of, part
from fhir_server.outcome import FhirError, Invalid, Issue, TooCostly, Unprocessable, operation_outcome
from fhir_server.validation.knowledge import Knowledge, Task
from fhir_server.validation.validator import validate

MAX_EXPRESSION = 10_000  # characters
MAX_ANSWER_BYTES = 10_000_000

EVALUATOR = f"Xinglin {__version__} (R4)"


def run(context: Context, call: Call) -> Resource:
    """Return Parameters with what the expression finds.

    Raises Invalid (400) with the place in the expression when it cannot be read or evaluated, and
    TooCostly (422) when it takes too long, too many items or too much to tell.
    """
    watch = Watch()
    given = call.one("resource")
    resource = given.value if given is not None else _stored(context, call)
    expression = _compiled(call, "expression", watch)
    around = _compiled(call, "context", watch)
    variables = _variables(call)
    echo = _echo(call, resource)
    if (only_read := call.one("validate")) is not None and only_read.value:
        good = Issue("information", "informational", "the expression can be read; it was not evaluated")
        echo.append({"name": "debugOutcome", "resource": operation_outcome([good])})
        return _answer([{"name": "parameters", "part": echo}])
    root = None if resource is None else api.root(resource)
    evaluation = _Evaluation(_World(context.knowledge()), variables, resource)
    made: list[dict[str, Any]] = [{"name": "parameters", "part": echo}]
    if around is None or expression is None:
        assert expression is not None
        found = evaluation.result(expression, call.one("expression"), root)
        made += [found] if "part" in found else []
    else:
        for number, item in enumerate(evaluation.items(around, call.one("context"), root)):
            where = item.path if isinstance(item, Element) else f"{around.text}[{number}]"
            found = evaluation.result(expression, call.one("expression"), item)
            made.append({"name": "result", "valueString": where, **found})
    return _answer(made)


class _Evaluation:
    """Evaluates expressions on items of one resource, and counts the bytes of what they find."""

    def __init__(self, world: _World, variables: Mapping[str, Any], resource: Resource | None) -> None:
        self.world, self.variables, self.resource = world, variables, resource
        self.left = MAX_ANSWER_BYTES

    def result(self, expression: Expression, argument: Argument | None, item: Any) -> dict[str, Any]:
        """Return a `result`: the items found as parts, and what trace() saw."""
        found = self._evaluated(expression, argument, item)
        parts = [self._part(one) for one in found.items]
        for label, items in found.traces:
            trace: dict[str, Any] = {"name": "trace", "valueString": label or "trace"}
            if inner := [self._part(one) for one in items]:
                trace["part"] = inner
            parts.append(trace)
        return {"name": "result", "part": parts} if parts else {"name": "result"}

    def items(self, expression: Expression, argument: Argument | None, item: Any) -> list[Any]:
        """Return what an expression finds."""
        return self._evaluated(expression, argument, item).items

    def _evaluated(self, expression: Expression, argument: Argument | None, item: Any) -> api.Result:
        environment = dict(self.variables)
        if not isinstance(item, Element) and self.resource is not None:
            environment |= {"resource": self.resource, "rootResource": self.resource}
        try:
            return expression.result(item, environment=environment, world=self.world)
        except FhirPathError as error:
            raise _pointed(error, argument) from None
        except (AttributeError, KeyError, TypeError):
            # The engine relies on a resource that is structurally right, and here nobody has checked it.
            found = validate(self.resource) if self.resource is not None else []
            issues = [issue for issue in found if issue.severity == "error"]
            if not issues:
                raise
            raise Unprocessable(issues=issues) from None

    def _part(self, item: Any) -> dict[str, Any]:
        made = part(item, self.resource)
        self.left -= len(json_format.encode(made))
        if self.left < 0:
            raise TooCostly(
                f"the answer would be longer than {MAX_ANSWER_BYTES} bytes; let the expression find less"
            )
        return made


class _World:
    """What an expression may ask about things outside, with the caller's eyes."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge

    def resolve(self, reference: str) -> Resource | None:
        """Return the resource that a reference leads to."""
        return self._knowledge.resolve(reference)

    def member_of(self, coded: Any, type_name: str, value_set: str) -> bool | None:
        """Say whether one of the codes is in a value set; None where that is not known."""
        codings = coded.get("coding", [coded]) if isinstance(coded, dict) else [{"code": coded}]
        terminology = self._knowledge.terminology
        answers = [
            terminology.member(value_set, coding.get("system"), coding["code"])
            for coding in codings
            if isinstance(coding, dict) and isinstance(coding.get("code"), str)
        ]
        return True if True in answers else None if None in answers else False

    def subsumes(self, system: str, code: str, other: str) -> bool | None:
        """Say whether `code` is `other` or more general."""
        return self._knowledge.terminology.subsumes(system, code, other)

    def conforms_to(self, resource: Resource, profile: str) -> bool | None:
        """Say whether a resource is valid against a profile; None when nobody knows the profile."""
        if self._knowledge.conformance.find("StructureDefinition", profile) is None:
            return None
        issues = validate(resource, Task(self._knowledge, profiles=(profile,)))
        return not any(issue.severity == "error" for issue in issues)


def _stored(context: Context, call: Call) -> Resource | None:
    if call.type_name is None or call.id is None:
        return None
    version = read(context, call.type_name, call.id).version
    return None if version is None else json_format.parse(version.text().encode())


def _compiled(call: Call, name: str, watch: Watch) -> Expression | None:
    argument = call.one(name)
    if argument is None or (name == "context" and not argument.value.strip()):
        return None
    if len(argument.value) > MAX_EXPRESSION:
        what = f"the {name} has {len(argument.value)} characters; {MAX_EXPRESSION} are read"
        raise TooCostly(what, expression=argument.place)
    try:
        return api.compile_watched(argument.value, watch)
    except FhirPathError as error:
        raise _pointed(error, argument) from None


def _pointed(error: FhirPathError, argument: Argument | None) -> Invalid:
    """Return a refusal that shows the line of the expression, and under it where it goes wrong."""
    before = error.text[: error.position]
    start = before.rfind("\n") + 1
    line = error.text[start:].partition("\n")[0].replace("\t", " ")
    column = error.position - start
    if len(line) > 200:
        cut = max(0, column - 100)
        line, column = line[cut : cut + 200], column - cut
    number = before.count("\n") + 1
    where = f"line {number}, column {error.position - start + 1} of the expression"
    what = f"{error.message} ({where})\n{line}\n{' ' * column}^"
    return Invalid(what, expression=None if argument is None else argument.place)


def _variables(call: Call) -> dict[str, Any]:
    """Return the variables by name; each part of `variables` is one."""
    found: dict[str, Any] = {}
    for argument in call.arguments.get("variables", ()):
        for number, given in enumerate(argument.value):
            place = f"{argument.place}.part[{number}]"
            name = given.get("name")
            if not isinstance(name, str) or not name:
                raise Invalid("a variable needs a name", expression=place, code="required")
            try:
                item = item_of(given, place)
            except FhirError as error:
                told = f"the variable {name!r}: {error.issues[0].diagnostics}"
                raise Invalid(told, expression=error.issues[0].expression or place) from None
            found[name] = [] if item is None else [item]
    return found


def _echo(call: Call, resource: Resource | None) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [{"name": "evaluator", "valueString": EVALUATOR}]
    for name in ("expression", "context"):
        if (text := call.text(name)) is not None and text:
            made.append({"name": name, "valueString": text})
    if resource is not None:
        if is_resource_type(resource["resourceType"]):
            made.append({"name": "resource", "resource": resource})
        else:  # of another version of FHIR: what R4's Parameters cannot hold
            made.append({"name": "resource", "extension": [as_json(resource)]})
    for argument in call.arguments.get("variables", ()):
        if argument.value:
            made.append({"name": "variables", "part": argument.value})
    return made


def _answer(parameters: list[dict[str, Any]]) -> Resource:
    return {"resourceType": "Parameters", "parameter": parameters}


FHIRPATH = Operation(
    code="fhirpath",
    definition="OperationDefinition/fhirpath",
    levels=frozenset({SYSTEM, INSTANCE}),
    types=("Resource",),
    affects_state=False,
    parameters=(
        Parameter("expression", "in", 1, 1, "string"),
        Parameter("resource", "in", 0, 1, "Resource"),
        Parameter("context", "in", 0, 1, "string"),
        Parameter("variables", "in", 0, None, None),
        Parameter("validate", "in", 0, 1, "boolean"),
        Parameter("terminologyserver", "in", 0, 1, "string"),  # fhirpath-lab sends it; codes are asked here
        Parameter("parameters", "out", 1, 1, None),
        Parameter("result", "out", 0, None, None),
    ),
    run=run,
)
