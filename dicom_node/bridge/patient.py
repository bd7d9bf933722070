"""Whose image is it: the PatientID and issuer of a study → a Patient reference.

Exactly one Patient with that system and value, and nothing against it: that one; of one that was merged,
the one that replaced it (Patient.link). None: a placeholder Patient with that identifier. More than one,
or name and birth date speak against it, or the study names several patients: a placeholder of this
study alone, and a Task for somebody to decide. Never a match by name.

The placeholder of a contradiction does not carry the identifier's system: one stray study must
not make the identifier of a real Patient ambiguous for everybody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from dicom_node.attributes import Attributes
from dicom_node.bridge.codes import clean, universal_system
from dicom_node.bridge.imaging_study import study_identifier
from dicom_node.bridge.people import readable
from dicom_node.index.matching import fold, read_date
from dicom_node.index.studies import Named, Study
from dicom_node.instance import first
from fhir_server.interactions.context import Context
from fhir_server.interactions.create import create
from fhir_server.interactions.search_type import resources

PLACEHOLDER = {"system": "urn:xinglin:tag", "code": "placeholder"}
STUDY_PATIENT = "urn:xinglin:study-patient"
_GENDERS = {"M": "male", "F": "female", "O": "other"}

Resource = dict[str, Any]


class NoSystem(ValueError):
    """A PatientID without an issuer cannot be told apart: the installation sets no system for it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose study it is; `doubt` says why somebody has to look, None when it is certain."""

    reference: str
    doubt: str | None = None


def system_of(issuer: str, table: Mapping[str, str], default: str) -> str:
    """Return the identifier system of a PatientID by its issuer.

    `table` maps issuers as sites name them ("HOSPITAL", "1.2.3", "AE:CT1") to URIs. An issuer that
    is named but not in the table gets a system of its own, never the default: another hospital's
    number is not ours.

    >>> system_of("ISO:1.2.3", {}, "urn:default"), system_of("ae:CT1", {"AE:CT1": "urn:x"}, "urn:default")
    ('urn:oid:1.2.3', 'urn:x')
    >>> system_of("ae:CT2", {}, "urn:default"), system_of("local:Other Clinic", {}, "urn:default")
    ('urn:default', 'urn:xinglin:issuer:Other%20Clinic')

    Raises NoSystem when there is no issuer and no default.
    """
    kind, _, name = issuer.partition(":")
    if kind == "ae":
        found = table.get(f"AE:{name}", default)
        if not found:
            raise NoSystem("patient_id_system is not set; a PatientID without an issuer cannot be told apart")
        return found
    if name in table:
        return table[name]
    return universal_system(kind, name)


def find_subject(context: Context, study: Study, table: Mapping[str, str], default: str) -> Subject:
    """Return whose study it is, making a placeholder Patient where that is needed."""
    named = study.patients[0] if study.patients else Named("", study.issuer, study.attributes)
    if len({(one.patient_id, one.issuer) for one in study.patients}) > 1:
        return _doubtful(context, study, named, "its images name several patients")
    if not named.patient_id.strip():
        return _doubtful(context, study, named, "its images name no PatientID")
    system = system_of(named.issuer, table, default)
    value = clean(named.patient_id)
    matches = resources(context, "Patient", [("identifier", token(system, value)), ("_count", "50")])
    real = [patient for patient in matches if not is_placeholder(patient)]
    survivors = {survivor(context, f"Patient/{patient['id']}") for patient in real or matches}
    if real and len(survivors) > 1:
        return _doubtful(context, study, named, "several Patients have its PatientID")
    if real:
        found = [contradicts(patient, study.patients or [named]) for patient in real]
        if all(found):  # the one who was merged may be known by the name that the images have
            return _doubtful(context, study, named, str(found[0]))
        return Subject(survivors.pop())
    if matches:
        return Subject(min(survivors))
    identifier = {"system": system, "value": value}
    return Subject(_placeholder(context, named, [identifier], f"identifier={_query(system, value)}"))


def survivor(context: Context, reference: str) -> str:
    """Return who took the place of a Patient in merges, himself where nobody did.

    R4/patient-definitions.html#Patient.link: "replaced-by".
    """
    seen = {reference}
    for _ in range(LONGEST_CHAIN):
        kind, _, id_ = reference.partition("/")
        found = resources(context, "Patient", [("_id", id_)]) if kind == "Patient" and id_ else []
        links = found[0].get("link", []) if found else []
        others = [
            str(link["other"].get("reference", "")) for link in links if link.get("type") == "replaced-by"
        ]
        following = _local(others[0]) if others else ""
        if not following or following in seen:
            return reference
        seen.add(following)
        reference = following
    return reference


LONGEST_CHAIN = 20


def _local(reference: str) -> str:
    """Return a reference to a Patient of ours without address and version.

    >>> _local("http://here/fhir/Patient/7/_history/2"), _local("Group/1")
    ('Patient/7', '')
    """
    parts = reference.partition("/_history/")[0].split("/")
    return "/".join(parts[-2:]) if parts[-2:-1] == ["Patient"] else ""


def contradicts(patient: Resource, stated: Sequence[Named]) -> str | None:
    """Return what speaks against this Patient being the one that images name, or None.

    Birth dates that differ do; names do when they share no part and no birth date agrees
    (spellings, scripts and marriages change names, rarely all of a name).
    """
    written = _parts_of(patient)
    born = str(patient.get("birthDate", ""))
    for one in stated:
        date = read_date(first(one.attributes, "00100030"))
        agrees = date is not None and born == date.isoformat()
        if date is not None and len(born) == 10 and not agrees:
            return "the birth date differs from that of the Patient with its PatientID"
        name = first(one.attributes, "00100010")
        parts = _name_parts(name) if isinstance(name, dict) else set()
        if parts and written and not parts & written and not agrees:
            return "the name has nothing in common with that of the Patient with its PatientID"
    return None


def is_placeholder(patient: Resource) -> bool:
    """Whether a Patient was made from an image's header only."""
    tags = patient.get("meta", {}).get("tag", [])
    return any(
        tag.get("code") == PLACEHOLDER["code"] and tag.get("system") == PLACEHOLDER["system"] for tag in tags
    )


def token(system: str, value: str) -> str:
    r"""Return a token parameter; what has a meaning in searches is escaped (R4/search.html#escaping).

    >>> token("urn:a", "1,2")
    'urn:a|1\\,2'
    """
    return f"{_escaped(system)}|{_escaped(value)}"


def _escaped(text: str) -> str:
    return "".join(f"\\{sign}" if sign in "\\,|$" else sign for sign in text)


def _query(system: str, value: str) -> str:
    return quote(token(system, value), safe="")


def _doubtful(context: Context, study: Study, named: Named, doubt: str) -> Subject:
    value = study_identifier(study.study_uid)
    identifiers: list[Resource] = [{"use": "temp", "system": STUDY_PATIENT, "value": value}]
    if stated := clean(named.patient_id):
        identifiers.append({"use": "secondary", "value": stated})
    criteria = f"identifier={_query(STUDY_PATIENT, value)}"
    return Subject(_placeholder(context, named, identifiers, criteria), doubt)


def _placeholder(context: Context, named: Named, identifiers: list[Resource], criteria: str) -> str:
    patient: Resource = {
        "resourceType": "Patient",
        "meta": {"tag": [PLACEHOLDER]},
        "identifier": identifiers,
        **demographics(named.attributes),
    }
    created = create(context, "Patient", patient, criteria)
    assert created.version is not None
    return created.version.address


def demographics(found: Attributes) -> Resource:
    """Return name, gender and birthDate as the header gives them.

    >>> demographics({"00100010": {"Value": [{"Alphabetic": "Doe^John"}]}, "00100040": {"Value": ["M"]}})
    {'name': [{'text': 'John Doe', 'family': 'Doe', 'given': ['John']}], 'gender': 'male'}
    """
    resource: Resource = {}
    name = first(found, "00100010")
    if isinstance(name, dict):
        names = []
        for group in ("Alphabetic", "Ideographic", "Phonetic"):
            text = clean(readable({"Alphabetic": name.get(group, "")}))
            if text:
                family, given, middle, *_ = [*str(name[group]).split("^"), "", "", ""]
                parts = {"text": text, "family": clean(family)}
                givens = [one for one in (clean(given), clean(middle)) if one]
                names.append({key: value for key, value in {**parts, "given": givens}.items() if value})
        if names:
            resource["name"] = names
    if gender := _GENDERS.get(str(first(found, "00100040"))):
        resource["gender"] = gender
    if date := read_date(first(found, "00100030")):
        resource["birthDate"] = date.isoformat()
    return resource


def _name_parts(name: dict[str, Any]) -> set[str]:
    return {
        part
        for group in name.values()
        for part in fold(str(group).replace("^", " ")).replace("-", " ").split()
    }


def _parts_of(patient: Resource) -> set[str]:
    parts: set[str] = set()
    for name in patient.get("name", []):
        texts = [name.get("family", ""), name.get("text", ""), *name.get("given", [])]
        parts.update(part for text in texts if text for part in fold(text).replace("-", " ").split())
    return parts
