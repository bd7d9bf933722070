"""A forest of subgroups: one line a group, with its 95 % interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cds_hooks.figures.svg import CLAY, GREY, JADE, Chart, Scale

_ROW = 24
_TOP = 44


@dataclass(frozen=True, slots=True)
class Measure:
    """What a forest shows: the key of a group's figures, its words, its scale, what is borne."""

    key: str
    words: str
    low: float
    high: float
    ticks: tuple[float, ...]
    bounds: tuple[float, float] | None
    unity: float | None


RATIO = Measure(
    "observed_over_expected", "observed over expected", 0.6, 1.5, (0.6, 0.8, 1.0, 1.25, 1.5), (0.8, 1.25), 1.0
)
AUC = Measure("auc", "AUC", 0.5, 1.0, (0.5, 0.6, 0.7, 0.8, 0.9, 1.0), None, None)


def forest(groups: Mapping[str, Mapping[str, Any]], measure: Measure, heading: str) -> str:
    """Draw a measure by group; a group of too few is named and has no mark."""
    words = "; ".join(f"{name} {_says(row, measure)}" for name, row in groups.items())
    height = _TOP + _ROW * len(groups) + 54
    chart = Chart(f"{measure.words.capitalize()} by group: {heading}", f"{words}.", 700, height)
    x = Scale(measure.low, measure.high, 240, 520)
    bottom = _TOP + _ROW * len(groups)
    if measure.bounds:
        left, right = x(measure.bounds[0]), x(measure.bounds[1])
        chart.band(left, _TOP - 12, right - left, bottom - _TOP + 12, JADE)
    if measure.unity is not None:
        chart.rule(x(measure.unity), _TOP - 12, x(measure.unity), bottom, GREY)
    chart.text(12, 22, "group")
    chart.text(230, 22, "n", anchor="end")
    chart.text(540, 22, "value (95 % CI)")
    for number, (name, row) in enumerate(groups.items()):
        _line(chart, x, _TOP + _ROW * number + 8, name, row, measure)
    chart.rule(x.start, bottom, x.end, bottom, "currentColor")
    for tick in measure.ticks:
        chart.rule(x(tick), bottom, x(tick), bottom + 5, "currentColor")
        chart.text(x(tick), bottom + 18, f"{tick:g}", anchor="middle")
    chart.text((x.start + x.end) / 2, bottom + 38, measure.words, anchor="middle")
    return chart.svg()


def _line(chart: Chart, x: Scale, y: float, name: str, row: Mapping[str, Any], measure: Measure) -> None:
    chart.text(12, y + 4, name)
    chart.text(230, y + 4, f"{row['n']:,}", anchor="end")
    chart.text(540, y + 4, _says(row, measure))
    if measure.key not in row:
        return
    low, high = row[f"{measure.key}_ci"]
    outside = measure.bounds is not None and (high < measure.bounds[0] or low > measure.bounds[1])
    colour = CLAY if outside else JADE
    chart.rule(x(low), y, x(high), y, colour, 2)
    chart.dot(x(row[measure.key]), y, colour)


def _says(row: Mapping[str, Any], measure: Measure) -> str:
    if measure.key not in row:
        return "too few"
    low, high = row[f"{measure.key}_ci"]
    return f"{row[measure.key]:.2f} ({low:.2f} to {high:.2f})"
