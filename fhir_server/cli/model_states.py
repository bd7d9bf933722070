"""`model list`, `show` and the steps between states: propose, promote, withdraw, demote, retire."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from cds_hooks.models import blocks, catalogue, recorded, states
from cds_hooks.models.catalogue import Release
from cds_hooks.models.states import Event, Order, Standing
from cds_hooks.records.monitoring import Monitoring
from fhir_server.cli.command import Refused
from fhir_server.cli.model_place import Document, events, folders, now, place, table
from fhir_server.config import Config


def add_list(_parser: argparse.ArgumentParser) -> None:
    """Declare no flags: list has the common ones."""


def add_show(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of show."""
    parser.add_argument("--version", metavar="N", help="which release; default the newest")


def add_step(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of a step."""
    parser.add_argument("--version", metavar="N", help="which release; demote: default the active one")
    parser.add_argument("--by", metavar="NAME", default="", help="who does it; kept as typed, not proven")
    parser.add_argument("--reason", metavar="TEXT", default="", help="why; it is kept with the step")


def listing(arguments: argparse.Namespace, config: Config) -> Document:
    """Return every sound release in its live state."""
    known = events(config)
    found = [
        release for release in catalogue.releases(folders(config)) if arguments.model in (None, release.model)
    ]
    lines = {
        model: states.line([r for r in found if r.model == model], [e for e in known if e.model == model])
        for model in {release.model for release in found}
    }
    return {"models": [_row(release, known, lines[release.model].serving) for release in found]}


def _row(release: Release, known: Sequence[Event], serving: Release | None) -> Document:
    standing = states.standing(release, known)
    figures = _figures(release)
    return {
        "model": release.model,
        "version": release.version,
        "state": standing.state,
        "since": standing.since.at.isoformat(timespec="seconds") if standing.since else None,
        "by": standing.since.actor if standing.since else None,
        "reason": standing.since.reason if standing.since else None,
        "proposed_by": standing.proposal.actor if standing.proposal else None,
        "serves": serving is not None and serving.digest == release.digest,
        "identity": release.identity,
        "sha256": release.sha256,
        "parent": release.card.get("recalibration", {}).get("parent", {}).get("identity"),
        "trained_at": release.card["trained_at"],
        "auc": figures.get("auc"),
        "calibration_slope": figures.get("calibration_slope"),
        "usable": release.fits,
        "folder": str(release.folder),
    }


def _figures(release: Release) -> dict[str, Any]:
    evaluation = release.card.get("evaluation", {})
    found = evaluation.get("lightgbm") or evaluation.get("all") or {}
    return dict(found)


def listing_text(found: Document) -> str:
    """Return the releases as a table."""
    if not found["models"]:
        return "no model; xinglin model train makes one"
    rows = [
        [
            "*" if entry["serves"] else "",
            entry["identity"],
            entry["state"] + (f", proposed by {entry['proposed_by']}" if entry["proposed_by"] else ""),
            f"{entry['auc']:.3f}" if entry["auc"] is not None else "–",
            f"{entry['calibration_slope']:.2f}" if entry["calibration_slope"] is not None else "–",
            (entry["since"] or entry["trained_at"])[:10],
            entry["by"] or "",
            "" if entry["usable"] else "made with another feature table",
        ]
        for entry in found["models"]
    ]
    return (
        table(["", "release", "state", "AUC", "slope", "since", "by", ""], rows)
        + "\n* in use; one in shadow computes and shows nothing"
    )


def show(arguments: argparse.Namespace, config: Config) -> Document:
    """Return one release with its card, its history, and what keeps it from being shown."""
    with place(config) as here:
        release = here.release(arguments.model, arguments.version)
        standing = states.standing(release, here.log.events(arguments.model))
        report = Monitoring(here.engine).newest_report(release)
    evidence = recorded.of(release)
    return {
        **_row(release, standing.history, None),
        "blocks": blocks.blocks(release, standing),
        "history": [_event(event) for event in standing.history],
        "source_attributes": blocks.source_attributes(release, standing),
        "monitor": None
        if report is None
        else {"at": report.at.isoformat(timespec="seconds"), "level": report.level, **report.report},
        "evidence": None if evidence is None else {"sha256": evidence.sha256, "says": evidence.says},
        "card": release.card,
    }


def _event(event: Event) -> Document:
    return {
        "at": event.at.isoformat(timespec="seconds"),
        "action": event.action,
        "state": event.state,
        "by": event.actor,
        "monitor": event.monitor,
        "proposed_by": event.proposer,
        "reason": event.reason,
        "evidence": dict(event.evidence),
    }


def show_text(found: Document) -> str:
    """Return a release for people."""
    card = found["card"]
    figures = card["evaluation"].get("lightgbm") or card["evaluation"].get("all") or {}
    data = card["data"]
    lines = [
        f"{found['identity']}   {found['state']}",
        card["title"],
        f"trained {found['trained_at'][:10]} on {data.get('rows', '?')} rows of {data.get('name', '?')}",
        f"AUC {figures.get('auc')}   Brier {figures.get('brier')}   slope {figures.get('calibration_slope')}",
    ]
    if evidence := found["evidence"]:
        lines.append(f"{evidence['says']} `model card` has the figures (evidence {evidence['sha256'][:12]})")
    if own := card.get("recalibration"):
        update = own["update"]
        lines.append(
            f"recalibrated from {own['parent']['identity']}: intercept {update['intercept']:+.3f},"
            f" slope {update['slope']:.3f}, on {update['n']} patients"
        )
    if monitor := found["monitor"]:
        said = "; ".join(monitor["reasons"]) or f"{monitor['predictions']} predictions looked at"
        lines.append(f"monitors {monitor['at'][:16]}: {monitor['level']}, {said}")
    lines += ["", "keeps it from being shown:" if found["blocks"] else "nothing keeps it from being shown"]
    lines += [f"- {line}" for line in found["blocks"]]
    if found["history"]:
        rows = [
            [event["at"][:16], event["action"], event["state"], event["by"], event["reason"]]
            for event in found["history"]
        ]
        lines += ["", table(["when", "step", "state", "by", "reason"], rows)]
    return "\n".join(lines)


def step(arguments: argparse.Namespace, config: Config) -> Document:
    """Carry out a step and return what stands then."""
    action = arguments.action
    if arguments.version is None and action != "demote":
        raise Refused(f"{action} needs --version N; `xinglin model list` shows them")
    with place(config) as here:
        release = (
            here.serving(arguments.model)
            if arguments.version is None
            else here.release(arguments.model, arguments.version)
        )
        order = Order(action, release, arguments.by, arguments.reason, now())
        made = here.log.carry_out(order, blocks.blocks)
        standing: Standing = states.standing(release, here.log.events(arguments.model))
    return {
        "model": release.model,
        "version": release.version,
        "identity": release.identity,
        "state": standing.state,
        "proposed_by": standing.proposal.actor if standing.proposal else None,
        "events": [{"version": event.version, **_event(event)} for event in made],
    }


def step_text(found: Document) -> str:
    """Return what a step came to."""
    lines = [
        f"{found['model']} version {event['version']}: {event['action']} by {event['by']},"
        f" now {event['state']}"
        for event in found["events"]
    ]
    if found["proposed_by"]:
        lines.append(
            f"proposed by {found['proposed_by']}; another person approves with `xinglin model promote`"
        )
    lines.append("names are kept as they were typed here; nothing proves who typed them")
    return "\n".join(lines)
