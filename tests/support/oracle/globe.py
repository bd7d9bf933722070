"""How far it is from place to place on the WGS84 ellipsoid, by Vincenty's inverse formula.

The server measures by another formula; this one is good to a millimetre and does not converge between
antipodes, where it gives None.
"""

from __future__ import annotations

from math import atan, atan2, cos, radians, sin, sqrt, tan

AXIS = 6378137.0
FLATTENING = 1 / 298.257223563


def distance_m(one: tuple[float, float], other: tuple[float, float]) -> float | None:
    """Return the metres between two (latitude, longitude)."""
    minor = AXIS * (1 - FLATTENING)
    u1 = atan((1 - FLATTENING) * tan(radians(one[0])))
    u2 = atan((1 - FLATTENING) * tan(radians(other[0])))
    away = radians(other[1] - one[1])
    turn = away
    for _ in range(200):
        sine = sqrt((cos(u2) * sin(turn)) ** 2 + (cos(u1) * sin(u2) - sin(u1) * cos(u2) * cos(turn)) ** 2)
        if sine == 0:
            return 0.0
        cosine = sin(u1) * sin(u2) + cos(u1) * cos(u2) * cos(turn)
        arc = atan2(sine, cosine)
        alpha = cos(u1) * cos(u2) * sin(turn) / sine
        square = 1 - alpha**2
        middle = cosine - 2 * sin(u1) * sin(u2) / square if square > 1e-15 else 0.0
        c = FLATTENING / 16 * square * (4 + FLATTENING * (4 - 3 * square))
        before = turn
        turn = away + (1 - c) * FLATTENING * alpha * (
            arc + c * sine * (middle + c * cosine * (-1 + 2 * middle**2))
        )
        if abs(turn - before) < 1e-12:
            break
    else:
        return None
    u = square * (AXIS**2 - minor**2) / minor**2
    a = 1 + u / 16384 * (4096 + u * (-768 + u * (320 - 175 * u)))
    b = u / 1024 * (256 + u * (-128 + u * (74 - 47 * u)))
    further = cosine * (-1 + 2 * middle**2) - b / 6 * middle * (-3 + 4 * sine**2) * (-3 + 4 * middle**2)
    return minor * a * (arc - b * sine * (middle + b / 4 * further))
