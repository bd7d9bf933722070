"""What the bake-off indexes of a resource: a small hand extraction with realistic keys, some 22 an Observation.

Tokens get three keys (system|code, code, system|), codes of a fixed system two, references two (Type/id, id), and
every parameter that is present one marker key, the empty text. Dates, strings and quantities become narrow rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

TYPES = ("AllergyIntolerance", "CarePlan", "Condition", "DiagnosticReport", "DocumentReference", "Encounter",
         "Immunization", "Location", "MedicationRequest", "Observation", "Organization", "Patient", "Practitioner",
         "Procedure")  # fmt: skip
TYPE_CODE = {name: number for number, name in enumerate(TYPES, 1)}

CODE, CONCEPT, CODING, REFERENCE, IDENTIFIER = range(5)
KEYED: dict[str, tuple[tuple[str, int, str], ...]] = {  # parameter, kind, element
    "Observation": (("status", CODE, "status"), ("category", CONCEPT, "category"), ("code", CONCEPT, "code"),
                    ("patient", REFERENCE, "subject"), ("encounter", REFERENCE, "encounter"),
                    ("performer", REFERENCE, "performer"), ("value-concept", CONCEPT, "valueCodeableConcept")),
    "Condition": (("clinical-status", CONCEPT, "clinicalStatus"), ("verification-status", CONCEPT, "verificationStatus"),
                  ("category", CONCEPT, "category"), ("code", CONCEPT, "code"), ("patient", REFERENCE, "subject"),
                  ("encounter", REFERENCE, "encounter")),
    "Encounter": (("identifier", IDENTIFIER, "identifier"), ("status", CODE, "status"), ("class", CODING, "class"),
                  ("type", CONCEPT, "type"), ("patient", REFERENCE, "subject"), ("reason-code", CONCEPT, "reasonCode"),
                  ("service-provider", REFERENCE, "serviceProvider")),
    "DiagnosticReport": (("status", CODE, "status"), ("category", CONCEPT, "category"), ("code", CONCEPT, "code"),
                         ("patient", REFERENCE, "subject"), ("encounter", REFERENCE, "encounter"),
                         ("performer", REFERENCE, "performer"), ("result", REFERENCE, "result")),
    "MedicationRequest": (("status", CODE, "status"), ("intent", CODE, "intent"), ("category", CONCEPT, "category"),
                          ("code", CONCEPT, "medicationCodeableConcept"), ("patient", REFERENCE, "subject"),
                          ("encounter", REFERENCE, "encounter"), ("requester", REFERENCE, "requester")),
    "Procedure": (("status", CODE, "status"), ("code", CONCEPT, "code"), ("patient", REFERENCE, "subject"),
                  ("encounter", REFERENCE, "encounter")),
    "DocumentReference": (("status", CODE, "status"), ("category", CONCEPT, "category"), ("type", CONCEPT, "type"),
                          ("patient", REFERENCE, "subject"), ("author", REFERENCE, "author")),
    "Immunization": (("status", CODE, "status"), ("vaccine-code", CONCEPT, "vaccineCode"),
                     ("patient", REFERENCE, "patient"), ("lot-number", CODE, "lotNumber")),
    "AllergyIntolerance": (("clinical-status", CONCEPT, "clinicalStatus"), ("code", CONCEPT, "code"),
                           ("type", CODE, "type"), ("criticality", CODE, "criticality"), ("patient", REFERENCE, "patient")),
    "CarePlan": (("status", CODE, "status"), ("intent", CODE, "intent"), ("category", CONCEPT, "category"),
                 ("patient", REFERENCE, "subject"), ("encounter", REFERENCE, "encounter"),
                 ("condition", REFERENCE, "addresses")),
    "Patient": (("identifier", IDENTIFIER, "identifier"), ("gender", CODE, "gender"),
                ("general-practitioner", REFERENCE, "generalPractitioner"),
                ("organization", REFERENCE, "managingOrganization"), ("telecom", IDENTIFIER, "telecom")),
    "Practitioner": (("identifier", IDENTIFIER, "identifier"), ("gender", CODE, "gender")),
    "Organization": (("identifier", IDENTIFIER, "identifier"), ("type", CONCEPT, "type")),
    "Location": (("identifier", IDENTIFIER, "identifier"), ("status", CODE, "status"),
                 ("organization", REFERENCE, "managingOrganization")),
}  # fmt: skip
DATED: dict[str, tuple[tuple[str, str], ...]] = {  # the first is the clinical date of the type
    "Observation": (("date", "effectiveDateTime"),), "Encounter": (("date", "period"),),
    "Condition": (("onset-date", "onsetDateTime"), ("recorded-date", "recordedDate"),
                  ("abatement-date", "abatementDateTime")),
    "DiagnosticReport": (("date", "effectiveDateTime"), ("issued", "issued")),
    "MedicationRequest": (("authoredon", "authoredOn"),), "Procedure": (("date", "performedPeriod"),),
    "DocumentReference": (("date", "date"),), "Immunization": (("date", "occurrenceDateTime"),),
    "AllergyIntolerance": (("date", "recordedDate"),), "CarePlan": (("date", "period"),),
    "Patient": (("birthdate", "birthDate"), ("death-date", "deceasedDateTime")),
}  # fmt: skip


class Rows(NamedTuple):
    """Everything the layouts store about one resource besides its body."""

    keys: list[str]
    dates: list[tuple[int, str, str]]
    strings: list[tuple[int, str]]
    quantities: list[tuple[int, str, str, str]]
    patient: str | None
    clinical: str | None


def _hash(text: str, size: int) -> str:
    return blake2b(text.encode(), digest_size=size).hexdigest()


@lru_cache(4096)
def param(type_name: str, code: str) -> str:
    return _hash(f"{type_name}.{code}", 4)


def param_int(type_name: str, code: str) -> int:
    number = int(param(type_name, code), 16)
    return number - (1 << 32) if number >= 1 << 31 else number


def _uuid(bits: str) -> str:
    return f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}"


@lru_cache(200_000)
def key(type_name: str, code: str, text: str) -> str:
    """32 bits of the parameter, 96 bits of the text, as a uuid."""
    return _uuid(param(type_name, code) + _hash(text, 12))


def rid(reference: str) -> str:
    """The row key of "Type/id": the same 96 bits as in a reference key."""
    return _uuid("00000000" + _hash(reference, 12))


def key64(uuid: str) -> int:
    """The same key at 64 bits, 16 of the parameter and 48 of the text, for the narrow layout."""
    bits = uuid.replace("-", "")
    number = int(bits[4:8] + bits[8:20], 16)
    return number - (1 << 64) if number >= 1 << 63 else number


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _texts(kind: int, value: Any) -> Iterator[str]:
    if kind == CODE:
        yield f"urn:fixed|{value}"
        yield value
    elif kind == REFERENCE:
        yield value["reference"]
        yield value["reference"].rpartition("/")[2]
    else:
        codings = value.get("coding", ()) if kind == CONCEPT else (value,)
        for coding in codings:
            system, code = coding["system"], coding["value" if kind == IDENTIFIER else "code"]
            yield f"{system}|{code}"
            yield code
            yield f"{system}|"


def _interval(value: Any) -> tuple[str, str]:
    if isinstance(value, dict):
        start, end = value.get("start"), value.get("end")
        return (_interval(start)[0] if start else "-infinity", _interval(end)[1] if end else "infinity")
    if len(value) == 10:
        return f"{value}T00:00:00+00:00", (
            datetime.fromisoformat(value) + timedelta(days=1)
        ).isoformat() + "+00:00"
    return value, (datetime.fromisoformat(value) + timedelta(seconds=1)).isoformat()


def index(resource: dict[str, Any]) -> Rows:
    name = resource["resourceType"]
    keys: dict[str, None] = {key(name, "_profile", resource["meta"]["profile"][0]): None}
    patient = None
    for code, kind, element in KEYED[name]:
        value = resource.get(element)
        if value is None:
            continue
        keys[key(name, code, "")] = None
        for one in _several(value):
            keys.update(dict.fromkeys(key(name, code, text) for text in _texts(kind, one)))
        if code == "patient":
            patient = rid(value["reference"])
    dates = []
    for code, element in DATED.get(name, ()):
        if element in resource:
            keys[key(name, code, "")] = None
            dates.append((param_int(name, code), *_interval(resource[element])))
    quantities = []
    if "valueQuantity" in resource:
        keys[key(name, "value-quantity", "")] = None
        quantities.append(_quantity("value-quantity", resource["valueQuantity"]))
    if "component" in resource:
        keys[key(name, "component-code", "")] = None
        for component in resource["component"]:
            texts = _texts(CONCEPT, component["code"])
            keys.update(dict.fromkeys(key(name, "component-code", text) for text in texts))
            quantities.append(_quantity("component-value-quantity", component["valueQuantity"]))
    clinical = dates[0][1] if dates else None
    return Rows(list(keys), dates, list(_strings(name, resource)), quantities, patient, clinical)


def _quantity(code: str, value: dict[str, Any]) -> tuple[int, str, str, str]:
    number = str(value["value"])
    half = 0.5 * 10.0 ** -len(number.partition(".")[2])
    unit = _uuid("00000000" + _hash(f"{value['system']}|{value['code']}", 12))
    return (
        param_int("Observation", code),
        unit,
        f"{value['value'] - half:.6g}",
        f"{value['value'] + half:.6g}",
    )


def _strings(name: str, resource: dict[str, Any]) -> Iterator[tuple[int, str]]:
    if name in ("Organization", "Location"):
        yield param_int(name, "name"), resource["name"].lower()
    elif name in ("Patient", "Practitioner"):
        human = resource["name"][0]
        yield param_int(name, "family"), human["family"].lower()
        yield param_int(name, "name"), human["family"].lower()
        for given in human["given"]:
            yield param_int(name, "given"), given.lower()
            yield param_int(name, "name"), given.lower()
        for address in resource.get("address", ()):
            for code, element in (("address-city", "city"), ("address-state", "state"),
                                  ("address-postalcode", "postalCode")):  # fmt: skip
                yield param_int(name, code), address[element].lower()
                yield param_int(name, "address"), address[element].lower()
