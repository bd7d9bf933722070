"""A Patient as the patient modules of a worklist answer have him (PS3.4 table K.6-1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dicom_node.attributes import Attributes
from dicom_node.coding_schemes import LOINC, SNOMED
from dicom_node.workflow.changes import BODY_HEIGHT, BODY_WEIGHT, PREGNANCY
from dicom_node.workflow.chart import Chart, WorkflowSettings
from dicom_node.workflow.codes import code_items, text_of
from dicom_node.workflow.elements import attributes, is_uid
from dicom_node.workflow.person import person_name

SEX = {"male": "M", "female": "F", "other": "O", "unknown": "O"}
_PREGNANT = {
    (SNOMED, "77386006"): 3,
    (SNOMED, "60001007"): 1,
    (SNOMED, "102874004"): 2,
    (SNOMED, "261665006"): 4,
    (LOINC, "LA15173-0"): 3,
    (LOINC, "LA26683-5"): 1,
    (LOINC, "LA4489-6"): 4,
}
_KILOGRAMS = {"kg": 1.0, "g": 0.001, "[lb_av]": 0.45359237}
_METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001, "[in_i]": 0.0254}
_RESTRICTED = frozenset({"R", "V"})
_MERGES_FOLLOWED = 5

Resource = dict[str, Any]


def current(chart: Chart, patient: Resource) -> Resource:
    """Return the Patient that replaced this one, or itself (Patient.link, replaced-by)."""
    for _ in range(_MERGES_FOLLOWED):
        link = next((one for one in patient.get("link", ()) if one.get("type") == "replaced-by"), None)
        other = chart.follow(link.get("other"), patient) if link else None
        if other is None or other.get("resourceType") != "Patient":
            return patient
        patient = other
    return patient


def identification(patient: Resource, settings: WorkflowSettings) -> Attributes:
    """Return name, PatientID with its issuer, and the other identifiers."""
    own, *others = _ranked(patient.get("identifier", ()), settings) or [{}]
    found = attributes(PatientName=[person_name(patient.get("name", ()))], PatientID=own.get("value"))
    found |= issuer(own, settings)
    found |= attributes(
        OtherPatientIDsSequence=[
            attributes(PatientID=one["value"], TypeOfPatientID="TEXT") | issuer(one, settings)
            for one in others
        ],
        OtherPatientNames=_former(patient, "old"),
        PatientBirthName=_former(patient, "maiden")[:1],
    )
    return found


def _former(patient: Resource, use: str) -> list[dict[str, str]]:
    names = (
        person_name([{**one, "use": "usual"}]) for one in patient.get("name", ()) if one.get("use") == use
    )
    return [name for name in names if name]


def issuer(identifier: Resource, settings: WorkflowSettings) -> Attributes:
    """Return who gave an identifier, so that an image that repeats it leads back to the same system.

    None for the system of PatientIDs without an issuer; the name that the setting patient_id_issuers has
    for a system; else the system itself as a qualifier.
    """
    system = str(identifier.get("system", ""))
    named = [
        name for name, known in settings.issuers.items() if known == system and not name.startswith("AE:")
    ]
    empty = attributes(IssuerOfPatientID=None, IssuerOfPatientIDQualifiersSequence=[])
    if not system or system == settings.patient_id_system:
        return empty
    if named:
        name = named[0]
        if is_uid(name):
            return empty | attributes(IssuerOfPatientIDQualifiersSequence=[_entity(name, "ISO")])
        return empty | attributes(IssuerOfPatientID=name)
    return empty | attributes(IssuerOfPatientIDQualifiersSequence=[universal(system)])


def universal(system: str) -> Attributes:
    """Return an identifier system as a universal entity (PS3.3 10.14).

    >>> universal("urn:oid:1.2.3")["00400033"]["Value"], universal("http://x")["00400033"]["Value"]
    (['ISO'], ['URI'])
    """
    bare = system.removeprefix("urn:oid:")
    if bare != system and is_uid(bare):
        return _entity(bare, "ISO")
    if system.startswith("urn:uuid:"):
        return _entity(system.removeprefix("urn:uuid:"), "UUID")
    return _entity(system, "URI")


def _entity(id_: str, kind: str) -> Attributes:
    return attributes(UniversalEntityID=id_, UniversalEntityIDType=kind)


def demographic(patient: Resource) -> Attributes:
    """Return birth date, sex, address, telephone, language, marital and confidentiality remarks."""
    born = str(patient.get("birthDate", ""))
    labels = patient.get("meta", {}).get("security", ())
    restricted = any(label.get("code") in _RESTRICTED for label in labels)
    phones = [one.get("value") for one in patient.get("telecom", ())
              if one.get("system", "phone") == "phone"]  # fmt: skip
    languages = [
        concept
        for one in sorted(patient.get("communication", ()), key=lambda each: not each.get("preferred"))
        if (concept := one.get("language"))
    ]
    return attributes(
        PatientBirthDate=born.replace("-", "") if len(born) == 10 else None,
        PatientSex=SEX.get(str(patient.get("gender"))),
        PatientAddress=_address(patient.get("address", ())),
        PatientTelephoneNumbers=[phone for phone in phones if phone and len(phone) <= 16],
        PatientPrimaryLanguageCodeSequence=[item for one in languages[:1] for item in code_items(one)[:1]],
        ConfidentialityConstraintOnPatientDataDescription="restricted" if restricted else None,
    )


def _address(addresses: Iterable[Resource]) -> str:
    for one in addresses:
        parts = [*one.get("line", ()), one.get("postalCode", ""), one.get("city", ""), one.get("country", "")]
        if text := one.get("text") or ", ".join(part for part in parts if part):
            return str(text)
    return ""


def medical(chart: Chart, patient: Resource) -> Attributes:
    """Return allergies, alerts, pregnancy, weight and size, as far as they are recorded."""
    about = ("patient", f"Patient/{patient['id']}") if "id" in patient else None
    if about is None:
        return attributes(
            Allergies=None, MedicalAlerts=None, PregnancyStatus=None, PatientWeight=None, PatientSize=None
        )
    allergies = [
        text_of(one.get("code"))
        for one in chart.search("AllergyIntolerance", about)
        if _holds(one, "clinicalStatus", ("active", ""))
        and not _holds(one, "verificationStatus", ("refuted", "entered-in-error"))
    ]
    flags = [text_of(one.get("code")) for one in chart.search("Flag", about) if one.get("status") == "active"]
    newest = {
        code: _newest(chart, about, code)
        for code in (PREGNANCY, BODY_WEIGHT, BODY_HEIGHT)
        if code != PREGNANCY or patient.get("gender") != "male"
    }
    return attributes(
        Allergies=list(dict.fromkeys(allergies)),
        MedicalAlerts=list(dict.fromkeys(flags)),
        PregnancyStatus=_pregnancy(newest[PREGNANCY]) if PREGNANCY in newest else None,
        PatientWeight=_quantity(newest[BODY_WEIGHT], _KILOGRAMS),
        PatientSize=_quantity(newest[BODY_HEIGHT], _METRES),
    )


def _newest(chart: Chart, about: tuple[str, str], code: str) -> Resource | None:
    found = chart.search(
        "Observation",
        about,
        ("code", f"{LOINC}|{code}"),
        ("status", "final,amended,corrected,preliminary"),
        ("_sort", "-date"),
        most=1,
    )
    return found[0] if found else None


def _pregnancy(observation: Resource | None) -> int:
    """Return the status; 4 is unknown."""
    if observation is None:
        return 4
    if "valueBoolean" in observation:
        return 3 if observation["valueBoolean"] else 1
    codings = observation.get("valueCodeableConcept", {}).get("coding", ())
    found = (_PREGNANT.get((one.get("system", ""), one.get("code", ""))) for one in codings)
    return next((status for status in found if status), 4)


def _quantity(observation: Resource | None, units: dict[str, float]) -> float | None:
    quantity = (observation or {}).get("valueQuantity", {})
    factor = units.get(str(quantity.get("code", quantity.get("unit", ""))))
    number = quantity.get("value")
    return None if factor is None or number is None else round(float(number) * factor, 3)


def _holds(resource: Resource, name: str, wanted: tuple[str, ...]) -> bool:
    codings = resource.get(name, {}).get("coding", ())
    return ({str(one.get("code", "")) for one in codings} or {""}) & set(wanted) != set()


def _ranked(identifiers: Iterable[Resource], settings: WorkflowSettings) -> list[Resource]:
    """Return identifiers with a value, the one that images carry first."""

    def rank(identifier: Resource) -> int:
        system = identifier.get("system")
        if system and system == settings.patient_id_system:
            return 0
        kinds = {coding.get("code") for coding in identifier.get("type", {}).get("coding", ())}
        if "MR" in kinds:
            return 1
        return 2 if system in settings.issuers.values() else 3

    usable = [one for one in identifiers if one.get("value") and one.get("use") != "old"]
    return sorted(usable, key=rank)
