"""The chart of one patient: what a call brought, read in one way by rules and models.

A resource counts when it belongs to the patient, is not entered in error and is not from the
future. Observations have to say when they were made; one without a time is not used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

from cds_hooks.facts.medication_products import of_code
from cds_hooks.facts.value_sets import RXNORM, CodeSet, Said, codings

Resource = Mapping[str, Any]
T = TypeVar("T")

SKEW = timedelta(minutes=5)
"""How far another clock may run ahead of ours before a time counts as the future."""

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_OBSERVED = frozenset({"final", "amended", "corrected"})


@dataclass(frozen=True, slots=True)
class Chart:
    """The resources of one patient at one moment (`now`: aware, UTC)."""

    patient_id: str
    now: datetime
    resources: Mapping[str, tuple[Resource, ...]] = field(default_factory=dict)
    _known: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, patient_id: str, now: datetime, resources: Iterable[Resource]) -> Chart:
        """Sort resources by their type; the same resource twice counts once.

        Two different ones under one id (a draft order may have the id of a stored one) both count.
        Raises OtherPatient when a resource says that it is about somebody else.
        """
        by_type: dict[str, dict[str, Resource]] = {}
        for position, resource in enumerate(resources):
            name = str(resource.get("resourceType", ""))
            _check_subject(resource, name, patient_id)
            found = by_type.setdefault(name, {})
            key = str(resource.get("id", f"\x00{position}"))
            same = found.setdefault(key, resource)
            if same is not resource and same != resource:
                found[f"\x00{position}"] = resource
        return cls(patient_id, now, {name: tuple(found.values()) for name, found in by_type.items()})

    def all(self, type_name: str) -> tuple[Resource, ...]:
        """Return every resource of a type that is not entered in error."""
        found = self.resources.get(type_name, ())
        return self.once(f"all {type_name}", lambda: tuple(r for r in found if not _entered_in_error(r)))

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` finds in this chart, which never changes; it is asked once.

        A decision asks for the same things again and again, and each is a walk through the chart.
        """
        if name not in self._known:
            self._known[name] = make()
        found: T = self._known[name]
        return found

    @property
    def patient(self) -> Resource | None:
        """The Patient resource of this chart, or None."""
        return next(
            (found for found in self.all("Patient") if found.get("id") in (self.patient_id, None)), None
        )


class OtherPatient(ValueError):
    """A resource belongs to another patient than the one the call is about."""


def _check_subject(resource: Resource, name: str, patient_id: str) -> None:
    if name == "Patient":
        if resource.get("id", patient_id) != patient_id:
            raise OtherPatient("the Patient is another one than context.patientId")
        return
    for key in ("subject", "patient"):
        subject = resource.get(key)
        reference = subject.get("reference") if isinstance(subject, dict) else None
        if isinstance(reference, str) and reference.split("/_history/")[0].split("/")[-1] != patient_id:
            raise OtherPatient(f"a {name} belongs to another patient than context.patientId")


def _entered_in_error(resource: Resource) -> bool:
    if resource.get("status") == "entered-in-error":
        return True
    return "entered-in-error" in status_codes(resource, "verificationStatus")


def status_codes(resource: Resource, key: str) -> tuple[str, ...]:
    """Return the codes of a CodeableConcept status such as clinicalStatus."""
    concept = resource.get(key)
    listed = concept.get("coding", ()) if isinstance(concept, dict) else ()
    return tuple(str(coding.get("code")) for coding in listed if isinstance(coding, dict))


def local_reference(resource: Resource) -> str | None:
    """Return `Type/id`, or None for a resource without a proper id (R4/datatypes.html#id).

    >>> local_reference({"resourceType": "Observation", "id": "7"})
    'Observation/7'
    """
    identifier = resource.get("id")
    if not isinstance(identifier, str) or not _ID.fullmatch(identifier):
        return None
    return f"{resource['resourceType']}/{identifier}"


# Times ------------------------------------------------------------------------------------------
def moment(text: Any) -> datetime | None:
    """Return an instant or a dateTime with a time of day as aware UTC; None for less.

    >>> moment("2026-11-21T08:30:00+01:00").isoformat()
    '2026-11-21T07:30:00+00:00'
    >>> moment("2026-11-21") is None
    True
    """
    if not isinstance(text, str) or "T" not in text:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        return None
    return value.astimezone(UTC) if value.tzinfo is not None else None


def day(text: Any) -> date | None:
    """Return a date of full precision; None for a year, a month or something else."""
    try:
        return date.fromisoformat(text[:10]) if isinstance(text, str) and len(text) >= 10 else None
    except ValueError:
        return None


def taken_at(resource: Resource) -> datetime | None:
    """Return when an event took place: effective, performed, issued or authored, aware UTC."""
    for stem in ("effective", "performed"):
        for key in (f"{stem}DateTime", f"{stem}Instant"):
            if (found := moment(resource.get(key))) is not None:
                return found
        period = resource.get(f"{stem}Period")
        if isinstance(period, dict):
            found = moment(period.get("end")) or moment(period.get("start"))
            if found is not None:
                return found
    return moment(resource.get("issued")) or moment(resource.get("authoredOn"))


# Observations -----------------------------------------------------------------------------------
Part = tuple[datetime, Resource, Resource]
"""When an Observation was made, the Observation, and the part of it that carries the value."""


def observations(chart: Chart, codes: CodeSet, since: datetime) -> list[Part]:
    """Return (time, Observation, the part that carries the value), newest first.

    The part is the Observation itself or one of its components; only final, amended and
    corrected Observations made between `since` and now.
    """
    seen = chart.once("observed", lambda: _Observed(chart))
    return [part for part in seen.parts(codes) if part[0] >= since]


class _Observed:
    """All parts of all Observations that count, by their codes."""

    def __init__(self, chart: Chart) -> None:
        parts: list[Part] = []
        for resource in chart.all("Observation"):
            made = taken_at(resource)
            if made is None or made > chart.now + SKEW or resource.get("status") not in _OBSERVED:
                continue
            components = resource.get("component")
            for part in (resource, *(components if isinstance(components, list) else ())):
                if isinstance(part, dict):
                    parts.append((made, resource, part))
        parts.sort(key=lambda entry: entry[0], reverse=True)
        self._by_code: dict[tuple[str, str], dict[int, Part]] = {}
        for place, entry in enumerate(parts):
            for coding in codings(entry[2].get("code")):
                self._by_code.setdefault(coding, {})[place] = entry

    def parts(self, codes: CodeSet) -> Iterable[Part]:
        """Return the parts that a code set holds, newest first."""
        found = [self._by_code[coding] for coding in codes.among(self._by_code)]
        if len(found) < 2:
            return found[0].values() if found else ()
        together = {place: entry for entries in found for place, entry in entries.items()}
        return [together[place] for place in sorted(together)]


def whole_number(part: Resource) -> int | None:
    """Return a score given as valueInteger, or as valueQuantity without a unit of measure."""
    value = part.get("valueInteger")
    if value is None and isinstance(part.get("valueQuantity"), dict):
        quantity = part["valueQuantity"]
        if quantity.get("code", "{score}") in ("{score}", "1") and "comparator" not in quantity:
            value = quantity.get("value")
    if value is None or isinstance(value, (str, bool)):
        return None
    return int(value) if value == int(value) else None


# Conditions -------------------------------------------------------------------------------------
_ACTIVE = frozenset({"active", "recurrence", "relapse"})
_UNSURE = frozenset({"unconfirmed", "provisional", "differential"})


def active_conditions(chart: Chart, codes: CodeSet) -> Iterator[tuple[Resource, str]]:
    """Give (Condition, 'confirmed' or 'unconfirmed') of the set; resolved and refuted ones not.

    A Condition without verificationStatus counts as confirmed.
    """
    for resource, said in chart.once("conditions", lambda: _conditions(chart)):
        if not codes.holds_said(said):
            continue
        clinical = status_codes(resource, "clinicalStatus")
        if clinical and _ACTIVE.isdisjoint(clinical):
            continue
        verified = status_codes(resource, "verificationStatus")
        if "refuted" not in verified:
            yield resource, "confirmed" if _UNSURE.isdisjoint(verified) else "unconfirmed"


def _conditions(chart: Chart) -> tuple[tuple[Resource, Said], ...]:
    return tuple((resource, Said.by(resource.get("code"))) for resource in chart.all("Condition"))


# Medication -------------------------------------------------------------------------------------
def drug(chart: Chart, resource: Resource) -> Mapping[str, Any] | None:
    """Return the CodeableConcept of the drug of a request, administration or statement.

    A reference is followed to a contained Medication or to one in the chart; None when the drug
    cannot be known (the caller must not take that for harmless).
    """
    concept = resource.get("medicationCodeableConcept")
    if isinstance(concept, dict):
        return concept if concept.get("coding") or concept.get("text") else None
    target = resource.get("medicationReference")
    if not isinstance(target, dict):
        return None
    reference = str(target.get("reference", "")).split("/_history/")[0]
    inside = resource.get("contained")
    found: Sequence[Any] = chart.all("Medication")
    wanted = reference.removeprefix("urn:uuid:").split("/")[-1]
    if reference.startswith("#"):
        found, wanted = inside if isinstance(inside, list) else (), reference[1:]
    for medication in found:
        if isinstance(medication, dict) and wanted and str(medication.get("id")) == wanted:
            code = medication.get("code")
            if isinstance(code, dict) and (code.get("coding") or code.get("text")):
                return code
    display = target.get("display")
    return {"text": display} if isinstance(display, str) and display else None


def with_ingredients(concept: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the drug with the ingredients that the tables know for its RxNorm codes, code and name.

    A product is then found by the set of its ingredient: 855332 alone is warfarin.

    >>> product = {"coding": [{"system": RXNORM, "code": "856999"}]}
    >>> [coding["display"] for coding in with_ingredients(product)["coding"][1:]]
    ['hydrocodone', 'acetaminophen']
    """
    more = [
        {"system": RXNORM, "code": entry.code, "display": entry.name}
        if entry.code
        else {"display": entry.name}
        for system, code in codings(concept)
        if system == RXNORM
        for entry in of_code(code)
    ]
    return {**concept, "coding": [*(concept.get("coding") or ()), *more]} if more else concept


def drug_events(
    chart: Chart, codes: CodeSet, types: Sequence[str]
) -> Iterator[tuple[Resource, datetime | None]]:
    """Give (resource, time or None) of every request, administration or statement of a drug set.

    A product counts by its ingredients, where a table knows them.
    """
    for name in types:
        for resource, said in _drugs(chart, name):
            if codes.holds_said(said):
                yield resource, taken_at(resource)


def _drugs(chart: Chart, type_name: str) -> tuple[tuple[Resource, Said], ...]:
    """Return every request, administration or statement whose drug can be known, and what it says."""

    def read() -> Iterator[tuple[Resource, Said]]:
        for resource in chart.all(type_name):
            concept = drug(chart, resource)
            if concept is not None:
                yield resource, Said.by(with_ingredients(concept))

    return chart.once(f"drugs {type_name}", lambda: tuple(read()))
