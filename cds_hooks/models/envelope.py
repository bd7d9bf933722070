"""The envelope of a model: how far a patient is from the patients it was trained on.

Minimum and maximum of single inputs miss the combinations that no trial patient had: sixteen
years old, atrial fibrillation, 240 mmHg. The Mahalanobis distance (squared) measures the row
against mean and covariance of the training data; a row further out than 99.5 % of the training
patients is refused. Gaps count as the mean, as they did for the limit.

The parameters stand in the model card under `envelope`. For releases that were written without
them there are files `*.envelope.json` beside the release folders: the one that names the SHA-256
of the same training data and of the same feature table is used, whatever was fitted on them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any

from cds_hooks.models.catalogue import SHIPPED, Release


class EnvelopeError(RuntimeError):
    """A release has no envelope, or one that was altered or belongs to something else."""


@dataclass(frozen=True, slots=True)
class Distance:
    """How far a row is: the squared distance, and the inputs with the largest share in it."""

    value: float
    limit: float
    largest: tuple[str, ...]

    @property
    def outside(self) -> bool:
        """Whether the row is further out than the limit."""
        return self.value > self.limit


@dataclass(frozen=True, slots=True)
class Envelope:
    """Mean and inverse covariance of the training rows, and the distance that 99.5 % of them keep."""

    columns: tuple[str, ...]
    mean: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    limit: float
    rows: int
    share: float = 0.995

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Envelope:
        """Return the envelope of a JSON object; EnvelopeError when it was altered or is incomplete."""
        try:
            made = cls(
                tuple(map(str, document["columns"])),
                tuple(map(float, document["mean"])),
                tuple(tuple(map(float, row)) for row in document["precision"]),
                float(document["limit"]),
                int(document["rows"]),
                float(document["share"]),
            )
            if document["sha256"] != digest(document):
                raise EnvelopeError("the envelope was altered: its SHA-256 is not the one that it names")
        except (KeyError, TypeError, ValueError) as error:
            raise EnvelopeError(f"the envelope cannot be read: {error!r}") from error
        size = len(made.columns)
        if len(made.mean) != size or [len(row) for row in made.precision] != [size] * size:
            raise EnvelopeError(f"the envelope has {size} columns, but not as many means and rows")
        return made

    def distance(self, names: Sequence[str], row: Sequence[float]) -> Distance:
        """Return the distance of a row whose columns have these names; NaN counts as the mean.

        >>> ball = Envelope(("a", "b"), (0.0, 0.0), ((1.0, 0.0), (0.0, 1.0)), 9.0, 100)
        >>> ball.distance(["b", "a"], [4.0, 0.5])
        Distance(value=16.25, limit=9.0, largest=('b', 'a'))
        """
        given = dict(zip(names, row, strict=True))
        offsets = [
            0.0 if math.isnan(given[name]) else given[name] - mean
            for name, mean in zip(self.columns, self.mean, strict=True)
        ]
        shares = [
            offset * sum(map(mul, weights, offsets))
            for offset, weights in zip(offsets, self.precision, strict=True)
        ]
        ranked = sorted(zip(shares, self.columns, strict=True), key=lambda entry: -entry[0])
        return Distance(sum(shares), self.limit, tuple(name for _share, name in ranked[:3]))


def of(release: Release) -> Envelope:
    """Return the envelope of a release: from its card, else from a file for the same training data.

    Raises EnvelopeError when there is none.
    """
    document = release.card.get("envelope")
    if document is not None:
        return Envelope.read(document)
    trained_on = (release.card["data"]["sha256"], release.card["schema_sha256"])
    for folder in dict.fromkeys((release.folder.parent, SHIPPED)):
        for path in sorted(folder.glob("*.envelope.json")):
            try:
                document = json.loads(path.read_text(encoding="utf-8"))
                made_for = (document.get("data_sha256"), document.get("schema_sha256"))
            except (OSError, ValueError, AttributeError) as error:
                raise EnvelopeError(f"{path.name} cannot be read: {error}") from error
            if made_for == trained_on:
                return Envelope.read(document)
    raise EnvelopeError(f"{release.identity} has no envelope: none in its card, no file for its data")


def digest(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of everything in the document but the digest itself."""
    content = {name: value for name, value in document.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
