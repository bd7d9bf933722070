"""The hospital and its patients: Organization, Practitioner, Location and US Core Patient."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from conformance.samples.vocabulary import SNOMED, TERMINOLOGY, US_CORE

Resource = dict[str, Any]

FAMILIES = (
    "Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez Martinez Hernandez Lopez Gonzalez Wilson "
    "Anderson Thomas Taylor Moore Jackson Martin Lee Perez Thompson White Harris Sanchez Clark Ramirez Lewis "
    "Robinson Walker Young Allen King Wright Scott Torres Nguyen Hill Flores Green Adams Nelson Baker Hall Rivera "
    "Campbell Mitchell Carter Roberts Gomez Phillips Evans Turner Diaz Parker Cruz Edwards Collins Reyes Stewart "
    "Morris Morales Murphy Cook Rogers Gutierrez Ortiz Morgan Cooper Peterson Bailey Reed Kelly Howard Ramos Kim "
    "Cox Ward Richardson Watson Brooks Chavez Wood James Bennett Gray Mendoza Ruiz Hughes Price Alvarez Castillo "
    "Sanders Patel Myers Long Ross Foster Jimenez Powell Jenkins Perry Russell Sullivan Bell Coleman Butler "
    "Henderson Barnes Fisher Vasquez Simmons Romero Jordan Patterson Müller Łukasik O'Neill Åkesson Nuñez 王 李"
).split()
GIVEN = {
    "male": "James Robert John Michael David William Richard Joseph Thomas Carlos Daniel Matthew Anthony Mark Luis "
    "Steven Andrew Paul Joshua Kenneth Kevin Brian Jorge Ronald Edward Timothy Jason Ryan Jacob Wei Omar José".split(),
    "female": "Mary Patricia Jennifer Linda Elizabeth Barbara Susan Jessica Maria Sarah Karen Lisa Nancy Sandra Ana "
    "Ashley Emily Kimberly Margaret Donna Michelle Carol Amanda Melissa Deborah Laura Rosa Mei Fatima Zoë".split(),
}
PLACES = (
    ("Boston", "MA", "02118"), ("Worcester", "MA", "01608"), ("Springfield", "MA", "01103"),
    ("Cambridge", "MA", "02139"), ("Lowell", "MA", "01852"), ("Brockton", "MA", "02301"),
    ("Quincy", "MA", "02169"), ("Lynn", "MA", "01901"), ("New Bedford", "MA", "02740"), ("Newton", "MA", "02458"),
)  # fmt: skip
STREETS = ("Washington", "Main", "Elm", "Park", "Harbor", "Maple", "Chestnut", "Hancock", "Summer", "Tremont")
RACES = (
    ("2106-3", "White", 0.66), ("2054-5", "Black or African American", 0.15), ("2028-9", "Asian", 0.11),
    ("2131-1", "Other Race", 0.07), ("1002-5", "American Indian or Alaska Native", 0.01),
)  # fmt: skip
LANGUAGES = (("en-US", "English (United States)", 0.86), ("es", "Spanish", 0.1), ("zh", "Chinese", 0.04))
SPECIALTIES = (
    ("394802001", "General medicine"), ("394579002", "Cardiology"), ("394583002", "Endocrinology"),
    ("408443003", "General medical practice"), ("418112009", "Pulmonary medicine"), ("394591006", "Neurology"),
)  # fmt: skip


def identity(rng: Random) -> str:
    """A UUID (version 4 by its form) out of the generator's own randomness."""
    bits = f"{rng.getrandbits(128):032x}"
    return f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}"


def pick(rng: Random, table: tuple[tuple[Any, ...], ...], weight: int) -> tuple[Any, ...]:
    """A row of the table by the shares in column `weight`."""
    mark = rng.random() * sum(row[weight] for row in table)
    for row in table:
        mark -= row[weight]
        if mark <= 0:
            return row
    return table[-1]


@dataclass(frozen=True)
class Hospital:
    """What all patients share: resources, and the ids and names by which records point at them."""

    resources: tuple[Resource, ...]
    organizations: tuple[tuple[str, str], ...]
    practitioners: tuple[tuple[str, str], ...]
    locations: tuple[tuple[str, str], ...]


def hospital(seed: int, doctors: int = 24) -> Hospital:
    """A small hospital group: 4 organizations, a location each, `doctors` practitioners."""
    rng = Random(f"hospital-{seed}")
    organizations, practitioners, locations = [], [], []
    made: list[Resource] = []
    for number, kind in enumerate(("General Hospital", "Heart Center", "Family Practice", "Laboratory")):
        city, state, code = PLACES[number]
        name, key = f"{city} {kind}", identity(rng)
        address = {"use": "work", "line": [f"{10 + number} Hospital Road"], "city": city, "state": state,
                   "postalCode": code, "country": "US"}  # fmt: skip
        made.append({
            "resourceType": "Organization", "id": key, "meta": {"profile": [US_CORE + "us-core-organization"]},
            "identifier": [{"system": "urn:xinglin:organization", "value": f"ORG-{number:03}"}], "active": True,
            "type": [{"coding": [{"system": TERMINOLOGY + "organization-type", "code": "prov",
                                  "display": "Healthcare Provider"}]}],
            "name": name, "telecom": [{"system": "phone", "value": f"617-555-01{number:02}"}], "address": [address],
        })  # fmt: skip
        organizations.append((key, name))
        place = identity(rng)
        made.append({
            "resourceType": "Location", "id": place, "meta": {"profile": [US_CORE + "us-core-location"]},
            "identifier": [{"system": "urn:xinglin:location", "value": f"LOC-{number:03}"}], "status": "active",
            "name": name + ", main building",
            "telecom": [{"system": "phone", "value": f"617-555-01{number:02}"}], "address": address,
            "position": {"longitude": -71.06 - number / 10, "latitude": 42.36 - number / 25},
            "managingOrganization": {"reference": f"Organization/{key}", "display": name},
        })  # fmt: skip
        locations.append((place, name + ", main building"))
    for number in range(doctors):
        sex = rng.choice(("male", "female"))
        family, given, key = rng.choice(FAMILIES), rng.choice(GIVEN[sex]), identity(rng)
        code, display = SPECIALTIES[number % len(SPECIALTIES)]
        made.append({
            "resourceType": "Practitioner", "id": key, "meta": {"profile": [US_CORE + "us-core-practitioner"]},
            "identifier": [{"system": "urn:xinglin:practitioner", "value": f"PRA-{number:05}"}], "active": True,
            "name": [{"family": family, "given": [given], "prefix": ["Dr."]}], "gender": sex,
            "telecom": [{"system": "email", "value": f"practitioner{number}@example.org", "use": "work"}],
            "qualification": [{"code": {"coding": [{"system": SNOMED, "code": code, "display": display}]}}],
        })  # fmt: skip
        practitioners.append((key, f"Dr. {given} {family}"))
    return Hospital(tuple(made), tuple(organizations), tuple(practitioners), tuple(locations))


@dataclass(frozen=True)
class Person:
    """One patient: the resource, and what the record needs to know of the human in it."""

    patient: Resource
    sex: str
    born: int  # year
    display: str


def person(rng: Random, number: int, house: Hospital, year: int) -> Person:
    """A US Core Patient in one of several realistic shapes; `number` makes the record number unique."""
    sex = rng.choice(("male", "female"))
    age = min(99, max(1, int(rng.triangular(1, 98, 62))))
    born = year - age
    # the shorter a name stands in the list, the more people bear it
    family = FAMILIES[int(len(FAMILIES) * rng.random() ** 1.7)]
    given = [rng.choice(GIVEN[sex])] + ([rng.choice(GIVEN[sex])] if rng.random() < 0.6 else [])
    city, state, postal = PLACES[int(len(PLACES) * rng.random() ** 2)]
    race, ethnic = pick(rng, RACES, 2), rng.random() < 0.17
    language = pick(rng, LANGUAGES, 2)
    organization = house.organizations[0] if rng.random() < 0.7 else rng.choice(house.organizations[1:3])
    doctor = rng.choice(house.practitioners)
    hispanic = ("2135-2", "Hispanic or Latino") if ethnic else ("2186-5", "Not Hispanic or Latino")
    cdc = "urn:oid:2.16.840.1.113883.6.238"
    patient: Resource = {
        "resourceType": "Patient", "id": identity(rng), "meta": {"profile": [US_CORE + "us-core-patient"]},
        "extension": [
            {"url": US_CORE + "us-core-race", "extension": [
                {"url": "ombCategory", "valueCoding": {"system": cdc, "code": race[0], "display": race[1]}}
                if race[0] != "2131-1" else
                {"url": "detailed", "valueCoding": {"system": cdc, "code": race[0], "display": race[1]}},
                {"url": "text", "valueString": race[1]}]},
            {"url": US_CORE + "us-core-ethnicity", "extension": [
                {"url": "ombCategory",
                 "valueCoding": {"system": cdc, "code": hispanic[0], "display": hispanic[1]}},
                {"url": "text", "valueString": hispanic[1]}]},
            {"url": US_CORE + "us-core-birthsex", "valueCode": "M" if sex == "male" else "F"},
        ],
        "identifier": [
            {"use": "usual", "system": "urn:xinglin:mrn", "value": f"MRN-{number:08}",
             "type": {"coding": [{"system": TERMINOLOGY + "v2-0203", "code": "MR", "display": "Medical record number"}],
                      "text": "Medical record number"}},
            {"system": "http://hl7.org/fhir/sid/us-ssn", "value": f"999-{number // 10000 % 100:02}-{number % 10000:04}",
             "type": {"coding": [{"system": TERMINOLOGY + "v2-0203", "code": "SS",
                                  "display": "Social Security number"}], "text": "Social Security Number"}},
        ],
        "active": True,
        "name": [{"use": "official", "family": family, "given": given}],
        "telecom": [{"system": "phone", "value": f"555-{number // 10000 % 1000:03}-{number % 10000:04}",
                     "use": "home"}],
        "gender": sex,
        "birthDate": f"{born}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
        "address": [{"use": "home", "line": [f"{rng.randint(1, 999)} {rng.choice(STREETS)} Street"], "city": city,
                     "state": state, "postalCode": postal, "country": "US"}],
        "communication": [{"language": {"coding": [
            {"system": "urn:ietf:bcp:47", "code": language[0], "display": language[1]}], "text": language[1]}}],
        "generalPractitioner": [{"reference": f"Practitioner/{doctor[0]}", "display": doctor[1]}],
        "managingOrganization": {"reference": f"Organization/{organization[0]}", "display": organization[1]},
    }  # fmt: skip
    if age >= 18:
        married = rng.random() < 0.5
        patient["maritalStatus"] = {"coding": [{
            "system": TERMINOLOGY + "v3-MaritalStatus", "code": "M" if married else "S",
            "display": "Married" if married else "Never Married"}]}  # fmt: skip
    if rng.random() < 0.3:
        patient["telecom"].append({"system": "email", "value": f"patient{number}@example.org"})
    return Person(patient, sex, born, f"{given[0]} {family}")
