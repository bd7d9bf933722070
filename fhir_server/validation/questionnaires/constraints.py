"""Constraints and calculated answers of a Questionnaire on a response (questionnaire-constraint; SDC).

A questionnaire-constraint is kept before a response is complete; it is asked at each item that is
there, and at the response itself. A calculated answer that differs is a warning: a person may have
had a reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhir_server.outcome import Issue
from fhir_server.validation.explain import shown
from fhir_server.validation.questionnaires.enabling import equal
from fhir_server.validation.questionnaires.expressions import Expressions, fhirpath
from fhir_server.validation.questionnaires.form import CORE, SDC, Form, Item, typed_value
from fhir_server.validation.questionnaires.limits import plain_order
from fhir_server.validation.questionnaires.tree import Node, Tree

CONSTRAINTS = (f"{CORE}questionnaire-constraint", f"{CORE}targetConstraint")
CALCULATED = f"{SDC}calculatedExpression"


def parts(extension: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a constraint by name; `expression` as FHIRPath, None if it is something else."""
    found: dict[str, Any] = {}
    for part in extension.get("extension", ()):
        name, value = part.get("url"), typed_value(part)
        if value is not None and name not in found:
            found[name] = fhirpath(part) if name == "expression" else value[1]
    return found


class Constraints:
    """Asks the expressions of a Questionnaire at the items of a response."""

    def __init__(self, form: Form, tree: Tree, expressions: Expressions, is_whole: bool) -> None:
        self.form, self.tree, self.expressions, self.is_whole = form, tree, expressions, is_whole

    def check(self) -> Iterator[Issue]:
        """Yield the constraints that are broken."""
        if not self.is_whole:
            return
        yield from self._asked(self.form.extensions, self.tree.root, None)
        for node in self.tree.all:
            if node.item is not None and node.enabled is not False and node.item.extensions:
                yield from self._asked(node.item.extensions, node, node.item)
                for extension in node.item.extensions.get(CALCULATED, ())[:1]:
                    yield from self._calculated(extension, node, node.item)

    def _asked(
        self, extensions: dict[str, list[dict[str, Any]]], node: Node, item: Item | None
    ) -> Iterator[Issue]:
        for extension in (extension for url in CONSTRAINTS for extension in extensions.get(url, ())):
            rule = parts(extension)
            text = rule.get("expression")
            if not isinstance(text, str):
                continue
            kept = self.expressions.holds(text, node, item)
            if kept is None:
                what = f"the constraint {shown(rule.get('key'))} could not be evaluated: {shown(text)}"
                yield Issue("warning", "not-supported", what, node.path, "response-constraint")
            elif not kept:
                where = f"{item.link_id!r}: " if item is not None else ""
                what = f"{where}{rule.get('human') or text} ({rule.get('key', 'constraint')})"
                severity = "warning" if rule.get("severity") == "warning" else "error"
                name = "response-constraint"
                if self.form.url and "key" in rule:
                    name = f"{self.form.url}#{rule['key']}"
                yield Issue(severity, "invariant", what, node.path, name)

    def _calculated(self, extension: dict[str, Any], node: Node, item: Item) -> Iterator[Issue]:
        given = [found for found in map(typed_value, node.answers) if found and found[1] is not None]
        found = self.expressions.values(extension, node) if given else None
        if not found or len(given) != 1 or len(found) != 1:
            return
        kind, value = given[0]
        wanted = found[0]
        if kind == "Quantity" and isinstance(value, dict) and not isinstance(wanted, dict):
            value = value.get("value")
            kind = "Decimal"
        order = plain_order(value, wanted)
        same = order == 0 if order is not None else equal((kind, value), (kind, wanted))
        if (same is False and type(wanted) in (type(value), int, float)) or order not in (None, 0):
            what = f"{item.link_id!r}: got {shown(value)}, calculated is {shown(str(wanted))}"
            yield Issue("warning", "business-rule", what, node.path, "response-constraint")
