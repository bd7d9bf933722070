"""Who has the last word on an invariant that may be broken: FHIRPath, within a budget.

The budget is a count of items, the same on every machine: an invariant that looks at everything for
everything must not hold a worker, and a resource must not be right here and wrong there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from fhir_server.definitions.structures import Invariant
from fhir_server.fhirpath import api, values
from fhir_server.fhirpath.walk import Predicate
from fhir_server.observability import events
from fhir_server.validation.kept import READ

AT_LEAST = 200_000
"""Items that may pass through the evaluations for any resource; about 0.2 s."""
PER_VALUE = 10
"""Further for every value. Of 8,482 examples and definitions none takes more than 8, or 57,456 in all."""

DEFINITION = "http://hl7.org/fhir/StructureDefinition/"


class Rule(NamedTuple):
    """An invariant at an element: `kept(node, container)` is False where the engine has to look.

    `home` is the type that states it: dom-2 of a Patient is DomainResource's.
    """

    key: str
    invariant: Invariant
    kept: Predicate
    home: str = ""

    @property
    def name(self) -> str:
        """The rule as an Issue names it: the canonical of its definition, # and its key."""
        return f"{DEFINITION}{self.home}#{self.key}"


def budget(resource: Any) -> int:
    """Return how many items may pass through the evaluations for a resource.

    >>> budget({"resourceType": "Patient", "name": [{"family": "Li"}]}) - AT_LEAST
    40
    """
    values_ = 0
    todo = [resource]
    while todo:
        item = todo.pop()
        if item.__class__ is dict:
            todo += item.values()
        elif item.__class__ is list:
            todo += item
            continue
        values_ += 1
    return AT_LEAST + PER_VALUE * values_


class Judge:
    """Who has the last word on the suspects of one resource.

    `ref-1`, `dom-3`, `obs-7` and those of `kept.READ` are not left to FHIRPath, as it would look through
    the whole resource for each reference, each contained resource, each component and so on.
    """

    def __init__(self, resource: Any, *, is_telling: bool = True) -> None:
        self.root = api.root(resource)
        self._is_telling = is_telling
        self._left: int | None = None  # not counted before something is evaluated
        self._below: dict[tuple[int, str], dict[int | None, api.Element]] = {}
        self._ids: dict[int, set[str]] = {}
        self._unfinished: dict[str, tuple[Rule, str, int]] = {}

    def element(self, way: list[tuple[str, int | None]]) -> api.Element | None:
        """Return the engine's element at the end of a way; None where there is none, or nothing sound."""
        item = self.root
        try:
            for name, index in reversed(way):
                place = (id(item), name)
                if place not in self._below:  # listed once, as there may be many beside each other
                    self._below[place] = {child.index: child for child in values.members(item, name)}
                item = self._below[place][index]
        except (AttributeError, KeyError, TypeError):
            return None
        return item

    def keeps(self, item: api.Element, rule: Rule) -> bool:
        """Return whether an element keeps a rule."""
        try:
            if rule.key == "ref-1":
                return self._resolves(item)
            if rule.key == "dom-3":
                return _refers(item)
            if rule.key == "obs-7":
                return _says_once(item)
            if rule.key in READ:
                return self._reads(item, rule)
            return self._holds(item, api.compile(rule.invariant.expression, lenient=True))
        except api.FhirPathTooCostly as error:
            self._left = 0
            _, path, count = self._unfinished.get(rule.name, (rule, item.path, 0))
            self._unfinished[rule.name] = (rule, path, count + 1)
            if not count:
                self._tell(rule, error)
        except Exception as error:  # whatever goes wrong here is no fault of the resource
            self._tell(rule, error)
        return True

    def unfinished(self) -> Iterable[tuple[Rule, str, int]]:
        """Return the rules that the budget left open, with their first element and how many there are."""
        return self._unfinished.values()

    def _reads(self, item: api.Element, rule: Rule) -> bool:
        holder = item
        while holder.parent is not None and not _is_resource(holder):
            holder = holder.parent
        try:
            return bool(READ[rule.key](item.value, holder.value))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            return self._holds(item, api.compile(rule.invariant.expression, lenient=True))

    def _holds(self, item: api.Element, expression: api.Expression) -> bool:
        if self._left is None:
            self._left = budget(self.root.value)
        if self._left <= 0:  # not even begun: each beginning costs something, and there may be thousands
            raise api.FhirPathTooCostly("the budget of the resource is spent")
        result = expression.result(item, budget=self._left)
        self._left -= result.spent
        return api.truth(result.items) is not False

    def _tell(self, rule: Rule, error: Exception) -> None:
        if self._is_telling:
            events.emit(events.RuleUnanswered(rule.key, type(error).__name__))

    def _resolves(self, item: api.Element) -> bool:
        holder = item
        while holder.parent is not None and (holder.name == "contained" or not _is_resource(holder)):
            holder = holder.parent
        if id(holder) not in self._ids:
            self._ids[id(holder)] = {inner.get("id") for inner in holder.value.get("contained", ())}
        text: str = item.value["reference"]
        return text[:1] != "#" or text == "#" or text[1:] in self._ids[id(holder)]


def _refers(item: api.Element) -> bool:
    named = set(_pointers(item))
    return all(
        "id" not in inner.value or f"#{inner.value['id']}" in named or "#" in _pointers(inner)
        for inner in values.members(item, "contained")
    )


def _says_once(item: api.Element) -> bool:
    own = _codings(item)
    return all(own.isdisjoint(_codings(component)) for component in values.members(item, "component"))


def _codings(item: api.Element) -> set[Any]:
    return {
        values.key(coding)
        for code in values.members(item, "code")
        for coding in values.members(code, "coding")
    }


def _is_resource(item: api.Element) -> bool:
    # By the type: ExampleScenario.instance has an element of the name resourceType, too.
    return item.value.__class__ is dict and item.value.get("resourceType") == item.type


def _pointers(item: api.Element) -> Iterator[Any]:
    """Yield what the references, canonicals and addresses below an element say."""
    todo = list(values.children(item))
    while todo:
        below = todo.pop()
        if below.name == "reference" or below.type in ("canonical", "uri", "url"):
            yield below.value if below.value.__class__ is str else None
        todo += values.children(below)
