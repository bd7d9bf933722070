"""Positions: the oracle is the JSON itself, read again from the place that was told."""

from __future__ import annotations

import json
import tarfile
import time
from typing import Any

import pytest

from fhir_server.definitions import structures
from fhir_server.model import elements, json_format, positions
from fhir_server.model.positions import placed, places
from fhir_server.outcome import Issue
from tests.rooms.fhir_server.validation.samples import VALID

BOM = b"\xef\xbb\xbf"


def value_at(text: str, place: tuple[int, int]) -> Any:
    """Read the JSON value that begins at a line and column."""
    line, column = place
    rest = "\n".join(text.split("\n")[line - 1 :])[column - 1 :]
    return json.JSONDecoder().raw_decode(rest)[0]


def spelled(resource: Any) -> list[bytes]:
    compact = json_format.encode(resource)
    plain = json.loads(compact)
    return [
        compact,
        json.dumps(plain, indent=2, ensure_ascii=False).encode(),
        json.dumps(plain, indent=1, separators=(" ,", " : ")).replace("\n", "\r\n").encode(),
    ]


@pytest.mark.parametrize("resource", VALID, ids=lambda resource: str(resource["resourceType"]))
@pytest.mark.parametrize("spelling", range(3))
def test_every_element_is_found_where_it_stands(resource: Any, spelling: int) -> None:
    data = spelled(resource)[spelling]
    nodes = list(elements.walk(resource))
    found = places(data, [node.path for node in nodes])
    for node, place in zip(nodes, found, strict=True):
        assert place is not None
        there = value_at(data.decode(), place)
        expected = node.value if node.value is not None or there is None else node.sibling
        decoder = json.JSONDecoder()
        assert there == decoder.decode(json_format.encode(expected).decode()), node.path


TEXT = """{
 "resourceType": "Patient", "nme": 1,
 "name": [{"given": ["é\U0001f600", null], "_given": [null, {"extension": [{"url": "u"}]}]},
   {"family": "x"}],
 "_birthDate": {"extension": [{"url": "z"}]},
 "birthDate": "2020",
 "contact": {"gender": 5},
 "contained": [{"resourceType": "Observation", "valueQuantity": {"value": 1}}, {"a": {"b": 7}}],
 "deceasedBoolean": true
}"""


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("Patient", "{\n"),
        ("Patient.nme", "1,"),
        ("Patient.name", '[{"given"'),
        ("Patient.name[1].family", '"x"'),
        ("Patient.name[1].use", '{"family"'),
        ("Patient.name[1].given[3]", '{"family"'),
        ("Patient.name[7].given[3]", '[{"given"'),
        ("Patient.name[0].given[1]", "null], "),
        ("Patient.name[0].given[1].extension[0].url", '"u"'),
        ("Patient.birthDate", '"2020"'),
        ("Patient.birthDate.extension[0].url", '"z"'),
        ("Patient._birthDate", '{"extension": [{"url": "z"'),
        ("Patient.contact[0].gender", "5}"),
        ("Patient.contact.gender", "5}"),
        ("Patient.contained[0].value.value", "1}}"),
        ("Patient.contained[1].a.b", "7}}"),
        ("Patient.deceased", "true"),
        ("Patient.gender", "{\n"),
        ("Patient.extension('urn:x').value", "{\n"),
        ("resourceType", '"Patient"'),
    ],
)
def test_the_nearest_element_around_what_is_missing(expression: str, says: str) -> None:
    for data in (TEXT.encode(), BOM + TEXT.encode()):
        [(line, column)] = places(data, [expression])  # type: ignore[misc]
        assert "\n".join(TEXT.split("\n")[line - 1 :])[column - 1 :].startswith(says)


def test_what_is_no_json_has_no_places() -> None:
    for data in (b"", b"{", b"nothing", b"[1]", b'{"a": \xff}', b'{"resourceType": 5}'):
        for place in places(data, ["Patient.name", None]):
            assert place in (None, (1, 1))


def test_an_issue_about_the_request_gets_no_place() -> None:
    issues = [Issue("error", "invalid", "…", "Patient"), Issue("error", "invalid", "…")]
    assert placed(issues, TEXT.encode()) == tuple(issues)
    rule = "http://hl7.org/fhir/StructureDefinition/DomainResource#dom-3"
    ruled = placed([Issue("error", "invariant", "…", "Patient", rule)], TEXT.encode())[0]
    assert (ruled.line, ruled.column) == (1, 1)


def test_a_hundred_issues_in_a_megabyte_cost_a_part_of_reading_it() -> None:
    entry = {"resource": {"resourceType": "Patient", "gender": "x", "name": [{"given": ["y", "z"]}]}}
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [entry] * 12_000}
    data = json_format.encode(bundle)
    wanted = [f"Bundle.entry[{119 * number}].resource.name[0].given[1]" for number in range(100)]
    reading = finding = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        json_format.parse(data)
        middle = time.perf_counter()
        found = positions.places(data, wanted)
        reading, finding = min(reading, middle - start), min(finding, time.perf_counter() - middle)
    assert len(set(found)) == 100
    assert finding < reading


def test_every_element_of_the_official_examples(shared: Any) -> None:
    with tarfile.open(shared("data/r4-examples.tar.xz")) as archive:
        texts = [
            archive.extractfile(member).read()  # type: ignore[union-attr]
            for number, member in enumerate(archive)
            if member.name.endswith(".json") and number % 19 == 0 and member.size < 60_000
        ]
    assert len(texts) > 50
    for data in texts:
        plain, text = json.loads(data), data.decode()
        lines = [0]
        for line in text.split("\n"):
            lines.append(lines[-1] + len(line) + 1)
        if not structures.is_resource_type(plain.get("resourceType")):
            continue
        nodes = list(elements.walk(plain))
        for node, place in zip(nodes, places(data, [node.path for node in nodes]), strict=True):
            assert place is not None
            there, _ = json.JSONDecoder().raw_decode(text, lines[place[0] - 1] + place[1] - 1)
            assert there == (node.value if node.value is not None or there is None else node.sibling), (
                node.path
            )
