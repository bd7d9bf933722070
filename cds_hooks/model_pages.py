"""The console's pages of models: every release, its card and drawings, its state, and the steps of persons.

A step is a form that is sent by POST and answered with a redirect (RFC 9110 15.4.4). While authorization
is off the form asks for a name; afterwards the name is the caller's own and no other can be given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from flask import Blueprint, Response, redirect, render_template, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from cds_hooks.figures import drawings
from cds_hooks.models import attributes, blocks, catalogue, recorded, states
from cds_hooks.models.catalogue import Release, ReleaseError
from cds_hooks.models.states import ACTIVE, DEMONSTRATION, DRAFT, RETIRED, SHADOW, Order, Standing
from cds_hooks.monitoring import shadow
from cds_hooks.records.model_log import ModelLog
from cds_hooks.records.monitoring import Kept, Monitoring
from cds_hooks.registry import Services
from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.outcome import Conflict, FhirError, Forbidden, Invalid, NotFound

MODELS = "/console/cds/models"
SHADOW_DAYS = 30
STEPS = ("propose", "promote", "withdraw", "demote", "retire")
_ANONYMOUS = Grant.anonymous().subject


@dataclass(frozen=True, slots=True)
class Site:
    """What the pages stand on. A model is a Library in FHIR's words, which is what a grant is asked for."""

    services: Services
    log: ModelLog
    records: Monitoring
    caller: Callable[[], Grant]
    clock: Callable[[], datetime]

    def may(self, interaction: str) -> None:
        """Raise Forbidden unless the caller may do this with models."""
        permit(self.caller(), interaction, "Library")

    def person(self) -> str:
        """Return who is signed in, empty while authorization is off."""
        subject = self.caller().subject
        return "" if subject == _ANONYMOUS else subject


@dataclass(frozen=True, slots=True)
class Line:
    """One release of the list."""

    release: Release
    standing: Standing
    serves: bool
    figures: Mapping[str, Any]
    report: Kept | None

    @property
    def address(self) -> str:
        """The page of the release."""
        return f"{MODELS}/{quote(self.release.model)}/{quote(self.release.version)}"


def create(site: Site) -> Blueprint:
    """Return the blueprint of the pages, to be mounted at the root beside the console's."""
    made = Blueprint("cds_models", __name__, template_folder="templates")
    made.add_url_rule(MODELS, "models", lambda: models(site))
    one = f"{MODELS}/<name>/<version>"
    made.add_url_rule(one, "model", lambda name, version: model(site, name, version))
    made.add_url_rule(
        f"{one}/<any({', '.join(STEPS)}):action>", "step",
        lambda name, version, action: step(site, name, version, action), methods=["POST"],
    )  # fmt: skip
    made.add_url_rule(
        f"{one}/<drawing>.svg", "drawing", lambda name, version, drawing: svg(site, name, version, drawing)
    )
    return made


def models(site: Site) -> ResponseReturnValue:
    """Every sound release with its state, and what answers calls."""
    site.may("search-type")
    events = site.log.events()
    found = list(catalogue.releases(site.services.folders))
    lines = {
        name: states.line(
            [release for release in found if release.model == name],
            [event for event in events if event.model == name],
        )
        for name in {release.model for release in found}
    }
    rows = []
    for release in found:
        serving = lines[release.model].serving
        rows.append(
            Line(
                release,
                states.standing(release, events),
                serving is not None and serving.digest == release.digest,
                figures(release.card.get("evaluation", {})),
                site.records.newest_report(release),
            )
        )
    return render_template("cds/models.html", rows=rows, tone=tone, requests=[])


def model(site: Site, name: str, version: str, refusal: FhirError | None = None) -> ResponseReturnValue:
    """One release: card, figures, drawings, who did what, and what may be done next."""
    site.may("read")
    release = _find(site, name, version)
    standing = states.standing(release, site.log.events(name))
    texts = blocks.source_attributes(release, standing)
    evaluation = release.card.get("evaluation", {})
    assessment = _assessment(release, standing)
    evidence = recorded.of(release)
    page = render_template(
        "cds/model.html",
        release=release,
        evidence=evidence,
        claims=recorded.rows(evidence) if evidence else [],
        card=release.card,
        standing=standing,
        tone=tone,
        figures=figures(evaluation),
        subgroups=_subgroups(evaluation),
        benefit=_benefit(evaluation),
        assessment=assessment,
        local=assessment.get("evaluation", {}).get("all", {}),
        drawings=[(key, Markup(drawn)) for key, drawn in _drawn(release, assessment).items()],
        attributes=[(key, texts.get(key, "")) for key in attributes.KEYS],
        is_assessed=attributes.is_assessed,
        blocked=blocks.blocks(release, standing) if standing.state in (DRAFT, SHADOW, ACTIVE) else [],
        report=site.records.newest_report(release),
        shadows=_shadows(site, release),
        steps=_steps(standing),
        person=site.person(),
        given=request.form,
        refusal=refusal,
        address=f"{MODELS}/{quote(name)}/{quote(version)}",
        requests=[],
    )
    return page, refusal.status if refusal else 200


def step(site: Site, name: str, version: str, action: str) -> ResponseReturnValue:
    """Carry out a step; a refused one shows the page again and says why."""
    site.may("update")
    _same_origin()
    release = _find(site, name, version)
    actor = site.person() or request.form.get("by", "")
    order = Order(action, release, actor, request.form.get("reason", ""), site.clock())
    try:
        site.log.carry_out(order, blocks.blocks)
    except (Conflict, Invalid) as refusal:
        return model(site, name, version, refusal)
    site.services.forget()  # who has just done this sees it at once
    return redirect(f"{MODELS}/{quote(name)}/{quote(version)}", 303)


def svg(site: Site, name: str, version: str, drawing: str) -> ResponseReturnValue:
    """One drawing as a file."""
    site.may("read")
    release = _find(site, name, version)
    standing = states.standing(release, site.log.events(name))
    found = _drawn(release, _assessment(release, standing)).get(drawing)
    if found is None:
        raise NotFound(f"there is no drawing of this name; known are {', '.join(drawings.NAMES)}")
    return Response(found, content_type="image/svg+xml; charset=utf-8")


def _find(site: Site, name: str, version: str) -> Release:
    try:
        return catalogue.find(site.services.folders, name, version)
    except ReleaseError as error:
        raise NotFound(str(error)) from error


def _shadows(site: Site, release: Release) -> list[dict[str, Any]]:
    """Return what the release computed in shadow over the last year, held against outcomes."""
    until = site.clock()
    found = shadow.report(
        site.records.engine, until - timedelta(days=shadow.OUTCOME_DAYS), until, release.model
    )
    return [one for one in found if (one["version"], one["sha256"]) == (release.version, release.sha256)]


def _assessment(release: Release, standing: Standing) -> Mapping[str, Any]:
    """Return the newest evaluation on patients of this place, by whoever it was made."""
    if standing.assessment is not None:
        return standing.assessment.evidence
    found = release.card.get("recalibration", {}).get("assessment", {})
    return found if isinstance(found, Mapping) else {}


def _drawn(release: Release, assessment: Mapping[str, Any]) -> dict[str, str]:
    found = drawings.of_evaluation(release.card.get("evaluation", {}), release.identity)
    here = drawings.of_evaluation(assessment.get("evaluation", {}), f"{release.identity}, patients here")
    return found | {f"local-{name}": drawn for name, drawn in here.items()}


def figures(evaluation: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the figures of all patients in an evaluation, empty where it has none."""
    found = evaluation.get("all") or evaluation.get("lightgbm") or {}
    return found if isinstance(found, Mapping) else {}


def _subgroups(evaluation: Mapping[str, Any]) -> Sequence[tuple[str, Mapping[str, Any]]]:
    return list(evaluation.get("subgroups", {}).items())


def _benefit(evaluation: Mapping[str, Any]) -> Mapping[str, Mapping[str, float]]:
    found = evaluation.get("net_benefit", {})
    return dict(found.get("lightgbm", found))


def _steps(standing: Standing) -> list[tuple[str, str, str]]:
    """Return what a person may do now: step, words on the button, what it means.

    >>> [step for step, _words, _meaning in _steps(Standing("active"))]
    ['demote', 'retire']
    """
    proposed = standing.proposal
    possible = {
        DRAFT: [("promote", "Run in shadow", "It computes and is recorded, and shows nothing.")],
        SHADOW: [
            (
                "promote",
                "Approve",
                f"Show it to clinicians, as {proposed.actor} proposed; by another person.",
            ),
            ("withdraw", "Withdraw the proposal", "Another proposal is needed then."),
        ]
        if proposed
        else [("propose", "Propose to show it", "Another person has to approve.")],
        ACTIVE: [("demote", "Back to shadow", "It shows nothing from the next second on.")],
    }
    retire = ("retire", "Retire", "It is out of use for good.")
    return [*possible.get(standing.state, []), *([retire] if standing.state != RETIRED else [])]


def tone(state: str) -> str:
    """Return the colour of a state or of a monitor's level.

    >>> tone("active"), tone("demotion"), tone("draft")
    ('good', 'bad', '')
    """
    return {
        ACTIVE: "good", "well": "good", SHADOW: "warn", DEMONSTRATION: "warn", "warning": "warn",
        "demotion": "bad",
    }.get(state, "")  # fmt: skip


def _same_origin() -> None:
    """Raise Forbidden when a browser says that the form stood on another site's page (Fetch Metadata)."""
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    origin = request.headers.get("Origin", "")
    if site not in ("same-origin", "none") or (origin and urlsplit(origin).netloc != request.host):
        raise Forbidden("this form belongs on a page of this server")
