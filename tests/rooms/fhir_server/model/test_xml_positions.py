"""Line and column of elements in XML."""

from __future__ import annotations

import tarfile
from typing import Any

from fhir_server.model import elements, json_format, positions, xml_format
from fhir_server.outcome import Issue

PREFIXED = (
    '\ufeff<f:Patient xmlns:f="http://hl7.org/fhir">\n'
    "  <f:contained><f:Group/></f:contained>\n  <f:contained>\n    <f:Group>\n"
    '      <f:type value="x"><f:extension url="ü"/> <f:extension url="u"/></f:type></f:Group></f:contained>\n'
    '  <f:multipleBirthInteger value="1"/>\n</f:Patient>'
)


def test_places() -> None:
    wanted = {
        "Patient": (1, 1),
        "Patient.contained[0]": (2, 3),
        "Patient.contained[1].type": (5, 7),
        "Patient.contained[1].type.extension[1].url": (5, 48),
        "Patient.contained[1].name": (3, 3),
        "Patient.contained": (2, 3),
        "Patient.multipleBirth": (6, 3),
        "Patient.multipleBirth[0]": (6, 3),
        "Patient.name[3].family": (1, 1),
        "Observation.resourceType": (1, 1),
    }
    assert positions.places(PREFIXED.encode(), list(wanted)) == list(wanted.values())
    assert positions.places(b"<a", ["Patient"]) == [None]


def test_issues_in_a_bundle() -> None:
    entry = {"resource": {"resourceType": "Patient", "gender": "x"}}
    text = xml_format.encode({"resourceType": "Bundle", "entry": [entry, entry]}, pretty=True)
    issue = Issue("error", "code-invalid", "…", "Bundle.entry[1].resource.gender")
    [found] = positions.placed([issue], text)
    assert text.split(b"\n")[found.line - 1][found.column - 1 :] == b'<gender value="x"/>'  # type: ignore[operator]


def test_every_element_of_the_official_examples(shared: Any) -> None:
    count = 0
    with tarfile.open(shared("data/r4-examples.tar.xz")) as archive:
        for number, member in enumerate(archive):
            if not member.isfile() or number % 31 or member.size > 60_000:
                continue
            resource = json_format.parse(archive.extractfile(member).read())  # type: ignore[union-attr]
            text = xml_format.encode(resource, pretty=True)
            lines = text.decode().split("\n")
            nodes = list(elements.walk(resource))
            found = positions.places(text, [node.path for node in nodes])
            for node, place in zip(nodes, found, strict=True):
                assert node.field is not None
                assert place is not None
                if (node.field.key == "url" and "extension" in node.path.lower()) or node.field.key == "id":
                    continue  # attributes: the place is that of the element
                there = lines[place[0] - 1][place[1] - 1 :]
                assert there.startswith(f"<{node.field.key}"), (member.name, node.path, there)
                count += 1
    assert count > 5000
