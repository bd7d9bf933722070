"""The console's page of decision support: choose a patient, call a service, see the card as an EHR shows it.

It stands beside the pages of `fhir_server.console` and shares its base template; `app.py` mounts it.
The call goes through the same code as one from outside and is recorded like it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from cds_hooks import trial
from cds_hooks.calls import Calls
from cds_hooks.hooks.table import HOOKS
from cds_hooks.markdown import markup
from cds_hooks.operation.modes import Mode
from cds_hooks.records.rates import CONSOLE
from cds_hooks.service import Service
from cds_hooks.services import cv_risk, opioid_mme_rules, stroke_heparin_dose
from fhir_server.authorization.grant import Grant
from fhir_server.interactions import read, search_type
from fhir_server.interactions.context import Context
from fhir_server.interactions.entry import Entry
from fhir_server.model import json_format
from fhir_server.outcome import FhirError, Invalid

CDS = "/console/cds"
CHOICES = 12

Resource = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Site:
    """What the page stands on; `address` is the public address of the CDS Hooks door."""

    entry: Entry
    calls: Calls
    caller: Callable[[], Grant]
    address: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A patient with an encounter that a call can be about."""

    patient_id: str
    encounter_id: str
    name: str
    about: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to, ready to be shown."""

    status: int
    cards: Sequence[Mapping[str, Any]]
    reasons: Sequence[str]
    refusals: Sequence[str]
    asked: str
    answered: str
    took_ms: int
    call_id: UUID | None = None


def create(site: Site) -> Blueprint:
    """Return the blueprint of the page, to be mounted at the root beside the console's."""
    made = Blueprint(
        "cds_pages",
        __name__,
        template_folder="templates",
        static_folder="static",
        static_url_path="/console/static/cds",
    )
    made.add_url_rule(CDS, "page", lambda: page(site), methods=["GET", "POST"])
    made.add_app_template_filter(markup, "markdown")
    return made


def page(site: Site) -> ResponseReturnValue:
    """Services and patients to choose from; by POST the answer for one of them."""
    services = list(site.calls.services.values())
    service = site.calls.services.get(request.values.get("service", ""), services[0] if services else None)
    name = request.values.get("name", "").strip()
    patient_id = request.values.get("patient", "").strip()
    outcome: Outcome | None = None
    person: Choice | None = None
    refusal: FhirError | None = None
    choices: list[Choice] = []
    asked: list[str] = []
    form = Form()
    try:
        if patient_id:
            person = _person(site, patient_id, request.values.get("encounter", "").strip())
        choices, asked = _choices(site, name)
        if service is not None and person is not None:
            form = _form(site, service, person)
        if request.method == "POST" and service is not None:
            if person is None:
                raise Invalid("choose a patient first")
            if not form.wants or request.form.get("draft") is not None:
                outcome = _call(site, service, person, form)
    except Invalid as error:
        refusal = error
    return render_template(
        "cds/page.html",
        services=services,
        service=service,
        name=name,
        person=person,
        choices=choices,
        outcome=outcome,
        refusal=refusal,
        hook=form.hook,
        wants=form.wants,
        stored=form.stored,
        chosen=form.chosen,
        draft=form.draft,
        mode_of=lambda each: (site.calls.mode(each) or Mode.OFF).value,
        reason_text=reason_text,
        requests=[_curl(site, service, outcome), *asked] if outcome and service else asked,
    ), 400 if refusal else 200


@dataclass(frozen=True, slots=True)
class Stored:
    """A resource of the patient that a draft can be made from."""

    reference: str
    words: str
    resource: Resource


@dataclass(frozen=True, slots=True)
class Form:
    """What the form of a call holds: the hook, what it wants, what it can be made from, what stands there."""

    hook: str = ""
    wants: tuple[str, ...] = ()
    stored: Sequence[Stored] = ()
    chosen: str = ""
    draft: str = ""


def _form(site: Site, service: Service, person: Choice) -> Form:
    """Return the form for a patient; the draft is what was sent, else made from what is stored."""
    name = request.values.get("hook", "")
    hook = HOOKS[name if name in service.hooks else service.hooks[0]]
    wants = trial.wanted(hook)
    if not wants:
        return Form(hook.name)
    stored = _stored(site, wants, person.patient_id)
    chosen = request.values.get("from", "")
    found = next((each.resource for each in stored if each.reference == chosen), None)
    made = trial.proposal(found, hook) if found else trial.example(hook, person.patient_id)
    draft = request.form.get("draft") or _indented(json_format.encode(made))
    return Form(hook.name, wants, stored, chosen, draft)


def _stored(site: Site, types: Sequence[str], patient_id: str) -> list[Stored]:
    def work(context: Context) -> list[Resource]:
        pairs = [("patient", patient_id), ("_count", str(CHOICES))]
        return [each for kind in types[:2] for each in search_type.resources(context, kind, pairs)]

    return [
        Stored(f"{each['resourceType']}/{each['id']}", _words(each), each)
        for each in site.entry.read(site.caller(), work)
    ]


def _words(resource: Resource) -> str:
    """Return what a resource is about, in a few words."""
    concept = resource.get("medicationCodeableConcept") or resource.get("code") or {}
    codings = concept.get("coding") if isinstance(concept, Mapping) else None
    first = codings[0] if isinstance(codings, list) and codings and isinstance(codings[0], Mapping) else {}
    words = concept.get("text") if isinstance(concept, Mapping) else None
    words = words or first.get("display") or first.get("code") or resource.get("id")
    return f"{resource['resourceType']}: {words}, {resource.get('status') or 'recorded'}"


def _choices(site: Site, name: str) -> tuple[list[Choice], list[str]]:
    """Return patients with an encounter going on, or those of a name; and the searches that found them."""
    count = ("_count", str(CHOICES))

    def work(context: Context) -> tuple[list[Resource], dict[str, Resource], list[str]]:
        pairs = (
            [("patient.name", name), ("_sort", "-date"), count]
            if name
            else [("status", "in-progress,arrived,triaged"), ("_sort", "-date"), count]
        )
        encounters: list[Resource] = [*search_type.resources(context, "Encounter", pairs)]
        ids = sorted({_patient_of(each) for each in encounters} - {""})
        people = search_type.resources(context, "Patient", [("_id", ",".join(ids)), count]) if ids else []
        looked = ["Encounter?" + "&".join(f"{key}={value}" for key, value in pairs)]
        return encounters, {str(each.get("id")): each for each in people}, looked

    encounters, people, looked = site.entry.read(site.caller(), work)
    found: dict[str, Choice] = {}
    for encounter in encounters:
        patient = people.get(_patient_of(encounter))
        if patient is not None:
            choice = _choice(patient, encounter)
            found.setdefault(choice.patient_id, choice)
    return list(found.values()), looked


def _person(site: Site, patient_id: str, encounter_id: str) -> Choice:
    """Return the chosen patient with the given encounter, else with the latest one."""

    def work(context: Context) -> tuple[Resource, Resource]:
        version = read.read(context, "Patient", patient_id).version
        patient = json_format.parse(version.text().encode()) if version else {}
        pairs = [("patient", patient_id), ("_sort", "-date"), ("_count", "1")]
        if encounter_id:
            pairs.append(("_id", encounter_id))
        encounters = search_type.resources(context, "Encounter", pairs)
        return patient, encounters[0] if encounters else {}

    return _choice(*site.entry.read(site.caller(), work))


def _patient_of(encounter: Resource) -> str:
    subject = encounter.get("subject")
    text = str(subject.get("reference") or "") if isinstance(subject, Mapping) else ""
    return text.removeprefix("Patient/") if text.startswith("Patient/") else ""


def _choice(patient: Resource, encounter: Resource) -> Choice:
    names = [name for name in patient.get("name") or [] if isinstance(name, Mapping)]
    name = next((name for name in names if name.get("use") == "official"), names[0] if names else {})
    words = [*(name.get("given") or []), name.get("family") or name.get("text") or ""]
    kinds = encounter.get("type") or []
    kind = kinds[0] if kinds and isinstance(kinds[0], Mapping) else {}
    codings = [coding for coding in kind.get("coding") or [] if isinstance(coding, Mapping)]
    title = kind.get("text") or next((c["display"] for c in codings if "display" in c), "Encounter")
    start = str((encounter.get("period") or {}).get("start") or "")[:10]
    born = str(patient.get("birthDate") or "")
    about = ", ".join(
        filter(
            None,
            (str(patient.get("gender") or ""), f"born {born}" if born else "", f"{title} {start}".strip()),
        )
    )
    return Choice(
        str(patient.get("id") or ""),
        str(encounter.get("id") or ""),
        " ".join(str(word) for word in words if word) or "(no name)",
        about if encounter else "no encounter is recorded",
    )


def _call(site: Site, service: Service, person: Choice, form: Form) -> Outcome:
    """Call the service about a patient, as an EHR does whose FHIR server we are."""
    hook = HOOKS[form.hook]
    if "encounterId" in hook.required and not person.encounter_id:
        raise Invalid(f"{person.name} has no encounter; {hook.name} needs one")
    drafted = trial.drafts(form.draft, hook) if form.wants else []
    body = trial.body(hook, person.patient_id, person.encounter_id, drafted, site.entry.settings.base_url)
    started = time.perf_counter()
    answer = site.calls.answer(service.id, json_format.encode(body), client=CONSOLE, trial=True)
    took_ms = round(1000 * (time.perf_counter() - started))
    answered = json_format.parse(answer.body)
    return Outcome(
        status=answer.status,
        cards=answered.get("cards", []),
        reasons=answer.reasons,
        refusals=[str(issue.get("diagnostics")) for issue in answered.get("issue", [])],
        asked=_indented(json_format.encode(body)),
        answered=_indented(answer.body),
        took_ms=took_ms,
        call_id=answer.call_id,
    )


def _curl(site: Site, service: Service, outcome: Outcome) -> str:
    return (
        f"curl -s -X POST '{site.address}/{service.id}' -H 'Content-Type: application/json' "
        f"-d '{outcome.asked}'"
    )


def _indented(data: bytes) -> str:
    return msgspec.json.format(data, indent=2).decode()


_REASONS = {
    "no-acute-stroke": "No acute stroke is recorded for this patient.",
    "patient-unknown": "The patient is not known here.",
    "model-unavailable": "The service has no model that may be used.",
    "not-test-data": "The model is a demonstration: it answers for patients tagged as test data only.",
    "onset-unknown": "The time of onset is not known to the hour.",
    "onset-over-48h": "The onset is more than 48 hours ago.",
    "onset-in-future": "The recorded onset lies in the future.",
    "haemorrhage": "A haemorrhage was found: aspirin is not for this patient.",
    "ct-unknown": "No head CT with a coded conclusion since the onset.",
    "thrombolysis": "The patient was given thrombolysis or thrombectomy.",
    "anticoagulation": "The patient is anticoagulated.",
    "medication-unreadable": "A medication is recorded in a way that cannot be read.",
    "aspirin-allergy": "An allergy or intolerance to aspirin or NSAIDs is recorded.",
    "deficits-missing": "Too few of the neurological deficits are recorded.",
    "timeout": "The service did not answer in its time.",
    "error": "The service failed; its log says where.",
    "other-patient": "Data of another patient came with the call.",
    "suggested": "A card with a suggestion was computed.",
    "shown": "A card was computed.",
    "shadow": "The service runs in shadow: it computes and is recorded, and shows nothing.",
    "switched-off": "The service is switched off.",
    "switch-unknown": "It could not be known whether the service is switched on, so nothing was shown.",
    "repeated": "This user was shown the same card about this patient not long ago.",
    "capped": "This user was shown as many cards as one day may have.",
    "not-recorded": "The record was not written in time, so nothing was shown.",
    "critical-lowered": "A model's card is never critical; it is a warning.",
    "prefetch-missing": "Data that the service needs did not come with the call and could not be fetched.",
    "invalid-request": "The request could not be read.",
    "caller-unknown": "It could not be known who calls, so nothing was shown.",
    "fhir-server-failed": "The FHIR server of the caller failed.",
    "too-large": "The request was too long.",
    "media-type": "The request was not JSON.",
}

_OF_SERVICES: Mapping[str, str] = {
    **stroke_heparin_dose.REASONS,
    **cv_risk.REASONS,
    **opioid_mme_rules.REASONS,
    **opioid_mme_rules.NOT_COUNTED,
}
"""What the services of rules say of their own reasons; the page of each lists the same."""


def reason_text(code: str) -> str:
    """Return why there is no card, in a sentence.

    >>> reason_text("missing-RSBP"), reason_text("thrombolysis")
    ('RSBP is not recorded.', 'The patient was given thrombolysis or thrombectomy.')
    >>> reason_text("on-hold"), reason_text("something-new")
    ('On hold.', 'Something new.')
    """
    if code.startswith("missing-"):
        return f"{code.removeprefix('missing-')} is not recorded."
    if code.startswith("out-of-range-"):
        return f"{code.removeprefix('out-of-range-')} lies outside the range that the model knows."
    said = _REASONS.get(code) or _OF_SERVICES.get(code) or code.replace("-", " ")
    return f"{said[0].upper()}{said[1:].removesuffix('.')}."
