"""Whether an item is enabled: enableWhen and enableWhenExpression (R4/questionnaire.html#enableWhen).

Three answers: yes, no, and None where the standard, or what we can evaluate, leaves it open. Of an
item that is perhaps enabled nothing is demanded, and its answers are no error.

Readings: a condition looks at answers within the same occurrence of the group that holds both
questions. `!=` is R4's "no answer is equal"; of a question without any answer R4 does not say
whether that counts, so it is open. An item in an answer of a repeating question that asks for that
question may mean this answer or all of them; where these differ it is open. Several conditions
without enableBehavior (que-12) are read as all and as any.
"""

from __future__ import annotations

from typing import Any

from fhir_server.validation.questionnaires.expressions import Expressions
from fhir_server.validation.questionnaires.form import CORE, SDC, Item, typed_value
from fhir_server.validation.questionnaires.limits import plain_order, quantity_order
from fhir_server.validation.questionnaires.options import value_key
from fhir_server.validation.questionnaires.tree import Node, Tree

MAX_COMPARISONS = 500_000
"""Answers that the conditions of one response may look at; what is beyond is left open."""

NUMBERS = frozenset({"Integer", "Decimal"})
TEXTS = frozenset({"String", "Uri"})
DAYS = frozenset({"Date", "DateTime"})
EXPRESSION = f"{SDC}enableWhenExpression"
EXPRESSIONS = (EXPRESSION, f"{CORE}questionnaire-enableWhenExpression")


class Enabling:
    """Decides which items of one response are enabled."""

    def __init__(self, tree: Tree, expressions: Expressions) -> None:
        self.tree = tree
        self.expressions = expressions
        self.budget = MAX_COMPARISONS

    def of(self, item: Item, node: Node | None, above: Node, answer: int | None, order: int) -> bool | None:
        """Say whether an item is enabled that stands (as `node`) or would stand below `above`.

        `answer` is the answer of `above` that it belongs to, `order` its place in the document.
        """
        if above.enabled is False:
            return False
        own = self._own(item, node, above, answer, order)
        return own if above.enabled or own is False else None

    def _own(self, item: Item, node: Node | None, above: Node, answer: int | None, order: int) -> bool | None:
        conditions = item.source.get("enableWhen", ())
        found: bool | None = True
        if conditions:
            results = [self._condition(item, one, above, answer, order) for one in conditions]
            behavior = item.source.get("enableBehavior")
            every = False if False in results else None if None in results else True
            some = True if True in results else None if None in results else False
            if behavior == "all":
                found = every
            elif behavior == "any":
                found = some
            else:
                found = every if every is some else None
        for url in EXPRESSIONS:
            for extension in item.extensions.get(url, ()):
                said = self.expressions.condition(extension, node, above, item)
                if said is not True:
                    found = False if said is False or found is False else None
        return found

    def _condition(
        self, item: Item, condition: dict[str, Any], above: Node, answer: int | None, order: int
    ) -> bool | None:
        target = self.tree.form.by_link_id.get(condition.get("question", ""))
        wanted = typed_value(condition, "answer")
        operator = condition.get("operator")
        if target is None or wanted is None or wanted[1] is None or operator is None:
            return None
        common = self.tree.form.common(item, target)
        if common is item:
            return None  # asks for itself or for what it holds
        asked = self.tree.nearest(target.link_id, above, order, _scope(common, above))
        if asked is None or asked.enabled is False:
            return _holds(operator, wanted, [])
        answers = asked.answers
        self.budget -= len(answers) + 1
        if self.budget < 0:
            return None
        found = _holds(operator, wanted, answers)
        if asked is above and answer is not None and len(answers) > 1:
            here = _holds(operator, wanted, answers[answer : answer + 1])
            return found if found is here else None
        return found


def _scope(common: Item | None, above: Node) -> Node:
    """Return the occurrence of an item that `above` is in, the response if there is none."""
    node = above
    while node.parent is not None and node.item is not common:
        node = node.parent
    return node


def _holds(operator: str, wanted: tuple[str, Any], answers: list[dict[str, Any]]) -> bool | None:
    values = [found for found in map(typed_value, answers) if found is not None]
    given = [found for found in values if found[1] is not None]
    if operator == "exists":
        if bool(given) != bool(values):
            return None  # a value that is only extensions: an answer to some
        return bool(values) is wanted[1]
    if not given:
        return None if operator == "!=" or values else False
    if operator in ("=", "!="):
        same = [equal(value, wanted) for value in given]
        some = True if True in same else None if None in same else False
        return some if operator == "=" or some is None else not some
    results = [_ordered(operator, value, wanted) for value in given]
    return True if True in results else None if None in results else False


def equal(one: tuple[str, Any], other: tuple[str, Any]) -> bool | None:
    """Say whether two typed values are equal, None where that cannot be told.

    >>> equal(("Integer", 5), ("Decimal", 5.0)), equal(("String", "a"), ("Integer", 1))
    (True, False)
    """
    (kind, value), (wanted_kind, wanted) = one, other
    if kind in NUMBERS and wanted_kind in NUMBERS:
        return plain_order(value, wanted) == 0
    if kind in TEXTS and wanted_kind in TEXTS:
        return bool(value == wanted)
    if kind in DAYS and wanted_kind in DAYS:
        if value == wanted:
            return True
        order = plain_order(value, wanted)
        return None if order is None else order == 0
    if kind != wanted_kind:
        return False
    if kind == "Quantity":
        if value == wanted:
            return True
        order, reason = quantity_order(value, wanted)
        return None if order is None and reason is None else order == 0
    if kind == "Coding" and "code" in value and value.get("code") == wanted.get("code"):
        systems = value.get("system"), wanted.get("system")
        return None if systems[0] != systems[1] and None in systems else systems[0] == systems[1]
    return bool(value_key(kind, value) == value_key(wanted_kind, wanted))


def _ordered(operator: str, one: tuple[str, Any], other: tuple[str, Any]) -> bool | None:
    (kind, value), (wanted_kind, wanted) = one, other
    order: int | None
    if kind == wanted_kind == "Quantity":
        order = quantity_order(value, wanted)[0]
    elif kind in TEXTS and wanted_kind in TEXTS:
        order = (value > wanted) - (value < wanted)
    else:
        order = plain_order(value, wanted)
    if order is None:
        return None
    return {">": order > 0, "<": order < 0, ">=": order >= 0, "<=": order <= 0}.get(operator)
