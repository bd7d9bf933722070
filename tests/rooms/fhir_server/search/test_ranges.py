"""Numbers and dates as intervals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.outcome import Invalid
from fhir_server.search import moments, ranges


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("100", "99.5", "100.5"),
        ("100.00", "99.995", "100.005"),
        ("1e2", "95", "105"),
        ("1.0e2", "95", "105"),
        ("5.40e-3", "0.005395", "0.005405"),
        ("-2", "-2.5", "-1.5"),
        ("0", "-0.5", "0.5"),
        ("0.0", "-0.05", "0.05"),
        (".5", "0.45", "0.55"),
        ("+7", "6.5", "7.5"),
        ("100.", "99.5", "100.5"),
    ],
)
def test_interval(text: str, low: str, high: str) -> None:
    found = ranges.read(text)
    assert (found.low, found.high) == (Decimal(low), Decimal(high))


@given(st.from_regex(r"\A-?[0-9]{1,30}(\.[0-9]{1,25})?\Z"))
def test_a_number_lies_inside_its_own_interval(text: str) -> None:
    found = ranges.read(text)
    assert found.low < found.value < found.high
    assert found.high - found.value == found.value - found.low


@pytest.mark.parametrize(
    "text", ["", "five", "1,5", "0x10", "1e", "NaN", "Infinity", "٣", "1e999999", "9" * 80, "eq"]
)
def test_no_number(text: str) -> None:
    with pytest.raises(Invalid):
        ranges.read(text)


@pytest.mark.parametrize(
    "text", ["", "gestern", "2020-13", "2020-02-30", "20200101", "2020-01-01T25:00", "ge", "eq2020-"]
)
def test_no_date(text: str) -> None:
    with pytest.raises(Invalid, match="write for example"):
        moments.read(text)


def test_zone_less_dates_are_in_the_zone_that_was_set() -> None:
    berlin = moments.read("2024-07-01", ZoneInfo("Europe/Berlin"))
    assert berlin.low == datetime(2024, 6, 30, 22, tzinfo=UTC)
    assert moments.read("2024-07-01T10:00Z", ZoneInfo("Europe/Berlin")).low.hour == 10


def test_a_plus_that_became_a_space_is_a_plus() -> None:
    assert moments.read("2024-07-01T10:00:00 02:00").low == datetime(2024, 7, 1, 8, tzinfo=UTC)


def test_approximately_is_a_tenth_of_the_distance_from_now() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    found = moments.read("ap2025-12-22", now=now)
    assert found.slack == timedelta(hours=9.5 * 24) / 10
    assert moments.moved(datetime(9999, 12, 31, tzinfo=UTC), timedelta(days=9)) > found.high
