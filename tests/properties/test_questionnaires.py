"""Forms at random, and responses filled in by their rules: right until something is changed."""

from __future__ import annotations

import copy
import random

import pytest

from fhir_server.validation.questionnaires import check
from fhir_server.validation.validator import validate
from tests.rooms.fhir_server.validation.questionnaires.knowledge import task
from tests.rooms.fhir_server.validation.questionnaires.samples import form, response

VALUES = {
    "boolean": {"valueBoolean": True},
    "integer": {"valueInteger": 7},
    "decimal": {"valueDecimal": 1.5},
    "string": {"valueString": "x"},
    "date": {"valueDate": "2020-01-01"},
    "choice": {"valueCoding": {"system": "http://x", "code": "a"}},
}
OPTIONS = [{"valueCoding": {"system": "http://x", "code": code}} for code in "abc"]


class Author:
    """Writes a form, and a response to it that has every item."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.count = 0

    def items(self, depth):
        return [self.item(depth) for _ in range(self.random.randint(1, 4))]

    def item(self, depth):
        self.count += 1
        made = {"linkId": f"i{self.count}", "required": self.random.random() < 0.5}
        if depth and self.random.random() < 0.4:
            return {
                **made,
                "type": "group",
                "repeats": self.random.random() < 0.5,
                "item": self.items(depth - 1),
            }
        made["type"] = self.random.choice(sorted(VALUES))
        if made["type"] == "choice":
            made["answerOption"] = OPTIONS
        if depth and self.random.random() < 0.3:
            made["item"] = self.items(depth - 1)
        return made

    def filled(self, items):
        found = []
        for item in items:
            below = item.get("item", [])
            if item["type"] == "group":
                times = self.random.randint(1, 3) if item["repeats"] else 1
                found += [{"linkId": item["linkId"], "item": self.filled(below)} for _ in range(times)]
            else:
                answer = dict(VALUES[item["type"]])
                if below:
                    answer["item"] = self.filled(below)
                found.append({"linkId": item["linkId"], "answer": [answer]})
        return found


def made(seed):
    author = Author(seed)
    items = author.items(3)
    return form(*items), response(*author.filled(items)), author


def lists(node):
    """Yield every list of items in a response."""
    if "item" in node:
        yield node["item"]
        for inner in node["item"]:
            yield from lists(inner)
    for answer in node.get("answer", ()):
        yield from lists(answer)


def errors(questionnaire, answered):
    return [issue for issue in check(answered, task(questionnaire)) if issue.severity == "error"]


@pytest.mark.parametrize("seed", range(60))
def test_right_until_changed(seed):
    questionnaire, answered, author = made(seed)
    assert [issue for issue in validate(questionnaire) if issue.severity == "error"] == []
    assert validate(answered, task(questionnaire)) == []
    chance = author.random
    for _ in range(8):
        changed = copy.deepcopy(answered)
        beside = chance.choice(list(lists(changed)))
        change = chance.choice(["name", "type", "twice", "order", "level"])
        one = chance.choice(beside)
        if change == "name":
            one["linkId"] += "x"
        elif change == "type" and "answer" in one:
            one["answer"][0] = {"valueUri": "http://x"}
        elif change == "twice" and "answer" in one:
            one["answer"].append(copy.deepcopy(one["answer"][0]))
        elif change == "order" and beside[0]["linkId"] != beside[-1]["linkId"]:
            beside.reverse()
        elif change == "level" and beside is not changed["item"]:
            changed["item"].append(copy.deepcopy(one))
        else:
            continue
        assert errors(questionnaire, changed), (change, changed)


@pytest.mark.parametrize("seed", range(40))
def test_nothing_that_is_well_formed_makes_it_stumble(seed):
    questionnaire, answered, _ = made(seed)
    other, strange, _ = made(seed + 1000)
    for asked, given in (
        (questionnaire, strange),
        (other, answered),
        (questionnaire, {**strange, "item": answered["item"] * 2}),
    ):
        assert all(issue.code != "exception" for issue in validate({**given}, task(asked)))
        list(check(given, task(asked)))
