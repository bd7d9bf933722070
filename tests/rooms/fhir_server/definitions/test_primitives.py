"""The formats of the primitive types."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from fhir_server.definitions import structures
from fhir_server.definitions.primitives import PRIMITIVES, fits

CASES = {
    "base64Binary": (
        ["AAAA", "QQ==", " QUFB\n QUFB\n", "AA==", "AAAA QQ=="],
        [
            "****",
            "AAA",
            "A",
            "",
            " ",
            "AA=A",
            " QU\nFB ",
            "QQ== AAAA",
            "AAAA\u00a0AAAA",
            "ÄAAA",
            5,
            None,
            ["A"],
        ],
    ),
    "boolean": ([True, False], ["true", 1, 0, None, [], Decimal(1)]),
    "canonical": (["http://x|1.0#a", "#a"], ["a b", "", 5]),
    "code": (
        ["final", "a b", "<=", "ü"],
        [" a", "a ", "a  b", "a\tb", "x" * 1048577, "", "\t", 5, None, [], {}],
    ),
    "date": (
        ["2020", "2020-12", "2020-02-29", "2000-02-29", "0001-01-01", "9999-12-31", "0004-02-29"],
        [
            "2021-02-29",
            "1900-02-29",
            "1970-02-30",
            "1970-13-45",
            "1970-1-1",
            "1970-04-31",
            "0000",
            "0000-01-01",
            "2020-01-01T00:00:00Z",
            "20",
            "",
            "2020-00",
            "2020-01-00",
            "２０２０",
            "2020\n",
            2020,
            None,
        ],
    ),
    "dateTime": (
        ["2020", "2020-02-29T23:59:60Z", "2020-01-01T00:00:00.123456789+14:00", "2020-01-01T00:00:00-00:30"],
        [
            "2020-01-01T00:00:00",
            "2020-01-01T00:00Z",
            "2020-01-01T24:00:00Z",
            "2021-02-29T00:00:00Z",
            "2020-01-01T00:00:00+14:30",
            "2020-01T00:00:00Z",
            "2020-01-01T00:00:00z",
            "2020-01-01 00:00:00Z",
        ],
    ),
    "decimal": (
        [1, -0, Decimal("1.0"), 1.5, Decimal("1e-40")],
        ["1.0", True, None, [], float("nan"), float("-inf"), Decimal("NaN"), Decimal("Infinity")],
    ),
    "id": (["a", "A-1.b", "x" * 64], ["bad id!", "a_b", "x" * 65, "", "a\n", 5]),
    "instant": (
        ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00.1+02:00", "2016-12-31T23:59:60Z"],
        [
            "2020",
            "2020-01-01",
            "2020-01-01T00:00:00",
            "2016-12-31T23:59:61Z",
            "0000-01-01T00:00:00Z",
            "2020-01-01T00:00:00,5Z",
            "2021-02-29T00:00:00Z",
        ],
    ),
    "integer": ([0, -2147483648, 2147483647], [2147483648, Decimal("1.0"), Decimal("1.5"), "1", True, None]),
    "markdown": (["# x\n", "\u00a0x", "x" * 1048576], ["", " ", 5, "x" * 1048577]),
    "oid": (
        ["urn:oid:1.2.3", "urn:oid:2.999.0"],
        ["1.2.3", "oid:1.2.3", "urn:oid:1.2.", "URN:OID:1.2", "urn:oid:3.1", "urn:oid:1.02", "urn:oid:1"],
    ),
    "positiveInt": ([1], [0, -1, "1", True]),
    "string": (
        ["x", " x ", "\u202f5", "ü" * 1048576],
        ["", "  ", "ü" * 1048577, "\n", 5, None, True, {}, []],
    ),
    "time": (["23:59:60", "00:00:00.5"], ["24:00:00", "1:00:00", "10:00", "10:00:00Z"]),
    "unsignedInt": ([0], [-1, 2147483648, False]),
    "uri": (["http://x", "urn:oid:1", "a"], ["a b", "", "a\n", 5, None, []]),
    "url": (["http://x"], ["a b", ""]),
    "uuid": (
        ["urn:uuid:c757873d-ec9a-4326-a141-556f43239520"],
        [
            "c757873d-ec9a-4326-a141-556f43239520",
            "urn:uuid:1",
            "urn:uuid:C757873D-EC9A-4326-A141-556F43239520",
        ],
    ),
    "xhtml": (["<div/>"], ["", 5]),
}


@pytest.mark.parametrize("type_name", CASES)
def test_values_are_told_apart(type_name):
    right, wrong = CASES[type_name]
    assert [value for value in right if not fits(type_name, value)] == []
    assert [value for value in wrong if fits(type_name, value)] == []


def test_every_primitive_type_has_a_format():
    primitive = {
        name for name in structures.type_names() if structures.structure(name).kind == "primitive-type"
    }
    assert set(PRIMITIVES) == primitive == set(CASES)


def test_exactly_the_days_of_the_calendar_exist():
    days = {(date(1999, 1, 1) + timedelta(days=number)).isoformat() for number in range(4 * 366)}
    for year in (1999, 2000, 2001, 2002):
        for month in range(14):
            for day in range(33):
                text = f"{year}-{month:02}-{day:02}"
                assert fits("date", text) == (text in days), text
    for year in range(1, 10000):
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        assert fits("date", f"{year:04}-02-29") == leap
