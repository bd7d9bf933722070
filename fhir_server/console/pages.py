"""The pages of the console: patients, a patient's record, any resource, the server's state.

Server-rendered and read-only. What a page shows comes from reading.py through the
interactions, with the caller's own Grant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from flask import Blueprint, Response, redirect, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from fhir_server import __version__
from fhir_server.authorization.grant import Grant
from fhir_server.config import Config
from fhir_server.console import history_rows, json_view, reading, viewmodels
from fhir_server.console.reading import Look
from fhir_server.console.viewmodels import KINDS
from fhir_server.database.refusals import refusal_of
from fhir_server.definitions.structures import is_resource_type
from fhir_server.interactions.entry import Entry
from fhir_server.outcome import FhirError, Invalid, Issue, NotFound

T = TypeVar("T")

RESOURCES = "/console/resources"
_SEARCH_FIELDS = ("name", "birthdate", "identifier")

# No inline script or style anywhere, so none is allowed: what a record holds can never run.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Room:
    """One entry of the navigation."""

    title: str
    address: str


@dataclass(frozen=True, slots=True)
class State:
    """One line of the server page: what was looked at, whether it is well, what was found."""

    what: str
    well: bool
    found: str
    degraded: bool = False


Checks = Callable[[], Sequence[State]]


@dataclass(frozen=True, slots=True)
class Site:
    """What the pages stand on: the installation, and the rooms that app.py has mounted."""

    entry: Entry
    config: Config
    rooms: Sequence[Room]
    started: datetime
    checks: Checks = tuple

    def look(self, work: Callable[[Look], T]) -> tuple[T, list[str]]:
        """Run `work` on one reading unit; return its answer and the requests it stands for."""
        requests: list[str] = []
        answer = self.entry.read(Grant.anonymous(), lambda context: work(Look(context, requests)))
        return answer, requests


def blueprint(site: Site) -> Blueprint:
    """Return the blueprint of the console; its templates are `console/*.html`."""
    made = Blueprint(
        "console",
        __name__,
        template_folder="templates",
        static_folder="static",
        static_url_path="/console/static",
    )
    rules: Mapping[str, Callable[..., ResponseReturnValue]] = {
        "/": lambda: redirect("/console"),
        "/console": lambda: redirect("/console/patients"),
        "/console/": lambda: redirect("/console/patients"),
        "/console/patients": lambda: patients(site),
        "/console/patients/<id_>": lambda id_: patient(site, id_),
        f"{RESOURCES}/<type_name>/<id_>": lambda type_name, id_: resource(site, type_name, id_),
        "/console/jobs": lambda: server(site),
    }
    for number, (rule, view) in enumerate(rules.items()):
        made.add_url_rule(rule, f"page{number}", view)
    made.app_context_processor(lambda: frame(site))
    made.app_errorhandler(Exception)(refused)
    made.after_app_request(secured)
    return made


def frame(site: Site) -> dict[str, Any]:
    """Return what the base template shows on every page."""
    return {
        "rooms": site.rooms,
        "base_url": site.entry.settings.base_url,
        "auth_off": site.config.auth == "off",
        "version": __version__,
    }


def refused(error: Exception) -> ResponseReturnValue:
    """Show a refusal or a crash as a page, for every address that has no handler of its own."""
    if isinstance(error, HTTPException):
        if error.code is None or error.code < 400:
            return error
        text = f"{request.path}: {_HTTP.get(error.code, error.name)}"
        issues = (Issue("error", "not-found" if error.code == 404 else "processing", text),)
        return render_template("console/refused.html", status=error.code, issues=issues), error.code
    refusal = refusal_of(error)
    page = render_template("console/refused.html", status=refusal.status, issues=refusal.issues)
    return page, refusal.status


_HTTP = {404: "there is nothing at this address", 405: "this address takes other methods only"}


def secured(response: Response) -> Response:
    """Add the headers that keep a page to itself: what runs, who frames it, where it is kept."""
    headers = response.headers
    headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "same-origin")
    if request.path.startswith("/console/static/"):
        headers["Cache-Control"] = "public, max-age=300"
    elif request.path.startswith("/console"):
        headers["Cache-Control"] = "no-store"  # records of patients stay out of the disk's cache
    return response


def _today(site: Site) -> date:
    return site.entry.clock().date()


def patients(site: Site) -> ResponseReturnValue:
    """The list of patients, searched by name, birth date and identifier, paged by keyset."""
    asked = {name: request.args.get(name, "").strip() for name in _SEARCH_FIELDS}
    criteria = [(name, value) for name, value in asked.items() if value]
    cursor = request.args.get("cursor")
    refusal: FhirError | None = None
    requests: list[str] = []
    found = reading.Found([], None)
    try:
        found, requests = site.look(lambda look: reading.patients(look, criteria, cursor))
    except Invalid as error:
        refusal = error
    today = _today(site)
    return render_template(
        "console/patients.html",
        asked=asked,
        rows=[viewmodels.patient_row(each, today) for each in found.resources],
        next_page=_with(criteria, cursor=found.cursor) if found.cursor else None,
        first_page=_with(criteria) if cursor else None,
        refusal=refusal,
        requests=requests,
    ), 400 if refusal else 200


def patient(site: Site, id_: str) -> ResponseReturnValue:
    """A patient's record: who, what to beware of, and what happened when."""
    kinds = reading.kinds_named(request.args.getlist("kind"))
    before = request.args.get("before")

    def work(look: Look) -> tuple[reading.Resource, reading.SideColumn, reading.Timeline]:
        person = look.read("Patient", id_)
        return (
            person,
            reading.side_column(look, id_),
            reading.timeline(look, id_, kinds, before),
        )

    (person, side, stretch), requests = site.look(work)
    chosen = [("kind", kind.name) for kind in kinds] if len(kinds) < len(KINDS) else []
    items = [viewmodels.item(each) for each in stretch.resources]
    return render_template(
        "console/patient.html",
        header=viewmodels.header(person, _today(site)),
        side=side,
        days=viewmodels.days(items, person.get("birthDate")),
        count=len(items),
        kinds=KINDS,
        images=_images(site),
        chosen={kind.name for kind in kinds},
        earlier=_with(chosen, before=stretch.earlier) if stretch.earlier else None,
        newest=_with(chosen) if before else None,
        requests=requests,
    )


def _images(site: Site) -> str:
    """Return the address that pages of studies begin with, "" where no images are shown."""
    return next((room.address for room in site.rooms if room.address == "/console/studies"), "")


def resource(site: Site, type_name: str, id_: str) -> ResponseReturnValue:
    """Any resource as JSON, its versions, and what changed between two of them."""
    if not is_resource_type(type_name):
        raise NotFound(f"{type_name!r} is no resource type of FHIR R4")
    asked = request.args.get("version")
    against = request.args.get("against")

    def work(look: Look) -> tuple[reading.Resource, reading.Resource | None, reading.Resource | None]:
        versions = look.history(type_name, id_, [("_count", "50")])
        wanted = asked or _newest(versions)
        shown = look.vread(type_name, id_, wanted) if wanted else None
        other = look.vread(type_name, id_, against) if against else None
        return versions, shown, other

    (versions, shown, other), requests = site.look(work)
    rows = history_rows.version_rows(versions)
    return render_template(
        "console/resource.html",
        type_name=type_name,
        id=id_,
        patient_id=viewmodels.patient_id(shown or {}),
        rows=rows,
        shown_version=asked or _newest(versions),
        against=against,
        json=json_view.coloured(shown, RESOURCES) if shown is not None else None,
        lines=json_view.differences(other, shown) if shown is not None and other is not None else None,
        deleted=bool(rows and rows[0].deleted),
        requests=requests,
    )


def _newest(versions: reading.Resource) -> str | None:
    """Return the newest version that is not a deletion, or None."""
    return next((row.version for row in history_rows.version_rows(versions) if not row.deleted), None)


def server(site: Site) -> ResponseReturnValue:
    """The state of the server and what changed last."""
    bundle, requests = site.look(lambda look: look.history(None, None, [("_count", "15")]))
    return render_template(
        "console/server.html",
        states=site.checks(),
        changes=history_rows.changes(bundle),
        started=site.started,
        up=history_rows.duration_text((datetime.now(UTC) - site.started).total_seconds()),
        requests=requests,
    )


def _with(pairs: Sequence[tuple[str, str]], **more: str | None) -> str:
    """Return a query string of this page."""
    kept = [*pairs, *((name, value) for name, value in more.items() if value)]
    return "?" + urlencode(kept) if kept else "?"
