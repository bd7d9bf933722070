"""Two sides that judged the same files: who finds errors alone, in which files and at which elements."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ERRORS = frozenset({"error", "fatal"})

KNOWN: tuple[tuple[str, str], ...] = (
    ("Unable to resolve resource|Unable to find a profile match", "it looks for what references lead to"),
    ("include #\\d+ has system|could not be found, so the code cannot be validated", "no terminology server"),
    ("ValueSet.hasCompose|Unknown code .* version 'null'", "no terminology server"),
    ("No definition could be found for URL value", "it knows no other addresses of HL7 than R4's"),
    ("Canonical URL .* refers to a resource that has the wrong type", "of R5: its Questionnaire is another"),
    ("Example URLs are not allowed|could not be found so is not allowed here", "a setting, not R4"),
    ("Wrong Display Name", "a display is advice (R4/datatypes.html#Coding)"),
    ("Unknown code '.*' in the CodeSystem 'http://terminology.hl7.org/", "these grow after R4: a warning"),
    ("Canonical URLs must be absolute|OIDs must be valid", "R4's own examples have them: a warning"),
    ("UUIDs must be valid and lowercase \\([0-9A-Fa-f-]{36}\\)", "R4's own examples have them: a warning"),
    (
        "dentifier.system (must|is 'urn:ietf:rfc:3986')",
        "R4 has no SHALL, or its examples break it: a warning",
    ),
    ("The hash of the data|invalid because there is no matching target", "R4's own examples: a warning"),
    ("Image source .* does not resolve", "R4's own examples have them: a warning"),
    ("(source|target) (context|path) ", "what a StructureMap's variables are is not looked at"),
    ("No CQL Libraries found", "CQL is not looked at"),
    (
        "Elements of type col must be|Illegal base64 character 20",
        "R4 allows it (narrative.html, datatypes.html)",
    ),
    ("Constraint failed: (rng-2|md-1|vs-1)", "the expression is neither true nor false"),
    ("(must|should) state their|The nominated WG", "how HL7 publishes, not R4"),
)
"""What HL7's side calls an error and ours does not, as patterns of its texts, with the reason of each."""

_COMMENT = re.compile(r"/\*.*?\*/|\.ofType\(\w+\)")
_CHOICE = re.compile(r"\[x\]")
_VARIABLE = re.compile(r"'[^']*'|\"[^\"]*\"|https?://\S+|\d+")


class Found(NamedTuple):
    """One issue: `place` is a FHIRPath without types and comments."""

    severity: str
    place: str
    text: str

    @property
    def kind(self) -> str:
        """The text without what differs from file to file.

        >>> Found("error", "Patient", "got 'x', expected 5 of 'y'").kind
        'got …, expected … of …'
        """
        return _VARIABLE.sub("…", self.text)[:100]


def read(path: Path) -> Iterator[tuple[str, list[Found] | None]]:
    """Yield the files of an answer with their issues, None where the validator broke down."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            answer = json.loads(line)
            issues = answer.get("issues")
            yield answer["file"], None if issues is None else [_found(*issue[:4]) for issue in issues]


def _found(severity: str, code: str, place: str | None, text: str | None) -> Found:
    return Found(severity, _CHOICE.sub("", _COMMENT.sub("", place or "")), text or "")


def errors(issues: Iterable[Found], *, known: bool = False) -> list[Found]:
    """Return the errors among issues; unless `known`, without those that KNOWN explains."""
    found = [issue for issue in issues if issue.severity in ERRORS]
    return found if known else [issue for issue in found if reason(issue) is None]


def reason(issue: Found) -> str | None:
    """Return why only HL7's side calls an issue an error, None if that is not settled.

    >>> reason(Found("error", "Patient", "Example URLs are not allowed in this context (http://example.org)"))
    'a setting, not R4'
    """
    return next((why for pattern, why in KNOWN if re.search(pattern, issue.text)), None)


def near(one: str, other: str) -> bool:
    """Return whether two places are the same, or one is in the other.

    >>> near("Patient.name[0]", "Patient.name"), near("Patient.names", "Patient.name")
    (True, False)
    """
    return (
        one == other or one.startswith((f"{other}.", f"{other}[")) or other.startswith((f"{one}.", f"{one}["))
    )


@dataclass
class Comparison:
    """Files by who finds errors ("both", "none", "hl7", "ours"), and the issues of one side alone."""

    files: Counter[str] = field(default_factory=Counter)
    alone: dict[tuple[str, str], list[tuple[str, Found]]] = field(default_factory=dict)

    def add(self, file: str, hl7: list[Found], ours: list[Found], *, elements: bool) -> None:
        """Count a file; of one that both refuse the issues too, if `elements`."""
        self.files["both" if hl7 and ours else "hl7" if hl7 else "ours" if ours else "none"] += 1
        if bool(hl7) == bool(ours) and not elements:
            return
        for side, issues, others in (("hl7", hl7, ours), ("ours", ours, hl7)):
            for issue in issues:
                if not any(near(issue.place, other.place) for other in others):
                    self.alone.setdefault((side, issue.kind), []).append((file, issue))

    def text(self, examples: int = 2) -> str:
        """Return the comparison for a person, the most frequent kinds first."""
        lines = [", ".join(f"{name}: {count}" for name, count in sorted(self.files.items()))]
        for (side, kind), found in sorted(self.alone.items(), key=lambda item: (item[0][0], -len(item[1]))):
            lines.append(f"{len(found):6} {side:4} {kind}")
            lines += [f"{'':12}{file} {issue.place}: {issue.text[:150]}" for file, issue in found[:examples]]
        return "\n".join(lines)


def compare(hl7: Path, ours: Path, *, elements: bool = False, known: bool = False) -> Comparison:
    """Return how the answers of both sides differ; `known` counts the settled differences, too."""
    comparison = Comparison()
    other = dict(read(ours))
    for file, issues in read(hl7):
        answer = other.get(file)
        if issues is None or answer is None:
            comparison.files["broken down"] += 1
        else:
            comparison.add(file, errors(issues, known=known), errors(answer, known=True), elements=elements)
    return comparison
