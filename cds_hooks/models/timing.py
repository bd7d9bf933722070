"""What a prediction takes, and its explanation: `python -m cds_hooks.models.timing` prints it as JSON, in µs.

Of the newest release that comes with the package, one row at a time, as a call asks it.
"""

from __future__ import annotations

import json
import time
from math import ceil

from cds_hooks.models import catalogue, features

ROWS = 2000
_WARM = 200


def timed(rows: int = ROWS) -> dict[str, float]:
    """Return the median and the 99th percentile of prediction and contributions together."""
    release = next(iter(catalogue.releases([catalogue.SHIPPED])))
    predictor = catalogue.load(release)
    vector = [0.0] * len(features.NAMES)
    took = []
    for number in range(_WARM + rows):
        begun = time.perf_counter()
        predictor.predict(vector)
        predictor.contributions(vector)
        if number >= _WARM:
            took.append(1e6 * (time.perf_counter() - begun))
    took.sort()
    return {"p50": took[ceil(0.5 * rows) - 1], "p99": took[ceil(0.99 * rows) - 1]}


if __name__ == "__main__":
    print(json.dumps(timed()))
