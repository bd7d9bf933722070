"""FHIRPath in Questionnaires: variables, conditions, calculated answers and constraints (SDC, Expressions).

%resource and %context are the response and the item looked at, %questionnaire and %qitem the
Questionnaire and its item. Variables of the Questionnaire and of items are seen by what is below.
What is in another language, or asks for what we do not have, is not evaluated.
"""

from __future__ import annotations

from time import thread_time
from typing import Any

from fhir_server.fhirpath import api
from fhir_server.fhirpath.comparison import truth
from fhir_server.fhirpath.values import Collection, Element
from fhir_server.validation.questionnaires.form import CORE, Form, Item, typed_value
from fhir_server.validation.questionnaires.surroundings import Surroundings
from fhir_server.validation.questionnaires.tree import Node, Tree

FHIRPATH = "text/fhirpath"
VARIABLE = f"{CORE}variable"
MAX_WORK = 300_000
"""Expressions times items of the response; what is beyond is not evaluated."""
MAX_CPU_S = 3.0
"""How long the expressions of one Questionnaire may take for one response."""


class Expressions:
    """Evaluates the expressions of one Questionnaire on one response."""

    def __init__(self, form: Form, tree: Tree, around: Surroundings) -> None:
        self.form, self.tree, self.around = form, tree, around
        self.work = MAX_WORK
        self.cpu_s = 0.0
        self.skipped = 0
        self.resource = api.root(tree.root.source)
        self._elements: dict[int, Element] = {id(tree.root): self.resource}
        self._variables: dict[int, dict[str, Any]] = {}
        self._items: dict[int, Element] = {}
        self._questionnaire: Element | None = None

    def condition(self, extension: dict[str, Any], node: Node | None, above: Node, item: Item) -> bool | None:
        """Return what a condition says, None if it cannot be evaluated; empty is no (SDC)."""
        text = fhirpath(extension)
        if text is None:
            return None
        try:
            found = self._evaluate(text, node, above, item)
            if found is None:
                return None
            return truth(found) is True
        except Exception:  # whatever goes wrong here is no fault of the response
            return None

    def holds(self, text: str, node: Node, item: Item | None) -> bool | None:
        """Say whether a constraint is kept at a node; None if it cannot be evaluated."""
        try:
            found = self._evaluate(text, node, node.parent or node, item)
            return None if found is None else truth(found) is not False
        except Exception:
            return None

    def values(self, extension: dict[str, Any], node: Node) -> list[Any] | None:
        """Return the JSON values that an expression makes, None if it cannot be evaluated."""
        text = fhirpath(extension)
        if text is None or node.parent is None:
            return None
        try:
            found = self._evaluate(text, node, node.parent, node.item)
        except Exception:
            return None
        return None if found is None else [api.to_json(item) for item in found]

    def _evaluate(self, text: str, node: Node | None, above: Node, item: Item | None) -> Collection | None:
        self.work -= len(self.tree.all)
        if self.work < 0 or self.cpu_s > MAX_CPU_S:
            self.skipped += 1
            return None
        start = thread_time()
        try:
            return self._evaluated(text, node, above, item)
        finally:
            self.cpu_s += thread_time() - start

    def _evaluated(self, text: str, node: Node | None, above: Node, item: Item | None) -> Collection:
        expression = api.compile(text)
        environment: dict[str, Any] = dict(self._visible(node or above))
        focus = self._element(node or above)
        environment["resource"] = environment["rootResource"] = [self.resource]
        environment["context"] = [focus]
        environment["questionnaire"] = [self._form_element()]
        if item is not None:
            environment["qitem"] = [self._item_element(item)]
        return expression.evaluate(focus, environment=environment, world=World(self.around))

    def _visible(self, node: Node) -> dict[str, Any]:
        """Return the variables of a node and of what is above it."""
        line = []
        place: Node | None = node
        while place is not None and id(place) not in self._variables:
            line.append(place)
            place = place.parent
        known = {} if place is None else self._variables[id(place)]
        for place in reversed(line):
            extensions = (
                self.form.extensions if place.parent is None else place.item.extensions if place.item else {}
            )
            if VARIABLE in extensions:
                known = dict(known)
                self._variables[id(place)] = known
                for extension in extensions[VARIABLE]:
                    self._define(extension, place, known)
            self._variables[id(place)] = known
        return known

    def _define(self, extension: dict[str, Any], node: Node, known: dict[str, Any]) -> None:
        expression = _expression(extension)
        name = expression.get("name") if expression else None
        text = fhirpath(extension)
        if isinstance(name, str) and text is not None:
            try:
                found = self._evaluate(text, node, node.parent or node, node.item)
            except Exception:
                found = None
            if found is None:
                known.pop(name, None)
            else:
                known[name] = found

    def _element(self, node: Node) -> Element:
        line = []
        place = node
        while id(place) not in self._elements and place.parent is not None:
            line.append(place)
            place = place.parent
        item = self._elements[id(place)]
        for place in reversed(line):
            if place.answer is not None and place.parent is not None:
                answer = place.parent.answers[place.answer]
                item = Element(
                    answer, "QuestionnaireResponse.item.answer", None, item, "answer", place.answer
                )
            item = Element(place.source, "QuestionnaireResponse.item", None, item, "item", place.place)
            self._elements[id(place)] = item
        return item

    def _form_element(self) -> Element:
        if self._questionnaire is None:
            self._questionnaire = api.root(self.form.source)
        return self._questionnaire

    def _item_element(self, item: Item) -> Element:
        line = []
        place: Item | None = item
        while place is not None and id(place) not in self._items:
            line.append(place)
            place = place.parent
        found = self._form_element() if place is None else self._items[id(place)]
        for place in reversed(line):
            found = Element(place.source, "Questionnaire.item", None, found, "item", place.position)
            self._items[id(place)] = found
        return found


class World:
    """What an expression may ask about things outside of the response."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around

    def resolve(self, reference: str) -> dict[str, Any] | None:
        """Return a contained resource, or what the installation has."""
        if reference.startswith("#"):
            return self.around.own.get(reference)
        return self.around.task.knowledge.resolve(reference)

    def member_of(self, coded: Any, type_name: str, value_set: str) -> bool | None:
        """Say whether a code, Coding, CodeableConcept or text is in a value set."""
        if isinstance(coded, str):
            return self.around.member(value_set, None, coded)
        codings = coded.get("coding", []) if type_name == "CodeableConcept" else [coded]
        answers = [self.around.member(value_set, one.get("system"), one.get("code", "")) for one in codings]
        return True if True in answers else None if None in answers else False

    def subsumes(self, system: str, code: str, other: str) -> bool | None:
        """Say whether `code` is `other` or more general than it."""
        return self.around.terminology.subsumes(system, code, other)

    def conforms_to(self, resource: dict[str, Any], profile: str) -> bool | None:
        """Return None: profiles are looked at elsewhere."""
        return None


def _expression(extension: dict[str, Any]) -> dict[str, Any] | None:
    found = typed_value(extension)
    return found[1] if found is not None and found[0] == "Expression" and isinstance(found[1], dict) else None


def fhirpath(extension: dict[str, Any]) -> str | None:
    """Return the FHIRPath of an extension whose value is an Expression (or a string), None if it has none."""
    found = typed_value(extension)
    if found is not None and found[0] == "String" and isinstance(found[1], str):
        return found[1]
    expression = _expression(extension)
    if expression is None or expression.get("language") != FHIRPATH:
        return None
    text = expression.get("expression")
    return text if isinstance(text, str) else None
