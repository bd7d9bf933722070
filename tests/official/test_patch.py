"""The published cases of FHIRPath Patch and XML Patch (HL7) and JSON Patch (RFC 6902, appendix A)."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from fhir_server.fhirpath import patch as fhirpath_patch
from fhir_server.model import json_format, json_patch, xml_format, xml_patch
from fhir_server.outcome import FhirError

SHARED = Path(os.environ.get("XINGLIN_SHARED", Path(__file__).parents[2] / ".." / "shared"))
FOLDER = SHARED / "suites" / "patch"
if not FOLDER.is_dir():
    pytest.skip(f"the patch suites are not at {FOLDER}; set XINGLIN_SHARED", allow_module_level=True)


def known_gaps() -> frozenset[str]:
    lines = Path(__file__).with_name("patch_known_gaps.txt").read_text("utf-8").splitlines()
    return frozenset(line.partition("  #")[0].strip() for line in lines if not line.startswith("#"))


GAPS = known_gaps()
JSON_CASES = json_format.parse_value((FOLDER / "json-patch-tests.json").read_bytes())
XML_CASES = xml_patch.read((FOLDER / "xml-patch-tests.xml").read_bytes()).findall("case")
FHIRPATH_CASES = list(ElementTree.parse(FOLDER / "fhir-patch-tests.xml").getroot())


def held(name: str, passed: bool) -> None:
    assert passed or name in GAPS, f"{name} fails"
    assert not (passed and name in GAPS), f"{name} passes: take it off the list of known gaps"


def test_every_known_gap_is_a_case() -> None:
    names = {f"json/{case['comment']}" for case in JSON_CASES}
    names |= {f"fhirpath/{case.get('name')}" for case in FHIRPATH_CASES}
    names |= {f"xml/{case.get('name')}" for case in XML_CASES}
    assert names >= GAPS
    assert (len(JSON_CASES), len(XML_CASES), len(FHIRPATH_CASES)) == (16, 29, 33)


@pytest.mark.parametrize("case", JSON_CASES, ids=lambda case: case["comment"])
def test_json_patch(case: dict[str, Any]) -> None:
    try:
        patch = json_patch.operations(case["patch"])
        passed = json_patch.apply(case["doc"], patch) == case.get("expected", case)
    except FhirError:
        passed = "error" in case
    held(f"json/{case['comment']}", passed)


@pytest.mark.parametrize("case", FHIRPATH_CASES, ids=lambda case: case.get("name"))
def test_fhirpath_patch(case: ElementTree.Element) -> None:
    wanted, error = resource(case, "output"), case.find("error")
    given = resource(case, "input")
    assert given is not None
    try:
        patch = fhirpath_patch.operations(resource(case, "diff") or {})
        passed = fhirpath_patch.apply(given, patch) == wanted and error is None
    except FhirError:
        passed = error is not None
    held(f"fhirpath/{case.get('name')}", passed)


def resource(case: ElementTree.Element, name: str) -> dict[str, Any] | None:
    node = case.find(name)
    return None if node is None else xml_format.parse(ElementTree.tostring(node[0]))


@pytest.mark.parametrize("case", XML_CASES, ids=lambda case: case.get("name"))
def test_xml_patch(case: ElementTree.Element) -> None:
    targets, wanted, error = case.find("target"), case.find("patched"), case.find("error")
    patch = case.find("{http://hl7.org/fhir}patch")
    assert targets is not None
    assert patch is not None
    try:
        made = xml_patch.apply(
            targets[0] if len(targets) else None, xml_patch.operations(ElementTree.tostring(patch))
        )
        passed = wanted is not None and shape(xml_patch.read(xml_patch.written(made))) == shape(wanted[0])
    except FhirError:
        passed = error is not None
    held(f"xml/{case.get('name')}", passed)


def shape(node: ElementTree.Element) -> tuple[Any, ...]:
    """Return what must be equal of two documents: white space between elements need not be."""
    tag = node.tag if isinstance(node.tag, str) else "comment"
    below = [(shape(child), (child.tail or "").strip()) for child in node]
    return tag, sorted(node.attrib.items()), (node.text or "").strip(), below
