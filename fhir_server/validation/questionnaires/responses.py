"""A QuestionnaireResponse against its Questionnaire (R4/questionnaireresponse.html).

Readings: what is missing (required items, minimum numbers) and what a questionnaire-constraint says
counts for a response that claims to be whole, of status completed or amended; one that is in
progress, stopped or entered in error may lack things, but what it has must be right. Items in
another order than the Questionnaire's are an error, as the structures must be consistent; a text
that differs is a warning, as translations and adaptations are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from fhir_server.fhirpath import temporal
from fhir_server.model import references
from fhir_server.outcome import Issue
from fhir_server.validation.explain import did_you_mean, shown
from fhir_server.validation.questionnaires.answers import Answers, said
from fhir_server.validation.questionnaires.constraints import Constraints
from fhir_server.validation.questionnaires.enabling import EXPRESSIONS, Enabling
from fhir_server.validation.questionnaires.expressions import Expressions
from fhir_server.validation.questionnaires.form import CORE, DISPLAY, GROUP, QUESTION, Form, Item, typed_value
from fhir_server.validation.questionnaires.options import label
from fhir_server.validation.questionnaires.surroundings import Surroundings
from fhir_server.validation.questionnaires.tree import Node, Tree
from fhir_server.validation.structure import Structure

WHOLE = frozenset({"completed", "amended"})
MAX_HINTS = 10
MAX_CONDITIONS = 3
TRANSLATION = f"{CORE}translation"


def check(response: dict[str, Any], around: Surroundings) -> Iterator[Issue]:
    """Yield what is wrong with a response, told by its Questionnaire.

    `around` knows the resources that the response contains.
    """
    canonical = response.get("questionnaire")
    if not isinstance(canonical, str):
        what = "the response names no Questionnaire; its items are not held against one"
        yield Issue(
            "information",
            "informational",
            what,
            "QuestionnaireResponse.questionnaire",
            "response-questionnaire",
        )
        return
    questionnaire = around.find("Questionnaire", canonical)
    if questionnaire is None:
        yield _not_found(canonical, around)
        return
    try:
        yield from Response(response, questionnaire, around).check()
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        if Structure(in_transaction=False).accepts(questionnaire):
            raise
        what = f"the Questionnaire {shown(canonical)} is not well-formed; not everything was held against it"
        yield Issue(
            "warning", "structure", what, "QuestionnaireResponse.questionnaire", "response-questionnaire"
        )


def _not_found(canonical: str, around: Surroundings) -> Issue:
    place = "QuestionnaireResponse.questionnaire"
    if canonical.startswith("#"):
        what = f"there is no contained Questionnaire {canonical!r}"
        return Issue("error", "not-found", what, place, "response-questionnaire")
    url, _, version = canonical.partition("|")
    other = around.find("Questionnaire", url) if version else None
    hint = f" (there is version {other.get('version', 'without a name')})" if other is not None else ""
    what = f"the Questionnaire {shown(canonical)} is not known here{hint}; the items were not held against it"
    return Issue("warning", "not-found", what, place, "response-questionnaire")


class Response:
    """One response and its Questionnaire."""

    def __init__(self, response: dict[str, Any], questionnaire: dict[str, Any], around: Surroundings) -> None:
        self.source = response
        self.form = Form(questionnaire)
        self.around = around.within(questionnaire.get("contained", ()))
        self.tree = Tree(response, self.form)
        self.is_whole = response.get("status") in WHOLE
        self.expressions = Expressions(self.form, self.tree, self.around)
        self.enabling = Enabling(self.tree, self.expressions)
        language = response.get("language") or questionnaire.get("language") or "en"
        self.answers = Answers(self.around, str(language).lower().startswith("en"))
        self.hints = MAX_HINTS
        self.rule = f"{self.form.url}#" if self.form.url else None

    def check(self) -> Iterator[Issue]:
        """Yield what is wrong."""
        yield from self._head()
        for node in self.tree.all[1:]:  # a parent before its children: what is enabled above is known
            self._enable(node)
        for node in self.tree.all:
            if node.parent is not None:
                yield from self._node(node)
            yield from self._below(node)
        yield from Constraints(self.form, self.tree, self.expressions, self.is_whole).check()
        if self.enabling.budget < 0 or self.expressions.skipped:
            what = "there are more conditions and expressions than can be evaluated; some were left open"
            yield Issue("warning", "too-costly", what, "QuestionnaireResponse", "limit-cost")

    def _head(self) -> Iterator[Issue]:
        allowed = self.form.source.get("subjectType", ())
        subject = self.source.get("subject", {})
        text = subject.get("reference")
        named = references.named_type(text) if isinstance(text, str) else None
        if named is None and isinstance(text, str) and text.startswith("#"):
            named = self.around.own.get(text, {}).get("resourceType")
        if allowed and named is not None and named not in allowed:
            what = (
                f"got a {named}, expected {' or '.join(map(str, allowed))} (subjectType of the Questionnaire)"
            )
            yield Issue("error", "value", what, "QuestionnaireResponse.subject", "response-subject")
        if self.form.source.get("status") == "retired":
            what = "the Questionnaire is retired"
            yield Issue(
                "information",
                "business-rule",
                what,
                "QuestionnaireResponse.questionnaire",
                "response-questionnaire",
            )
        authored = self.source.get("authored")
        moment = temporal.parse_date_time(authored) if isinstance(authored, str) else None
        period = self.form.source.get("effectivePeriod", {})
        for name, sign, words in (("start", -1, "before"), ("end", 1, "after")):
            edge = period.get(name)
            bound = temporal.parse_date_time(edge) if isinstance(edge, str) else None
            if moment is not None and bound is not None and temporal.compare(moment, bound) == sign:
                what = f"authored {authored}, {words} the {name} of the effectivePeriod ({edge})"
                yield Issue(
                    "warning", "business-rule", what, "QuestionnaireResponse.authored", "response-authored"
                )

    def _enable(self, node: Node) -> None:
        above = node.parent
        assert above is not None
        if node.item is None or not _is_below(node.item, above):
            node.enabled = False if above.enabled is False else None
        else:
            node.enabled = self.enabling.of(node.item, node, above, node.answer, node.order)

    def _node(self, node: Node) -> Iterator[Issue]:
        """Yield what is wrong with one item, apart from its place and what is below it."""
        item = node.item
        if item is None:
            return
        path = node.path
        if item.kind in (GROUP, DISPLAY, QUESTION) and "answer" in node.source:
            what = f"an item of type {item.kind} has no answers"
            if item.kind == QUESTION:
                what += ": this type is abstract, and the Questionnaire should say which one it is"
            yield self._issue("error", "structure", item, what, f"{path}.answer")
        elif node.enabled is False and node.is_answered:
            what = f"it has answers, but it is not enabled{_conditions(item)}"
            yield self._issue("error", "business-rule", item, what, path)
        if item.is_question:
            if item.kind != QUESTION:
                yield from self._ruled(item, self.answers.check(node, item))
            if "item" in node.source:
                what = "what is nested in a question stands in its answers (answer.item), not in the item"
                yield self._issue("error", "structure", item, what, f"{path}.item")
        elif item.kind == DISPLAY and "item" in node.source:
            yield self._issue("error", "structure", item, "a display has nothing below it", f"{path}.item")
        yield from self._text(node, item, path)

    def _text(self, node: Node, item: Item, path: str) -> Iterator[Issue]:
        given, wanted = node.source.get("text"), item.source.get("text")
        if not isinstance(given, str) or not isinstance(wanted, str) or given == wanted:
            return
        if given.split() == wanted.split() or given in translations(item.source.get("_text")):
            return
        if any(url.endswith("xpression") for url in _urls(item.source.get("_text"))):
            return  # the text is made when the form is shown
        what = f"the text is {shown(given)}, in the Questionnaire it is {shown(wanted)}"
        yield Issue(
            "warning",
            "business-rule",
            f"{item.link_id!r}: {what}",
            f"{path}.text",
            self._rule(item),
        )

    def _below(self, node: Node) -> Iterator[Issue]:
        """Yield what is wrong with which items stand right below a node, and in which order."""
        item = node.item
        if node.parent is not None and item is None:
            return  # nothing is known of what it holds
        parts: list[int | None] = [None]
        if item is not None and item.is_question:
            parts = list(range(len(node.answers)))
            if None in node.below:
                parts.append(None)
        elif item is not None and any(place is not None for place in node.below):
            parts = [None, *(place for place in node.below if place is not None)]
        counts: dict[Item, list[Node]] = {}
        for place in parts:
            counts = {} if item is not None and item.is_question else counts
            yield from self._siblings(node, node.below.get(place, ()), counts)
            if place is not None and item is not None and item.is_question:
                yield from self._counted(node, place, counts)
        if item is None or not item.is_question:
            yield from self._counted(node, None, counts)

    def _siblings(self, above: Node, nodes: Any, counts: dict[Item, list[Node]]) -> Iterator[Issue]:
        """Yield what is out of place among siblings, and note how often each item is there."""
        last: Item | None = None
        for node in nodes:
            item = node.item
            if item is None:
                yield self._unknown(node, above)
            elif not _is_below(item, above):
                where = f"below {item.parent.link_id!r}" if item.parent is not None else "at the top"
                got = f"below {above.link_id!r}" if above.parent is not None else "at the top"
                what = f"it stands {got}; in the Questionnaire it is {where}"
                yield self._issue("error", "structure", item, what, node.path)
            else:
                counts.setdefault(item, []).append(node)
                if last is not None and item.position < last.position:
                    what = f"it stands after {last.link_id!r}; in the Questionnaire it comes before it"
                    yield self._issue("error", "structure", item, what, node.path)
                else:
                    last = item

    def _unknown(self, node: Node, above: Node) -> Issue:
        self.hints -= 1
        hint = ""
        if self.hints >= 0:
            beside = above.item.items if above.item is not None else self.form.items
            hint = did_you_mean(node.link_id, [item.link_id for item in beside]) or did_you_mean(
                node.link_id, self.form.by_link_id
            )
        what = f"the Questionnaire has no item with the linkId {shown(node.link_id)}{hint}"
        return Issue("error", "not-found", what, f"{node.path}.linkId", "response-link-id")

    def _counted(self, above: Node, answer: int | None, counts: dict[Item, list[Node]]) -> Iterator[Issue]:
        for item, nodes in counts.items():
            yield from self._number(item, nodes)
        if not self.is_whole or above.enabled is False:
            return
        demanded = above.item.demanded if above.item is not None else self.form.demanded
        missing = [item for item in demanded if item not in counts]
        there = sorted((item.position, nodes[0].order) for item, nodes in counts.items()) if missing else []
        for item in missing:
            place = bisect_left(there, (item.position, 0))
            order = there[place][1] if place < len(there) else above.end
            if self.enabling.of(item, None, above, answer, order) is True:
                yield self._missing(item, above, answer)

    def _missing(self, item: Item, above: Node, answer: int | None) -> Issue:
        path = above.path if answer is None else f"{above.path}.answer[{answer}]"
        if not item.required:
            what = f"there is none, expected at least {item.min_occurs} if it is to be answered"
            return self._issue("warning", "required", item, what, path)
        times = f" at least {item.min_occurs} times" if item.min_occurs > 1 else ""
        what = f"it is required{times}, but {'has no answer' if item.is_question else 'is not there'}"
        return self._issue("error", "required", item, what, path)

    def _number(self, item: Item, nodes: list[Node]) -> Iterator[Issue]:
        """Yield whether there are too few or too many of an item that is there."""
        first = nodes[0]
        if item.is_question:
            if len(nodes) > 1:
                severity = "warning" if item.repeats else "error"
                what = f"there are {len(nodes)} items, expected one that holds all answers"
                yield self._issue(severity, "structure", item, what, nodes[1].path)
            count = sum(len(node.answers) for node in nodes)
            answered = sum(node.is_answered for node in nodes) and count
            at_most, place = item.max_occurs, first.path
            if at_most is not None and count > at_most:
                why = "" if item.repeats else " (it does not repeat)"
                what = f"got {count} answers, expected at most {at_most}{why}"
                yield self._issue("error", "structure", item, what, place)
        elif item.kind == GROUP:
            answered = len(nodes)
            at_most, place = item.max_occurs, nodes[-1].path
            if at_most is not None and answered > at_most:
                why = "" if item.repeats else " (it does not repeat)"
                what = f"the group is there {answered} times, expected at most {at_most}{why}"
                yield self._issue("error", "structure", item, what, place)
            if self.is_whole and item.required:
                for node in nodes:
                    if node.enabled is True and not node.below:
                        what = "a required group holds at least one item"
                        yield self._issue("error", "required", item, what, node.path)
        else:
            if len(nodes) > 1:
                what = f"the display is there {len(nodes)} times, expected once"
                yield self._issue("error", "structure", item, what, nodes[1].path)
            return
        if self.is_whole and first.enabled is True and answered < item.min_occurs and item.kind != QUESTION:
            what = "answers" if item.is_question else "of this group"
            got = f"got {answered} {what}, expected at least {item.min_occurs}"
            yield self._issue("error", "required", item, got, first.path)

    def _issue(self, severity: str, code: str, item: Item, what: str, path: str) -> Issue:
        return Issue(severity, code, said(item, what), path, self._rule(item))

    def _rule(self, item: Item, otherwise: str = "response-item") -> str:
        """Return the rule that an item of the Questionnaire is; `otherwise` where it has no name for it."""
        return (
            f"{self.rule}{item.link_id}" if self.rule and item.link_id == item.link_id.strip() else otherwise
        )

    def _ruled(self, item: Item, issues: Iterator[Issue]) -> Iterator[Issue]:
        for issue in issues:
            yield replace(issue, rule=self._rule(item, issue.rule or "response-answer"))


def _conditions(item: Item) -> str:
    """Return what enables an item, for messages."""
    words = []
    for condition in item.source.get("enableWhen", ())[:MAX_CONDITIONS]:
        wanted = typed_value(condition, "answer")
        value = "" if wanted is None else f" {label(*wanted)}"
        words.append(f"{condition.get('question')!r} {condition.get('operator')}{value}")
    if not words:
        has_expression = any(url in item.extensions for url in EXPRESSIONS)
        return "" if has_expression else ", as what holds it is not"
    return f": that takes {(' or ' if item.source.get('enableBehavior') == 'any' else ' and ').join(words)}"


def _is_below(item: Item, above: Node) -> bool:
    return item.parent is above.item


def _urls(sibling: Any) -> list[str]:
    found = sibling.get("extension", ()) if isinstance(sibling, dict) else ()
    return [str(extension.get("url")) for extension in found]


def translations(sibling: Any) -> list[str]:
    """Return the translations of a text, from what stands beside it.

    >>> part = {"url": "content", "valueString": "Nom"}
    >>> translations({"extension": [{"url": TRANSLATION, "extension": [part]}]})
    ['Nom']
    """
    found = []
    for extension in sibling.get("extension", ()) if isinstance(sibling, dict) else ():
        if extension.get("url") == TRANSLATION:
            for part in extension.get("extension", ()):
                if part.get("url") == "content":
                    found += [value for key, value in part.items() if key.startswith("value")]
    return found
