"""Resource JSON → what a template shows. Pure: no SQL, no HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from typing import Any

from fhir_server.console import wording
from fhir_server.console.wording import Json, mappings


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of entry of the timeline: its filter name, title, resource type and date parameter."""

    name: str
    title: str
    type_name: str
    date_parameter: str
    date_elements: tuple[str, ...]


KINDS = (
    Kind("encounters", "Encounters", "Encounter", "date", ("period",)),
    Kind("conditions", "Conditions", "Condition", "onset-date", ("onset", "recordedDate")),
    Kind("observations", "Observations", "Observation", "date", ("effective", "issued")),
    Kind("medications", "Medications", "MedicationRequest", "authoredon", ("authoredOn",)),
    Kind("reports", "Reports", "DiagnosticReport", "date", ("effective", "issued")),
    Kind("procedures", "Procedures", "Procedure", "date", ("performed",)),
    Kind("immunizations", "Immunizations", "Immunization", "date", ("occurrence",)),
    Kind("imaging", "Imaging", "ImagingStudy", "started", ("started",)),
)
KIND_BY_TYPE = {kind.type_name: kind for kind in KINDS}


@dataclass(frozen=True, slots=True)
class PatientRow:
    """One line of the list of patients."""

    id: str
    name: str
    sex: str
    birth_date: str
    age: int | None
    deceased: bool
    identifier: str
    place: str
    placeholder: bool


@dataclass(frozen=True, slots=True)
class Fact:
    """A labelled line, for instance ("Address", "1 Elm St")."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Header:
    """The head of a patient's page."""

    row: PatientRow
    initials: str
    life: str
    facts: list[Fact]
    identifiers: list[Fact]


@dataclass(frozen=True, slots=True)
class Note:
    """A short entry of the side column: allergy, problem, medication."""

    address: str
    title: str
    detail: str
    severe: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of the timeline; `moment` is the FHIR date it stands under, "" without one."""

    kind: str
    address: str
    moment: str
    title: str
    detail: str
    status: str
    flag: str
    study_uid: str = ""

    @property
    def clock(self) -> str:
        """Hours and minutes as recorded."""
        return wording.clock_text(self.moment)


@dataclass(frozen=True, slots=True)
class Day:
    """What happened on one day: entries, and measurements set apart because they are many."""

    title: str
    moment: str
    age: int | None
    items: list[Item]
    measurements: list[Item] = field(default_factory=list)


def patient_row(patient: Json, today: date) -> PatientRow:
    """Return the list line of a Patient."""
    died = patient.get("deceasedDateTime")
    tags = mappings((patient.get("meta") or {}).get("tag"))
    return PatientRow(
        id=str(patient.get("id") or ""),
        name=wording.human_name(patient.get("name")) or "(no name)",
        sex=str(patient.get("gender") or ""),
        birth_date=wording.day_text(str(patient.get("birthDate") or "")),
        age=wording.age(patient.get("birthDate"), _day(died) or today),
        deceased=bool(died or patient.get("deceasedBoolean")),
        identifier=_main_identifier(patient),
        place=_place(patient),
        placeholder=any(tag.get("code") == "placeholder" for tag in tags),
    )


def _day(text: Any) -> date | None:
    try:
        return date.fromisoformat(str(text)[:10])
    except ValueError:
        return None


def _place(patient: Json) -> str:
    address = wording.first(patient.get("address"))
    if not isinstance(address, Mapping):
        return ""
    return ", ".join(str(address[part]) for part in ("city", "state") if isinstance(address.get(part), str))


# Of no use for finding the right patient in a ward, and too much for an open screen; the JSON has them.
_PRIVATE_IDENTIFIERS = frozenset({"SS", "PPN", "DL", "TAX"})


def _identifiers(patient: Json) -> list[tuple[str, str, str]]:
    """Return (type code, label, value) of the identifiers, record numbers first."""
    found = []
    for identifier in mappings(patient.get("identifier")):
        if not isinstance(identifier.get("value"), str):
            continue
        code = wording.code_of(identifier.get("type"))
        if code in _PRIVATE_IDENTIFIERS:
            continue
        system = str(identifier.get("system") or "")
        label = (
            wording.concept(identifier.get("type")) or system.rstrip("/").rpartition("/")[2] or "Identifier"
        )
        found.append((code, label, str(identifier["value"])))
    return sorted(found, key=lambda entry: entry[0] != "MR")


def _main_identifier(patient: Json) -> str:
    found = _identifiers(patient)
    return found[0][2] if found else ""


def header(patient: Json, today: date) -> Header:
    """Return the head of a patient's page."""
    row = patient_row(patient, today)
    died = str(patient.get("deceasedDateTime") or "")
    life = f"born {row.birth_date}" if row.birth_date else "birth date unknown"
    if died:
        life += f", died {wording.day_text(died)}" + (f" aged {row.age}" if row.age is not None else "")
    elif row.deceased:
        life += ", deceased"
    elif row.age is not None:
        life += f", {row.age} years"
    pairs = (
        ("Address", wording.address_line(patient.get("address"))),
        ("Phone", wording.telecom(patient.get("telecom"), "phone")),
        ("E-mail", wording.telecom(patient.get("telecom"), "email")),
        ("Marital status", wording.marital_status(patient.get("maritalStatus"))),
        ("Language", _language(patient)),
        ("Managed by", wording.reference(patient.get("managingOrganization"))),
    )
    return Header(
        row=row,
        initials=wording.initials(patient.get("name")),
        life=life,
        facts=[Fact(label, value) for label, value in pairs if value],
        identifiers=[Fact(label, value) for _, label, value in _identifiers(patient)],
    )


def _language(patient: Json) -> str:
    spoken = mappings(patient.get("communication"))
    return wording.concept(spoken[0].get("language")) if spoken else ""


def _address(resource: Json) -> str:
    return f"{resource.get('resourceType')}/{resource.get('id')}"


def allergies(resources: Iterable[Json]) -> list[Note]:
    """Return the allergies that are not resolved, the dangerous ones first."""
    notes = []
    for allergy in resources:
        state = wording.code_of(allergy.get("clinicalStatus"))
        if state in ("inactive", "resolved") or _entered_in_error(allergy):
            continue
        manifestations = [
            wording.concept(manifestation)
            for reaction in mappings(allergy.get("reaction"))
            for manifestation in mappings(reaction.get("manifestation"))
        ]
        criticality = str(allergy.get("criticality") or "")
        detail = ", ".join(dict.fromkeys(filter(None, manifestations)))
        if criticality == "high":
            detail = f"high criticality{': ' + detail if detail else ''}"
        title = wording.concept(allergy.get("code")) or "(substance not named)"
        notes.append(Note(_address(allergy), title, detail, criticality == "high"))
    return sorted(notes, key=lambda note: not note.severe)


def problems(resources: Iterable[Json]) -> list[Note]:
    """Return the conditions that are active, the latest first as they came."""
    return [
        Note(_address(each), wording.concept(each.get("code")) or "(not named)", _since(each))
        for each in resources
        if wording.code_of(each.get("clinicalStatus")) in ("active", "recurrence", "relapse")
        and not _entered_in_error(each)
    ]


def _since(condition: Json) -> str:
    moment = moment_of(condition)
    return f"since {wording.day_text(moment)}" if moment else ""


def medications(resources: Iterable[Json]) -> list[Note]:
    """Return the medications in use, each named once."""
    notes: dict[str, Note] = {}
    for each in resources:
        if each.get("status") not in ("active", "on-hold"):
            continue
        title = _medication(each)
        notes.setdefault(title, Note(_address(each), title, _dosage(each)))
    return list(notes.values())


def _entered_in_error(resource: Json) -> bool:
    return wording.code_of(resource.get("verificationStatus")) in ("entered-in-error", "refuted")


def _medication(resource: Json) -> str:
    kind, value = wording.choice(resource, "medication")
    text = wording.concept(value) if kind == "CodeableConcept" else wording.reference(value)
    return text or "(medication not named)"


def _dosage(resource: Json) -> str:
    dosage = wording.first(resource.get("dosageInstruction"))
    if not isinstance(dosage, Mapping):
        return ""
    if isinstance(dosage.get("text"), str):
        return str(dosage["text"])
    if dosage.get("asNeededBoolean") is True:
        return "as needed"
    rule = (dosage.get("timing") or {}).get("repeat") if isinstance(dosage.get("timing"), Mapping) else None
    if not isinstance(rule, Mapping) or "frequency" not in rule:
        return ""
    per = wording.number(rule.get("period")).removesuffix(".0")
    unit = {"h": "hour", "d": "day", "wk": "week", "mo": "month"}.get(str(rule.get("periodUnit")), "")
    every = f"per {unit}" if per in ("", "1") else f"per {per} {unit}s"
    return f"{rule['frequency']} × {every}" if unit else ""


def moment_of(resource: Json) -> str:
    """Return the date that a resource stands under in the timeline, "" without one.

    >>> moment_of({"resourceType": "Encounter", "period": {"start": "2020-01-02T10:00:00Z"}})
    '2020-01-02T10:00:00Z'
    """
    kind = KIND_BY_TYPE.get(str(resource.get("resourceType")))
    for element in kind.date_elements if kind else ():
        value = resource.get(element)
        if value is None:
            _, value = wording.choice(resource, element)
        if isinstance(value, Mapping):
            value = value.get("start") or value.get("end")
        if isinstance(value, str) and value[:4].isdigit():
            return value
    return ""


def item(resource: Json) -> Item:
    """Return the timeline entry of a resource of one of KINDS."""
    type_name = str(resource.get("resourceType"))
    title, detail, flag = _DESCRIBE[type_name](resource)
    status = wording.code_of(resource.get("clinicalStatus")) or str(resource.get("status") or "")
    usual = status in ("final", "finished", "completed", "available", "")
    return Item(
        kind=KIND_BY_TYPE[type_name].name,
        address=_address(resource),
        moment=moment_of(resource),
        title=title or f"({type_name} without a name)",
        detail=detail,
        status="" if usual else status,
        flag=flag,
        study_uid=_study_uid(resource) if type_name == "ImagingStudy" else "",
    )


def _study_uid(resource: Json) -> str:
    """Return the Study Instance UID of an ImagingStudy (R4/imagingstudy.html#notes), or ""."""
    for identifier in mappings(resource.get("identifier")):
        if identifier.get("system") == "urn:dicom:uid":
            return str(identifier.get("value") or "").removeprefix("urn:oid:")
    return ""


Description = tuple[str, str, str]


def _encounter(resource: Json) -> Description:
    title = wording.concept(resource.get("type")) or wording.concept(resource.get("class"))
    where = wording.first(resource.get("location"))
    place = wording.reference(where.get("location")) if isinstance(where, Mapping) else ""
    who = wording.first(resource.get("participant"))
    person = wording.reference(who.get("individual")) if isinstance(who, Mapping) else ""
    reason = wording.concept(resource.get("reasonCode"))
    return title, _joined(reason, person, place or wording.reference(resource.get("serviceProvider"))), ""


def _condition(resource: Json) -> Description:
    _, ended = wording.choice(resource, "abatement")
    until = f"until {wording.day_text(ended)}" if isinstance(ended, str) and ended[:4].isdigit() else ""
    return (
        wording.concept(resource.get("code")),
        _joined(wording.concept(resource.get("severity")), until),
        "",
    )


_FLAGS = {"H": "high", "HH": "critically high", "L": "low", "LL": "critically low", "A": "abnormal"}
_FLAGS |= {"AA": "critically abnormal", "POS": "positive", "HU": "high", "LU": "low"}


def _observation(resource: Json) -> Description:
    value = wording.value_text(resource) or _components(resource)
    if not value and "dataAbsentReason" in resource:
        value = f"no value: {wording.concept(resource['dataAbsentReason'])}"
    interpretation = wording.code_of(resource.get("interpretation"))
    return wording.concept(resource.get("code")), value, _FLAGS.get(interpretation, "")


def _components(resource: Json) -> str:
    """Return the component values of an Observation; a blood pressure as people write it."""
    components = mappings(resource.get("component"))
    by_code = {wording.code_of(each.get("code")): each for each in components}
    if {"8480-6", "8462-4"} <= by_code.keys():
        upper, lower = (by_code[code].get("valueQuantity") or {} for code in ("8480-6", "8462-4"))
        unit = upper.get("unit") or "mmHg"
        return f"{wording.number(upper.get('value'))} / {wording.number(lower.get('value'))} {unit}"
    return "; ".join(
        f"{wording.concept(each.get('code'))} {wording.value_text(each)}".strip() for each in components
    )


def _medication_request(resource: Json) -> Description:
    return _medication(resource), _joined(_dosage(resource), wording.reference(resource.get("requester"))), ""


def _report(resource: Json) -> Description:
    count = len(mappings(resource.get("result")))
    results = f"{count} result{'s' if count != 1 else ''}" if count else ""
    conclusion = str(resource.get("conclusion") or "")
    return wording.concept(resource.get("code")), _joined(results, conclusion), ""


def _procedure(resource: Json) -> Description:
    reason = wording.concept(resource.get("reasonCode")) or wording.reference(
        wording.first(resource.get("reasonReference"))
    )
    return (
        wording.concept(resource.get("code")),
        _joined(reason, wording.reference(resource.get("location"))),
        "",
    )


def _immunization(resource: Json) -> Description:
    lot = resource.get("lotNumber")
    return wording.concept(resource.get("vaccineCode")), f"lot {lot}" if lot else "", ""


def _imaging_study(resource: Json) -> Description:
    kinds = ", ".join(str(each.get("code")) for each in mappings(resource.get("modality")))
    series, images = resource.get("numberOfSeries"), resource.get("numberOfInstances")
    size = f"{series} series, {images} images" if series is not None and images is not None else ""
    return str(resource.get("description") or "") or f"{kinds or 'Imaging'} study", _joined(kinds, size), ""


def _joined(*parts: str) -> str:
    return " · ".join(dict.fromkeys(part for part in parts if part))


_DESCRIBE: dict[str, Callable[[Json], Description]] = {
    "Encounter": _encounter,
    "Condition": _condition,
    "Observation": _observation,
    "MedicationRequest": _medication_request,
    "DiagnosticReport": _report,
    "Procedure": _procedure,
    "Immunization": _immunization,
    "ImagingStudy": _imaging_study,
}


def days(items: Iterable[Item], birth_date: Any) -> list[Day]:
    """Group timeline entries, newest first, under their days; what has no date comes last."""
    ordered = sorted(items, key=lambda each: each.moment[:10], reverse=True)
    grouped = []
    for day, group in groupby(ordered, key=lambda each: each.moment[:10]):
        members = sorted(group, key=lambda each: (_RANK[each.kind], each.moment))
        grouped.append(
            Day(
                title=wording.day_text(day) if day else "Without a date",
                moment=day,
                age=wording.age(birth_date, _day(day) or date.min) if len(day) == 10 else None,
                items=[each for each in members if each.kind != "observations"],
                measurements=[each for each in members if each.kind == "observations"],
            )
        )
    return grouped


_RANK = {kind.name: rank for rank, kind in enumerate(KINDS)}


def patient_id(resource: Json) -> str:
    """Return the id of the patient whose record a resource belongs to, "" if it is nobody's.

    >>> patient_id({"resourceType": "Observation", "subject": {"reference": "Patient/7"}})
    '7'
    """
    if resource.get("resourceType") == "Patient":
        return str(resource.get("id") or "")
    for element in ("subject", "patient", "beneficiary"):
        target = resource.get(element)
        text = str(target.get("reference") or "") if isinstance(target, Mapping) else ""
        if text.startswith("Patient/"):
            return text.split("/")[1]
    return ""
