"""The console's pages of what the decision services did: answers with replay, rates, switches.

A switch is turned by a form that is sent by POST and answered with a redirect; a form of another site is
refused. While authorization is off the form asks for a name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue

from cds_hooks.calls import Calls, outcome
from cds_hooks.monitoring import followed, shadow
from cds_hooks.operation.modes import Mode
from cds_hooks.operation.replay import Replayed, replay
from cds_hooks.pages import reason_text
from cds_hooks.records.entries import Call
from cds_hooks.records.rates import rates
from cds_hooks.records.store import Store
from cds_hooks.records.switches import MODES, Switch, Switches
from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.database.engine import Engine
from fhir_server.interactions.entry import Entry
from fhir_server.model import json_format
from fhir_server.outcome import FhirError, Forbidden, Invalid, NotFound

ANSWERS, RATES, SWITCHES = "/console/cds/answers", "/console/cds/rates", "/console/cds/switches"
A_PAGE = 50
MOST_ORDERS = 500
"""Of one look at the page; `xinglin cds report --orders` takes more."""
DAYS = (1, 7, 30, 365)
_ANONYMOUS = Grant.anonymous().subject


@dataclass(frozen=True, slots=True)
class Site:
    """What the pages stand on. The records are audit, which is what a grant is asked for."""

    calls: Calls
    entry: Entry
    caller: Callable[[], Grant]
    clock: Callable[[], datetime]

    @property
    def engine(self) -> Engine:
        """The database of the records."""
        return self.entry.engine

    def may(self, interaction: str) -> None:
        """Raise Forbidden unless the caller may do this with the records of calls."""
        permit(self.caller(), interaction, "AuditEvent")

    def person(self) -> str:
        """Return who is signed in, empty while authorization is off."""
        subject = self.caller().subject
        return "" if subject == _ANONYMOUS else subject


def create(site: Site) -> Blueprint:
    """Return the blueprint, to be mounted at the root beside the console's."""
    made = Blueprint("cds_records", __name__, template_folder="templates")
    made.add_url_rule(ANSWERS, "answers", lambda: answers(site))
    made.add_url_rule(f"{ANSWERS}/<uuid:call_id>", "answer", lambda call_id: answer(site, call_id))
    made.add_url_rule(RATES, "rates", lambda: rates_page(site))
    made.add_url_rule(SWITCHES, "switches", lambda: switches(site))
    made.add_url_rule(SWITCHES, "turn", lambda: turn(site), methods=["POST"])
    return made


def answers(site: Site) -> ResponseReturnValue:
    """The newest answers first, of all services or of one."""
    site.may("search-type")
    service = request.args.get("service", "")
    before = _uuid(request.args.get("before", ""))
    found = Store(site.engine).latest(service or None, A_PAGE + 1, before)
    return render_template(
        "cds/answers.html",
        services=list(site.calls.services),
        service=service,
        calls=found[:A_PAGE],
        more=found[A_PAGE - 1].call_id if len(found) > A_PAGE else None,
        outcome=outcome,
        tone=tone,
        reason_text=reason_text,
    )


def answer(site: Site, call_id: UUID) -> ResponseReturnValue:
    """One answer: what was asked, what it was decided from, what was shown; with ?replay=1 decided again."""
    site.may("read")
    call = Store(site.engine).find(call_id)
    if call is None:
        raise NotFound("there is no record of this call", expression="id")
    replayed = replay(call, site.calls.services) if request.args.get("replay") else None
    return render_template(
        "cds/answer.html",
        call=call,
        ending=outcome(call),
        cards=_cards(call),
        inputs=_inputs(call),
        output=_indented(json_format.encode(dict(call.output))) if call.output else "",
        replayed=replayed,
        verdict=_verdict(replayed),
        tone=tone,
        reason_text=reason_text,
    )


def rates_page(site: Site) -> ResponseReturnValue:
    """How often each service was asked, what became of its cards, and what ran in shadow."""
    site.may("search-type")
    days = request.args.get("days", "30")
    chosen = int(days) if days.isdecimal() and int(days) in DAYS else 30
    until = site.clock()
    since = until - timedelta(days=chosen)
    found = rates(site.engine, since, until)
    return render_template(
        "cds/rates.html",
        rates=list(found.values()),
        shadows=shadow.report(site.engine, since, until),
        orders=_orders(site, since, until) if request.args.get("orders") else None,
        days=DAYS,
        chosen=chosen,
        percent=percent,
    )


def _orders(site: Site, since: datetime, until: datetime) -> list[dict[str, Any]]:
    """Return what became of what cards were about; who may see that may search the orders, too."""
    permit(site.caller(), "search-type", "MedicationRequest")
    return followed.report(site.engine, site.entry, since, until, most=MOST_ORDERS)


def switches(site: Site, refusal: FhirError | None = None) -> ResponseReturnValue:
    """How each service is switched, with a form for each, and who turned what."""
    site.may("search-type")
    kept = Switches(site.engine)
    newest = kept.newest()
    return render_template(
        "cds/switches.html",
        services=list(site.calls.services.values()),
        newest=newest,
        runs=lambda service: (site.calls.mode(service) or Mode.OFF).value,
        modes=MODES,
        history=kept.history(None, A_PAGE),
        person=site.person(),
        refusal=refusal,
        tone=tone,
    ), 400 if refusal else 200


def turn(site: Site) -> ResponseReturnValue:
    """Turn a switch; every worker follows within a second."""
    _of_our_own()
    site.may("update")
    form = request.form
    try:
        service = site.calls.service(form.get("service", "")).id
        by = site.person() or form.get("by", "")
        Switches(site.engine).turn(
            Switch(service, form.get("mode", ""), by, form.get("reason", ""), site.clock())
        )
    except Invalid as error:
        return switches(site, error)
    return redirect(SWITCHES, 303)


def tone(word: str) -> str:
    """Return the colour of an ending or of a mode.

    >>> tone("shown"), tone("shadow"), tone("error")
    ('good', 'warn', 'bad')
    """
    if word in ("shown", "on"):
        return "good"
    return "warn" if word in ("shadow", "withheld", "refused", "none") else "bad"


def percent(share: float | None) -> str:
    """Return a share as people read it.

    >>> percent(0.5), percent(None)
    ('50 %', '–')
    """
    return "–" if share is None else f"{100 * share:.0f} %"


def _cards(call: Call) -> list[tuple[dict[str, object], str]]:
    """Return what was computed, each card with the reason why it was not sent, empty where it was."""
    body = call.computed or call.answer
    cards = json_format.parse(body.encode()).get("cards", []) if call.status == 200 else []
    return [(card, str(call.withheld.get(str(card.get("uuid")), ""))) for card in cards]


def _inputs(call: Call) -> list[tuple[str, str, str, str]]:
    """Return what was used as rows: name, value, time, reference."""
    rows = []
    for name, given in call.inputs.items():
        if isinstance(given, dict) and "value" in given:
            value, at, reference = (given.get(key) for key in ("value", "time", "reference"))
            rows.append((name, "" if value is None else str(value), str(at or ""), str(reference or "")))
        else:
            rows.append(
                (name, given if isinstance(given, str) else json_format.encode(given).decode(), "", "")
            )
    return rows


def _verdict(replayed: Replayed | None) -> str:
    if replayed is None:
        return ""
    return {True: "the same, byte for byte", False: "different", None: "not compared"}[replayed.equal]


def _indented(data: bytes) -> str:
    return msgspec.json.format(data, indent=2).decode()


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


def _of_our_own() -> None:
    """Refuse a form that another site has sent (Fetch Metadata, RFC 6454)."""
    origin = request.headers.get("Origin")
    where = request.headers.get("Sec-Fetch-Site", "same-origin")
    if where not in ("same-origin", "none") or (origin and urlsplit(origin).netloc != request.host):
        raise Forbidden("this form was not sent by a page of this server")
