"""The console's pages of images: the list of studies, and one study with its slices.

They stand beside the pages of `fhir_server.console` and share its base template; `app.py` mounts
them. The pictures come from the DICOMweb door like any viewer's (PS3.18 10.4.1.1.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from dicom_node import viewmodels
from dicom_node.index.query import Found, Match, Question, find
from dicom_node.instance import Level
from dicom_node.viewmodels import PRESETS
from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.database.engine import Mode
from fhir_server.interactions import search_type
from fhir_server.interactions.context import Context
from fhir_server.interactions.entry import Entry
from fhir_server.outcome import FhirError, Invalid, NotFound

STUDIES_A_PAGE = 25
MOST_SERIES = 200
MOST_INSTANCES = 5000

STUDIES = "/console/studies"
_SEARCH = {"name": "00100010", "id": "00100020", "date": "00080020", "modality": "00080061"}


@dataclass(frozen=True, slots=True)
class Site:
    """What the pages stand on; `address` is the public address of the DICOMweb door."""

    entry: Entry
    caller: Callable[[], Grant]
    address: str

    @property
    def dicomweb(self) -> str:
        """Return the path of the DICOMweb door: a page may show pictures of its own server only."""
        return urlsplit(self.address).path

    def find(self, *questions: Question) -> list[list[Found]]:
        """Ask the index, on behalf of the caller."""
        permit(self.caller(), "search", "ImagingStudy")
        with self.entry.engine.connection(Mode.SINGLE) as connection:
            return [find(connection, question) for question in questions]


def create(site: Site) -> Blueprint:
    """Return the blueprint of the pages, to be mounted at the root beside the console's."""
    made = Blueprint(
        "dicom_pages",
        __name__,
        template_folder="templates",
        static_folder="static",
        static_url_path="/console/static/dicom",
    )
    made.add_url_rule(STUDIES, "studies", lambda: studies(site))
    made.add_url_rule(f"{STUDIES}/<uid>", "study", lambda uid: study(site, uid))
    return made


def studies(site: Site) -> ResponseReturnValue:
    """The list of studies, the newest first, searched by patient, date and modality."""
    asked = {name: request.args.get(name, "").strip() for name in _SEARCH}
    page = _number(request.args.get("page"), 1)
    refusal: FhirError | None = None
    found: list[Found] = []
    try:
        matches = [Match((_SEARCH[name],), value) for name, value in _matched(asked).items()]
        question = Question(Level.STUDY, matches, STUDIES_A_PAGE + 1, (page - 1) * STUDIES_A_PAGE)
        found = site.find(question)[0]
    except Invalid as error:
        refusal = error
    kept = [(name, value) for name, value in asked.items() if value]
    query = urlencode({_SEARCH[name]: value for name, value in _matched(asked).items()}, safe="*-")
    return render_template(
        "dicom/studies.html",
        asked=asked,
        rows=[viewmodels.study_row(each) for each in found[:STUDIES_A_PAGE]],
        next_page="?" + urlencode([*kept, ("page", page + 1)]) if len(found) > STUDIES_A_PAGE else None,
        previous_page="?" + urlencode([*kept, ("page", page - 1)]) if page > 1 else None,
        refusal=refusal,
        dicomweb=site.dicomweb,
        requests=[f"{site.address}/studies{'?' + query if query else ''}"],
    ), 400 if refusal else 200


def study(site: Site, uid: str) -> ResponseReturnValue:
    """One study: its series, and the pictures of one of them."""
    of_study = Match(("0020000D",), uid)
    found, series = site.find(
        Question(Level.STUDY, [of_study], 1), Question(Level.SERIES, [of_study], MOST_SERIES)
    )
    if not found:
        raise NotFound(f"no study {uid} is kept here")
    rows = [viewmodels.series_row(each) for each in series]
    wanted = request.args.get("series") or (rows[0].uid if rows else "")
    chosen = next((row for row in rows if row.uid == wanted), None)
    if chosen is None:
        raise NotFound(f"the study has no series {wanted}")
    instances = site.find(
        Question(Level.INSTANCE, [of_study, Match(("0020000E",), chosen.uid)], MOST_INSTANCES)
    )[0]
    frames = viewmodels.frames(instances)
    window = request.args.get("window", "")
    shown = min(_number(request.args.get("image"), len(frames) // 2 + 1), max(len(frames), 1))
    record = imaging_study(site, uid)
    return render_template(
        "dicom/study.html",
        study=viewmodels.study_row(found[0]),
        facts=viewmodels.facts(found[0], chosen),
        series=rows,
        chosen=chosen,
        frames=frames,
        shown=shown,
        window=window if window in {preset.window for preset in PRESETS} else "",
        presets=PRESETS if chosen.modality == "CT" else PRESETS[:1],
        dicomweb=site.dicomweb,
        record=record,
        patient_id=_patient_id(record),
        others=len(instances) - len({frame.sop_uid for frame in frames}),
        requests=_requests(site, uid, chosen.uid, frames[shown - 1] if frames else None),
    )


def imaging_study(site: Site, uid: str) -> Mapping[str, Any] | None:
    """Return the ImagingStudy that the bridge has made of a study, None while it has not."""
    pairs = [("identifier", f"urn:dicom:uid|urn:oid:{uid}")]

    def work(context: Context) -> list[dict[str, Any]]:
        return search_type.resources(context, "ImagingStudy", pairs)

    found = site.entry.read(site.caller(), work)
    return found[0] if found else None


def _patient_id(record: Mapping[str, Any] | None) -> str:
    text = str(((record or {}).get("subject") or {}).get("reference") or "")
    return text.removeprefix("Patient/") if text.startswith("Patient/") else ""


def _requests(site: Site, uid: str, series: str, frame: viewmodels.Frame | None) -> Sequence[str]:
    """Return what a program would ask for the same: the series, one picture, the FHIR resource."""
    base = f"{site.address}/studies/{uid}/series"
    asked = [base, f"{base}/{series}/instances"]
    if frame is not None:
        asked.append(f"{base}/{series}/instances/{frame.path}/rendered")
    return [*asked, f"ImagingStudy?identifier=urn:dicom:uid|urn:oid:{uid}"]


def _matched(asked: Mapping[str, str]) -> dict[str, str]:
    """Return what was asked in the form of a DICOM query: a name from the beginning of any part.

    >>> _matched({"name": "mül", "date": "2026-01-15", "id": "", "modality": "ct"})
    {'name': '*mül*', 'date': '20260115', 'modality': 'CT'}
    """
    matched = {name: value for name, value in asked.items() if value}
    if "name" in matched and not set(matched["name"]) & set("*?"):
        matched["name"] = f"*{matched['name']}*"
    if "date" in matched:
        matched["date"] = matched["date"].replace("-", "")
        if len(matched["date"]) in (4, 6):  # a year or a month is a range of days
            matched["date"] = _range(matched["date"])
    if "modality" in matched:
        matched["modality"] = matched["modality"].upper()
    return matched


def _range(text: str) -> str:
    return f"{text}0101-{text}1231" if len(text) == 4 else f"{text}01-{text}31"


def _number(text: str | None, otherwise: int) -> int:
    return (
        int(text) if text and text.isascii() and text.isdigit() and 0 < int(text) < 1_000_000 else otherwise
    )
