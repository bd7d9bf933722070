"""The lexer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.search import values

ODD = st.text(alphabet="ab,|$\\ é")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b", ["a", "b"]),
        (r"a\,b", ["a,b"]),
        (r"a\\,b", ["a\\", "b"]),
        (r"a\\\,b", ["a\\,b"]),
        ("", [""]),
        (",", ["", ""]),
        ("a\\", ["a\\"]),
        (r"a\nb", [r"a\nb"]),
        (r"\$\|", ["$|"]),
    ],
)
def test_alternatives(text: str, parts: list[str]) -> None:
    assert [values.unescape(part) for part in values.split(text, ",")] == parts


@given(st.lists(ODD, min_size=1, max_size=4))
def test_what_is_escaped_comes_back(parts: list[str]) -> None:
    joined = ",".join(map(values.escape, parts))
    assert [values.unescape(part) for part in values.split(joined, ",")] == parts


@given(ODD)
def test_a_value_without_backslash_is_itself(text: str) -> None:
    if "\\" not in text:
        assert values.unescape(text) == text
