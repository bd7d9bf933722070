"""The official validator cases of module `questionnaire`: errors where they have some, none where not."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from fhir_server.validation.validator import validate
from tests.rooms.fhir_server.validation.questionnaires.knowledge import task

SHARED = Path(os.environ.get("XINGLIN_SHARED", Path(__file__).parents[5] / ".." / "shared"))
SUITE = SHARED / "suites" / "validator"
if not (SUITE / "manifest.json").exists():
    pytest.skip(f"the validator suite is not at {SUITE}; set XINGLIN_SHARED", allow_module_level=True)

CASES = {
    case["name"]: case
    for case in json.loads((SUITE / "manifest.json").read_text())["test-cases"]
    if case.get("module") == "questionnaire"
}
DIFFERENT = {
    "choice-async-qr": "a wrong display of ISO 3166, whose names R4 does not publish",
    "nested-questionnaire-nested-valueset": "an extension that is not known: the check of profiles",
}
"""Where we do not say what the suite says, and why; this table only shrinks."""


def _read(name):
    return json.loads((SUITE / name).read_text(encoding="utf-8-sig"))


def _wanted(case):
    path = SUITE / "outcomes" / case["java"]
    if not path.exists():
        return None
    return [issue for issue in _read(path).get("issue", []) if issue["severity"] in ("error", "fatal")]


def _found(case):
    supporting = [_read(name) for name in case.get("supporting", [])]
    return [issue for issue in validate(_read(case["file"]), task(*supporting)) if issue.severity == "error"]


def _place(expression):
    return re.sub(r"\.ofType\(\w+\)|/\*[^*]*\*/", "", expression or "")


@pytest.mark.parametrize("name", sorted(CASES))
def test_errors_where_the_suite_has_some(name):
    wanted = _wanted(CASES[name])
    if wanted is None:
        pytest.skip("the suite publishes no outcome for this case")
    found = _found(CASES[name])
    assert (bool(found) == bool(wanted)) is (name not in DIFFERENT), (found, wanted)


def test_agreement_in_figures():
    """Prints how many agree (-s), with and without errors, and of the elements how many are named by both."""
    with_errors, without, elements = [], [], []
    for case in CASES.values():
        wanted = _wanted(case)
        if wanted is None:
            continue
        found = _found(case)
        (with_errors if wanted else without).append(bool(found) == bool(wanted))
        places = {_place(issue.expression) for issue in found}
        for issue in wanted:
            place = _place(issue.get("expression", [""])[0])
            near = {place, place.rpartition(".")[0]} | {
                one for one in places if one.rpartition(".")[0] == place
            }
            exact = place in places
            elements.append((exact, bool(near & places)))
            if not near & places:
                print("elsewhere", case["name"], place, sorted(places))
    print(f"with errors {sum(with_errors)}/{len(with_errors)}, without {sum(without)}/{len(without)}")
    print(
        f"elements: same {sum(e for e, _ in elements)}, one step off as well {sum(n for _, n in elements)}",
        len(elements),
    )
    assert sum(with_errors) + sum(without) >= 0.95 * (len(with_errors) + len(without))
