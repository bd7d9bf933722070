"""The evidence that was recorded of a trial, and what of it belongs to a release.

`make evidence` runs the gates of individual effects in full and writes `models/evidence/<trial>.json`
(training/evidence). A release is never changed, so what was found later stands beside its card, bound to
it by hashes: the evidence names the SHA-256 of the model that its data, feature table and recipe give.
Nothing here needs what training needs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from cds_hooks.models.catalogue import Release

FOLDER = Path(__file__).parent / "evidence"
"""Where evidence lies: one file a trial, shipped with the program."""

REASONS: Mapping[str, str] = {
    "too-few-draws": "too few draws of the re-randomisation null were run",
    "permutation-null": "the ranking is not beyond what a permuted allocation gives",
    "external-split": "patients of the outside split are not ranked",
    "policy-gain": "the interval of the gain does not lie above 0",
    "external-split-used-before": "the outside split was looked at before with another learner or outcome",
}
"""Why a gate refuses, in words; its codes are those of training/gate."""

Document = dict[str, Any]


class EvidenceError(RuntimeError):
    """The recorded evidence is missing or is not what it says; the message names the difference."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure per 1000 patients with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return it as people read it.

        >>> str(Measure(-1.29, -7.54, 4.96))
        '−1.3 (95 % CI −7.5 to 5.0)'
        """
        return f"{_number(self.value)} (95 % CI {_number(self.low)} to {_number(self.high)})"


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim of individual effects that was put to the gate, and what came out.

    Qini and gains per 1000; `p` one-sided, of the Qini against `draws` permuted allocations; the outside
    split are the `outside` patients of `split`, with a null of its own.
    """

    name: str
    arm: str
    outcome: str
    learner: str
    accepted: bool
    reasons: tuple[str, ...]
    effect: Measure | None
    qini: Measure
    gain: Measure
    draws: int
    p: float
    level: float | None
    null_mean: float
    null_low: float
    null_high: float
    split: str
    outside: int
    outside_qini: Measure
    outside_p: float

    @property
    def verdict(self) -> str:
        """Return `accepted`, or `refused` with the reasons in words."""
        why = "; ".join(REASONS.get(reason, reason) for reason in self.reasons)
        return "accepted" if self.accepted else f"refused: {why}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was recorded of the trial that a release was made from.

    `sha256` names the evidence; `whole`: its file is here and was read, else the figures are those that
    the card of the release took over. `control` is a planted effect, which the gate has to accept.
    """

    sha256: str
    whole: bool
    claims: tuple[Claim, ...]
    control: Claim | None = None
    planted: str = ""

    @property
    def says(self) -> str:
        """Return in one sentence what may be said of single patients."""
        accepted = [claim.name for claim in self.claims if claim.accepted]
        if accepted:
            return f"Individual effects passed the gate: {', '.join(accepted)}."
        return (
            f"Individual effects are refused: {len(self.claims)} of {len(self.claims)} claims did not pass"
            " the gate. What is shown is the average effect."
        )


def of(release: Release) -> Evidence | None:
    """Return the evidence that belongs to a release, None where none was recorded.

    A recalibrated release stands on the trial of its parent. A file that was altered counts as none.
    """
    told = release.card.get("gates")
    named = told.get("evidence_sha256") if isinstance(told, Mapping) else None
    for path in sorted(FOLDER.glob("*.json")):
        try:
            document = recorded(path.stem)
        except EvidenceError:
            continue
        if document["sha256"] == named or _made_from(release, document):
            return _evidence(document)
    if isinstance(told, Mapping) and told.get("verdicts"):
        claims = tuple(_claim(name, verdict) for name, verdict in told["verdicts"].items())
        return Evidence(str(named), False, claims)
    return None


def _made_from(release: Release, document: Document) -> bool:
    """Whether data, feature table and recipe of the evidence give the very model of the release."""
    parent = release.card.get("recalibration", {}).get("parent", {})
    return (
        document["model"]["sha256"] in (release.sha256, parent.get("sha256"))
        and document["data_sha256"] == release.card["data"].get("sha256")
        and document["feature_table_sha256"] == release.card["schema_sha256"]
    )


def _evidence(document: Document) -> Evidence:
    claims = tuple(_claim(name, verdict) for name, verdict in document["gates"].items())
    control = document.get("planted")
    return Evidence(
        document["sha256"], True, claims,
        _claim("planted effect", control) if control else None, control["effect"] if control else "",
    )  # fmt: skip


def _claim(name: str, verdict: Mapping[str, Any]) -> Claim:
    """Read a verdict of the gate, whole as the evidence has it, or shortened as a card has it."""
    observed, null, external = verdict.get("observed", verdict), verdict["null"], verdict["external"]
    measures = external.get("measures", external)
    gains = (observed["gain_over_treat_all"], observed["gain_over_treat_none"])
    effect = observed.get("average_effect")
    return Claim(
        name=name,
        arm=verdict["arm"],
        outcome=verdict["outcome"],
        learner=verdict["learner"],
        accepted=verdict["accepted"],
        reasons=tuple(verdict["reasons"]),
        effect=_measure(effect) if effect else None,
        qini=_measure(observed["qini"]),
        gain=_measure(min(gains, key=lambda gain: gain["value"])),
        draws=null["draws"],
        p=null["p_upper"],
        level=verdict.get("level"),
        null_mean=null["mean"],
        null_low=null["low"],
        null_high=null["high"],
        split=f"{external['column']} {', '.join(external['test'])}",
        outside=measures["n"],
        outside_qini=_measure(measures["qini"]),
        outside_p=external["p"],
    )


def _measure(found: Mapping[str, Any]) -> Measure:
    low, high = found["ci"] or (found["value"], found["value"])
    return Measure(found["value"], low, high)


def _number(value: float) -> str:
    """Return a figure to one decimal, halves rounded up as readers do.

    >>> _number(0.25), _number(-5.35)
    ('0.3', '−5.4')
    """
    return str(Decimal(str(value)).quantize(Decimal("0.1"), ROUND_HALF_UP)).replace("-", "−")


def rows(evidence: Evidence) -> list[tuple[str, list[str]]]:
    """Return what a card says of the claims and of the control: a row a figure, a text a claim.

    Effects, Qini and gains are per 1000 patients.
    """
    shown = [*evidence.claims, *([evidence.control] if evidence.control else [])]
    figures: tuple[tuple[str, Callable[[Claim], str]], ...] = (
        ("verdict", lambda claim: claim.verdict),
        ("arm and outcome", lambda claim: f"{claim.arm}, {claim.outcome}"),
        ("learner", lambda claim: claim.learner),
        ("average effect", lambda claim: str(claim.effect or "not in the card")),
        ("Qini", lambda claim: str(claim.qini)),
        ("permuted allocations", lambda claim: f"{claim.draws} draws, 95 % of them {_span(claim)}"),
        ("p", lambda claim: f"{claim.p:.3f}" + (f" (needed: {claim.level:g})" if claim.level else "")),
        ("gain over the better of treating all and treating nobody", lambda claim: str(claim.gain)),
        ("outside split", lambda claim: f"{claim.split}, {claim.outside:,} patients"),
        ("Qini there", lambda claim: f"{claim.outside_qini}, p {claim.outside_p:.3f}"),
    )
    return [(words, [told(claim) for claim in shown]) for words, told in figures]


def _span(claim: Claim) -> str:
    return f"{_number(claim.null_low)} to {_number(claim.null_high)}"


# The file -----------------------------------------------------------------------------------------
def path(trial: str) -> Path:
    """Return where the evidence of a trial is kept."""
    return FOLDER / f"{trial}.json"


def recorded(trial: str) -> Document:
    """Return the recorded evidence of a trial; raises EvidenceError when it is missing or was altered."""
    try:
        document: Document = json.loads(path(trial).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EvidenceError(f"there is no evidence of {trial}; `make evidence` makes it ({error})") from error
    if digest(document) != document.get("sha256"):
        raise EvidenceError(f"{path(trial).name} was altered: its SHA-256 is not the one that it names")
    return document


def digest(document: Document) -> str:
    """Return the SHA-256 of a document without its own."""
    kept = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(kept, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
