"""What a model was made on: the distribution of each input and of its predictions, as a card holds it.

Counts and quantiles only, of whole training sets: nobody can be found in them. For a release that was
published without it there is a file `*.reference.json` beside the release folders (training/beside): the
one that names the SHA-256 of the same model, data and feature table, and its own.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cds_hooks.evaluation.regression import Floats
from cds_hooks.models.catalogue import SHIPPED, Release
from cds_hooks.models.envelope import digest

QUANTILES = 101


def describe(names: Sequence[str], x: Floats, p: Floats, coded: Collection[str]) -> dict[str, Any]:
    """Return the distribution of every column of `x` and of the predictions `p`.

    `coded` names the columns whose numbers are codes: they are counted, the others are ranked.

    >>> found = describe(["SEX", "AGE"], np.array([[0.0, 70.0], [1.0, 80.0]]), np.array([0.2, 0.4]), {"SEX"})
    >>> found["inputs"]["SEX"]["counts"], found["inputs"]["AGE"]["quantiles"][50], found["mean_prediction"]
    ({'0.0': 1, '1.0': 1}, 75.0, 0.3)
    """
    return {
        "n": len(x),
        "inputs": {name: column(x[:, number], name in coded) for number, name in enumerate(names)},
        "predictions": column(p, False),
        "mean_prediction": round(float(np.mean(p)), 6),
        "sd_prediction": round(float(np.std(p)), 6),
    }


def column(values: Floats, coded: bool) -> dict[str, Any]:
    """Return the distribution of one column; gaps are NaN."""
    known = values[~np.isnan(values)]
    missing = round(1 - len(known) / len(values), 6) if len(values) else 0.0
    found: dict[str, Any] = {"n": len(values), "missing": missing}
    if coded:
        numbers, counts = np.unique(known, return_counts=True)
        pairs = zip(numbers.tolist(), counts.tolist(), strict=True)
        return {**found, "counts": {str(number): count for number, count in pairs}}
    grid = np.quantile(known, np.linspace(0, 1, QUANTILES)) if len(known) else np.array([])
    return {**found, "quantiles": [round(float(value), 6) for value in grid]}


def of(release: Release) -> tuple[Mapping[str, Any], str] | None:
    """Return the reference of a release and where it stands; None where there is none.

    A file beside it that was altered, or that belongs to another model, counts as none.
    """
    found = release.card.get("reference")
    if isinstance(found, Mapping) and "inputs" in found:
        return found, "the training data, as the card describes them"
    for folder in dict.fromkeys((release.folder.parent, SHIPPED)):
        for path in sorted(folder.glob("*.reference.json")):
            document = _read(path)
            if document is not None and _belongs(document, release):
                return document, "the training data, as the file beside the card describes them"
    return None


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(document, dict) and "inputs" in document and document.get("sha256") == digest(document)
    return document if whole else None


def _belongs(document: Mapping[str, Any], release: Release) -> bool:
    named = tuple(document.get(name) for name in ("model_sha256", "data_sha256", "schema_sha256"))
    return named == (release.sha256, release.card["data"].get("sha256"), release.card["schema_sha256"])
