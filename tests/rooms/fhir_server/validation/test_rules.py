"""Every issue of validation names its rule, and every rule leads to a clause of R4."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fhir_server import clauses, model, validation
from fhir_server.definitions import structures
from fhir_server.outcome import Issue
from fhir_server.validation.validator import validate
from tests.rooms.fhir_server.validation import samples
from tests.rooms.fhir_server.validation.test_invariants import BROKEN
from tests.rooms.fhir_server.validation.test_table import REJECTED
from tests.support.ruled import is_ruled

ROOMS = [Path(str(room.__file__)).parent for room in (validation, model)]
SOURCES = [
    *(path for room in ROOMS for path in sorted(room.rglob("*.py"))),
    ROOMS[0].parent / "interactions" / "claims.py",
]
WORD = re.compile(r"[a-z][a-z0-9]*(-[a-zA-Z0-9]+)+")


def calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield the calls of something by its name, with the place."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                yield f"{path.name}:{node.lineno}", node


def rule_of(call: ast.Call) -> ast.expr | None:
    """Return what is handed over as rule to Issue or to Problem, the fifth argument of both."""
    named = [keyword.value for keyword in call.keywords if keyword.arg == "rule"]
    return named[0] if named else call.args[4] if len(call.args) > 4 else None


@pytest.mark.parametrize("name", ["Issue", "Problem"])
def test_no_call_forgets_the_rule(name):
    found = [(place, rule_of(call)) for place, call in calls(name)]
    assert len(found) > 5
    bare = [place for place, rule in found if rule is None or ast.unparse(rule) == "None"]
    assert bare == []


def test_rules_that_are_written_out_are_in_the_table():
    rules = [(place, rule_of(call)) for place, call in calls("Issue")]
    written = {(place, rule.value) for place, rule in rules if isinstance(rule, ast.Constant)}
    assert len(written) > 100
    assert {(place, rule) for place, rule in written if rule not in clauses.CLAUSES} == set()


def patterns() -> Iterator[str]:
    """Yield what may be an id in the sources: texts, and f-strings with anything in their gaps."""
    for path in [*SOURCES, ROOMS[0].parent / "operations" / "validate.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.escape(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [
                    re.escape(part.value) if isinstance(part, ast.Constant) else ".+" for part in node.values
                ]
                if any(part != ".+" for part in parts) and len(parts) == 2:
                    yield "".join(parts)


def test_every_rule_of_the_table_is_asked_somewhere():
    ids = set(clauses.CLAUSES)
    for pattern in set(patterns()):
        ids -= {name for name in ids if re.fullmatch(pattern, name)}
    assert ids == set()


@pytest.mark.parametrize("name", clauses.CLAUSES)
def test_a_rule_is_a_word_with_a_clause(name):
    clause = clauses.CLAUSES[name]
    assert WORD.fullmatch(name)
    assert re.fullmatch(r"http://hl7\.org/fhir/R4/[a-z-]+\.html#[A-Za-z0-9._-]+", clause.link)
    assert 10 < len(clause.says) < 100


@pytest.mark.parametrize(
    "name", [name for name in clauses.CLAUSES if "-definitions.html" in clauses.CLAUSES[name].page]
)
def test_a_link_to_an_element_leads_to_one_of_r4(name):
    path = clauses.CLAUSES[name].page.partition("#")[2].replace("_x_", "[x]")
    assert path in structures.structure(path.partition(".")[0]).elements


def told() -> Iterator[tuple[str, Issue]]:
    for name, resource, _ in (*REJECTED, *BROKEN):
        for issue in validate(resource):
            yield str(name), issue
    for resource in samples.VALID:
        for name, mutant, _ in samples.mutants(resource):
            for issue in validate(mutant):
                yield name, issue


def test_every_mistake_of_the_tables_is_told_with_its_rule():
    found = list(told())
    assert len(found) > 1000
    assert {(name, issue.diagnostics) for name, issue in found if not is_ruled(issue)} == set()
    assert len({issue.rule for _, issue in found}) > 50


def test_a_rule_is_told_as_details_and_with_its_page():
    (issue,) = validate({"resourceType": "Patient", "gender": "femal"})
    told = issue.as_json()
    assert told["details"] == {"coding": [{"system": "urn:xinglin:rules", "code": "code-required"}]}
    assert told["diagnostics"].endswith(", see http://hl7.org/fhir/R4/terminologies.html#required")
