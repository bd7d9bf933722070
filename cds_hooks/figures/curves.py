"""Calibration and decision curve of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cds_hooks.evaluation.performance import wilson
from cds_hooks.figures.svg import CLAY, GREY, JADE, Chart, Scale

Row = Mapping[str, Any]
_TENTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def calibration(rows: Sequence[Row], heading: str) -> str:
    """Draw observed against predicted risk, a point for each group with its 95 % interval (Wilson)."""
    words = "; ".join(
        f"predicted {row['predicted']:.2f}, observed {row['observed']:.2f} (n {row['n']})" for row in rows
    )
    chart = Chart(
        f"Calibration: {heading}",
        f"Observed against predicted risk in {len(rows)} groups. On the diagonal as many had the outcome"
        f" as were predicted. {words}.",
        460, 420,
    )  # fmt: skip
    x, y = Scale(0, 1, 64, 444), Scale(0, 1, 370, 16)
    chart.axes(x, y, "predicted risk", "observed share", (_TENTHS, _TENTHS))
    chart.line([(x(0), y(0)), (x(1), y(1))], GREY, dashed=True)
    chart.line([(x(row["predicted"]), y(row["observed"])) for row in rows], JADE)
    for row in rows:
        low, high = wilson(row["observed"], row["n"])
        chart.rule(x(row["predicted"]), y(low), x(row["predicted"]), y(high), JADE, 1.5)
        chart.dot(x(row["predicted"]), y(row["observed"]), JADE)
    return chart.svg()


def decision_curve(rows: Sequence[Row], heading: str) -> str:
    """Draw net benefit of the model, of treating all and of treating none over the threshold."""
    told = rows[:: max(len(rows) // 8, 1)]
    words = "; ".join(
        f"at {row['threshold']:.2f} model {row['model']:.3f}, treat all {row['treat_all']:.3f}"
        for row in told
    )
    chart = Chart(
        f"Decision curve: {heading}",
        f"Net benefit over the threshold probability; treating none has 0. {words}.",
        520, 420,
    )  # fmt: skip
    top = max(0.05, *(max(row["model"], row["treat_all"]) for row in rows)) * 1.08
    bottom = -0.25 * top
    x, y = Scale(0, 1, 64, 440), Scale(bottom, top, 370, 16)
    step = 0.1 if top > 0.25 else 0.05
    ticks = [round(step * number, 2) for number in range(math.ceil(bottom / step), int(top / step) + 1)]
    chart.axes(x, y, "threshold probability", "net benefit", (_TENTHS, ticks))
    chart.rule(x(0), y(0), x(1), y(0), GREY, 1.5)
    chart.text(x(1) + 6, y(0) + 4, "treat none")
    all_ = [row for row in rows if row["treat_all"] >= bottom]
    chart.line([(x(row["threshold"]), y(row["treat_all"])) for row in all_], CLAY, dashed=True)
    chart.line([(x(row["threshold"]), y(row["model"])) for row in rows], JADE)
    middle = rows[len(rows) // 2]
    chart.text(x(middle["threshold"]) + 8, y(middle["model"]) - 8, "model")
    if all_:
        chart.text(x(all_[-1]["threshold"]) + 6, y(all_[-1]["treat_all"]) - 4, "treat all")
    return chart.svg()
