"""Predictions with their outcomes, and the groups that a report looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cds_hooks.evaluation.regression import Floats

Mask = NDArray[np.bool_]

AGE_BANDS: tuple[tuple[str, float, float], ...] = (
    ("under 65", 0, 65),
    ("65–74", 65, 75),
    ("75–84", 75, 85),
    ("85 and over", 85, 200),
)
SEXES = {"M": "men", "F": "women"}


@dataclass(frozen=True)
class Sample:
    """Outcomes `y` (0, 1), predictions `p`, and groups: kind → name → who belongs to it."""

    y: Floats
    p: Floats
    groups: Mapping[str, Mapping[str, Mask]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.y) != len(self.p):
            raise ValueError(f"{len(self.y)} outcomes for {len(self.p)} predictions")

    def predicted(self, p: Floats) -> Sample:
        """Return the same patients with other predictions."""
        return Sample(self.y, p, self.groups)


def groups(
    sex: Sequence[str | None], age: Sequence[float | None], site: Sequence[str | None]
) -> dict[str, dict[str, Mask]]:
    """Return the groups of a report by sex, age band and site; who lacks a value is in none of them.

    >>> found = groups(["F", "M", None], [70.0, 80.0, 90.0], ["a", "b", "a"])
    >>> found["sex"]["women"].tolist(), sorted(found["site"])
    ([True, False, False], ['a', 'b'])
    """
    years = np.array([np.nan if value is None else float(value) for value in age])
    sexes = {name: _is(sex, code) for code, name in SEXES.items()}
    bands = {name: np.asarray((years >= low) & (years < below)) for name, low, below in AGE_BANDS}
    return {"sex": sexes, "age": bands, "site": by_value(site)}


def by_value(values: Sequence[str | None]) -> dict[str, Mask]:
    """Return a group for each value; gaps are in none.

    >>> {name: mask.tolist() for name, mask in by_value(["a", None, "b"]).items()}
    {'a': [True, False, False], 'b': [False, False, True]}
    """
    return {name: _is(values, name) for name in sorted({one for one in values if one})}


def _is(values: Sequence[str | None], wanted: str) -> Mask:
    return np.array([value == wanted for value in values], dtype=bool)
