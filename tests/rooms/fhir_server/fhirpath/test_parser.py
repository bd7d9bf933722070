"""fhirpath.parser: precedence, keywords as names, positions of errors."""

from __future__ import annotations

import pytest

from fhir_server.fhirpath import nodes
from fhir_server.fhirpath.errors import FhirPathSyntaxError
from fhir_server.fhirpath.parser import parse


@pytest.mark.parametrize(
    ("loose", "explicit"),
    [
        ("1 + 2 * 3", "1 + (2 * 3)"),
        ("1 - 2 - 3", "(1 - 2) - 3"),
        ("-1 + 2", "(-1) + 2"),
        ("-a.b()", "-(a.b())"),
        ("a | b = c | d", "(a | b) = (c | d)"),
        ("a is X or b", "(a is X) or b"),
        ("1 > 2 is Boolean", "1 > (2 is Boolean)"),
        ("a and b or c", "(a and b) or c"),
        ("a or b and c", "a or (b and c)"),
        ("a implies b or c", "a implies (b or c)"),
        ("a implies b implies c", "(a implies b) implies c"),
        ("a = b and c in d", "(a = b) and (c in d)"),
        ("a & b | c", "(a & b) | c"),
        ("a.b[0].c", "((a.b)[0]).c"),
        ("1 /* two */ + // three\n 2", "1 + 2"),
    ],
)
def test_operators_bind_as_the_grammar_says(loose, explicit):
    assert parse(loose) == parse(explicit)


def test_words_of_the_grammar_may_name_elements():
    assert parse("expansion.contains.as") == parse("expansion.`contains`.`as`")
    assert isinstance(parse("contains contains contains"), nodes.BinaryExpression)


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("", 0, "expected an element"),
        ("a.", 2, "got the end"),
        ("a b", 2, "an operator or the end"),
        ("'open", 0, "never closed"),
        ("1 /* open", 2, "never closed"),
        ("a\n + ~", 5, "line 2 column 4"),
        ("@20", 0, "expected a date"),
        ("a[1", 3, "']'"),
        ("f(1,)", 4, "got ')'"),
        ("a is 5", 5, "the name of a type"),
    ],
)
def test_an_error_names_the_place(text, position, says):
    with pytest.raises(FhirPathSyntaxError) as caught:
        parse(text)
    assert caught.value.position == position
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "text", ["(" * 5000 + "1" + ")" * 5000, "-" * 5000 + "1", "a" + ".a" * 15000, "1" * 50000]
)
def test_a_hostile_expression_is_refused_and_not_a_crash(text):
    with pytest.raises(FhirPathSyntaxError):
        parse(text)
