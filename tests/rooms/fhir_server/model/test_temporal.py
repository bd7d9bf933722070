"""Dates as intervals: precision, zones, the ends of time and what does not exist."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from fhir_server.model.temporal import interval
from fhir_server.outcome import Invalid

BERLIN = ZoneInfo("Europe/Berlin")


def shown(text, zone=UTC):
    return [moment.isoformat().replace("+00:00", "Z") for moment in interval(text, zone)]


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("2020", "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"),
        ("2020-12", "2020-12-01T00:00:00Z", "2021-01-01T00:00:00Z"),
        ("2020-02-29", "2020-02-29T00:00:00Z", "2020-03-01T00:00:00Z"),
        ("2020-01-15T10:30Z", "2020-01-15T10:30:00Z", "2020-01-15T10:31:00Z"),
        ("2020-01-15T10:30:05", "2020-01-15T10:30:05Z", "2020-01-15T10:30:06Z"),
        ("2020-01-15T10:30:05+02:00", "2020-01-15T08:30:05Z", "2020-01-15T08:30:06Z"),
        ("2020-01-15T10:30:05.1Z", "2020-01-15T10:30:05.100000Z", "2020-01-15T10:30:05.200000Z"),
        ("2020-01-15T10:30:05.120Z", "2020-01-15T10:30:05.120000Z", "2020-01-15T10:30:05.121000Z"),
        (
            "2020-01-15T10:30:05.123456789Z",
            "2020-01-15T10:30:05.123456Z",
            "2020-01-15T10:30:05.123457Z",
        ),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z", "2017-01-01T00:00:01Z"),
        ("9999", "9999-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999Z"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "0001-01-01T00:00:01Z"),
        ("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_text_names_an_interval(text, low, high):
    assert shown(text) == [low, high]


def test_a_text_without_a_zone_is_meant_in_the_given_one():
    assert shown("2020-07-01", BERLIN) == ["2020-06-30T22:00:00Z", "2020-07-01T22:00:00Z"]
    assert shown("2020", BERLIN) == ["2019-12-31T23:00:00Z", "2020-12-31T23:00:00Z"]
    assert shown("2020-07-01T10:00:00Z", BERLIN)[0] == "2020-07-01T10:00:00Z"
    # The clocks go forward on the 29th: that day has 23 hours.
    low, high = interval("2020-03-29", BERLIN)
    assert (high - low).total_seconds() == 23 * 3600


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20",
        "2020-1-1",
        "2020-13",
        "2020-02-30",
        "2021-02-29",
        "0000",
        "2020-01-01T24:00:00Z",
        "2020-00-01",
        "2020-01-01T10:00:61Z",
        "2020-01-01T10:60:00Z",
        "2020-01-01T10Z",
        "2020-01-01T10:00:00+14:30",
        "2020-01-01T10:00:00+0200",
        "2020-01-01 10:00:00Z",
        "2020-01-01T10:00:00.Z",
        "２０２０",
        "2020-01-01\n",
    ],
)
def test_what_names_no_moment_is_refused(text):
    with pytest.raises(Invalid):
        interval(text)


def test_the_ends_are_aware_and_in_utc():
    assert all(
        moment.tzinfo is UTC for text in ("2020", "9999", "2020-01-01T00:00:00Z") for moment in interval(text)
    )
    assert interval("2020")[0] == datetime(2020, 1, 1, tzinfo=UTC)
