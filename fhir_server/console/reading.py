"""What the pages read: through the interactions, remembering the requests a program would send.

Every page shows these requests, so each look goes through Look and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fhir_server.console import viewmodels
from fhir_server.console.viewmodels import KINDS, Kind
from fhir_server.interactions import history as history_
from fhir_server.interactions import read as read_
from fhir_server.interactions import search_type as search_type_
from fhir_server.interactions import vread as vread_
from fhir_server.interactions.context import Context, Result
from fhir_server.model import json_format, temporal
from fhir_server.outcome import FhirError

Pairs = Sequence[tuple[str, str]]
Resource = dict[str, Any]

PATIENTS_A_PAGE = 25
ITEMS_A_KIND = 200
SIDE_COLUMN = 100


@dataclass(frozen=True, slots=True)
class Found:
    """A page of a search: the resources and the cursor of the next page, None at the end."""

    resources: list[Resource]
    cursor: str | None


@dataclass(slots=True)
class Look:
    """One reading unit of a page; `requests` are the same looks as relative FHIR addresses."""

    context: Context
    requests: list[str] = field(default_factory=list)

    def search(self, type_name: str, pairs: Pairs) -> Found:
        """Return a page of a search."""
        self._note(type_name, pairs)
        bundle = _bundle(search_type_.search(self.context, type_name, list(pairs)))
        resources = [
            entry["resource"]
            for entry in bundle.get("entry", [])
            if (entry.get("search") or {}).get("mode") == "match" and "resource" in entry
        ]
        return Found(resources, _cursor(bundle))

    def read(self, type_name: str, id_: str) -> Resource:
        """Return a resource; raises NotFound, Gone."""
        self._note(f"{type_name}/{id_}", ())
        return _resource(read_.read(self.context, type_name, id_))

    def vread(self, type_name: str, id_: str, version: str) -> Resource:
        """Return one version of a resource; raises NotFound, Gone."""
        self._note(f"{type_name}/{id_}/_history/{version}", ())
        return _resource(vread_.vread(self.context, type_name, id_, version))

    def history(self, type_name: str | None, id_: str | None, pairs: Pairs) -> Resource:
        """Return a page of a history as a Bundle."""
        self._note("/".join(filter(None, (type_name, id_, "_history"))), pairs)
        return _bundle(history_.history(self.context, type_name, id_, list(pairs)))

    def _note(self, path: str, pairs: Pairs) -> None:
        query = urlencode(pairs, safe="|:,/")
        self.requests.append(f"{path}?{query}" if query else path)


def _bundle(result: Result) -> Resource:
    return json_format.parse((result.text or "{}").encode())


def _resource(result: Result) -> Resource:
    if result.version is None:
        raise ValueError("a read without a version has nothing to show")
    return json_format.parse(result.version.text().encode())


def _cursor(bundle: Mapping[str, Any]) -> str | None:
    for link in bundle.get("link", []):
        if link.get("relation") == "next":
            return dict(parse_qsl(urlsplit(link["url"]).query)).get("_cursor")
    return None


def patients(look: Look, criteria: Pairs, cursor: str | None) -> Found:
    """Return a page of patients by family name; `criteria` are FHIR search parameters."""
    pairs = [*criteria, ("_sort", "family"), ("_count", str(PATIENTS_A_PAGE))]
    return look.search("Patient", [("_cursor", cursor)] if cursor else pairs)  # it holds the whole search


@dataclass(frozen=True, slots=True)
class Timeline:
    """Entries of a stretch of time, newest first; `earlier` is where the next stretch begins."""

    resources: list[Resource]
    earlier: str | None


def timeline(look: Look, patient_id: str, kinds: Sequence[Kind], before: str | None) -> Timeline:
    """Return the entries of a patient that begin before an instant (None: from the newest).

    Every kind gives at most ITEMS_A_KIND. Where one gives all of these, there may be more of it
    behind the oldest; nothing that old is shown, of any kind, so a stretch never has holes. The
    next one begins with that moment.
    """
    found: list[tuple[datetime, Resource]] = []
    undated: list[Resource] = []
    horizon: datetime | None = None
    for kind in kinds:
        pairs = [("patient", patient_id), ("_sort", f"-{kind.date_parameter}"), ("_count", str(ITEMS_A_KIND))]
        if before is not None:
            pairs.insert(1, (kind.date_parameter, f"lt{before}"))
        page = look.search(kind.type_name, pairs)
        dated = [(moment, each) for each in page.resources if (moment := _moment(each)) is not None]
        undated += [each for each in page.resources if _moment(each) is None]
        if page.cursor is not None and dated:
            oldest = min(moment for moment, _ in dated)
            horizon = oldest if horizon is None else max(horizon, oldest)
        found += dated
    if horizon is None:
        if before is not None:
            undated += _undated(look, patient_id, kinds)
        return Timeline([each for _, each in found] + undated, None)
    if shown := [each for moment, each in found if moment > horizon]:
        return Timeline(shown, temporal.instant(horizon + timedelta(milliseconds=1)))
    # All of the stretch stands at one moment: show it, and go on before it.
    return Timeline([each for moment, each in found if moment >= horizon], temporal.instant(horizon))


def _undated(look: Look, patient_id: str, kinds: Sequence[Kind]) -> list[Resource]:
    """Return the entries without a date: no comparison finds them, so the last stretch asks for them."""
    found: list[Resource] = []
    for kind in kinds:
        missing = (f"{kind.date_parameter}:missing", "true")
        found += look.search(
            kind.type_name, [("patient", patient_id), missing, ("_count", str(ITEMS_A_KIND))]
        ).resources
    return found


def _moment(resource: Resource) -> datetime | None:
    text = viewmodels.moment_of(resource)
    try:
        return temporal.interval(text)[0] if text else None
    except FhirError:
        return None


@dataclass(frozen=True, slots=True)
class SideColumn:
    """What a clinician wants to see beside the timeline."""

    allergies: list[viewmodels.Note]
    problems: list[viewmodels.Note]
    medications: list[viewmodels.Note]


def side_column(look: Look, patient_id: str) -> SideColumn:
    """Return allergies, active problems and current medications of a patient."""
    of_patient = ("patient", patient_id)
    count = ("_count", str(SIDE_COLUMN))
    return SideColumn(
        viewmodels.allergies(look.search("AllergyIntolerance", [of_patient, count]).resources),
        viewmodels.problems(
            look.search(
                "Condition",
                [of_patient, ("clinical-status", "active"), ("_sort", "-onset-date"), count],
            ).resources
        ),
        viewmodels.medications(
            look.search(
                "MedicationRequest",
                [of_patient, ("status", "active,on-hold"), ("_sort", "-authoredon"), count],
            ).resources
        ),
    )


def kinds_named(names: Sequence[str]) -> list[Kind]:
    """Return the kinds of the timeline with these names; none or only unknown names mean all."""
    return [kind for kind in KINDS if kind.name in names] or list(KINDS)
