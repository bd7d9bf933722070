"""A LightGBM model read from its text file and walked in Python.

The spare wheel of `predictor`: where the shared library or libgomp is missing, serving goes on
with the same numbers, a few hundred times slower (still below a millisecond or two a patient).
Format: LightGBM docs, "Model text"; `decision_type` bit 1 is default-left, bits 2–3 the kind of
missing value (0 none, 1 zero, 2 NaN). Contributions are path-dependent TreeSHAP
(Lundberg and others, arXiv:1802.03888, algorithm 2).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_DEFAULT_LEFT = 2
_NAN = 2
_ZERO = 1
_ZERO_THRESHOLD = 1e-35


class ModelTextError(ValueError):
    """The text is not a binary LightGBM model that we can walk."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree; children are node numbers, a leaf is written as ~number."""

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    decision: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    leaf_value: tuple[float, ...]
    leaf_count: tuple[int, ...]
    node_count: tuple[int, ...]

    def goes_left(self, node: int, row: Sequence[float]) -> bool:
        """Decide at a node as LightGBM does, gaps included."""
        value = row[self.feature[node]]
        decision = self.decision[node]
        missing = (decision >> 2) & 3
        if math.isnan(value):
            if missing == _NAN:
                return bool(decision & _DEFAULT_LEFT)
            value = 0.0
        if missing == _ZERO and abs(value) <= _ZERO_THRESHOLD:
            return bool(decision & _DEFAULT_LEFT)
        return value <= self.threshold[node]

    def leaf(self, row: Sequence[float]) -> float:
        """Return the value of the leaf that the row falls into."""
        node = 0 if self.feature else -1
        while node >= 0:
            node = self.left[node] if self.goes_left(node, row) else self.right[node]
        return self.leaf_value[~node]

    def mean(self) -> float:
        """Return the mean of the leaves over the training rows."""
        if not self.feature:
            return self.leaf_value[0]
        pairs = zip(self.leaf_value, self.leaf_count, strict=True)
        return sum(value * count / self.count(0) for value, count in pairs)

    def count(self, node: int) -> int:
        """Return how many training rows reached a node or leaf."""
        return self.node_count[node] if node >= 0 else self.leaf_count[~node]


@dataclass(frozen=True, slots=True)
class Model:
    """A binary model: the names of its columns and its trees."""

    columns: tuple[str, ...]
    sigmoid: float
    trees: tuple[Tree, ...]

    def predict(self, row: Sequence[float]) -> float:
        """Return P(y = 1)."""
        raw = 0.0
        for tree in self.trees:
            raw += tree.leaf(row)
        return 1.0 / (1.0 + math.exp(-self.sigmoid * raw))

    def contributions(self, row: Sequence[float]) -> list[float]:
        """Return the share of each column in the log odds, and the base value last."""
        phi = [0.0] * (len(self.columns) + 1)
        for tree in self.trees:
            phi[-1] += tree.mean()
            if tree.feature:
                _shap(tree, row, phi, 0, [], 1.0, 1.0, -1)
        return phi


@dataclass(slots=True)
class _Step:
    feature: int
    zero: float
    one: float
    weight: float


def _shap(
    tree: Tree, row: Sequence[float], phi: list[float], node: int, path: list[_Step],
    zero: float, one: float, feature: int,
) -> None:  # fmt: skip
    path = [_Step(step.feature, step.zero, step.one, step.weight) for step in path]
    _extend(path, zero, one, feature)
    if node < 0:
        for position in range(1, len(path)):
            step = path[position]
            phi[step.feature] += (
                _unwound_sum(path, position) * (step.one - step.zero) * tree.leaf_value[~node]
            )
        return
    split = tree.feature[node]
    hot, cold = tree.left[node], tree.right[node]
    if not tree.goes_left(node, row):
        hot, cold = cold, hot
    before_zero, before_one = 1.0, 1.0
    for position in range(1, len(path)):
        if path[position].feature == split:
            before_zero, before_one = path[position].zero, path[position].one
            _unwind(path, position)
            break
    here = tree.count(node)
    _shap(tree, row, phi, hot, path, before_zero * tree.count(hot) / here, before_one, split)
    _shap(tree, row, phi, cold, path, before_zero * tree.count(cold) / here, 0.0, split)


def _extend(path: list[_Step], zero: float, one: float, feature: int) -> None:
    depth = len(path)
    path.append(_Step(feature, zero, one, 1.0 if depth == 0 else 0.0))
    for i in range(depth - 1, -1, -1):
        path[i + 1].weight += one * path[i].weight * (i + 1) / (depth + 1)
        path[i].weight = zero * path[i].weight * (depth - i) / (depth + 1)


def _unwind(path: list[_Step], position: int) -> None:
    depth = len(path) - 1
    one, zero = path[position].one, path[position].zero
    following = path[depth].weight
    for i in range(depth - 1, -1, -1):
        if one != 0:
            weight = path[i].weight
            path[i].weight = following * (depth + 1) / ((i + 1) * one)
            following = weight - path[i].weight * zero * (depth - i) / (depth + 1)
        else:
            path[i].weight = path[i].weight * (depth + 1) / (zero * (depth - i))
    for i in range(position, depth):
        path[i].feature, path[i].zero, path[i].one = path[i + 1].feature, path[i + 1].zero, path[i + 1].one
    path.pop()


def _unwound_sum(path: list[_Step], position: int) -> float:
    depth = len(path) - 1
    one, zero = path[position].one, path[position].zero
    following, total = path[depth].weight, 0.0
    for i in range(depth - 1, -1, -1):
        if one != 0:
            weight = following * (depth + 1) / ((i + 1) * one)
            total += weight
            following = path[i].weight - weight * zero * (depth - i) / (depth + 1)
        elif zero != 0:
            total += path[i].weight / zero / ((depth - i) / (depth + 1))
    return total


# The text ---------------------------------------------------------------------------------------
def parse(text: str) -> Model:
    """Read the text of a binary model.

    Raises ModelTextError for another objective, categorical splits, linear trees or broken text.
    """
    head, *blocks = text.split("\nTree=")
    header = _fields(head)
    objective, *options = header.get("objective", "").split()
    if objective != "binary":
        raise ModelTextError(f"the objective is {objective or 'not given'}; only binary models are walked")
    sigmoid = float(dict(option.split(":") for option in options if ":" in option).get("sigmoid", "1"))
    try:
        trees = tuple(_tree(_fields(block.split("\nend of trees")[0])) for block in blocks)
    except (KeyError, ValueError, IndexError) as error:
        raise ModelTextError(f"a tree cannot be read: {error}") from error
    if not trees:
        raise ModelTextError("the text holds no tree")
    return Model(tuple(header["feature_names"].split()), sigmoid, trees)


def _fields(block: str) -> dict[str, str]:
    return dict(_pairs(block))


def _pairs(block: str) -> Iterator[tuple[str, str]]:
    for line in block.splitlines():
        key, separator, value = line.partition("=")
        if separator:
            yield key.strip(), value


def _tree(fields: dict[str, str]) -> Tree:
    if fields.get("num_cat", "0") != "0" or fields.get("is_linear", "0") != "0":
        raise ModelTextError("categorical splits and linear trees are not walked")
    whole = {
        key: tuple(map(int, fields.get(key, "").split()))
        for key in (
            "split_feature",
            "decision_type",
            "left_child",
            "right_child",
            "leaf_count",
            "internal_count",
        )
    }
    tree = Tree(
        feature=whole["split_feature"],
        threshold=tuple(map(float, fields.get("threshold", "").split())),
        decision=whole["decision_type"],
        left=whole["left_child"],
        right=whole["right_child"],
        leaf_value=tuple(map(float, fields["leaf_value"].split())),
        leaf_count=whole["leaf_count"],
        node_count=whole["internal_count"],
    )
    nodes = len(tree.feature)
    same = {len(tree.threshold), len(tree.decision), len(tree.left), len(tree.right), len(tree.node_count)}
    if same != {nodes} or len(tree.leaf_value) != nodes + 1:
        raise ModelTextError("a tree has columns of different lengths")
    return tree
