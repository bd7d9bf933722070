"""What keeps a release from being shown to clinicians, in words.

Asked when a release is proposed and again when it is approved. A demotion by a monitor has to be
answered by an assessment on newer data before the release can be shown again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cds_hooks.models import attributes
from cds_hooks.models.catalogue import Release
from cds_hooks.models.states import Standing

_EVIDENCE = {
    "data.sha256": "the hash of its training data",
    "schema_sha256": "the hash of its feature table",
    "code_sha256": "the hash of the code that trained it",
    "model.parameters.seed": "the seed of its training",
    "evaluation.subgroups": "its figures by subgroup",
    "evaluation.net_benefit": "its net benefit",
    "evaluation.calibration": "its calibration",
}
_NO_CLAIM = "not published"

MIN_N = 100
"""Fewer patients say nothing about a group."""

BOUNDS = (0.8, 1.25)
"""Observed over expected within these is borne; an interval wholly outside blocks."""


def source_attributes(release: Release, standing: Standing) -> dict[str, str]:
    """Return the 31 attributes: those of the card, completed by what was assessed here since."""
    found = dict(release.card.get("source_attributes", {}))
    if standing.assessment is not None:
        found |= standing.assessment.evidence.get("source_attributes", {})
    return found


def blocks(release: Release, standing: Standing) -> list[str]:
    """Name everything that keeps the release from becoming active; empty when nothing does."""
    return [
        *([] if release.fits else ["it was made with another feature table than this program has"]),
        *_attributes(source_attributes(release, standing)),
        *_evidence(release.card),
        *_fairness(release.card),
        *_assessment(release.card, standing),
    ]


def _attributes(found: Mapping[str, str]) -> Iterator[str]:
    if faults := list(attributes.faults(found)):
        yield f"source attributes: {', '.join(faults)}"
    if lacking := attributes.unassessed(found):
        yield f"source attributes not assessed: {', '.join(lacking)}"


def _evidence(card: Mapping[str, Any]) -> Iterator[str]:
    for path, words in _EVIDENCE.items():
        value: Any = card
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value in (None, "", {}, []):
            yield f"evidence is missing: the card does not hold {words}"
    claim = str(card.get("individual_effects", _NO_CLAIM))
    if not claim.startswith(_NO_CLAIM) and not _gate_passed(card.get("gates")):
        yield "it claims individual effects, and the gate for that has not passed"


def _fairness(card: Mapping[str, Any]) -> Iterator[str]:
    """Look at the groups of its making; a recalibrated release is judged by the patients of its place."""
    groups = card.get("evaluation", {}).get("subgroups", {})
    for name, row in groups.items() if "recalibration" not in card else ():
        if row["n"] >= MIN_N and out_of_bounds(row):
            yield f"fairness: {name}: observed over expected {row['observed_over_expected']} in its making"


def out_of_bounds(row: Mapping[str, Any]) -> bool:
    """Say whether the 95 % interval of a group's observed over expected lies wholly outside the bounds.

    >>> out_of_bounds({"observed_over_expected_ci": [1.26, 1.4]})
    True
    >>> out_of_bounds({"observed_over_expected_ci": [1.24, 1.4]})
    False
    """
    low, high = row.get("observed_over_expected_ci", (1.0, 1.0))
    return bool(high < BOUNDS[0] or low > BOUNDS[1])


def _gate_passed(gates: Any) -> bool:
    verdicts = gates.get("verdicts") if isinstance(gates, Mapping) else None
    return isinstance(verdicts, Mapping) and any(
        isinstance(verdict, Mapping) and verdict.get("accepted") is True for verdict in verdicts.values()
    )


def _assessment(card: Mapping[str, Any], standing: Standing) -> Iterator[str]:
    event = standing.assessment
    own = card.get("recalibration")
    found = event.evidence if event else own.get("assessment") if isinstance(own, Mapping) else None
    if not found:
        yield "evidence is missing: it was not evaluated on data of this place"
        return
    demoted = [step for step in standing.history if step.monitor and step.action == "demote"]
    if demoted and (event is None or demoted[-1].pk > event.pk):
        yield f"a monitor demoted it ({demoted[-1].reason}) and it was not evaluated since"
    fairness = found.get("fairness", {})
    for line in fairness.get("blocked", ()) if isinstance(fairness, Mapping) else ():
        yield f"fairness: {line}"
