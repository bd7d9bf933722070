"""Expressions of strangers: the same answers, and an end."""

from __future__ import annotations

import pytest

from fhir_server.fhirpath import api
from fhir_server.outcome import TooCostly
from tests.rooms.fhir_server.validation.samples import VALID

EXPRESSIONS = [
    "descendants().count()",
    "name.given.where($this.length() > 1).first() | name.family",
    "defineVariable('a', name.count()).select(%a + 1)",
    "name.sort(family).select(given.join(' '))",
    "entry.resource.ofType(Patient).name.aggregate($total & family, '')",
    "iif(gender = 'female', birthDate, 'x') is date",
]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_watching_changes_no_answer(text: str) -> None:
    for resource in VALID:
        plain = api.compile(text).evaluate(resource)
        watched = api.compile_watched(text, api.Watch()).evaluate(resource)
        assert [repr(item) for item in watched] == [repr(item) for item in plain]


@pytest.mark.parametrize(
    ("watch", "says"),
    [
        (api.Watch(steps=20), "too many items"),
        (api.Watch(seconds=0), "longer than 0 s"),
    ],
)
def test_the_end(watch: api.Watch, says: str) -> None:
    expression = api.compile_watched("descendants().descendants()", watch)
    with pytest.raises(TooCostly, match=says):
        expression.evaluate(VALID[0])


def test_joined_texts_stay_in_reach() -> None:
    text = "(1).repeatAll(iif($this < 9000, $this + 1)).select('x').join('" + "y" * 9000 + "')"
    with pytest.raises(api.FhirPathTypeError, match="too long"):
        api.compile_watched(text, api.Watch()).evaluate(VALID[0])
    assert api.compile(text.replace("9000,", "90,")).evaluate(VALID[0])
