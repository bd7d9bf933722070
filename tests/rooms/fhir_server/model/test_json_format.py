"""JSON in and out: exact numbers, and nothing that JSON, FHIR or the database would not keep."""

import contextlib
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.model import json_format
from fhir_server.outcome import Invalid

SPELLINGS = [
    "1.50",
    "1.0",
    "0.00",
    "-0.0",
    "1e-7",
    "1.0e2",
    "1E5",
    "0.0000001",
    "-1.5E+3",
    "1234567890123456789012345",
]


def refusal(data: bytes, **options: int) -> list[str]:
    with pytest.raises(Invalid) as caught:
        json_format.parse(data, **options)
    return [issue.diagnostics for issue in caught.value.issues]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_numbers_come_back_digit_for_digit(spelling):
    data = b'{"a":[' + spelling.encode() + b"]}"
    value = json_format.parse(data)
    assert json_format.encode(value) == data
    assert value["a"][0] == Decimal(spelling)


@pytest.mark.parametrize(
    ("spelling", "kept"),
    [
        ("1e41", False),
        ("1e40", True),
        ("1e-40", True),
        ("1e-41", False),
        ("0e-41", False),
        ("1e131071", False),
        ("0." + "1" * 40, True),
        ("0." + "1" * 41, False),
        ("9" * 40, True),
        ("9" * 41, False),
        ("9" * 5000, False),
        ("1e99999999999999999999", False),
        ("1" + "0" * 41, False),
        ("1." + "0" * 40, False),
    ],
)
def test_numbers_are_bounded(spelling, kept):
    data = b'{"resourceType":"Observation","valueQuantity":{"value":' + spelling.encode() + b"}}"
    if kept:
        assert json_format.encode(json_format.parse(data)) == data
    else:
        with pytest.raises(Invalid, match="line 1, column 56") as caught:
            json_format.parse(data)
        if len(spelling) < 4000:
            assert caught.value.issues[0].expression == "Observation.value.value"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"[]", "an array"),
        (b"null", "null"),
        (b'{"a": 1,}', "line 1, column 9: not JSON: trailing comma in object"),
        (b'{"a": 1\n  "b": 2}', "line 2, column 3: not JSON: expected ',' or '}'"),
        ('{"ä": "ö",\n x}'.encode(), "line 2, column 2: not JSON"),
        (b'{"a": NaN}', "line 1, column 7: not JSON"),
        (b'{"a": -Infinity}', "line 1, column 8: not JSON"),
        (b'{"a": 01}', "not JSON: invalid number"),
        (b'{"a": 1.}', "not JSON: invalid number"),
        (b'{"a": .5}', "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1', "line 1, column 8: not JSON: it ends too early"),
        (b'{"a": "x\ny"}', "not JSON: invalid character"),
        (b'{"a": "\\x"}', "not JSON: invalid escape"),
        (b'{"a": "\xff"}', "line 1, column 8: not UTF-8: byte 0xff"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        (b'{"a": "\\ud800"}', "line 1, column 8: \\ud800 is half of a surrogate pair"),
        (b'{"a": "\\ude00\\ud83d"}', "half of a surrogate pair"),
        (b'{"a": "\\ud83d\\ude00\\ud83d"}', "line 1, column 20: \\ud83d is half"),
        (b'{"a": "x\\u0000y"}', "line 1, column 9: U+0000"),
        (b'{"\\u0000": 1}', "U+0000"),
    ],
)
def test_what_is_no_json_of_ours_is_refused_with_its_place(data, message):
    assert message in refusal(data)[0]


def test_an_escaped_backslash_before_u0000_is_text():
    assert json_format.parse(b'{"a": "\\\\u0000"}') == {"a": "\\u0000"}


def test_a_byte_order_mark_is_passed_over():
    assert json_format.parse(b"\xef\xbb\xbf{}") == {}


@pytest.mark.parametrize("depth", [64, 65, 900, 5000])
@pytest.mark.parametrize("pair", ["[]", "{}"])
def test_depth_is_bounded(depth, pair):
    opened, closed = ('{"a":' if pair == "{}" else "["), pair[1]
    data = (
        '{"resourceType":"Patient","x":' + opened * (depth - 2) + pair + closed * (depth - 2) + "}"
    ).encode()
    if depth <= 64:
        assert json_format.parse(data)
    else:
        assert "nested deeper than 64" in refusal(data)[0]


def test_brackets_in_strings_are_no_depth():
    data = json.dumps({"a": ["[{" * 100, '"[[' * 100, "\\"] * 20}).encode()
    assert json_format.parse(data)
    hidden = b'{"}": {"}": {"}": 1, "{": 1}, "{": 1}, "{": 1}'
    assert "deeper than 2" in refusal(hidden, max_depth=2)[0]


def _nested(value):
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inside is None else 1 + max(map(_nested, inside), default=0)


@given(
    st.dictionaries(
        st.text('{}[]"\\a', max_size=4),
        st.recursive(
            st.text('{}[]"\\a', max_size=6),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('}]"\\', max_size=3), inner),
            max_leaves=12,
        ),
    ),
    st.sampled_from([None, 1]),
)
def test_depth_is_that_of_the_value_whatever_its_strings_hold(value, indent):
    data, depth = json.dumps(value, indent=indent).encode(), _nested(value)
    assert json_format.parse(data, max_depth=depth) == value
    if depth > 1:
        assert f"deeper than {depth - 1}" in refusal(data, max_depth=depth - 1)[0]


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"a" : 1, "b":[{"c":1}, {"c" :1, "c": ""}]}',
        b'{"a" :":","a":":"}',
        b'{"a":"\\":","a":1}',
        b'{"a":1e5,"x":1E5,"a":1}',
        b'{"":0,"":0}',
        b'{"a":"\\/","a":"\\/\\/\\/"}',
    ],
)
def test_a_member_twice_is_refused(data):
    assert any("stands twice" in message for message in refusal(data))


def test_every_member_that_stands_twice_is_named():
    with pytest.raises(Invalid) as caught:
        json_format.parse(
            b'{"resourceType":"Patient","name":[{"family":"a"},\n'
            b' {"family":"b","family":"c"}],"id":"1","id":"2"}'
        )
    found = [(issue.expression, issue.diagnostics.partition(":")[0]) for issue in caught.value.issues]
    assert found == [("Patient.name[1].family", "line 2, column 16"), ("Patient.id", "line 2, column 40")]


numbers = st.integers(min_value=-(10**40) + 1, max_value=10**40 - 1) | st.builds(
    lambda sign, whole, part, exponent: json_format.number(f"{sign}{whole}.{part}{exponent}"),
    st.sampled_from(["", "-"]),
    st.integers(0, 10**12),
    st.from_regex(r"[0-9]{1,15}", fullmatch=True),
    st.sampled_from(["", "e3", "E-7", "e+10"]),
)
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.text(
    ':"{}[]\\,u0 \n', max_size=8
)
values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(text, values, max_size=5))
def test_what_is_encoded_is_parsed_again(value):
    data = json_format.encode(value)
    assert json_format.parse(data) == value
    assert json_format.encode(json_format.parse(data)) == data


@given(st.dictionaries(text, values, max_size=5), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_any_spelling_of_the_same_value_is_read(value, indent, ascii_only):
    plain = json.dumps(json.loads(json_format.encode(value)), indent=indent, ensure_ascii=ascii_only)
    assert json_format.parse(plain.encode()) == json.loads(plain, parse_float=Decimal)


@st.composite
def doubled(draw):
    """An object in which one member, somewhere, stands twice."""
    members = draw(st.lists(st.tuples(text, values), min_size=1, max_size=4))
    name, _ = draw(st.sampled_from(members))
    members.insert(draw(st.integers(0, len(members))), (name, draw(values)))
    space, ascii_only = draw(st.sampled_from(["", " ", "\n\t"])), draw(st.booleans())
    body = ",".join(
        json.dumps(key, ensure_ascii=ascii_only) + space + ":" + json_format.encode(member).decode()
        for key, member in members
    )
    for wrap in draw(st.lists(st.sampled_from(['{"a":X}', '{"b" : [1, X]}', '{":":[X,":"]}']), max_size=3)):
        body = wrap.replace("X", "{" + body + "}", 1)[1:-1]
    return ("{" + body + "}").encode()


@given(doubled())
def test_no_member_twice_goes_unseen(data):
    assert any("stands twice" in message for message in refusal(data))


@given(st.binary(max_size=60) | st.text('{}[]":,\\u0dD8 1e.-tfn', max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(data):
    with contextlib.suppress(Invalid):
        assert json_format.parse(data) == json.loads(data, parse_float=Decimal)
