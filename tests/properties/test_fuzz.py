"""Whatever is asked or sent, a running server answers 2xx or refuses with 4xx: never 500, never 503.

Seeded, so a red run repeats; XINGLIN_FUZZ_S=60 goes on for longer with further seeds.
"""

from __future__ import annotations

import copy
import http.client
import os
import random
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from fhir_server.model import json_format
from fhir_server.search.registry import standard
from tests.support.builders import bundle, observation, patient, post, put
from tests.support.clause import clause
from tests.support.http import FHIR_JSON
from tests.support.server import Server

SECONDS = float(os.environ.get("XINGLIN_FUZZ_S", "6"))
TYPES = (
    "Patient", "Observation", "Encounter", "Condition", "MedicationRequest", "MolecularSequence", "ValueSet",
    "Location", "RiskAssessment", "ImagingStudy", "Bundle", "SubstanceSpecification", "Task", "ChargeItem",
)  # fmt: skip
WORDS = r"""
0 -1 1e400 1e39 1e-39 99999999999999999999999 Infinity NaN -infinity infinity gt ap0 0000 0001
ap0001-01-01 ge0001-01-01T00:00:00+14:00 lt9999-12-31T23:59:59.999-14:00 9999-12-31T23:59:60Z ap9999
eb0001 sa9999 2016-12-31T23:59:60Z 2020-02-30 2020-13 24:00 2020-01-01T00:00:00.123456789123Z
2020-05 1970-01-01 \ \\ \, a\ , ,, $ $$ | || ||| a| |a a|b|c \| ' '' ';-- " % %s %(x)s _ %%% [a-z]+(
((( * {0} {r.pk} true false null http:// http://[ http://a/%zz urn:uuid:x Patient/ Patient/1
Patient/1/_history/ #a / 1$2 a$gt5 1$2$3 5.4|http://unitsofmeasure.org|mg 5.4||mg 5||
http://loinc.org|8480-6$gt100 Patient?name=x Patient?name=%00
"""
TEXTS = [
    *WORDS.split(), "Patient/" + "x" * 65, "9" * 60,
    " ", "\t", "\r\n", "\x01", "\x7f", "\0", "\u200b", "e\u0301", "\u0130", "ß", "\ufffd", "\uffff", "😀",
    "x" * 3000, "ä" * 3000, "😀" * 1500,
]  # fmt: skip
MODIFIERS = (
    "", "", "", "", ":exact", ":contains", ":missing", ":not", ":text", ":in", ":above", ":below", ":of-type",
    ":identifier", ":Patient", ":Foo", ":", "::",
)  # fmt: skip
VALUES: list[Any] = [
    None, True, -1, 0, 2**31, 10**39, [], {}, [[]], [None], {"value": 1}, {"reference": 5}, {"coding": "x"},
    {"system": "urn:x", "value": "y"}, {"start": "9999", "end": "0001"}, {"reference": "Patient/1"},
    {"extension": [{"url": "u", "valueDecimal": json_format.number("1e-39")}]}, json_format.number("1e39"),
]  # fmt: skip
SEEDS = (
    patient(
        identifier=[{"system": "urn:a", "value": "1", "period": {"start": "2020"}}],
        birthDate="1970-05-17",
        address=[{"city": "Wien", "line": ["a"]}],
        contact=[{"name": {"family": "X"}}],
        link=[{"other": {"reference": "Patient/1"}, "type": "seealso"}],
        meta={"tag": [{"system": "urn:t", "code": "c"}], "profile": ["http://a.org/p"]},
        extension=[{"url": "http://a.org/e", "valueString": "x"}],
    ),
    observation(
        "Patient/1",
        valueString="x",
        effectivePeriod={"start": "2020-03-10", "end": "2020-03-20T10:00:00Z"},
        component=[
            {
                "code": {"coding": [{"system": "urn:l", "code": "sys"}]},
                "valueQuantity": {"value": json_format.number("1.50"), "unit": "mm", "code": "mm"},
            },
            {
                "code": {"text": "wave"},
                "valueSampledData": {"origin": {"value": 0}, "period": 1, "dimensions": 1, "data": "1 2 E"},
            },
        ],
    ),
    {
        "resourceType": "RiskAssessment",
        "status": "final",
        "subject": {"reference": "Patient/1"},
        "prediction": [{"probabilityRange": {"low": {"value": 1}, "high": {"value": 2}}}],
    },
    {
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {"text": "x"},
        "subject": {"reference": "Patient/1"},
        "dosageInstruction": [{"timing": {"event": ["2020"], "repeat": {"boundsPeriod": {"start": "2020"}}}}],
    },
)


class Fuzz:
    """Makes requests from a seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def query(self) -> tuple[str, str]:
        """Return a type and a query string."""
        chance = self.chance
        type_name = chance.choice(TYPES)
        parameters = list(standard().for_type(type_name).values())
        pairs: list[tuple[str, str]] = []
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            parameter = chance.choice(parameters)
            text = ",".join(chance.choice(TEXTS) for _ in range(chance.choice((1, 1, 1, 2, 5))))
            if chance.random() < 0.2:
                text = chance.choice(("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")) + text
            name = parameter.code + chance.choice(MODIFIERS)
            if parameter.targets and chance.random() < 0.3:
                target = chance.choice(parameter.targets)
                code = chance.choice(list(standard().for_type(target)))
                name = f"{parameter.code}:{target}.{code}{chance.choice(MODIFIERS)}"
            elif chance.random() < 0.05:
                name = f"_has:{chance.choice(TYPES)}:{chance.choice(('patient', 'subject'))}:{name}"
            pairs.append((name, text))
        codes = [parameter.code for parameter in parameters]
        for share, name, some in (
            (0.3, "_sort",
             [chance.choice(("", "-")) + chance.choice(codes) for _ in range(chance.choice((1, 3)))]),
            (0.1, "_count", [chance.choice((*TEXTS, "5"))]),
            (0.1, chance.choice(("_include", "_revinclude", "_include:iterate")),
             [chance.choice((f"{type_name}:*", "*", f"{type_name}:subject", "Observation:subject", *TEXTS))]),
            (0.1, "_elements", [chance.choice(TEXTS)]),
            (0.1, "_summary", [chance.choice((*TEXTS, "count", "true", "data"))]),
            (0.1, "_total", ["accurate"]),
        ):  # fmt: skip
            if chance.random() < share:
                pairs.append((name, ",".join(some)))
        return type_name, urlencode(pairs)

    def resource(self) -> dict[str, Any]:
        """Return a valid resource with one to three things changed, dropped, doubled or moved."""
        made = copy.deepcopy(self.chance.choice(SEEDS))
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            self.change(made)
        return made

    def change(self, made: Any) -> None:
        chance = self.chance
        holder, key = chance.choice(list(_places(made)))
        match chance.randrange(6):
            case 0 | 1:
                holder[key] = chance.choice(TEXTS)
            case 2:
                holder[key] = copy.deepcopy(chance.choice(VALUES))
            case 3 if isinstance(holder, dict):
                holder[chance.choice((f"_{key}", "extension", "id", "value", "valueInteger"))] = holder[key]
            case 4 if isinstance(holder, list):
                holder.extend(copy.deepcopy(holder))
            case _:
                del holder[key]

    def body(self) -> tuple[str, str, Any]:
        """Return method, path and resource of a write."""
        made, kind = self.resource(), self.chance.randrange(4)
        name = made.get("resourceType")
        name = name if isinstance(name, str) and name.isascii() and name.isalpha() else "Patient"
        if kind == 0:
            whole = bundle(
                self.chance.choice(("batch", "transaction")),
                post({**made, "resourceType": name}, "urn:uuid:1"),
                put({**made, "id": "fuzz"}, f"{name}/fuzz"),
                {"request": {"method": "GET", "url": "?".join(self.query())}},
            )
            if self.chance.random() < 0.7:
                self.change(whole)
            return "POST", "/fhir", whole
        if kind == 1:
            return "PUT", f"/fhir/{name}/fuzz", {**made, "id": "fuzz"}
        return "POST", f"/fhir/{name}", made


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for key, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from _places(member)


def _tell(connection: http.client.HTTPConnection, method: str, path: str, body: bytes, kind: str) -> int:
    connection.request(method, path, body, {"Content-Type": kind})
    response = connection.getresponse()
    data = response.read()
    if response.status in (404, 405):
        connection.close()  # refused by the address, so the body may be unread and the connection useless
    if response.status >= 400:
        assert b'"OperationOutcome"' in data
        assert b'"diagnostics"' in data
    # an entry of a batch has a status of its own
    entry_failed = b'"status":"500' in data or b'"status":"503' in data
    return 500 if entry_failed and data.startswith(b'{"resourceType":"Bundle"') else response.status


@clause("R4/http.html#Status-Codes", "hostile searches: 200 or a refusal")
def test_searches(running: Server) -> None:
    fuzz = Fuzz(1)
    connection = http.client.HTTPConnection("127.0.0.1", running.facts["port"], timeout=30)
    over = time.monotonic() + SECONDS
    count = 0
    while time.monotonic() < over and (count < 1500 or SECONDS > 10):
        type_name, query = fuzz.query()
        form = "application/x-www-form-urlencoded"
        status = _tell(connection, "POST", f"/fhir/{type_name}/_search", query.encode(), form)
        assert status in (200, 400), (status, type_name, query[:500])
        count += 1
    assert count > 100


@clause("R4/http.html#Status-Codes", "mutilated resources and Bundles: stored or a refusal")
def test_writes(running: Server) -> None:
    fuzz = Fuzz(2)
    connection = http.client.HTTPConnection("127.0.0.1", running.facts["port"], timeout=30)
    over = time.monotonic() + SECONDS
    stored = refused = 0
    while time.monotonic() < over and (stored + refused < 1500 or SECONDS > 10):
        method, path, resource = fuzz.body()
        data = json_format.encode(resource)
        status = _tell(connection, method, path, data, FHIR_JSON)
        assert status in (200, 201, 400, 404, 405, 412, 422), (status, method, path, data[:2000])
        stored, refused = stored + (status < 300), refused + (status >= 400)
    assert min(stored, refused) > 20
