"""The tables behind the hand-written answers: one a type, a column for each thing that is asked.

What a good engineer would make who knows every question beforehand, and nothing else: no history,
no other parameter, one value where the data have one. The resource lies beside its columns as text.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

from conformance.benchmarks.data import Resource, compact

SCHEMA = """
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE TABLE patients (id text COLLATE "C", family text COLLATE "C", folded text COLLATE "C", gender text,
    born date, practitioner text COLLATE "C", content text);
CREATE TABLE patient_words (kind text COLLATE "C", word text COLLATE "C", patient text COLLATE "C");
CREATE TABLE identifiers (type text COLLATE "C", system text COLLATE "C", value text COLLATE "C",
    owner text COLLATE "C");
CREATE TABLE observations (id text COLLATE "C", patient text COLLATE "C", encounter text COLLATE "C",
    performer text COLLATE "C", code text COLLATE "C", category text COLLATE "C", effective timestamptz,
    value numeric, unit text COLLATE "C", mass numeric, has_components boolean, recent timestamptz,
    content text);
CREATE TABLE components (code text COLLATE "C", unit text COLLATE "C", value numeric,
    observation text COLLATE "C");
CREATE TABLE encounters (id text COLLATE "C", patient text COLLATE "C", location text COLLATE "C",
    content text);
CREATE TABLE conditions (id text COLLATE "C", patient text COLLATE "C", encounter text COLLATE "C",
    code text COLLATE "C", content text);
CREATE TABLE reports (id text COLLATE "C", patient text COLLATE "C", effective timestamptz, content text);
CREATE TABLE medications (id text COLLATE "C", patient text COLLATE "C", encounter text COLLATE "C",
    status text COLLATE "C", content text);
CREATE TABLE procedures (id text COLLATE "C", patient text COLLATE "C", content text);
CREATE TABLE immunizations (id text COLLATE "C", patient text COLLATE "C", given timestamptz, content text);
CREATE TABLE care_plans (id text COLLATE "C", patient text COLLATE "C", condition text COLLATE "C",
    words tsvector, content text);
CREATE TABLE risks (id text COLLATE "C", patient text COLLATE "C", probability numeric, content text);
CREATE TABLE places (id text COLLATE "C", organization text COLLATE "C", content text);
CREATE TABLE value_sets (url text COLLATE "C", code text COLLATE "C");
CREATE TABLE others (type text COLLATE "C", id text COLLATE "C", patient text COLLATE "C", content text);
"""

INDEXES = """
ALTER TABLE patients ADD PRIMARY KEY (id);
CREATE INDEX ON patients (folded);
CREATE INDEX ON patients (family);
CREATE INDEX ON patients USING gin (folded gin_trgm_ops);
CREATE INDEX ON patients (gender, folded, born DESC);
CREATE INDEX ON patients (practitioner);
CREATE INDEX ON patients (born);
CREATE INDEX ON patient_words (kind, word, patient);
CREATE INDEX ON identifiers (value, system, type);
ALTER TABLE observations ADD PRIMARY KEY (id);
CREATE INDEX ON observations (code, effective);
CREATE INDEX ON observations (patient, code, effective);
CREATE INDEX ON observations (patient, category, effective);
CREATE INDEX ON observations (patient, effective);
CREATE INDEX ON observations (category, effective);
CREATE INDEX ON observations (effective);
CREATE INDEX ON observations (encounter);
CREATE INDEX ON observations (performer);
CREATE INDEX ON observations (unit, value);
CREATE INDEX ON observations (mass) WHERE mass IS NOT NULL;
CREATE INDEX ON observations (id) WHERE has_components;
CREATE INDEX ON observations (id) WHERE encounter IS NULL;
CREATE INDEX ON observations (recent) WHERE recent IS NOT NULL;
CREATE INDEX ON components (code, unit, value, observation);
ALTER TABLE encounters ADD PRIMARY KEY (id);
CREATE INDEX ON encounters (patient);
ALTER TABLE conditions ADD PRIMARY KEY (id);
CREATE INDEX ON conditions (patient);
CREATE INDEX ON conditions (code, patient);
CREATE INDEX ON conditions (code, encounter);
CREATE INDEX ON reports (patient, effective);
ALTER TABLE medications ADD PRIMARY KEY (id);
CREATE INDEX ON medications (patient);
CREATE INDEX ON medications (status);
CREATE INDEX ON procedures (patient);
CREATE INDEX ON immunizations (patient, given);
CREATE INDEX ON care_plans (patient);
CREATE INDEX ON care_plans (condition);
CREATE INDEX ON care_plans USING gin (words);
CREATE INDEX ON risks (probability);
CREATE INDEX ON risks (patient);
ALTER TABLE places ADD PRIMARY KEY (id);
ALTER TABLE others ADD PRIMARY KEY (type, id);
CREATE INDEX ON others (patient);
"""

MASS_IN_GRAMS_A_LITRE = {
    "mg/dL": Decimal("0.01"), "g/dL": Decimal(10), "mg/L": Decimal("0.001"), "ng/mL": Decimal("1e-6"),
    "pg/mL": Decimal("1e-9"),
}  # fmt: skip
"""The mass concentrations among the units of the data: what `g/L` has to be compared with."""

Row = tuple[Any, ...]


def folded(text: str) -> str:
    """Return a string as searches compare it: case and accents aside.

    >>> folded("Åkesson")
    'akesson'
    """
    parts = unicodedata.normalize("NFKD", text)
    return "".join(one for one in parts if not unicodedata.combining(one)).casefold().replace("ł", "l")


def rows(resource: Resource) -> Iterable[tuple[str, Row]]:
    """Return (table, row) pairs of a resource."""
    kind = resource["resourceType"]
    made = _ROWS.get(kind)
    if made is None:
        patient = _to(resource, "patient", "subject")
        return [
            ("others", (kind, resource["id"], patient, compact(resource).decode())),
            *_identifiers(resource),
        ]
    return made(resource, compact(resource).decode())


def _patient(one: Resource, content: str) -> Iterable[tuple[str, Row]]:
    name, address = one["name"][0], one["address"][0]
    family = name["family"]
    doctor = one["generalPractitioner"][0]["reference"].removeprefix("Practitioner/")
    yield "patients", (one["id"], family, folded(family), one["gender"], one["birthDate"], doctor, content)
    for kind, words in (("name", [family, *name["given"]]), ("address", [
        *address["line"], address["city"], address["state"], address["postalCode"], address["country"],
    ])):  # fmt: skip
        for word in {folded(word) for word in words}:
            yield "patient_words", (kind, word, one["id"])
    yield from _identifiers(one)


def _identifiers(one: Resource) -> Iterable[tuple[str, Row]]:
    for found in one.get("identifier", ()):
        yield "identifiers", (one["resourceType"], found["system"], found["value"], one["id"])


def _observation(one: Resource, content: str) -> Iterable[tuple[str, Row]]:
    value = one.get("valueQuantity", {})
    factor = MASS_IN_GRAMS_A_LITRE.get(value.get("code"))
    components = one.get("component", ())
    yield "observations", (
        one["id"], _to(one, "subject"), _to(one, "encounter"),
        one["performer"][0]["reference"].removeprefix("Practitioner/"),
        coded(one["code"]), coded(one["category"][0]), one["effectiveDateTime"],
        value.get("value"), value.get("code"),
        None if factor is None else factor * Decimal(str(value["value"])),
        bool(components), None, content,
    )  # fmt: skip
    for part in components:
        found = part["valueQuantity"]
        yield "components", (coded(part["code"]), found["code"], found["value"], one["id"])


def coded(concept: Resource) -> str:
    """Return the first coding of a CodeableConcept as `system|code`."""
    first = concept["coding"][0]
    return f"{first['system']}|{first['code']}"


def _to(one: Resource, *names: str) -> str | None:
    for name in names:
        if name in one:
            return str(one[name]["reference"]).rpartition("/")[2]
    return None


def _encounter(one: Resource, content: str) -> Iterable[tuple[str, Row]]:
    place = one["location"][0]["location"]["reference"].removeprefix("Location/")
    yield "encounters", (one["id"], _to(one, "subject"), place, content)
    yield from _identifiers(one)


def _place(one: Resource, content: str) -> Iterable[tuple[str, Row]]:
    yield "places", (one["id"], _to(one, "managingOrganization"), content)
    yield from _identifiers(one)


def _plan(one: Resource, content: str) -> Iterable[tuple[str, Row]]:
    target = one["addresses"][0]["reference"].removeprefix("Condition/")
    words = " ".join(f"'{word}'" for word in sorted({folded(word) for word in one["title"].split()}))
    yield "care_plans", (one["id"], _to(one, "subject"), target, words, content)


def _one(
    table: str, *columns: Callable[[Resource], Any]
) -> Callable[[Resource, str], Iterable[tuple[str, Row]]]:
    """Return what makes the single row of a plain type: id, patient, `columns`, content."""

    def made(one: Resource, content: str) -> Iterable[tuple[str, Row]]:
        found = (column(one) for column in columns)
        return [(table, (one["id"], _to(one, "subject", "patient"), *found, content))]

    return made


_ROWS: dict[str, Callable[[Resource, str], Iterable[tuple[str, Row]]]] = {
    "Patient": _patient,
    "Observation": _observation,
    "Encounter": _encounter,
    "Location": _place,
    "CarePlan": _plan,
    "Condition": _one("conditions", lambda one: _to(one, "encounter"), lambda one: coded(one["code"])),
    "DiagnosticReport": _one("reports", lambda one: one["effectiveDateTime"]),
    "MedicationRequest": _one("medications", lambda one: _to(one, "encounter"), lambda one: one["status"]),
    "Procedure": _one("procedures"),
    "Immunization": _one("immunizations", lambda one: one["occurrenceDateTime"]),
    "RiskAssessment": _one("risks", lambda one: one["prediction"][0]["probabilityDecimal"]),
}


def store(connection: Any, resources: Iterable[Resource], batch: int = 5000) -> int:
    """Copy the rows of all resources into the tables; return how many resources there were."""
    waiting: dict[str, list[Row]] = {}
    count = 0
    for count, resource in enumerate(resources, 1):
        for table, row in rows(resource):
            waiting.setdefault(table, []).append(row)
        if count % batch == 0:
            _copy(connection, waiting)
    _copy(connection, waiting)
    return count


def _copy(connection: Any, waiting: dict[str, list[Row]]) -> None:
    with connection, connection.cursor() as cursor:
        for table, found in waiting.items():
            text = "".join("\t".join(map(_field, row)) + "\n" for row in found)
            cursor.copy_expert(f"COPY {table} FROM STDIN", io.StringIO(text))
    waiting.clear()


def _field(value: Any) -> str:
    if value is None:
        return r"\N"
    text = str(value)
    return text.replace("\\", "\\\\") if "\\" in text else text


def tables() -> Sequence[str]:
    """Return the names of all tables."""
    return [line.split()[2] for line in SCHEMA.splitlines() if line.startswith("CREATE TABLE")]
