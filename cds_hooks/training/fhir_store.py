"""A trial read from a FHIR server by search: ours or another's, page by page.

The trial's ResearchSubjects are asked for first, then the patients behind each page of them with what
their charts hold. Nothing is kept but the cells of the rows, so the size of the store does not matter.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from cds_hooks.training.cohort import Cohort, CohortError
from cds_hooks.training.description import Description
from cds_hooks.training.fhir_trial import Resource, cohort_of, rows_of

TYPES: Mapping[str, str] = {
    "Condition": "subject",
    "Observation": "subject",
    "DiagnosticReport": "subject",
    "MedicationAdministration": "subject",
    "MedicationStatement": "subject",
    "MedicationRequest": "subject",
    "QuestionnaireResponse": "subject",
}
"""What a chart and a case report form are made of, and the search parameter of the patient."""

PATIENTS = 40
"""Of one round: as many as a URL has room for."""
MAX_BYTES = 64 << 20
TIMEOUT_S = 60.0

Get = Callable[[str], Mapping[str, Any]]
"""From a relative query (`Patient?_id=7`) or the URL of a next page to a Bundle."""


def read_store(get: Get, trial: Description, name: str = "the store") -> Cohort:
    """Read the trial from a server; raises CohortError when nobody is in it."""
    return cohort_of(_rows(get, trial), trial, name)


def _rows(get: Get, trial: Description) -> Iterator[tuple[str, dict[str, str]]]:
    subjects: list[Resource] = []
    query = {"study": f"ResearchStudy/{trial.id}", "_count": str(PATIENTS)}
    for subject in _search(get, "ResearchSubject", query):
        subjects.append(subject)
        if len(subjects) == PATIENTS:
            yield from rows_of([*subjects, *_charts(get, subjects)], trial)
            subjects = []
    if subjects:
        yield from rows_of([*subjects, *_charts(get, subjects)], trial)


def _charts(get: Get, subjects: list[Resource]) -> Iterator[Resource]:
    ids = sorted({str(subject["individual"]["reference"]).split("/")[-1] for subject in subjects})
    yield from _search(get, "Patient", {"_id": ",".join(ids), "_count": "1000"})
    patients = ",".join(f"Patient/{one}" for one in ids)
    for name, parameter in TYPES.items():
        yield from _search(get, name, {parameter: patients, "_count": "1000"})


def _search(get: Get, type_name: str, query: Mapping[str, str]) -> Iterator[Resource]:
    following: str | None = f"{type_name}?{urlencode(query)}"
    while following is not None:
        bundle = get(following)
        if bundle.get("resourceType") != "Bundle":
            raise CohortError(f"a search of {type_name} answered with a {bundle.get('resourceType')}")
        for entry in bundle.get("entry", ()):
            if entry.get("resource", {}).get("resourceType") == type_name:
                yield entry["resource"]
        links = {link.get("relation"): link.get("url") for link in bundle.get("link", ())}
        following = links.get("next")


def rest(base: str, token: str | None = None) -> Get:
    """Return `get` for a FHIR base by HTTP; a next page has to have the origin of the base.

    Raises CohortError for another origin, for an answer above 64 MB and for any status but 200.
    """
    root = base.rstrip("/") + "/"

    def get(query: str) -> Mapping[str, Any]:
        url = urljoin(root, query)
        if urlsplit(url)[:2] != urlsplit(root)[:2]:
            raise CohortError("a next page lies on another server than the base; it was not fetched")
        headers = {"Accept": "application/fhir+json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(url, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                data = answer.read(MAX_BYTES + 1)
        except OSError as error:
            raise CohortError(f"{urlsplit(root).netloc} does not answer: {type(error).__name__}") from error
        if len(data) > MAX_BYTES:
            raise CohortError(f"a page is larger than {MAX_BYTES:,} bytes")
        bundle: Mapping[str, Any] = json.loads(data)
        return bundle

    return get
