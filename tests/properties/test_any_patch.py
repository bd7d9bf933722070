"""Any patch, however odd, is applied or refused: nothing else happens, and what it was applied to stays."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from fhir_server.definitions import structures
from fhir_server.interactions.context import Settings
from fhir_server.interactions.patch import (
    patched,
    read_fhirpath_patch,
    read_json_patch,
    read_xml_patch,
)
from fhir_server.model import json_format, xml_format
from fhir_server.outcome import FhirError
from fhir_server.storage.version import Version
from fhir_server.validation.validator import validate
from tests.support.made import resource, value

SETTINGS = Settings(base_urls=("http://127.0.0.1/fhir",))
TYPES = ("Patient", "Observation", "Encounter", "Bundle", "ValueSet")
FIELDS = [
    field for key, field in structures.fields("Parameters.parameter").items() if key.startswith("value")
]


def pointers(document: Any, path: str = "") -> list[str]:
    """Return the pointers of a document."""
    found = [path]
    if isinstance(document, dict | list):
        for name, member in document.items() if isinstance(document, dict) else enumerate(document):
            found += pointers(member, f"{path}/{name}")
    return found


def paths(document: dict[str, Any]) -> list[str]:
    """Return FHIRPaths, good ones and others."""
    found = []
    for pointer in pointers(document)[1:]:
        text = document["resourceType"]
        for step in pointer[1:].split("/"):
            text += f"[{step}]" if step.isdigit() else f".{step}"
        found += [text, text.rpartition("[")[0] or text]
    return [*found, document["resourceType"], "'x'", "$this", "%resource", "descendants()", "1 | 2", "div"]


def is_faulty(document: dict[str, Any]) -> bool:
    """Say whether an update would be refused for the structure; the documents here do not keep all rules."""
    return any(issue.severity == "error" and issue.code != "invariant" for issue in validate(document))


def of_json(document: dict[str, Any], dice: random.Random) -> bytes:
    there = pointers(document)
    other = [f"{dice.choice(there)}/{dice.choice(('-', '0', '9', 'x', 'extension'))}" for _ in range(9)]
    values = [None, [], {}, "x", 5, True, [{}], document, {"url": "urn:x", "valueString": "x"}]

    def one() -> dict[str, Any]:
        op = dice.choice(("add", "remove", "replace", "move", "copy", "test"))
        return {"op": op, "path": dice.choice(there + other), "from": dice.choice(there + other),
                "value": dice.choice(values)}  # fmt: skip

    return json_format.encode([one() for _ in range(dice.randint(1, 4))])


def of_fhirpath(document: dict[str, Any], dice: random.Random) -> bytes:
    there = paths(document)
    names = [*structures.fields(document["resourceType"]), "value", "extension", "id", "item", "url", "x"]

    def held(name: str, depth: int = 0) -> dict[str, Any]:
        roll = dice.random()
        if roll < 0.1:
            return {"name": name, "resource": resource("Basic")}
        if roll < 0.4 and depth < 2:
            return {"name": name, "part": [held(dice.choice(names), depth + 1) for _ in range(2)]}
        field = dice.choice(FIELDS)
        return {"name": name, field.key: value(field, 0)}

    def one() -> dict[str, Any]:
        kind = dice.choice(("add", "insert", "delete", "replace", "move"))
        parts: list[dict[str, Any]] = [
            {"name": "type", "valueCode": kind},
            {"name": "path", "valueString": dice.choice(there)},
        ]
        if kind == "add":
            parts.append({"name": "name", "valueString": dice.choice(names)})
        if kind in ("add", "insert", "replace"):
            parts.append(held("value"))
        for name in {"insert": ("index",), "move": ("source", "destination")}.get(kind, ()):
            parts.append({"name": name, "valueInteger": dice.choice((-1, 0, 0, 1, 2))})
        return {"name": "operation", "part": parts}

    made = [one() for _ in range(dice.randint(1, 4))]
    return json_format.encode({"resourceType": "Parameters", "parameter": made})


def of_xml(document: dict[str, Any], dice: random.Random) -> bytes:
    ways = [pointer for pointer in pointers(document) if pointer]

    def selector() -> str:
        steps = [document["resourceType"]]
        for step in dice.choice(ways)[1:].split("/"):
            if step.isdigit():
                steps[-1] += f"[{int(step) + 1}]"
            else:
                steps.append(step)
        return "/".join(steps) + dice.choice(("", "", "/@value", "/text()", "/@id", "/comment()[1]", "/*[1]"))

    contents = ["x", "", "<x/>", "<name><text value='x'/></name>", "<status value='x'/>", "<!-- x -->",
                "<extension url='urn:x'><valueString value='x'/></extension>"]  # fmt: skip

    def one() -> str:
        content = dice.choice(contents)
        where, name = dice.choice(("", "pos='before'", "pos='after'")), dice.choice(("id", "value", "url"))
        forms = (
            f"<add sel='{selector()}' {where}>{content}</add>",
            f"<add sel='{selector()}' type='@{name}'>x</add>",
            f"<replace sel='{selector()}'>{content}</replace>",
            f"<remove sel='{selector()}'/>",
        )
        return dice.choice(forms)

    made = "".join(one() for _ in range(dice.randint(1, 3)))
    return f"<diff xmlns='http://hl7.org/fhir'>{made}</diff>".encode()


@pytest.mark.parametrize(
    ("make", "read"),
    [(of_json, read_json_patch), (of_fhirpath, read_fhirpath_patch), (of_xml, read_xml_patch)],
    ids=["json", "fhirpath", "xml"],
)
@pytest.mark.parametrize("type_name", TYPES)
def test_a_patch_is_applied_or_refused(
    type_name: str,
    make: Callable[[dict[str, Any], random.Random], bytes],
    read: Callable[[bytes, Settings], Any],
) -> None:
    dice = random.Random(f"{type_name} {make.__name__}")
    document = resource(type_name, 2)
    assert not is_faulty(document)
    content = json_format.encode(
        {name: member for name, member in document.items() if name != "resourceType"}
    ).decode()
    version = Version(1, type_name, "7", 1, "2026-01-02T03:04:05.678Z", "POST", content)
    given = json_format.parse(version.text().encode())
    applied, refused = 0, set()
    for _ in range(300):
        patch = make(given, dice)
        try:
            made = patched(SETTINGS, version, type_name, "7", read(patch, SETTINGS), None).resource
            assert made == patched(SETTINGS, version, type_name, "7", read(patch, SETTINGS), None).resource
        except FhirError as error:
            refused.add(error.status)
            continue
        if is_faulty(made):
            continue
        applied += 1
        assert xml_format.parse(xml_format.encode(made)) == made
    assert applied
    assert refused <= {400, 413, 422}
