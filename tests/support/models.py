"""Releases for tests: copies of the shipped model that begin as drafts, and orders about them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cds_hooks.evaluation.regression import Floats, expit, logit
from cds_hooks.models import attributes, catalogue
from cds_hooks.models.catalogue import Release
from cds_hooks.models.states import Order

MODEL = "stroke-early-aspirin"
NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
ASSESSED = {
    "source_attributes": dict.fromkeys(attributes.MAY_LACK, "AUC 0.79 in 400 patients of this hospital."),
    "fairness": {"blocked": [], "warned": []},
}


def shipped() -> Release:
    """Return the demonstration that comes with the program."""
    return catalogue.find([catalogue.SHIPPED], MODEL, "1")


def draft(folder: Path, version: str = "2", **changes: Any) -> Release:
    """Write the shipped model as a draft of another version into a folder."""
    release = shipped()
    card = json.loads(json.dumps(release.card)) | {"state": "draft", "version": version} | changes
    return catalogue.write(folder, MODEL, version, (release.folder / catalogue.MODEL).read_text(), card)


def order(action: str, release: Release, actor: str = "Ada Lovelace", **more: Any) -> Order:
    """Return an order with a reason."""
    values = {"reason": f"{action} for a test", "at": NOW} | more
    return Order(action, release, actor, **values)


def drawn(n: int, shift: float = 0.0, stretch: float = 1.0, seed: int = 1) -> tuple[Floats, Floats]:
    """Return outcomes and predictions whose truth is off by a shift and a stretch of the log odds."""
    generator = np.random.default_rng(seed)
    p = expit(generator.normal(0.2, 1.1, n))
    y = (generator.random(n) < expit(shift + stretch * logit(p))).astype(np.float64)
    return y, p
