"""A Questionnaire's own rules, beyond the invariants of R4 (R4/questionnaire.html).

What the standard says must be so is an error (linkIds, the question of an enableWhen, types of
options and initial values); what can never work, or not everywhere, is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhir_server.fhirpath import api
from fhir_server.outcome import Issue
from fhir_server.validation.explain import did_you_mean, shown
from fhir_server.validation.questionnaires import derivation
from fhir_server.validation.questionnaires.answers import said
from fhir_server.validation.questionnaires.constraints import CALCULATED, CONSTRAINTS, parts
from fhir_server.validation.questionnaires.enabling import DAYS, EXPRESSIONS, NUMBERS, TEXTS
from fhir_server.validation.questionnaires.expressions import VARIABLE, fhirpath
from fhir_server.validation.questionnaires.form import (
    ANSWERS,
    CHOICES,
    CORE,
    QUESTION,
    SDC,
    Form,
    Item,
    typed_value,
)
from fhir_server.validation.questionnaires.limits import (
    BOUNDS,
    is_readable,
    plain_order,
    quantity_order,
)
from fhir_server.validation.questionnaires.options import label, value_key
from fhir_server.validation.questionnaires.surroundings import Surroundings

MAX_HINTS = 10
ORDERS = frozenset({">", "<", ">=", "<="})
UNORDERED = frozenset({"boolean", "attachment", "reference", "choice", "open-choice"})
INITIAL = f"{SDC}initialExpression"


def check(questionnaire: dict[str, Any], around: Surroundings) -> Iterator[Issue]:
    """Yield what is wrong with a Questionnaire; `around` knows the resources that it contains."""
    yield from Rules(questionnaire, around).check()


class Rules:
    """The rules of one Questionnaire."""

    def __init__(self, questionnaire: dict[str, Any], around: Surroundings) -> None:
        self.form = Form(questionnaire)
        self.around = around
        self.order = {id(item): place for place, item in enumerate(self.form.all)}
        self.hints = MAX_HINTS

    def check(self) -> Iterator[Issue]:
        """Yield what is wrong."""
        for place, canonical in enumerate(self.form.source.get("derivedFrom", ())):
            if isinstance(canonical, str) and self.around.find("Questionnaire", canonical) is None:
                what = f"the Questionnaire {shown(canonical)} that this one is derived from is not known here"
                yield Issue(
                    "warning",
                    "not-found",
                    what,
                    f"Questionnaire.derivedFrom[{place}]",
                    "questionnaire-derived",
                )
        for kind, base in self._derivations():
            yield from derivation.check(self.form, base, kind)
        for item in self.form.again:
            first = self.form.by_link_id[item.link_id]
            what = f"the linkId {shown(item.link_id)} is there already, at {first.path}"
            yield Issue("error", "duplicate", what, f"{item.path}.linkId", "questionnaire-link-id")
        yield from _expressions(self.form.extensions, "Questionnaire")
        for item in self.form.all:
            yield from self._item(item)

    def _derivations(self) -> Iterator[tuple[str, Form]]:
        canonicals = self.form.source.get("derivedFrom", ())
        beside = self.form.source.get("_derivedFrom", ())
        for canonical, sibling in zip(canonicals, beside, strict=False):
            kind = derivation.kind(sibling) if isinstance(sibling, dict) else None
            base = self.around.find("Questionnaire", canonical) if kind and canonical else None
            if kind is not None and base is not None:
                yield kind, Form(base)

    def _item(self, item: Item) -> Iterator[Issue]:
        if item.kind == QUESTION:
            what = "the type question is abstract; expected what the answers are, such as string or choice"
            yield Issue(
                "warning", "business-rule", said(item, what), f"{item.path}.type", "questionnaire-type"
            )
        conditions = item.source.get("enableWhen", ())
        if len(conditions) > 1 and "enableBehavior" not in item.source:
            what = f"{len(conditions)} conditions need enableBehavior, to say whether all must hold or any"
            yield Issue(
                "warning",
                "required",
                said(item, what),
                f"{item.path}.enableBehavior",
                "questionnaire-enable-behavior",
            )
        for place, condition in enumerate(conditions):
            yield from self._condition(item, condition, f"{item.path}.enableWhen[{place}]")
        yield from self._options(item)
        yield from self._initial(item)
        value_set = item.source.get("answerValueSet")
        is_local = isinstance(value_set, str) and value_set.startswith("#")
        if is_local and self.around.find("ValueSet", str(value_set)) is None:
            what = f"there is no contained ValueSet {value_set!r}"
            yield Issue(
                "warning",
                "not-found",
                said(item, what),
                f"{item.path}.answerValueSet",
                "questionnaire-value-set",
            )
        if item.extensions:
            yield from _limits(item)
            yield from _expressions(item.extensions, item.path)

    def _condition(self, item: Item, condition: dict[str, Any], path: str) -> Iterator[Issue]:
        question = condition.get("question")
        if not isinstance(question, str):
            return
        target = self.form.by_link_id.get(question)
        if target is None:
            self.hints -= 1
            hint = did_you_mean(question, self.form.by_link_id) if self.hints >= 0 else ""
            what = f"there is no item with the linkId {shown(question)}{hint}"
            yield Issue(
                "error", "not-found", said(item, what), f"{path}.question", "questionnaire-enable-question"
            )
            return
        if question == item.link_id:
            what = "an item cannot be enabled by its own answer"
            yield Issue(
                "error",
                "business-rule",
                said(item, what),
                f"{path}.question",
                "questionnaire-enable-question",
            )
            return
        if not target.is_question:
            what = f"{question!r} is of type {target.kind}, which has no answers; expected a question"
            yield Issue(
                "error",
                "business-rule",
                said(item, what),
                f"{path}.question",
                "questionnaire-enable-question",
            )
            return
        if self.order[id(target)] > self.order[id(item)]:
            what = (
                f"{question!r} comes after this item; forms that are filled from top to bottom ask too late"
            )
            yield Issue(
                "warning",
                "business-rule",
                said(item, what),
                f"{path}.question",
                "questionnaire-enable-question",
            )
        operator, wanted = condition.get("operator"), typed_value(condition, "answer")
        if operator == "exists" or wanted is None:
            return
        kind = wanted[0]
        if not _comparable(kind, target):
            may = " or ".join(ANSWERS[target.kind])
            severity = "warning" if target.kind in CHOICES else "error"
            what = f"got answer{kind} for {question!r} of type {target.kind}, expected {may}"
            yield Issue(severity, "value", said(item, what), f"{path}.answer", "questionnaire-enable-answer")
        elif operator in ORDERS and target.kind in UNORDERED and kind in ("Boolean", "Coding", "Reference"):
            what = f"{operator} asks for an order, and answers of type {kind} have none"
            yield Issue(
                "warning",
                "business-rule",
                said(item, what),
                f"{path}.operator",
                "questionnaire-enable-operator",
            )
        elif (
            kind == "Coding"
            and operator in ("=", "!=")
            and "answerOption" in target.source
            and target.kind == "choice"
        ):
            keys = {value_key(*found) for found in map(typed_value, target.source["answerOption"]) if found}
            if value_key(*wanted) not in keys:
                what = f"{label(*wanted)} is no option of {question!r}, so this is always the same"
                yield Issue(
                    "warning",
                    "business-rule",
                    said(item, what),
                    f"{path}.answer",
                    "questionnaire-enable-answer",
                )

    def _options(self, item: Item) -> Iterator[Issue]:
        chosen = 0
        seen: dict[Any, int] = {}
        expected = ANSWERS.get(item.kind, ())
        for place, option in enumerate(item.source.get("answerOption", ())):
            path = f"{item.path}.answerOption[{place}]"
            chosen += option.get("initialSelected") is True
            found = typed_value(option)
            if found is None:
                continue
            kind, value = found
            if expected and kind not in expected:
                what = f"got the option value{kind}, expected value{expected[0]} for type {item.kind}"
                yield Issue("error", "value", said(item, what), f"{path}.value", "questionnaire-option")
            elif value is not None:
                key = value_key(kind, value)
                if key in seen:
                    what = f"{label(kind, value)} is an option already, in answerOption[{seen[key]}]"
                    yield Issue("warning", "duplicate", said(item, what), path, "questionnaire-option")
                seen.setdefault(key, place)
        if chosen > 1 and not item.repeats:
            what = f"{chosen} options are initially selected, but the item takes one answer"
            yield Issue(
                "warning",
                "business-rule",
                said(item, what),
                f"{item.path}.answerOption",
                "questionnaire-option",
            )

    def _initial(self, item: Item) -> Iterator[Issue]:
        expected = ANSWERS.get(item.kind, ())
        for place, initial in enumerate(item.source.get("initial", ())):
            path = f"{item.path}.initial[{place}].value"
            found = typed_value(initial)
            if found is None or not expected:
                continue
            kind, value = found
            if kind not in expected:
                what = f"got the initial value{kind}, expected value{expected[0]} for type {item.kind}"
                yield Issue("error", "value", said(item, what), path, "questionnaire-initial")
                continue
            at_most = item.source.get("maxLength")
            if isinstance(value, str) and isinstance(at_most, int) and len(value) > at_most:
                what = f"the initial value has {len(value)} characters, maxLength is {at_most}"
                yield Issue("error", "too-long", said(item, what), path, "questionnaire-initial")
            value_set = item.source.get("answerValueSet")
            is_coded = kind == "Coding" and isinstance(value, dict) and "code" in value
            if is_coded and isinstance(value_set, str):
                there = self.around.member(value_set, value.get("system"), value["code"])
                if there is False:
                    what = f"the initial value {label(kind, value)} is not in {value_set}"
                    yield Issue("warning", "code-invalid", said(item, what), path, "questionnaire-initial")


def _comparable(kind: str, target: Item) -> bool:
    """Say whether answers to a question may be compared with a value of a type."""
    for family in (NUMBERS, TEXTS, DAYS):
        if kind in family:
            return any(one in family for one in ANSWERS.get(target.kind, (kind,)))
    return kind in ANSWERS.get(target.kind, (kind,))


def _limits(item: Item) -> Iterator[Issue]:
    for expression in item.values(f"{CORE}regex"):
        if not is_readable(expression):
            what = f"the regular expression {shown(expression)} cannot be read"
            yield Issue("warning", "value", said(item, what), item.path, "questionnaire-limits")
    pairs = [("minLength", item.value(f"{CORE}minLength", int), item.source.get("maxLength"))]
    occurs = "questionnaire-minOccurs"
    pairs.append(
        (occurs, item.value(f"{CORE}{occurs}", int), item.value(f"{CORE}questionnaire-maxOccurs", int))
    )
    lows, highs = ([value for url in urls for value in item.values(url)[:1]] for _, _, urls in BOUNDS)
    pairs += [("the lower bound", low, high) for low, high in zip(lows, highs, strict=False)]
    for name, low, high in pairs:
        if low is None or high is None:
            continue
        is_quantity = isinstance(low, dict) and isinstance(high, dict)
        order = quantity_order(low, high)[0] if is_quantity else plain_order(low, high)
        if order == 1:
            kind = "Quantity" if is_quantity else ""
            what = f"{name} ({label(kind, low)}) is above its upper one ({label(kind, high)})"
            yield Issue("warning", "business-rule", said(item, what), item.path, "questionnaire-limits")


def _expressions(extensions: dict[str, list[dict[str, Any]]], path: str) -> Iterator[Issue]:
    """Yield the FHIRPath that cannot be read."""
    texts = [
        fhirpath(one)
        for url in (VARIABLE, *EXPRESSIONS, CALCULATED, INITIAL)
        for one in extensions.get(url, ())
    ]
    texts += [parts(one).get("expression") for url in CONSTRAINTS for one in extensions.get(url, ())]
    for text in texts:
        if not isinstance(text, str):
            continue
        try:
            api.compile(text)
        except api.FhirPathSyntaxError as error:
            yield Issue(
                "warning",
                "invalid",
                f"the FHIRPath cannot be read: {error}",
                path,
                "questionnaire-expression",
            )
        except api.FhirPathError:
            continue  # a variable that only a form filler has
