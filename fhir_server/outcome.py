"""What went wrong, as an OperationOutcome (R4/operationoutcome.html).

Rooms below the doors raise a FhirError; `rest/errors.py` alone turns it into HTTP and
`dimse/status.py` into a DIMSE status. Every diagnostics text says what we got, what we
expected, where, and what would work. A diagnostics text reaches the client that sent the
request and nobody else: it is never logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from fhir_server import clauses


@dataclass(frozen=True, slots=True)
class Issue:
    """One issue of an OperationOutcome.

    `severity` is fatal, error, warning or information; `code` is an IssueType
    (R4/valueset-issue-type.html); `expression` is the FHIRPath of the element, or None. `rule` names
    the rule that is broken as the canonical of the definition that states it, `#` and its key
    (http://hl7.org/fhir/StructureDefinition/Patient#pat-1), or as the id in `clauses` of one that R4
    states in words (bundle-fullurl-id). `line` and `column`, from 1, are where the element begins in
    the text that was sent, where there was one.

    >>> Issue("error", "value", "got 5", "Patient.active").as_json()["expression"]
    ['Patient.active']
    >>> rule = "http://hl7.org/fhir/StructureDefinition/Patient#pat-1"
    >>> Issue("error", "invariant", "no details (pat-1)", "Patient.contact[0]", rule).as_json()["diagnostics"]
    'no details (pat-1), see http://hl7.org/fhir/R4/patient.html#invs'
    """

    severity: str
    code: str
    diagnostics: str
    expression: str | None = None
    rule: str | None = None
    line: int | None = None
    column: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the issue as an element of OperationOutcome.issue.

        A rule is the coding of `details`, and diagnostics end with the page that explains it where
        that is one of R4. Line and column are in the extensions that HL7 has for them.
        """
        issue: dict[str, Any] = {"severity": self.severity, "code": self.code}
        if self.line is not None:
            issue["extension"] = [
                {"url": LINE, "valueInteger": self.line},
                {"url": COLUMN, "valueInteger": self.column},
            ]
        page = None
        if self.rule is not None:
            system, key, page = stated(self.rule)
            issue["details"] = {"coding": [{"system": system, "code": key}]}
        issue["diagnostics"] = self.diagnostics if page is None else f"{self.diagnostics}, see {page}"
        if self.expression is not None:
            issue["expression"] = [self.expression]
        return issue

    def within(self, prefix: str) -> Issue:
        """Return the same issue seen from outside, for instance from Bundle.entry[2].resource.

        >>> Issue("error", "value", "…", "Patient.active").within("Bundle.entry[2].resource").expression
        'Bundle.entry[2].resource.active'
        """
        tail = "" if self.expression is None else self.expression.partition(".")[2]
        return replace(self, expression=f"{prefix}.{tail}" if tail else prefix)


LINE = "http://hl7.org/fhir/StructureDefinition/operationoutcome-issue-line"
COLUMN = "http://hl7.org/fhir/StructureDefinition/operationoutcome-issue-col"

_R4 = "http://hl7.org/fhir/StructureDefinition/"
_METADATA_TYPES = (
    "ContactDetail Contributor DataRequirement Expression ParameterDefinition RelatedArtifact "
    "TriggerDefinition UsageContext"
)
_DATA_TYPES = (
    "Address Age Annotation Attachment CodeableConcept Coding ContactPoint Count Distance Duration HumanName "
    "Identifier Money MoneyQuantity Period Quantity Range Ratio SampledData Signature SimpleQuantity Timing"
)
_VITAL_SIGNS = (
    "vitalsigns vitalspanel resprate heartrate oxygensat bodytemp bodyheight headcircum bodyweight bmi bp"
)
_PAGES = {
    "Extension": "extensibility.html#Extension",
    "Reference": "references.html#Reference",
    "Meta": "resource.html#Meta",
    **dict.fromkeys(_VITAL_SIGNS.split(), "observation-vitalsigns.html#vitals-table"),
    **{name: f"datatypes.html#{name}" for name in _DATA_TYPES.split()},
    **{name: f"metadatatypes.html#{name}" for name in _METADATA_TYPES.split()},
}


def stated(rule: str) -> tuple[str, str, str | None]:
    """Return where a rule is stated: a system, its key there, and the page of R4 that explains it.

    >>> stated("bundle-link-page")
    ('urn:xinglin:rules', 'bundle-link-page', 'http://hl7.org/fhir/R4/http.html#paging')
    >>> stated("http://hl7.org/fhir/StructureDefinition/Quantity#qty-3")[2]
    'http://hl7.org/fhir/R4/datatypes.html#Quantity'
    """
    system, mark, key = rule.partition("#")
    if mark:
        return system, key, page_of(system)
    clause = clauses.CLAUSES.get(rule)
    return clauses.SYSTEM, rule, clause.link if clause is not None else None


def page_of(canonical: str) -> str | None:
    """Return the page of R4 that states the rules of one of its definitions, None for all others.

    >>> page_of("http://hl7.org/fhir/StructureDefinition/Quantity")
    'http://hl7.org/fhir/R4/datatypes.html#Quantity'
    >>> page_of("http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient")
    """
    name = canonical.removeprefix(_R4).partition("|")[0]
    if not canonical.startswith(_R4) or not name.isalpha() or not (name[0].isupper() or name in _PAGES):
        return None
    return f"{clauses.R4}{_PAGES.get(name, f'{name.lower()}.html#invs')}"


def operation_outcome(issues: Sequence[Issue]) -> dict[str, Any]:
    """Return an OperationOutcome resource that carries `issues` (at least one)."""
    return {"resourceType": "OperationOutcome", "issue": [issue.as_json() for issue in issues]}


MAX_ISSUES = 100


def capped(issues: Sequence[Issue], *, complete: bool = True) -> Sequence[Issue]:
    """Return the first hundred issues, and one more that says how many there are if there are more.

    `complete` is False where nobody has looked for all of them.
    """
    if len(issues) <= MAX_ISSUES:
        return issues
    many = f"{len(issues)} problems in all" if complete else f"more than {MAX_ISSUES} problems"
    what = f"{many}; the first {MAX_ISSUES} are listed"
    return [*issues[:MAX_ISSUES], Issue("error", "too-long", what, rule="limit-problems")]


class FhirError(Exception):
    """A refusal: a status, an issue code and one or more issues.

    >>> error = NotFound("Patient/7 is not known here", expression="Patient")
    >>> error.status, error.issues[0].code
    (404, 'not-found')
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "exception"

    def __init__(
        self,
        diagnostics: str = "",
        *,
        expression: str | None = None,
        code: str | None = None,
        issues: Sequence[Issue] | None = None,
    ) -> None:
        self.issues: tuple[Issue, ...] = (
            tuple(issues)
            if issues is not None
            else (Issue("error", code or self.code, diagnostics, expression),)
        )
        super().__init__(self.issues[0].diagnostics)

    def within(self, prefix: str) -> FhirError:
        """Return the same refusal with every expression under `prefix`."""
        copy = type(self)(issues=[issue.within(prefix) for issue in self.issues])
        copy.__cause__ = self
        return copy

    def as_json(self) -> dict[str, Any]:
        """Return the refusal as an OperationOutcome resource."""
        return operation_outcome(self.issues)


class Invalid(FhirError):
    """400: the request cannot be understood as it stands (R4/http.html#2.21.0.4)."""

    status, code = 400, "invalid"


class NotSupported(FhirError):
    """400: understood, but not something that this server does."""

    status, code = 400, "not-supported"


class Unauthorized(FhirError):
    """401: the caller did not prove who it is."""

    status, code = 401, "login"


class Forbidden(FhirError):
    """403: the grant does not allow it."""

    status, code = 403, "forbidden"


class NotFound(FhirError):
    """404: no such resource, version, type or address."""

    status, code = 404, "not-found"


class MethodNotAllowed(FhirError):
    """405: the address is there, but not for this method."""

    status, code = 405, "not-supported"


class NotAcceptable(FhirError):
    """406: none of the media types that the client accepts is one of ours."""

    status, code = 406, "not-supported"


class Conflict(FhirError):
    """409: the same resource is being changed by somebody else; try again."""

    status, code = 409, "conflict"


class Contended(Conflict):
    """409: others were faster each time; the same request may well succeed a moment later."""

    code = "lock-error"


class Gone(FhirError):
    """410: the resource was deleted. `version` is that of the deletion, where it is the current one."""

    status, code = 410, "deleted"
    version: int | None = None

    @classmethod
    def with_version(cls, version: int, diagnostics: str, expression: str) -> Gone:
        """Return the refusal to read a deleted resource."""
        made = cls(diagnostics, expression=expression)
        made.version = version
        return made


class PreconditionFailed(FhirError):
    """412: If-Match or a condition does not hold, or criteria match several resources."""

    status, code = 412, "conflict"


class MultipleMatches(PreconditionFailed):
    """412: criteria that may match one resource match several (R4/http.html#cond-update)."""

    code = "multiple-matches"


class NoMatch(PreconditionFailed):
    """412: a conditional reference matches nothing (R4/http.html#trules)."""

    code = "not-found"


class TooLarge(FhirError):
    """413: the body is longer than the limit."""

    status, code = 413, "too-long"


class UnsupportedMediaType(FhirError):
    """415: the body is of a media type that we do not read."""

    status, code = 415, "not-supported"


class Unprocessable(FhirError):
    """422: well-formed, but it breaks a rule of the specification or of this server."""

    status, code = 422, "processing"


class TooCostly(FhirError):
    """422: the search would take longer than the limit; the message says how to narrow it."""

    status, code = 422, "too-costly"


class Unavailable(FhirError):
    """503: the database or another part is not there right now; try again."""

    status, code = 503, "transient"


class Throttled(FhirError):
    """429: the caller has as much under way as one may have."""

    status, code = 429, "throttled"
