"""The state of one check: what was reported, what was resolved, which profiles are being asked."""

from __future__ import annotations

import re
from typing import Any

from fhir_server.definitions import structures, value_sets
from fhir_server.fhirpath.api import Element
from fhir_server.fhirpath.values import members
from fhir_server.outcome import Issue
from fhir_server.validation import bindings
from fhir_server.validation.knowledge import Knowledge
from fhir_server.validation.profiles.tree import Library, Profile, core_type

_RESTFUL = re.compile(r"(https?://.+/)[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}")

DEEPEST = 20
MOST_ISSUES = 10_000
# What we do not know is told once, whatever the number of elements that would need it.
ONCE = frozenset({"not-found", "not-supported"})


class Run:
    """One resource's check; also the World of the FHIRPath in its profiles."""

    def __init__(self, knowledge: Knowledge, library: Library, strict: frozenset[str] = frozenset()) -> None:
        self.knowledge, self.library, self.strict = knowledge, library, strict
        self.issues: list[Issue] = []
        self._seen: set[tuple[str, str | None, str]] = set()
        self._verdicts: dict[tuple[Any, str], list[Issue]] = {}
        self._asking: set[tuple[Any, str]] = set()
        self._entries: dict[int, dict[str, Element]] = {}
        self._elsewhere: dict[str, Element | None] = {}

    def report(self, severity: str, code: str, what: str, item: Element, rule: str, below: str = "") -> None:
        """Note an issue at an element, or at the one called `below` right below it."""
        if code in ONCE and (severity, None, what) in self._seen:
            return
        path = f"{item.path}.{below}" if below else item.path
        self.add(Issue(severity, code, what, path, rule))

    def add(self, issue: Issue) -> None:
        """Note an issue, if it was not noted yet."""
        place = None if issue.code in ONCE else issue.expression
        key = (issue.severity, place, issue.diagnostics)
        if key not in self._seen and len(self.issues) < MOST_ISSUES:
            self._seen.add(key)
            self.issues.append(issue)

    def problems(self, item: Element, profile: Profile) -> list[Issue]:
        """Return what an element breaks of a profile, without reporting it.

        A question that is being asked already (resources that refer to each other) has no problems, nor
        has one at the end of a long chain of references.
        """
        key = (id(item.value) if isinstance(item.value, dict) else item.path, profile.url)
        if key in self._asking or len(self._asking) >= DEEPEST:
            return []
        if key not in self._verdicts:
            self._asking.add(key)
            outside = self.issues, self._seen
            self.issues, self._seen = [], set()
            try:
                self.visit(item, profile)
                self._verdicts[key] = self.issues
            finally:
                self.issues, self._seen = outside
                self._asking.discard(key)
        return self._verdicts[key]

    def visit(self, item: Element, profile: Profile) -> None:
        """Report what an element breaks of a profile."""
        if not structures.is_subtype(type_name(item), profile.type):
            what = f"the profile {profile.url} is for {profile.type}; this is {item.type}"
            self.report("error", "invalid", what, item, f"{profile.url}#{profile.type}")
            return
        self.library.visitor(profile).visit(item, self)
        if profile.url in self.library.faults:
            self.untested(item, profile.url, "this", f"{profile.url}#{profile.type}")
        for canonical in profile.imposed:
            for issue in self.issues_against(item, canonical) or ():
                self.add(issue)

    def issues_against(self, item: Element, canonical: str) -> list[Issue] | None:
        """Return what an element breaks of a profile or type, None if that is not known here."""
        named = core_type(canonical)
        if named is not None:
            if structures.is_subtype(type_name(item), named):
                return []
            return [
                Issue(
                    "error",
                    "structure",
                    f"got {item.type}, expected {named}",
                    item.path,
                    f"{canonical}#{named}",
                )
            ]
        profile = self.library.find(canonical)
        return None if profile is None else self.problems(item, profile)

    def errors(self, item: Element, canonical: str) -> list[Issue] | None:
        """Return the errors among what an element breaks of a profile or type."""
        found = self.issues_against(item, canonical)
        return None if found is None else [issue for issue in found if issue.severity == "error"]

    def untested(self, item: Element, canonical: str, subject: str, rule: str) -> None:
        """Note that something was not checked against a profile, as it is not known here."""
        what = f"{subject} was not checked against {canonical}, which {self.library.missing(canonical)}"
        self.report("warning", "not-found", what, item, rule)

    # where references lead

    def target(self, reference: Element | str, place: Element) -> Element | None:
        """Return the resource that a reference (Reference, canonical or uri) at a place leads to."""
        value = reference.value if isinstance(reference, Element) else reference
        text = value.get("reference") if isinstance(value, dict) else value
        if not isinstance(text, str):
            return None
        if text.startswith("#"):
            return _contained(place, text[1:])
        above: Element | None = place
        base = ""
        while above is not None:
            if above.type == "Bundle.entry":
                base = _base(above.value.get("fullUrl"))
            elif above.type in ("Bundle", "Parameters"):
                entries = self._inside(above)
                found = entries.get(f"{base}{text}") or entries.get(text)
                if found is not None:
                    return found
            above = above.parent
        if text not in self._elsewhere:
            there = self.knowledge.resolve(text)
            self._elsewhere[text] = None if there is None else Element(there, there["resourceType"])
        return self._elsewhere[text]

    def _inside(self, holder: Element) -> dict[str, Element]:
        if id(holder.value) not in self._entries:
            self._entries[id(holder.value)] = _entries(holder)
        return self._entries[id(holder.value)]

    # the World of FHIRPath

    def resolve(self, reference: str) -> dict[str, Any] | None:
        """Return a resource from elsewhere; contained ones and entries FHIRPath finds itself."""
        return self.knowledge.resolve(reference)

    def member_of(self, coded: Any, type_name: str, value_set: str) -> bool | None:
        """Say whether a code, Coding or CodeableConcept is in a value set."""
        answers = [self.member(value_set, system, code) for system, code in codings(coded)]
        if True in answers:
            return True
        return None if None in answers else False

    def member(self, value_set: str, system: str | None, code: str) -> bool | None:
        """Say whether a value set has a code; R4's own required sets are known without a terminology."""
        answer = self.knowledge.terminology.member(value_set, system, code)
        if answer is not None:
            return answer
        url = value_set.partition("|")[0]
        if url in bindings.RULES:
            grammar, _, whose = bindings.RULES[url]
            return system in (None, whose) and bool(grammar(code))
        if value_sets.enumeration(url) is None:
            return None
        if system is None:
            return code in bindings.codes(url)
        return code in (value_sets.enumeration(url) or {}).get(system, ())

    def subsumes(self, system: str, code: str, other: str) -> bool | None:
        """Say whether a code is another or more general."""
        return self.knowledge.terminology.subsumes(system, code, other)

    def conforms_to(self, resource: dict[str, Any], profile: str) -> bool | None:
        """Say whether a resource is valid against a profile."""
        found = self.errors(Element(resource, str(resource.get("resourceType", ""))), profile)
        return None if found is None else not found


def type_name(item: Element) -> str:
    """Return the name of an element's type; elements with children of their own are BackboneElements."""
    return "BackboneElement" if "." in item.type else item.type


def codings(coded: Any) -> list[tuple[str | None, str]]:
    """Return (system, code) of a code, Coding, Quantity or CodeableConcept."""
    if isinstance(coded, str):
        return [(None, coded)]
    if not isinstance(coded, dict):
        return []
    inner = coded.get("coding")
    found = inner if isinstance(inner, list) else [coded]
    return [(coding.get("system", ""), coding["code"]) for coding in found if "code" in coding]


def _contained(place: Element, name: str) -> Element | None:
    holder: Element | None = place
    while holder is not None:
        inside = isinstance(holder.value, dict) and "resourceType" in holder.value
        if inside and holder.name != "contained":
            break
        holder = holder.parent
    if holder is None:
        return None
    if not name:
        return holder
    return next((inner for inner in members(holder, "contained") if inner.value.get("id") == name), None)


def _base(url: Any) -> str:
    """Return where the relative references of an entry begin (R4/bundle.html#references)."""
    match = _RESTFUL.fullmatch(url) if isinstance(url, str) else None
    return "" if match is None else match[1]


def _entries(holder: Element) -> dict[str, Element]:
    """Return the resources of a Bundle or Parameters by what a reference to them may say."""
    found: dict[str, Element] = {}
    for entry in members(holder, "entry" if holder.type == "Bundle" else "parameter"):
        for resource in members(entry, "resource"):
            url = entry.value.get("fullUrl")
            if isinstance(url, str):
                found.setdefault(url, resource)
                found.setdefault("/".join(url.split("/")[-2:]), resource)
            elif "id" in resource.value:
                found.setdefault(f"{resource.type}/{resource.value['id']}", resource)
    return found
