"""What is wrong with a code, given what a terminology knows (R4/terminologies.html).

Verdicts are remembered: the same few codings come again and again. Where the terminology does not
know, nothing is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from fhir_server.definitions.conformance import Conformance
from fhir_server.validation.explain import did_you_mean, shown
from fhir_server.validation.knowledge import Terminology
from terminology import ucum

UCUM = "http://unitsofmeasure.org"
URI = "urn:ietf:rfc:3986"
# Known here by the form of their codes alone: a grammar, a check digit.
FORMS = frozenset({UCUM, "http://snomed.info/sct", "http://loinc.org"})
# HL7's code systems that are not part of FHIR: codes are added to them long after R4, so one that is
# not known here may be newer. Only where it is another way of writing a known one it is surely wrong.
LIVING = "http://terminology.hl7.org/"
CORE = "http://hl7.org/fhir/StructureDefinition/"
FEW, MANY = 25, 200  # codes that a message lists, and that it looks through for a near one
REMEMBERED = 20_000
_ANNOTATION = re.compile(r"\{[ -z|~]*\}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")


class Problem(NamedTuple):
    """One thing that is wrong; `tail` is the member of the coding or quantity that it is about."""

    severity: str
    code: str
    text: str
    tail: str | None = None
    rule: str | None = None


class Bound(NamedTuple):
    """A binding that is looked at here: its value set, and whether it is required."""

    value_set: str
    required: bool
    rule: str


Look: TypeAlias = tuple[str | None, str | None, str | None, str | None]
"""Value set (None: no matter which), system, code, display: all that a verdict depends on."""


class Verdict(NamedTuple):
    """What is wrong with a coding by itself, and whether it may be in the value set."""

    problems: tuple[Problem, ...]
    fits: bool


class Verdicts:
    """The verdicts of one terminology."""

    def __init__(self, terminology: Terminology, conformance: Conformance) -> None:
        self.terminology, self.conformance = terminology, conformance
        self.fine: dict[Look, bool] = {}
        """Codings with which nothing is wrong → whether they may be in the value set."""
        self._systems: dict[str, Problem | None] = {}
        self._others: dict[Any, Any] = {}
        self._members: dict[str, list[tuple[str, str]]] = {}

    def of(self, look: Look, version: str | None = None) -> Verdict:
        """Return the verdict on a coding."""
        value_set, system, code, display = look
        found: Verdict | None = self._others.get((look, version))
        if found is None:
            problems = tuple(self._problems(system, code, display, version))
            fits = value_set is None or code is None or self.may_be_in(value_set, system, code)
            found = Verdict(problems, fits)
            _keep(self._others, (look, version), found)
            if not problems and version is None:
                _keep(self.fine, look, fits)
        return found

    def _problems(
        self, system: str | None, code: str | None, display: str | None, version: str | None
    ) -> Iterator[Problem]:
        if system is None:
            if code is not None:
                what = f"the code {shown(code)} has no system; without one it means nothing to a computer"
                yield Problem("warning", "code-invalid", what, None, f"{CORE}Coding#Coding.system")
            return
        problem = self.system(system)
        if problem is not None:
            yield problem
        elif code is not None:
            canonical = f"{system}|{version}" if version else system
            if self.terminology.known(canonical, code) is False:
                yield self._unknown(system, code, version)
            elif display is not None:
                yield from self._display(system, code, display)

    def system(self, system: str) -> Problem | None:
        """Return why a system names no code system (relative, a value set, a supplement), None if it may."""
        if system not in self._systems:
            _keep(self._systems, system, self._looked_at(system))
        return self._systems[system]

    def _looked_at(self, system: str) -> Problem | None:
        rule = f"{CORE}Coding#Coding.system"
        if _SCHEME.match(system) is None:
            what = f"{shown(system)} is no absolute address; expected one such as http://loinc.org"
            if re.fullmatch(r"[0-2](\.\d+)+", system):
                what = f"{shown(system)} is a bare OID; expected urn:oid:{system}"
            return Problem("error", "code-invalid", what, "system", rule)
        found = self.conformance.find("CodeSystem", system)
        if found is not None:
            if found.get("content") != "supplement" and "supplements" not in found:
                return None
            base = found.get("supplements", "another code system")
            what = f"{system} is a supplement, which has no codes of its own; expected {base}"
            return Problem("error", "code-invalid", what, "system", rule)
        value_set = self.conformance.find("ValueSet", system)
        if value_set is not None:
            parts = value_set.get("compose", {}).get("include", ())
            systems = list(dict.fromkeys(part["system"] for part in parts if "system" in part))
            hint = f", such as {systems[0]}" if systems else ""
            what = f"{system} is a value set; expected the code system that the code comes from{hint}"
            return Problem("error", "code-invalid", what, "system", rule)
        return None

    def _unknown(self, system: str, code: str, version: str | None) -> Problem:
        rule, severity = f"{CORE}Coding#Coding.code", "error"
        near = self.terminology.near(system, code)
        what = f"{shown(code)} is no code of {system}"
        if system == UCUM:
            what = str(ucum.problem(code))
            # UCUM has no spaces even there, but they do no harm, and published examples have them.
            if ucum.problem(_ANNOTATION.sub("{}", code)) is None:
                severity = "warning"
        elif system == URI:  # as a code 1.2.840.10008.5.1.4.1.1.2 is often seen, and always understood
            severity = "warning"
        elif system.startswith(LIVING) and version is None and (near or "").casefold() != code.casefold():
            severity, what = "warning", f"{what}, as far as it is known here"
        if near is not None:
            what += f"; did you mean {near!r}?"
        return Problem(severity, "code-invalid", what, "code", rule)

    def _display(self, system: str, code: str, display: str) -> Iterator[Problem]:
        names = self.terminology.names(system, code)
        if names and _folded(display) not in {_folded(name) for name in names}:
            what = f"{shown(display)} is no name of {code} in {system}; expected {names[0]!r}"
            yield Problem("warning", "invalid", what, "display", f"{CORE}Coding#Coding.display")

    def may_be_in(self, value_set: str, system: str | None, code: str) -> bool:
        """Return whether a code is in a value set, as far as is known."""
        return self.terminology.member(value_set, system, code) is not False

    def outside(self, bound: Bound, codings: Sequence[Mapping[str, Any]]) -> Problem:
        """Return the problem of codings none of which is from the value set of a binding."""
        key = bound, tuple((coding.get("system"), coding.get("code")) for coding in codings)
        if key not in self._others:
            _keep(self._others, key, self._outside(bound, codings))
        problem: Problem = self._others[key]
        return problem

    def _outside(self, bound: Bound, codings: Sequence[Mapping[str, Any]]) -> Problem:
        got = " and ".join(_written(coding) for coding in codings[:3])
        expected = self._expected(bound.value_set) + self._nearest(bound.value_set, codings)
        if bound.required:
            return Problem("error", "code-invalid", f"got {got}, expected {expected}", None, bound.rule)
        what = f"got {got}; where one fits, this element takes {expected}"
        return Problem("warning", "code-invalid", what, None, bound.rule)

    def _listed(self, value_set: str) -> list[tuple[str, str]]:
        if value_set not in self._members:
            _keep(self._members, value_set, self.terminology.listed(value_set, MANY) or [])
        return self._members[value_set]

    def _expected(self, value_set: str) -> str:
        codes = sorted({code for _, code in self._listed(value_set)})
        if not codes:
            return f"a code of {value_set}"
        if len(codes) > FEW:
            return f"one of the {len(codes)} codes of {value_set}"
        return f"one of {', '.join(codes)} ({value_set})"

    def _nearest(self, value_set: str, codings: Sequence[Mapping[str, Any]]) -> str:
        """Return a half-sentence: the same code of the right system, or a code that looks like it."""
        listed = self._listed(value_set)
        written = {coding.get("code") for coding in codings}
        for system, code in listed:
            if code in written:
                return f"; did you mean {code!r} of {system}?"
        return did_you_mean(codings[0].get("code"), {code for _, code in listed})


def _written(coding: Mapping[str, Any]) -> str:
    system = coding.get("system")
    return shown(coding.get("code")) + (f" of {system[:100]}" if system else "")


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _keep(memory: dict[Any, Any], key: Any, value: Any) -> None:
    if len(memory) >= REMEMBERED:
        memory.clear()
    memory[key] = value
