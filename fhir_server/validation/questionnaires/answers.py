"""One question's answers: how many, of which type, among the options (QuestionnaireResponse.item.answer)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhir_server.outcome import Issue
from fhir_server.validation.explain import shown
from fhir_server.validation.questionnaires.form import ANSWERS, CHOICES, Item, typed_value
from fhir_server.validation.questionnaires.limits import Limits
from fhir_server.validation.questionnaires.options import Options, label, value_key
from fhir_server.validation.questionnaires.surroundings import Surroundings
from fhir_server.validation.questionnaires.tree import Node


class Answers:
    """Checks answers against the items of one Questionnaire."""

    def __init__(self, around: Surroundings, is_english: bool) -> None:
        self.around = around
        self.is_english = is_english
        self.limits = Limits(around)
        self._options: dict[int, Options] = {}

    def check(self, node: Node, item: Item) -> Iterator[Issue]:
        """Yield what is wrong with the answers of a node."""
        path = node.path
        answers = node.answers
        seen: dict[Any, int] = {}
        for place, answer in enumerate(answers):
            here = f"{path}.answer[{place}]"
            found = typed_value(answer)
            if found is None or found[1] is None:
                continue  # no value, or only extensions that say why there is none
            kind, value = found
            wrong = self._wrong_type(item, kind)
            if wrong is not None:
                yield Issue("error", "value", said(item, wrong), f"{here}.value", "response-answer")
                continue
            for severity, code, what in self.limits.problems(item, kind, value):
                yield Issue(severity, code, said(item, what), f"{here}.value", "response-answer")
            yield from self._among(item, kind, value, f"{here}.value")
            key = value_key(kind, value)
            if key in seen and item.kind in CHOICES:
                what = f"{label(kind, value)} is chosen twice, first in answer[{seen[key]}]"
                yield Issue("warning", "duplicate", said(item, what), here, "response-answer")
            seen.setdefault(key, place)
        options = self.options(item)
        for key in options.exclusive & seen.keys() if len(answers) > 1 else ():
            what = "this option excludes all others, but there are more answers beside it"
            yield Issue(
                "error", "business-rule", said(item, what), f"{path}.answer[{seen[key]}]", "response-answer"
            )

    def options(self, item: Item) -> Options:
        """Return the options of an item."""
        if id(item) not in self._options:
            self._options[id(item)] = Options(item)
        return self._options[id(item)]

    def _wrong_type(self, item: Item, kind: str) -> str | None:
        expected = ANSWERS.get(item.kind)
        if expected is None or kind in expected:
            return None
        what = " or ".join(f"value{one}" for one in (expected if item.kind in CHOICES else expected[:1]))
        return f"got value{kind}, expected {what} for an item of type {item.kind}"

    def _among(self, item: Item, kind: str, value: Any, path: str) -> Iterator[Issue]:
        options = self.options(item)
        value_set = item.source.get("answerValueSet")
        if item.kind == "open-choice" and kind == "String":
            return
        if options.keys:
            yield from self._option(item, options, kind, value, path)
        elif isinstance(value_set, str) and (item.kind in CHOICES or kind == "Coding"):
            yield from self._member(item, value_set, kind, value, path)
        elif item.kind in CHOICES and "_answerValueSet" not in item.source:
            what = f"got {label(kind, value)}; the Questionnaire lists no options to hold it against"
            yield Issue("information", "informational", said(item, what), path, "response-answer")

    def _option(self, item: Item, options: Options, kind: str, value: Any, path: str) -> Iterator[Issue]:
        key = value_key(kind, value)
        if key in options.keys:
            if kind == "Coding":
                yield from self._display(item, value, options.displays.get(key, []), path)
            return
        hint = ""
        if kind not in options.kinds:
            hint = f"; the options are of type {' or '.join(sorted(options.kinds))}"
        elif kind == "Coding" and value.get("code") in options.systems:
            systems = " or ".join(str(one or "none") for one in options.systems[value["code"]])
            hint = f"; the option with this code has the system {systems}"
        what = f"got {label(kind, value)}, expected one of the options {options.listed()}{hint}"
        yield Issue(
            "error",
            "code-invalid" if kind == "Coding" else "value",
            said(item, what),
            path,
            "response-answer",
        )

    def _member(self, item: Item, value_set: str, kind: str, value: Any, path: str) -> Iterator[Issue]:
        if kind != "Coding":
            what = f"got {label(kind, value)}, expected a Coding of {value_set}"
            yield Issue("error", "value", said(item, what), path, "response-answer")
            return
        system, code = value.get("system"), value.get("code")
        if code is None:
            what = f"got {label(kind, value)} without a code, expected a code of {value_set}"
            if item.kind == "open-choice":
                yield Issue(
                    "warning",
                    "code-invalid",
                    said(item, f"{what}, or free text as valueString"),
                    path,
                    "response-answer",
                )
            else:
                yield Issue("error", "code-invalid", said(item, what), path, "response-answer")
            return
        there = self.around.member(value_set, system, code)
        if there is None:
            what = f"whether {label(kind, value)} is in {value_set} was not checked: not known here"
            yield Issue("warning", "not-supported", said(item, what), path, "response-answer")
        elif not there:
            what = f"got {label(kind, value)}, expected a code of {value_set}"
            yield Issue("error", "code-invalid", said(item, what), path, "response-answer")
        elif system is None:
            what = f"got {label(kind, value)}, expected its system beside it: a code alone has no meaning"
            yield Issue("warning", "code-invalid", said(item, what), path, "response-answer")
        else:
            listed = self.around.listed_display(value_set, system, code)
            yield from self._display(item, value, [listed] if listed else [], path)

    def _display(self, item: Item, value: dict[str, Any], offered: list[str], path: str) -> Iterator[Issue]:
        """Yield an error where the answer reads as something else than what was chosen."""
        given = value.get("display")
        if not isinstance(given, str) or not self.is_english:
            return
        official = self.around.names(value.get("system"), value.get("code", ""))
        known = [*official, *offered]
        if known and _plain(given) not in map(_plain, known):
            severity = "error" if official else "warning"
            what = f"got the name {shown(given)} for {label('Coding', value)}, expected {known[0]!r}"
            yield Issue(severity, "invalid", said(item, what), f"{path}.display", "response-answer")


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())


def said(item: Item, what: str) -> str:
    """Return a message with the item that it is about."""
    text = item.source.get("text")
    name = f" ({shown(text)})" if isinstance(text, str) and len(text) <= 60 else ""
    return f"{item.link_id!r}{name}: {what}"
