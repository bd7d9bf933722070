"""Cursors: back to what was put in, for nobody else, about nothing else."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.outcome import Invalid
from fhir_server.search import paging
from fhir_server.search.order import Position

KEY = b"a key of thirty-two bytes, secret"[:32]
PAIRS = [("name", "Chalmers"), ("_sort", "-birthdate"), ("_count", "5")]
VALUES = st.lists(st.none() | st.integers(-(2**53), 2**53) | st.text(max_size=50), max_size=6)


@given(VALUES, st.text(max_size=20))
def test_what_is_sealed_comes_back(values: list[object], purpose: str) -> None:
    assert paging.unseal(KEY, paging.seal(KEY, values, purpose), purpose) == tuple(values)


def test_a_page_comes_back() -> None:
    position = Position(7, ("1980-01-01 00:00:00+00", None), backward=True)
    cursor = paging.seal_page(KEY, "Patient", PAIRS, position)
    assert paging.unseal_page(KEY, "Patient", cursor) == (PAIRS, position)
    with pytest.raises(Invalid):
        paging.unseal_page(KEY, "Practitioner", cursor)


def test_a_cursor_says_nothing() -> None:
    cursor = paging.seal_page(KEY, "Patient", PAIRS, Position(7, ("Chalmers",)))
    sealed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    assert b"Chalmers" not in sealed
    assert b"name" not in sealed
    assert cursor == paging.seal_page(KEY, "Patient", PAIRS, Position(7, ("Chalmers",)))
    assert cursor != paging.seal_page(b"another key" * 3, "Patient", PAIRS, Position(7, ("Chalmers",)))
    assert len(cursor) < 250


def test_equal_beginnings_do_not_show() -> None:
    # A stream cipher under a fixed nonce would give equal beginnings here.
    first, second = (paging.seal(KEY, ["same same same same", n]) for n in (1, 2))
    assert first[:8] != second[:8]
    assert first[24:40] != second[24:40]


def test_nobody_else_makes_one() -> None:
    cursor = paging.seal(KEY, [1, "x"])
    sealed = bytearray(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    random = Random(1)
    for _ in range(200):
        forged = bytearray(sealed)
        forged[random.randrange(len(forged))] ^= 1 << random.randrange(8)
        with pytest.raises(Invalid):
            paging.unseal(KEY, urlsafe_b64encode(bytes(forged)).rstrip(b"=").decode())
    for wrong in (
        "",
        "A",
        "AAAA",
        cursor[:-3],
        cursor + "AAAA",
        "é",
        "*" * 30,
        "A" * 20_000,
        cursor[:20] + " ",
    ):
        with pytest.raises(Invalid):
            paging.unseal(KEY, wrong)
    with pytest.raises(Invalid):
        paging.unseal(b"k" * 32, cursor)
    with pytest.raises(Invalid):
        paging.unseal(KEY, cursor, "another purpose")
