"""The official R4 cases of FHIRPath (fhir-r4.yaml of HL7/fhirpath.js), the disabled ones too."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from fhir_server.fhirpath import api

SHARED = Path(os.environ.get("XINGLIN_SHARED", Path(__file__).parents[2] / ".." / "shared"))
FOLDER = SHARED / "suites" / "fhirpath"
if not FOLDER.is_dir():
    pytest.skip(f"the FHIRPath suite is not at {FOLDER}; set XINGLIN_SHARED", allow_module_level=True)


def known_gaps():
    lines = Path(__file__).with_name("fhirpath_known_gaps.txt").read_text("utf-8").splitlines()
    return frozenset(line.partition("#")[0].strip() for line in lines if not line.startswith("#"))


def cases():
    for group in yaml.safe_load((FOLDER / "fhir-r4.yaml").read_text("utf-8"))["tests"]:
        for title, members in group.items():
            if isinstance(members, list):
                for place, case in enumerate(members):
                    name = f"{title.removeprefix('group: ')} / {case['desc'].removeprefix('** ')}"
                    yield pytest.param(name, case, id=f"{name} {place}")


def exact(value):
    """Return a value of the YAML file with floats as the decimals that were written."""
    return Decimal(repr(value)) if isinstance(value, float) else value


def passes(case):
    resource = None
    if case.get("inputfile"):
        text = (FOLDER / "resources" / case["inputfile"]).read_text("utf-8")
        resource = json.loads(text, parse_float=Decimal)
    try:
        found = [api.to_json(item) for item in api.compile(case["expression"]).evaluate(resource)]
    except api.FhirPathError:
        return bool(case.get("error"))
    wanted = [exact(value) for value in case.get("result", [])]
    same_kind = [isinstance(one, bool) for one in found] == [isinstance(one, bool) for one in wanted]
    return not case.get("error") and found == wanted and same_kind


GAPS = known_gaps()


@pytest.mark.parametrize(("name", "case"), list(cases()))
def test_official_case(name, case):
    passed = passes(case)
    if name in GAPS:
        assert not passed, f"{name} passes: take it out of fhirpath_known_gaps.txt"
        assert case.get("disable"), f"{name} is enabled in the suite, so it is a bug and no gap"
        pytest.xfail("a known gap")
    assert passed, case["expression"]
