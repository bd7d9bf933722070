"""The envelope of the training data: mean, covariance, and the distance that 99.5 % keep.

`fit` goes into the model card (`envelope`); `beside` writes the same for a release that was
published without one, because a release is never changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cds_hooks.models import envelope, features
from cds_hooks.models.catalogue import Release

SHARE = 0.995

LEFT_OUT: Mapping[str, str] = {
    "NDEF": "the sum of the deficits",
    "STYPE": "follows from the deficits",
    "RXHEP": "the other arm of the trial, drawn by lot",
    "RCT": "always done where the service answers",
    "RHEP24": "heparin in the last 24 hours is refused as anticoagulation",
}
"""Columns that say nothing of how unusual a patient is; with RHEP24 (2.3 %) nothing else would count."""


def columns(names: Sequence[str] = features.NAMES) -> tuple[str, ...]:
    """Return the columns that the distance is measured in."""
    return tuple(name for name in names if name not in LEFT_OUT)


def fit(names: Sequence[str], x: NDArray[np.float64], measured: Sequence[str] = ()) -> dict[str, Any]:
    """Return the envelope of a matrix as JSON: gaps count as the mean, the limit is a percentile.

    A column that never varies is left out. Raises ValueError when the others do not vary independently
    (no inverse covariance).
    """
    wanted = tuple(measured) or columns(names)
    chosen = tuple(name for name in wanted if _varies(x[:, list(names).index(name)]))
    part = x[:, [list(names).index(name) for name in chosen]]
    mean = np.nanmean(part, axis=0)
    offsets = np.where(np.isnan(part), 0.0, part - mean)
    covariance = np.cov(offsets.T)
    if np.linalg.cond(covariance) > 1e12:
        raise ValueError("the columns of the envelope depend on each other; leave one of them out")
    precision = np.linalg.inv(covariance)
    distances = np.einsum("ij,jk,ik->i", offsets, precision, offsets)
    document: dict[str, Any] = {
        "measure": "Mahalanobis distance, squared; gaps count as the mean",
        "columns": list(chosen),
        "left_out": {name: why for name, why in LEFT_OUT.items() if name in names}
        | {name: "does not vary in these data" for name in wanted if name not in chosen},
        "mean": [float(value) for value in mean],
        "precision": [[float(value) for value in row] for row in precision],
        "limit": float(np.quantile(distances, SHARE)),
        "share": SHARE,
        "rows": len(x),
        "median": float(np.median(distances)),
        "largest": float(distances.max()),
    }
    return document | {"sha256": envelope.digest(document)}


def _varies(column: NDArray[np.float64]) -> bool:
    known = column[~np.isnan(column)]
    return bool(len(known) and known.min() < known.max())


def beside(release: Release, names: Sequence[str], x: NDArray[np.float64]) -> Path:
    """Write the envelope of a release that has none into a file beside its folder; return the path."""
    document = fit(names, x) | {
        "made_for": release.identity,
        "data_sha256": release.card["data"]["sha256"],
        "schema_sha256": release.card["schema_sha256"],
    }
    document["sha256"] = envelope.digest(document)
    path = release.folder.with_name(f"{release.folder.name}.envelope.json")
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path
