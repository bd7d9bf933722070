"""Writes docs/conformance.md: which clause of which standard is held by which test. `make docs`.

What a test holds stands at the test, `@clause("R4/http.html#ccreate", "several matches: 412")`; this page is
read off the sources, so it can neither claim what no test asks nor forget what one does.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "conformance.md"
HEAD = """# What is held, clause by clause

Generated from the tests by `make docs`; do not edit. Each line is a promise that a test asks of the running
server or of the room that keeps it; `make conformance` runs them. A clause without a line has no test of its
own. What is not built is named in [search.md](search.md), [rest.md](rest.md) and [dicom.md](dicom.md).

Beside these stand the official suites (`tests/official`: FHIRPath, UCUM, the validator, three kinds of PATCH,
snapshots) with lists of known gaps that may only shrink, and searches that are held against an independent
reading of the stored resources (`make oracle`).
"""
LEFT_OUT_HEAD = """
## What R4 says and this server does not do
http.html was read sentence by sentence; this is what is left, and why.

| clause | what is different | why |
|---|---|---|
"""
LEFT_OUT: tuple[tuple[str, str, str], ...] = (
    (
        "http.html#mime-type",
        "Turtle (`ttl`, `application/fhir+turtle`, `text/turtle`) is answered 406, as a body 415",
        "optional, and hardly a client has it",
    ),
    (
        "http.html#parameters",
        "`_format=html`, `text/html` is answered 406",
        "allowed, not asked for; the console shows resources",
    ),
    (
        "http.html#read",
        "`_summary=count` on one resource is refused (400)",
        "there is nothing to count",
    ),
    (
        "http.html#cond-update, #patch",
        "`_summary` and `_elements` among criteria are refused (400)",
        "the URL of a conditional write holds criteria; what shapes an answer is no criterion",
    ),
    (
        "http.html#concurrency",
        "`If-Match` takes one entity tag or `*`, a list is refused (400); `If-Unmodified-Since` is not "
        "looked at",
        "R4 names `If-Match` with one version",
    ),
    (
        "http.html#patch",
        "a generated narrative is taken away by a patch of the data, another refuses it",
        "R4 leaves the choice",
    ),
    (
        "http.html#search",
        "`GET [type]/_search` is answered 405",
        "R4 has POST there alone",
    ),
    (
        "http.html#capabilities",
        "`$subset` and `$implements` are not there",
        "encouraged only; `_elements` does the first",
    ),
    (
        "http.html#trules",
        "a reference to a version of what an entry *updates* stays as it was sent",
        "the ids of updates do not change, and R4 leaves other references untouched",
    ),
    (
        "http.html#trules",
        "elements of type uri that equal a fullUrl of http stay, but for attachments and narratives",
        "most of them are names (systems, urls of extensions and definitions), which must stay",
    ),
    (
        "http.html#brules",
        "a batch whose worker is killed in its middle is told as such, and not begun again",
        "its entries are transactions of their own: some are done",
    ),
    (
        "http.html#other-bundles",
        "a Bundle of another type than batch, transaction and history is refused (400)",
        "R4 leaves it to the server",
    ),
    (
        "http.html#history",
        "`_count=0` is refused (400), there is no total",
        "a walk ends where there is no `next`",
    ),
    (
        "search.html#query",
        "`_query` over several types or in a compartment is refused (400)",
        "a named query is defined for one type",
    ),
    (
        "search.html#versions",
        "a chain over a reference to a version asks the current resource",
        "what is searched is what is current; `_include` brings the version",
    ),
)
STANDARDS = (
    ("R4/", "FHIR R4 (4.0.1)", "http://hl7.org/fhir/R4/"),
    ("PS3", "DICOM", ""),
    ("CDS-Hooks-2.0/", "CDS Hooks 2.0", "https://cds-hooks.hl7.org/2.0/"),
    ("RFC", "RFCs", ""),
    ("SDC/", "Structured Data Capture", "http://hl7.org/fhir/uv/sdc/"),
    ("", "Others", ""),
)


@dataclass(frozen=True, slots=True, order=True)
class Held:
    """One promise: the clause that it follows from, its words, and the test that asks it."""

    clause: str
    promise: str
    test: str


def held() -> list[Held]:
    """Return every promise of every test, in the order of the clauses.

    >>> next(each.promise for each in held() if each.clause == "R4/http.html#vread")[:4]
    'vrea'
    """
    return sorted(each for path in (ROOT / "tests").rglob("test_*.py") for each in _of_module(path))


def _of_module(path: Path) -> Iterator[Held]:
    tree = ast.parse(path.read_text())
    constants = {
        target.id: statement.value.value
        for statement in tree.body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
        for target in statement.targets
        if isinstance(target, ast.Name) and isinstance(statement.value.value, str)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "clause":
                clause, promise = (_text(each, constants) for each in mark.args)
                yield Held(clause, promise, f"{path.relative_to(ROOT / 'tests')}::{node.name}")


def _text(node: ast.expr, constants: dict[str, str]) -> str:
    """Return the text that an argument of the mark comes to: literals, constants of the module, and both."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(each, constants) for each in node.values)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, constants)
    if isinstance(node, ast.Name):
        return constants[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise ValueError(f"a clause is named by a text, not by {ast.unparse(node)}")


def page() -> str:
    """Return the text of docs/conformance.md."""
    rest = held()
    parts = [HEAD]
    for prefix, title, base in STANDARDS:
        own = [each for each in rest if each.clause.startswith(prefix)]
        rest = [each for each in rest if not each.clause.startswith(prefix)]
        if not own:
            continue
        if prefix == "R4/":
            parts.append(LEFT_OUT_HEAD)
            parts += [f"| {' | '.join(each)} |\n" for each in LEFT_OUT]
        clauses = len({each.clause for each in own})
        parts.append(
            f"\n## {title}\n{len(own)} promises of {clauses} clauses.\n\n| clause | what is held | test |\n"
        )
        parts.append("|---|---|---|\n")
        parts += [_row(each, prefix, base) for each in own]
    return "".join(parts)


def _row(each: Held, prefix: str, base: str) -> str:
    place = each.clause.removeprefix(prefix) if base else each.clause
    shown = f"[{place}]({base}{place})" if base else place
    promise = re.sub(r"\s+", " ", each.promise).replace("|", "\\|").replace("<", "&lt;")
    return f"| {shown} | {promise} | `{each.test}` |\n"


if __name__ == "__main__":
    PAGE.write_text(page())
