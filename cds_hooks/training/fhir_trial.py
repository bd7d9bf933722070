"""A trial in FHIR and back: what a CSV says, as resources that a server keeps and exports.

One patient is a Patient, the clinical resources of his baseline (`fhir_rows`, where the program serves
the trial's model), a ResearchSubject (`assignedArm` "RXASP=Y;RXHEP=N", `period.start` the moment of
randomisation) and a QuestionnaireResponse: the case report form, an item a column, for what came later
and for sites. Baseline is read by the serving code from a chart as of that moment, so nothing that
came later can be a feature. What a chart cannot say stands in the form, too, and counts: all of the
baseline, where no serving table exists.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

import pandas as pd

from cds_hooks.facts.chart import Chart, moment
from cds_hooks.models import features
from cds_hooks.training import fhir_rows
from cds_hooks.training.cohort import Cohort, CohortError, of_table, values
from cds_hooks.training.description import Description

Resource = dict[str, Any]
SYSTEM = "urn:xinglin:trial:"
BUCKETS = 64
"""Files that an export is parted into by patient, so that one of them at a time fits into memory."""


# CSV → FHIR ---------------------------------------------------------------------------------------
def study(trial: Description) -> Resource:
    """Return the ResearchStudy."""
    return {
        "resourceType": "ResearchStudy",
        "id": trial.id,
        "identifier": [{"system": SYSTEM.rstrip(":"), "value": trial.id}],
        "status": "completed",
        "title": trial.title,
    }


def resources(cohort: Cohort, row: int) -> list[Resource]:
    """Return the resources of one row; its number, from 1, becomes the identifier.

    Raises CohortError when the description does not say when patients were randomised.
    """
    trial = cohort.description
    cells: dict[str, str] = {str(name): cell for name, cell in cohort.table.iloc[row].items()}
    if trial.moment is None:
        raise CohortError(f"{trial.id} does not say when patients were randomised ([trial.randomised_on])")
    at = trial.moment.of(cells[trial.moment.column])
    number = f"{row + 1:06}"
    patient = f"{trial.id}-{number}"
    about = {"reference": f"Patient/{patient}"}
    said: set[str] = set()
    if trial.serving is not None:
        row_said, unsaid = fhir_rows.sayable(values(cells, trial))
        found = fhir_rows.resources(row_said, patient, at)
        said = set(trial.names) - set(unsaid)
    else:
        found = [{"resourceType": "Patient", "id": patient}]
    arms = dict.fromkeys(arm.column for arm in trial.arms.values())
    apart = {*arms, trial.moment.column, *said}
    kept = [name for name in trial.columns if name not in apart]
    subject: Resource = {
        "resourceType": "ResearchSubject",
        "id": f"{patient}-subject",
        "identifier": [{"system": f"{SYSTEM}{trial.id}", "value": number}],
        "status": "off-study",
        "period": {"start": at.isoformat()},
        "study": {"reference": f"ResearchStudy/{trial.id}"},
        "individual": about,
    }
    if arms:
        subject["assignedArm"] = ";".join(f"{column}={cells[column]}" for column in arms)
    form = {
        "resourceType": "QuestionnaireResponse",
        "id": f"{patient}-form",
        "questionnaire": f"{SYSTEM}{trial.id}:case-report-form",
        "status": "completed",
        "subject": about,
        "item": [{"linkId": name, "answer": [{"valueString": cells[name]}]} for name in kept if cells[name]],
    }
    return [*found, subject, form]


def write(cohort: Cohort, folder: Path) -> None:
    """Write the trial as `$export` does: a file of NDJSON a type."""
    with ExitStack() as stack:
        files: dict[str, Any] = {}

        def put(resource: Resource) -> None:
            name = str(resource["resourceType"])
            if name not in files:
                files[name] = stack.enter_context((folder / f"{name}.ndjson").open("w", encoding="utf-8"))
            files[name].write(json.dumps(resource, ensure_ascii=False) + "\n")

        put(study(cohort.description))
        for row in range(len(cohort)):
            for resource in resources(cohort, row):
                put(resource)


# FHIR → cohort ------------------------------------------------------------------------------------
def read_ndjson(folder: Path, trial: Description) -> Cohort:
    """Read the trial from the *.ndjson files of an export; other patients and types are passed over.

    Memory: the cells of the trial's rows and the resources of one patient in 64. Raises CohortError
    for a line that is no resource, or when nobody is in the trial.
    """
    with TemporaryDirectory() as work:
        parts = [Path(work) / f"{number}.ndjson" for number in range(BUCKETS)]
        with ExitStack() as stack:
            files = [stack.enter_context(part.open("w", encoding="utf-8")) for part in parts]
            for source in sorted(folder.glob("*.ndjson")):
                with source.open(encoding="utf-8") as lines:
                    for number, line in enumerate(lines, 1):
                        patient = _patient(_parsed(line, source.name, number)) if line.strip() else None
                        if patient is not None:
                            files[crc32(patient.encode()) % BUCKETS].write(line.rstrip("\n") + "\n")
        rows = [row for part in parts for row in _rows(_lines(part), trial)]
    return cohort_of(rows, trial, folder.name)


def cohort_of(rows: Iterable[tuple[str, Mapping[str, str]]], trial: Description, name: str) -> Cohort:
    """Return the cohort of (identifier, cells), in the order of the identifiers."""
    ordered = sorted(rows, key=lambda entry: entry[0])
    if not ordered:
        raise CohortError(f"{name} holds no ResearchSubject of ResearchStudy/{trial.id}")
    identifiers = [identifier for identifier, _cells in ordered]
    if len(set(identifiers)) != len(identifiers):
        raise CohortError(f"{name}: two ResearchSubjects of {trial.id} have one identifier")
    columns = list(trial.columns)
    lines = [[cells.get(column, "") for column in columns] for _identifier, cells in ordered]
    digest = hashlib.sha256()
    for identifier, cells in zip(identifiers, lines, strict=True):
        digest.update("\x1f".join([identifier, *cells]).encode() + b"\n")
    return of_table(trial, pd.DataFrame(lines, columns=columns, dtype=str), digest.hexdigest(), name)


def rows_of(found: Iterable[Resource], trial: Description) -> Iterator[tuple[str, dict[str, str]]]:
    """Give (identifier, cells) of every patient of the trial among resources of any patients."""
    return _rows(found, trial)


def _rows(found: Iterable[Resource], trial: Description) -> Iterator[tuple[str, dict[str, str]]]:
    by_patient: dict[str, list[Resource]] = defaultdict(list)
    for resource in found:
        patient = _patient(resource)
        if patient is not None:
            by_patient[patient].append(resource)
    for patient, own in by_patient.items():
        for subject in own:
            if subject["resourceType"] == "ResearchSubject" and _is_of(subject, trial):
                yield _identifier(subject, trial), _cells(patient, own, subject, trial)


def _cells(patient: str, own: list[Resource], subject: Resource, trial: Description) -> dict[str, str]:
    start = subject.get("period", {}).get("start")
    at = moment(start)
    if at is None:
        raise CohortError(f"ResearchSubject of {trial.id}: period.start is {start!r}; expected is an instant")
    cells: dict[str, str] = {}
    if trial.serving is not None:
        apart = ("ResearchSubject", "QuestionnaireResponse")
        chart = Chart.of(patient, at, [one for one in own if one["resourceType"] not in apart])
        cells |= {name: _cell(reading.value) for name, reading in features.read(chart).items()}
    form = f"{SYSTEM}{trial.id}:case-report-form"
    for resource in own:
        if resource["resourceType"] == "QuestionnaireResponse" and resource.get("questionnaire") == form:
            for item in resource.get("item", ()):
                cells[item["linkId"]] = str(item["answer"][0]["valueString"])
    if trial.moment is not None:
        cells[trial.moment.column] = at.isoformat()
    for part in str(subject.get("assignedArm", "")).split(";"):
        column, separator, cell = part.partition("=")
        if separator and cells.setdefault(column, cell) != cell:
            raise CohortError(
                f"{column}: the ResearchSubject says {cell!r}, the chart says {cells[column]!r}"
            )
    return cells


def _cell(value: features.Value) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value == int(value) else repr(value)
    return value


def _is_of(subject: Resource, trial: Description) -> bool:
    reference = str(subject.get("study", {}).get("reference", ""))
    return reference.split("/_history/")[0].endswith(f"ResearchStudy/{trial.id}")


def _identifier(subject: Resource, trial: Description) -> str:
    for identifier in subject.get("identifier", ()):
        if identifier.get("system") == f"{SYSTEM}{trial.id}" and identifier.get("value"):
            return str(identifier["value"])
    raise CohortError(f"a ResearchSubject of {trial.id} has no identifier of the system {SYSTEM}{trial.id}")


def _patient(resource: Resource) -> str | None:
    """Return the id of the patient that a resource belongs to, or None."""
    if resource.get("resourceType") == "Patient":
        return str(resource["id"])
    for key in ("subject", "individual", "patient"):
        reference = resource.get(key, {}).get("reference") if isinstance(resource.get(key), dict) else None
        if isinstance(reference, str) and "Patient/" in reference:
            return reference.split("/_history/")[0].split("/")[-1]
    return None


def _lines(path: Path) -> Iterator[Resource]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _parsed(line: str, name: str, number: int) -> Resource:
    try:
        resource = json.loads(line)
    except ValueError as error:
        raise CohortError(f"{name}, line {number} is no JSON: {error}") from error
    if not isinstance(resource, dict) or "resourceType" not in resource:
        raise CohortError(f"{name}, line {number} is no resource")
    return resource
