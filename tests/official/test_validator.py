"""The R4 cases of the official validator's tests (FHIR/fhir-test-cases): with errors, or without.

Each run (a resource alone, and with a profile where the case names one) agrees when we find an error
exactly where the official validator finds one. What we do not agree on stands in
validator_known_gaps.txt with its reason; where both find errors, but none at the same element, in
validator_other_places.txt.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fhir_server.definitions.conformance import Conformance
from fhir_server.definitions.core import Core
from fhir_server.model import json_format, xml_format
from fhir_server.outcome import Invalid, Issue
from fhir_server.validation.knowledge import Knowledge, Task
from fhir_server.validation.validator import validate
from terminology.terms import Terms

SHARED = Path(os.environ.get("XINGLIN_SHARED", Path(__file__).parents[2] / ".." / "shared"))
FOLDER = SHARED / "suites" / "validator"
if not FOLDER.is_dir():
    pytest.skip(f"the validator's cases are not at {FOLDER}; set XINGLIN_SHARED", allow_module_level=True)

CASES = {
    case["name"]: case for case in json_format.parse((FOLDER / "manifest.json").read_bytes())["test-cases"]
}
CORE = Core()
# Kinds of a case that are not a validation of R4: a matcher of JSON, terminology that needs a server
# with SNOMED CT and LOINC or parameters of R5, and digital signatures.
APART = frozenset({"matchetype", "tx", "tx-advanced", "dsig"})
SWITCHES = {
    ("security-checks", True): "markup",
    ("noHtmlInMarkdown", True): "markup in markdown",
    ("examples", False): "example addresses",
    ("validateReference", "CHECK_EXISTS_AND_TYPE"): "dangling references",
}


def known_gaps(file: str) -> dict[str, str]:
    """Return the reasons by the names of runs that a file of gaps has, one a line."""
    lines = Path(__file__).with_name(file).read_text("utf-8").splitlines()
    pairs = [line.partition("  # ") for line in lines if not line.startswith("#")]
    return {name.strip(): reason for name, _, reason in pairs}


class Files:
    """A Source of the files that a case names."""

    def __init__(self, resources: list[dict[str, Any]]) -> None:
        self.resources = resources

    def find(self, type_name: str, url: str, version: str | None) -> dict[str, Any] | None:
        for resource in self.resources:
            named = resource["resourceType"] == type_name and resource.get("url") == url
            if named and version in (None, resource.get("version")):
                return resource
        return None


def read(name: str) -> dict[str, Any]:
    data = (FOLDER / name).read_bytes()
    return xml_format.parse(data) if name.endswith(".xml") else json_format.parse(data)


def runs() -> list[tuple[str, dict[str, Any], dict[str, Any] | None]]:
    """Return the runs: (name, case, the settings with a profile or None)."""
    found = []
    for name, case in CASES.items():
        found.append((name, case, None))
        if "profile" in case:
            found.append((f"{name} (profile)", case, case["profile"]))
    return found


def expected(case: dict[str, Any], profile: dict[str, Any] | None) -> list[str] | None:
    """Return the places of the errors that the official validator finds, None if nobody wrote them down."""
    outcome = (case if profile is None else profile)["java"]
    if isinstance(outcome, str):
        if not (FOLDER / "outcomes" / outcome).is_file():
            return None
        outcome = json_format.parse((FOLDER / "outcomes" / outcome).read_bytes())
    if "errorCount" in outcome:
        return ["?"] * outcome["errorCount"]
    outcome = outcome.get("outcome", outcome)
    return [
        place(issue.get("expression", ["?"])[0])
        for issue in outcome.get("issue", ())
        if issue["severity"] in ("error", "fatal")
    ]


def place(expression: str | None) -> str:
    """Return a FHIRPath without the comments and types that the official validator writes into it."""
    return re.sub(r"/\*.*?\*/|\.ofType\(\w+\)", "", expression or "?")


def found(case: dict[str, Any], profile: dict[str, Any] | None) -> list[Issue]:
    """Return the errors that we find."""
    names = [*case.get("supporting", ()), *case.get("profiles", ())]
    if profile is not None:
        names += [*profile.get("supporting", ()), profile["source"]]
    files = [read(name) for name in names]
    knowledge = knowing(files)
    strict = frozenset(word for (key, value), word in SWITCHES.items() if case.get(key) == value)
    profiles = () if profile is None else (files[-1]["url"],)
    # A case that brings an implementation guide is covered by it (R4/implementationguide.html#global).
    kind = re.search(rb'"resourceType"\s*:\s*"(\w+)"', (FOLDER / case["file"]).read_bytes())
    for guide in files:
        for covered in guide.get("global", ()):
            if kind is not None and covered["type"] == kind[1].decode():
                profiles += (covered["profile"],)
    task = Task(knowledge=knowledge, profiles=profiles, claims=True, strict=strict)
    try:
        resource = json_format.parse((FOLDER / case["file"]).read_bytes())
    except Invalid as refusal:
        return list(refusal.issues)
    return [issue for issue in validate(resource, task) if issue.severity in ("error", "fatal")]


def knowing(files: list[dict[str, Any]]) -> Knowledge:
    conformance = Conformance([Files(files), CORE])
    return Knowledge(conformance=conformance, terminology=Terms(conformance.find))


GAPS = known_gaps("validator_known_gaps.txt")
ELSEWHERE = known_gaps("validator_other_places.txt")
RUNS = runs()


@pytest.mark.parametrize(("name", "case", "profile"), [pytest.param(*run, id=run[0]) for run in RUNS])
def test_official_case(name, case, profile):
    wanted = expected(case, profile)
    if wanted is None:
        pytest.skip("the outcome of the official validator is not among the files")
    issues = found(case, profile)
    agrees = bool(issues) == bool(wanted)
    if name in GAPS:
        assert not agrees, f"{name} agrees: take it out of validator_known_gaps.txt"
        pytest.xfail(GAPS[name])
    what = "\n".join(f"{issue.expression}: {issue.diagnostics}" for issue in issues)
    assert agrees, f"{name}: {len(wanted)} errors expected at {wanted[:5]}, found {len(issues)}:\n{what}"


def at_other_places(name: str, case: dict[str, Any], profile: dict[str, Any] | None) -> bool | None:
    """Say whether both find errors, but none at an element where the other has one; None if not both do."""
    wanted = set(expected(case, profile) or ()) - {"?"}
    ours = {place(issue.expression) for issue in found(case, profile)}
    return wanted.isdisjoint(ours) if wanted and ours else None


@pytest.mark.parametrize(("name", "case", "profile"), [pytest.param(*run, id=run[0]) for run in RUNS])
def test_errors_are_at_the_same_element(name, case, profile):
    apart = at_other_places(name, case, profile)
    if name in ELSEWHERE:
        assert apart, f"{name} has an error at the same element: take it out of validator_other_places.txt"
        pytest.xfail(ELSEWHERE[name])
    assert not apart, f"{name}: expected at {expected(case, profile)}, found {found(case, profile)}"


def tally() -> list[tuple[str, str, bool, bool, bool, bool]]:
    """Return for each run: module, name, errors expected, found, at a same place, at no other places."""
    rows = []
    for name, case, profile in RUNS:
        wanted = expected(case, profile)
        if wanted is not None:
            issues = found(case, profile)
            ours, theirs = {place(issue.expression) for issue in issues}, set(wanted)
            rows.append(
                (case["module"], name, bool(wanted), bool(issues), bool(ours & theirs), ours == theirs)
            )
    return rows


def test_agreement():
    """92 of 100 runs agree, 88 of 100 of those with errors and of those without."""
    counted = Counter(
        (wanted, wanted == has) for module, _, wanted, has, *_ in tally() if module not in APART
    )
    share = {
        wanted: counted[wanted, True] / (counted[wanted, True] + counted[wanted, False])
        for wanted in (True, False)
    }
    both = (counted[True, True] + counted[False, True]) / sum(counted.values())
    assert both >= 0.92, counted
    assert min(share.values()) >= 0.88, counted


def test_gaps_are_runs_of_the_suite():
    assert set(GAPS) | set(ELSEWHERE) <= {name for name, *_ in RUNS}


def test_the_reason_of_a_place_names_both():
    assert [name for name, why in ELSEWHERE.items() if "theirs" not in why or "ours" not in why] == []


if __name__ == "__main__":
    total: Counter[tuple[str, str]] = Counter()
    for module, name, wanted, has, same, just in tally():
        total[module, "runs"] += 1
        total[module, "agree"] += wanted == has
        if wanted:
            total[module, "with errors"] += 1
            total[module, "at a same place"] += same
        total[module, "same places"] += just
        if wanted != has:
            print(f"{module:14} {name}: {'errors expected' if wanted else 'no errors expected'}")
    keys = ("runs", "agree", "with errors", "at a same place", "same places")
    print(f"{'module':14}", *keys, sep="  ")
    for module in sorted({module for module, _ in total}):
        print(f"{module:14}", *(f"{total[module, key]:{len(key)}}" for key in keys), sep="  ")
