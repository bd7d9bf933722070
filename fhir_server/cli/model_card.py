"""`model card`: the whole model card for people, with the evidence that was recorded beside the release.

It reads the files of a release; no server has to run, and nothing is changed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from cds_hooks.models import blocks, catalogue, recorded, states
from cds_hooks.models.attributes import KEYS, is_assessed
from cds_hooks.models.recorded import Evidence
from fhir_server.cli.model_place import Document, events, folders
from fhir_server.config import Config


def add_card(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of card."""
    parser.add_argument("--version", metavar="N", help="which release; default the newest")


def card(arguments: argparse.Namespace, config: Config) -> Document:
    """Return card, evidence and source attributes of a release, the latter with what was assessed here."""
    release = catalogue.find(folders(config), arguments.model, arguments.version)
    standing = states.standing(release, events(config))
    evidence = recorded.of(release)
    return {
        "identity": release.identity,
        "state": standing.state,
        "evidence": None if evidence is None else asdict(evidence) | {"says": evidence.says},
        "source_attributes": blocks.source_attributes(release, standing),
        "card": release.card,
        "text": "\n".join(
            _lines(release, standing.state, evidence, blocks.source_attributes(release, standing))
        ),
    }


def card_text(found: Document) -> str:
    """Return the card as Markdown."""
    return str(found["text"])


def _lines(
    release: catalogue.Release, state: str, evidence: Evidence | None, attributes: Mapping[str, str]
) -> Iterator[str]:
    card = release.card
    data = card["data"]
    yield from (f"# {release.identity}", "", f"{card['title']}. State: {state}.", "", "## What it is", "")
    yield f"- Model file: SHA-256 {release.sha256}"
    yield f"- Trained {card['trained_at']}; {card['model']['kind']} {card['model']['library']}"
    yield f"- Outcome: {card['model']['outcome']}"
    yield f"- Data: {data.get('name')}, {data.get('rows')} rows, SHA-256 {data.get('sha256')}"
    if notice := data.get("notice"):
        yield f"- {notice}"
    yield f"- Feature table: {len(card['schema'])} inputs, SHA-256 {card['schema_sha256']}"
    yield f"- Seed: {card['model'].get('parameters', {}).get('seed', 'not in the card')}"
    yield f"- Drift is held against {_reference(release)}"
    yield f"- Code: {card.get('code_commit') or 'SHA-256 ' + card['code_sha256']}"
    if own := card.get("recalibration"):
        yield f"- Recalibrated from {own['parent']['identity']}"
    yield from ("", "## Figures, held out of its making", "")
    yield from _figures(card["evaluation"])
    yield from ("", "## Average effect", "")
    yield from _effect(card)
    yield from ("", "## Individual effects", "")
    yield from _individual(evidence, card)
    yield from ("", "## The 31 source attributes", "")
    for key in KEYS:
        text = attributes.get(key, "")
        yield f"- {key.replace('-', ' ')}: {text if is_assessed(text) else 'not assessed'}"


def _reference(release: catalogue.Release) -> str:
    from cds_hooks.monitoring import reference

    found = reference.of(release)
    return "the first answers of a place: no distribution is kept" if found is None else found[1]


def _figures(evaluation: Mapping[str, Any]) -> Iterator[str]:
    whole = evaluation.get("all") or evaluation.get("lightgbm")
    yield "| patients | n | AUC | slope | observed over expected |"
    yield "|---|---|---|---|---|"
    for name, row in {**({"all": whole} if whole else {}), **evaluation.get("subgroups", {})}.items():
        yield (
            f"| {name} | {row['n']} | {_told(row.get('auc'), row.get('auc_ci'))}"
            f" | {_told(row.get('calibration_slope'))}"
            f" | {_told(row.get('observed_over_expected'), row.get('observed_over_expected_ci'))} |"
        )


def _told(value: float | None, ci: Any = None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" ({ci[0]:.3f} to {ci[1]:.3f})" if ci else "")


def _effect(card: Mapping[str, Any]) -> Iterator[str]:
    effect, benefit = card.get("effect"), card.get("average_benefit")
    if not effect or not benefit:
        yield "The card holds no effect."
        return
    low, high = effect["ci"]
    yield f"- Odds ratio {effect['odds_ratio']} (95 % CI {low} to {high}), {effect['outcome']}"
    yield f"- {benefit['per_1000']} fewer per 1000 (standard error {benefit['se']})"
    for name, harm in card.get("harms", {}).items():
        if isinstance(harm, Mapping) and "per_1000" in harm:
            least, most = harm["ci"]
            words = name.replace("_", " ")
            yield f"- {words}: {harm['per_1000']:+} per 1000 (95 % CI {least} to {most})"


def _individual(evidence: Evidence | None, card: Mapping[str, Any]) -> Iterator[str]:
    if evidence is None:
        yield f"No evidence of the gates is recorded: {card.get('individual_effects', 'nothing is said')}."
        return
    yield evidence.says
    yield (
        f"Evidence: SHA-256 {evidence.sha256}"
        + (", recorded on the data and the model of this release." if evidence.whole else "; not here.")
        + " Figures per 1000 patients."
    )
    names = [claim.name for claim in evidence.claims] + (["planted effect"] if evidence.control else [])
    yield from ("", f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}")
    for words, texts in recorded.rows(evidence):
        yield f"| {words} | {' | '.join(texts)} |"
    if evidence.control:
        yield from ("", f"The planted effect ({evidence.planted}) shows that the gate can say yes.")
