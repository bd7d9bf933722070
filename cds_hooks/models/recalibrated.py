"""A recalibrated model as LightGBM text: every leaf stretched, the first tree's leaves shifted.

The log odds of such a model are the sum of one leaf a tree, so a + b·(log odds) is again a model of the
same kind: both engines read it, its contributions add up, and its file has a hash of its own.
"""

from __future__ import annotations

import re

_TREE = re.compile(r"(?=^Tree=\d+$)", re.MULTILINE)
_SCALED = ("leaf_value", "internal_value")


class NotRecalibrated(ValueError):
    """The text is not a model whose leaves can be shifted."""


def recalibrated(text: str, intercept: float, slope: float) -> str:
    """Return the text of a model with log odds `intercept + slope` times those of this one.

    Raises NotRecalibrated for a slope that is not positive, another sigmoid than 1, or a text that is no
    binary model.
    """
    head, *rest = _TREE.split(text)
    if "\nobjective=binary sigmoid:1\n" not in head or not rest:
        raise NotRecalibrated("only binary models with sigmoid 1 can be recalibrated")
    if slope <= 0:
        raise NotRecalibrated(f"the slope is {slope}; a recalibration must not turn the ranking around")
    last, _, tail = rest[-1].partition("end of trees")
    trees = [*rest[:-1], last]
    changed = [_changed(tree, slope, intercept if number == 0 else 0.0) for number, tree in enumerate(trees)]
    sizes = " ".join(str(len(tree.encode())) for tree in changed)
    head = re.sub(r"^tree_sizes=.*$", f"tree_sizes={sizes}", head, count=1, flags=re.MULTILINE)
    return head + "".join(changed) + "end of trees" + tail


def _changed(tree: str, slope: float, shift: float) -> str:
    lines = []
    for line in tree.split("\n"):
        key, separator, values = line.partition("=")
        if separator and key in _SCALED:
            line = f"{key}={' '.join(repr(slope * float(value) + shift) for value in values.split())}"
        lines.append(line)
    return "\n".join(lines)
