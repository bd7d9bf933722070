"""A release recalibrated on the patients of one place: a release of its own, linked to its parent.

The parent stays as it is. The child begins as a draft and needs its own way through shadow and two
persons; it brings the evaluation that showing it needs, cross-fitted on the same patients.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cds_hooks.evaluation import recalibration, report
from cds_hooks.evaluation.recalibration import RecalibrationRefused
from cds_hooks.evaluation.sample import Sample
from cds_hooks.models import catalogue
from cds_hooks.models.catalogue import Release
from cds_hooks.models.recalibrated import recalibrated


@dataclass(frozen=True, slots=True)
class Place:
    """Whose patients they are: in words, who evaluated, the SHA-256 of the data and how many rows."""

    where: str
    who: str
    sha256: str
    rows: int

    def as_json(self) -> dict[str, Any]:
        """Return it as a card or an assessment holds it."""
        return {"where": self.where, "by": self.who, "sha256": self.sha256, "rows": self.rows}


def assess(sample: Sample, place: Place) -> dict[str, Any]:
    """Return the evaluation of a release on the patients of a place, as an event keeps it."""
    found = report.assessment(report.evaluate(sample), place.where, place.who)
    return {**found, "data": place.as_json()}


def recalibrate(
    parent: Release, sample: Sample, place: Place, folders: Sequence[Path], now: datetime
) -> Release:
    """Write the recalibrated release into the first of `folders` and return it.

    `sample` holds the parent's predictions. Raises RecalibrationRefused when the data are too few or ask
    for no update.
    """
    update = recalibration.fit(sample.y, sample.p)
    if update.kind == "none":
        raise RecalibrationRefused(
            f"the outcomes ask for no recalibration (p {update.p_shift:.2f} of a shift): the release fits"
        )
    after = sample.predicted(recalibration.cross_fitted(sample.y, sample.p))
    text = recalibrated(
        (parent.folder / catalogue.MODEL).read_text(encoding="utf-8"), update.intercept, update.slope
    )
    version = str(catalogue.highest(folders, parent.model) + 1)
    card = _card(parent, text, version, now)
    assessed = assess(after, place)
    card["source_attributes"] |= _cross_fitted(assessed["source_attributes"])
    card["recalibration"] = {
        "parent": {"identity": parent.identity, "version": parent.version, "sha256": parent.sha256,
                   "digest": parent.digest},
        "update": update.as_json(),
        "folds": recalibration.FOLDS,
        "before": report.evaluate(sample)["all"],
        "assessment": assessed,
    }  # fmt: skip
    return catalogue.write(folders[0], parent.model, version, text, card)


def _card(parent: Release, text: str, version: str, now: datetime) -> dict[str, Any]:
    card: dict[str, Any] = copy.deepcopy(parent.card)
    card["state"], card["version"] = "draft", version
    card["recalibrated_at"] = now.isoformat(timespec="seconds")
    card["model"] |= {"sha256": hashlib.sha256(text.encode()).hexdigest()}
    return card


def _cross_fitted(texts: Mapping[str, str]) -> dict[str, str]:
    return {key: f"After local recalibration, cross-fitted. {text}" for key, text in texts.items()}
