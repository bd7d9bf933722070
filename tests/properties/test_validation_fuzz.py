"""Whatever bytes arrive as a resource: a clean refusal or an answer, in bounded time, never a crash.

First at the doors of parse and validate, seeded; then a few over the wire. XINGLIN_FUZZ_S=60 goes on
for longer with further seeds.
"""

from __future__ import annotations

import contextlib
import copy
import http.client
import os
import random
import time
import tracemalloc
from typing import Any

import pytest

from fhir_server.definitions import structures
from fhir_server.fhirpath import api
from fhir_server.model import json_format
from fhir_server.observability import events
from fhir_server.outcome import FhirError, Issue, operation_outcome
from fhir_server.validation.validator import MAX_ISSUES, validate
from tests.support import made
from tests.support.clause import clause
from tests.support.http import FHIR_JSON
from tests.support.server import Server

SECONDS = float(os.environ.get("XINGLIN_FUZZ_S", "6"))
SLOW_S = 5.0  # for 400 kB on a busy machine
PATIENT = b'{"resourceType":"Patient",%s}'


def answer(data: bytes) -> list[Issue]:
    """Return what a write of these bytes would be told; any other exception is a crash."""
    try:
        return validate(json_format.parse(data))
    except FhirError as refusal:
        return list(refusal.issues)


def is_clean(issues: list[Issue]) -> bool:
    outcome = json_format.encode(operation_outcome(issues)) if issues else b""
    return len(issues) <= MAX_ISSUES + 1 and len(outcome) < 100_000 and all(i.diagnostics for i in issues)


def deep(left: bytes, right: bytes, levels: int) -> bytes:
    return PATIENT % (b'"x":' + left * levels + b"1" + right * levels)


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b" \n",
    "no JSON": b"\x00\x01\xfe\xff" * 50,
    "HTML": b"<html></html>",
    "XML": b'<Patient xmlns="http://hl7.org/fhir"/>',
    "an array": b"[]",
    "null": b"null",
    "two documents": b"{} {}",
    "cut off": b'{"resourceType":"Patient","name":[{"family":"x',
    "UTF-16": '{"resourceType":"Patient"}'.encode("utf-16"),
    "half of a surrogate pair": PATIENT % rb'"id":"\ud83d"',
    "the other half": PATIENT % rb'"id":"\ude00\ud83d"',
    "half of a pair as a key": PATIENT % rb'"\ud800":1',
    "half of a pair as bytes": PATIENT % b'"id":"\xed\xa0\x80"',
    "overlong UTF-8": PATIENT % b'"id":"\xc0\xaf"',
    "a key twice": PATIENT % b'"active":true,"active":false',
    "a key twice, one escaped": PATIENT % rb'"active":true,"\u0061ctive":false',
    "resourceType twice": PATIENT % b'"resourceType":"Observation"',
    "NaN": PATIENT % b'"multipleBirthInteger":NaN',
    "Infinity": PATIENT % b'"multipleBirthInteger":-Infinity',
    "plus": PATIENT % b'"multipleBirthInteger":+1',
    "hexadecimal": PATIENT % b'"multipleBirthInteger":0x1',
    "leading zero": PATIENT % b'"multipleBirthInteger":01',
    "huge exponent": PATIENT % b'"multipleBirthInteger":1e999999999',
    "tiny exponent": PATIENT % b'"multipleBirthInteger":1e-999999999',
    "many digits": PATIENT % (b'"multipleBirthInteger":' + b"9" * 100_000),
    "many decimals": PATIENT % (b'"multipleBirthInteger":0.' + b"9" * 100_000),
    "huge number before what is no JSON": PATIENT % b'"a":1e400}}',
    "huge number in what is cut off": b'[1e400,{"a":',
    "U+0000": PATIENT % rb'"id":"a\u0000b"',
    "control character": PATIENT % b'"id":"a\x01b"',
    "comment": PATIENT % b'"id":"a"/* x */',
    "trailing comma": PATIENT % b'"id":"a",',
    "single quotes": b"{'resourceType':'Patient'}",
    "deep objects": deep(b'{"x":', b"}", 10_000),
    "deep arrays": deep(b"[", b"]", 100_000),
    "deep and open": b"[" * 300_000,
    "deep questionnaire": b'{"resourceType":"Questionnaire","status":"draft"'
    + b',"item":[{"linkId":"1","type":"group"' * 200
    + b"}]" * 200
    + b"}",
    "10,000 issues": PATIENT % (b'"name":[' + b",".join([b'{"x":1}'] * 10_000) + b"]"),
    "giant array": PATIENT % (b'"name":[{"given":[' + b",".join([b"1"] * 190_000) + b"]}]"),
    "giant array of nulls": PATIENT % (b'"name":[{"given":[' + b",".join([b"null"] * 70_000) + b"]}]"),
    "many keys": PATIENT % b",".join(b'"x%d":1' % number for number in range(40_000)),
    "long key": PATIENT % (b'"' + b"x" * 390_000 + b'":1'),
    "long key twice": PATIENT % b",".join([b'"' + b"x" * 190_000 + b'":1'] * 2),
    "long type": b'{"resourceType":"' + b"P" * 390_000 + b'"}',
    "type that is an object": b'{"resourceType":{}}',
    "long code": PATIENT % (b'"gender":"' + b"x" * 390_000 + b'"'),
    "long id": PATIENT % (b'"id":"' + b"x" * 390_000 + b'"'),
    "long date": PATIENT % (b'"birthDate":"' + b"1" * 390_000 + b'"'),
    "long base64": PATIENT % (b'"photo":[{"data":"' + b"Q Q " * 90_000 + b'"}]'),
    "narrative of many elements": PATIENT
    % (
        b'"text":{"status":"generated","div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">'
        + b"<b>" * 90_000
        + b'"}'
    ),
    "narrative with entities of entities": PATIENT
    % (
        b'"text":{"status":"generated","div":"<!DOCTYPE d [<!ENTITY a \\"x\\"><!ENTITY b \\"&a;&a;&a;\\">]>'
        b'<div xmlns=\\"http://www.w3.org/1999/xhtml\\">&b;</div>"}'
    ),
    "narrative of open tags": PATIENT % (b'"text":{"status":"generated","div":"' + b"<" * 390_000 + b'"}'),
}  # fmt: skip
FINE = {
    "a byte order mark": b"\xef\xbb\xbf" + PATIENT % b'"active":true',
    "a whole pair": PATIENT % rb'"name":[{"family":"\ud83d\ude00"}]',
    "escapes": rb'{"resourceTyp\u0065":"\u0050atient"}',
    "white space everywhere": b' {\n"resourceType"\t:\r\n"Patient" } \n',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_refused_cleanly(name):
    start = time.perf_counter()
    issues = answer(HOSTILE[name])
    assert time.perf_counter() - start < SLOW_S
    assert any(issue.severity == "error" for issue in issues)
    assert is_clean(issues)


@pytest.mark.parametrize("name", FINE)
def test_an_odd_body_is_taken(name):
    assert answer(FINE[name]) == []


@pytest.mark.parametrize("name", ["giant array", "10,000 issues", "many keys", "deep arrays"])
def test_a_hostile_body_takes_bounded_memory(name):
    data = HOSTILE[name]
    answer(PATIENT % b'"active":1')  # what is compiled once does not count
    tracemalloc.start()
    answer(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60_000_000


def _places(value: Any) -> list[tuple[Any, Any]]:
    found, todo = [], [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict | list):
            for key in item if isinstance(item, dict) else range(len(item)):
                found.append((item, key))
                todo.append(item[key])
    return found


VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 10**39, [], {}, [[]], [None], "", " ", "x", "#", "#x", "Patient/1", "2020",
    {"resourceType": "Patient"}, {"resourceType": "Foo"}, {"id": "x"}, {"extension": 5}, {"url": {}},
    {"coding": "x"}, {"reference": 5}, {"reference": ["#"]}, {"div": {}}, [{"contained": 1}],
    {"start": 5, "end": []}, "1e400", "\U0001f600",
)  # fmt: skip


def test_no_mutation_gets_an_exception_out_of_validate():
    """Values, members and parts of resources of all types change places; no check of ours fails."""
    chance = random.Random(int(time.time()) if SECONDS > 10 else 11)
    heard: list[Any] = []
    parts = [made.resource(name, depth) for name in structures.resource_types() for depth in (0, 1)]
    over, count, refused = time.monotonic() + SECONDS, 0, 0
    with events.listening(heard.append):
        while time.monotonic() < over and (count < 4000 or SECONDS > 10):
            resource = copy.deepcopy(chance.choice(parts))
            for _ in range(chance.choice((1, 1, 2, 4))):
                if not resource:
                    break
                holder, key = chance.choice(_places(resource))
                match chance.randrange(6):
                    case 0 | 1:
                        holder[key] = copy.deepcopy(chance.choice(VALUES))
                    case 2:
                        holder[key] = copy.deepcopy(chance.choice(parts))
                    case 3 if isinstance(holder, dict):
                        other, place = chance.choice(_places(chance.choice(parts)))
                        holder[str(place)] = copy.deepcopy(other[place])
                    case 4 if isinstance(holder, dict):
                        holder[f"_{key}"] = copy.deepcopy(holder[key])
                    case _:
                        del holder[key]
            issues = validate(resource)
            assert is_clean(issues)
            assert not [issue for issue in issues if issue.code == "exception"], resource
            count, refused = count + 1, refused + bool(issues)
    assert [event for event in heard if isinstance(event, events.Crashed)] == []
    assert count > 300
    assert refused > count / 4


def test_no_bytes_get_an_exception_out_of_parse():
    chance = random.Random(12)
    seeds = [json_format.encode(made.resource(name, 1)) for name in ("Patient", "Observation", "Bundle")]
    seeds += [PATIENT % b'"a":1.50e2,"b":[1e39,-0.0,"\\ud83d\\ude00"]']
    tokens = [
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b",",
        b":",
        b"\\",
        b"\\u",
        b"1e400",
        b"\xff",
        b"\0",
        b"null",
        b" ",
    ]
    for _ in range(6000):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 2, 5))):
            place = chance.randrange(len(data) + 1)
            match chance.randrange(3):
                case 0:
                    data[place:place] = chance.choice(tokens)
                case 1:
                    del data[place : place + chance.choice((1, 1, 2, 20))]
                case _:
                    data[place : place + 1] = chance.choice(tokens)
        assert is_clean(answer(bytes(data))), data


def test_no_expression_gets_anything_but_its_own_error():
    chance = random.Random(13)
    expressions = sorted({
        structures.invariant(name, key).expression
        for name in structures.type_names()
        for element in structures.structure(name).elements.values()
        for key in element.constraints
    })  # fmt: skip
    resource = made.resource("Observation", 2)
    words = [word for text in expressions for word in text.replace("(", " ( ").split()]
    for _ in range(3000):
        parts = chance.choice(expressions).split(" ")
        parts.insert(chance.randrange(len(parts) + 1), chance.choice(words))
        text = " ".join(parts[: chance.choice((3, 10, 50))])
        with contextlib.suppress(api.FhirPathError):
            api.compile(text).evaluate(resource)


@clause("R4/http.html#Status-Codes", "bytes that are no resource: 400, 413 or 422 with an OperationOutcome")
def test_over_the_wire(running: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.facts["port"], timeout=30)
    for name, data in HOSTILE.items():
        for method, path in (("POST", "/fhir/Patient"), ("PUT", "/fhir/Patient/fuzz"), ("POST", "/fhir")):
            start = time.perf_counter()
            connection.request(method, path, data, {"Content-Type": FHIR_JSON})
            response = connection.getresponse()
            body = response.read()
            assert response.status in (400, 413, 422), (name, method, path, response.status, body[:300])
            assert b'"OperationOutcome"' in body, (name, path)
            assert time.perf_counter() - start < 2 * SLOW_S, (name, path)
            if response.status == 413:
                connection.close()
    connection.request("POST", "/fhir/Patient", FINE["a whole pair"], {"Content-Type": FHIR_JSON})
    assert connection.getresponse().status == 201
