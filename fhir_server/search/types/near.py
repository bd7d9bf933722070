"""near: what is within a distance of a place (R4/location.html#search, R4/search.html#special).

    latitude|longitude                        within 50 km, as R4 leaves to us
    latitude|longitude|distance               in km
    latitude|longitude|distance|unit          in any length of UCUM: m, [mi_i], [ft_i] …

Degrees are WGS84's. The distance is that of the shortest way on the ellipsoid by Lambert's formula: off
by some metres over thousands of kilometres, by up to half a percent only between antipodes. A box of
degrees around the place is asked of the index, then the distance is measured for what is in it. Where
the circle has a pole in it the box goes all around; where it crosses the date line there are two.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import asin, cos, degrees, pi, radians, sin
from typing import Any

from fhir_server.outcome import Invalid
from fhir_server.search import units, values
from fhir_server.search.ast import Parameter
from fhir_server.search.types.protocol import Cell, Columns, Environment, Extractor, Match, Row, SearchType

NEAR_M = 50_000.0  # where the client names no distance
LEAST_RADIUS_M = 6_335_000.0  # of the ellipsoid's curvature: a metre is nowhere a larger angle
DEGREES = re.compile(r"[+-]?\d{1,3}(\.\d{1,20})?", re.ASCII)
FORM = "write latitude|longitude|distance|unit, for example 52.52|13.405|10|km"
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class NearValue:
    """A circle on the earth: its centre in degrees, its radius in metres."""

    latitude: float
    longitude: float
    distance_m: float


def parse(
    text: str,
    modifier: str | None = None,
    parameter: Parameter | None = None,
    environment: Environment | None = None,
) -> NearValue:
    """Read one value of near.

    >>> parse("52.52|13.405|10"), parse("-90|0|1|[mi_i]").distance_m
    (NearValue(latitude=52.52, longitude=13.405, distance_m=10000.0), 1609.344)
    >>> parse("91|0")
    Traceback (most recent call last):
    fhir_server.outcome.Invalid: '91' is no latitude; it is a number of degrees from -90 to 90
    """
    parts = [values.unescape(part) for part in values.split(text, "|")]
    if not 2 <= len(parts) <= 4:
        raise Invalid(f"{text!r} is not a place; {FORM}")
    distance, unit = (parts[2] if len(parts) > 2 else ""), (parts[3] if len(parts) > 3 else "")
    return NearValue(
        _angle(parts[0], "latitude", 90),
        _angle(parts[1], "longitude", 180),
        _metres(distance, unit or "km") if distance else NEAR_M,
    )


def _angle(text: str, name: str, most: int) -> float:
    if not DEGREES.fullmatch(text) or abs(float(text)) > most:
        raise Invalid(f"{text!r} is no {name}; it is a number of degrees from -{most} to {most}")
    return float(text)


def _metres(distance: str, unit: str) -> float:
    if not re.fullmatch(r"\+?(\d{1,12}\.?\d{0,12}|\.\d{1,12})", distance, re.ASCII):
        raise Invalid(f"{distance!r} is no distance; {FORM}")
    metres = units.converted(Decimal(distance), unit, "m")
    if metres is None:
        raise Invalid(f"{unit!r} is no length of UCUM; km, m, [mi_i] and [ft_i] are")
    return float(metres)


def where(value: NearValue, columns: Columns) -> Match:
    """Return the condition on a row: in one of the boxes, and near enough.

    >>> where(NearValue(0, 180, 1000), Columns(point="at")).sql.count("box")
    2
    """
    here = boxes(value)
    inside = " or ".join([f"{columns.point} <@ box(point(%s, %s), point(%s, %s))"] * len(here))
    way = f"geodesic_m(%s, %s, {columns.point}[1], {columns.point}[0])"
    centre = (value.latitude, value.longitude)
    corners = tuple(corner for box in here for corner in box)
    return Row(f"({inside}) and {way} <= %s", (*corners, *centre, value.distance_m))


def boxes(value: NearValue) -> list[Box]:
    """Return one or two boxes (west, south, east, north) that have the whole circle in them.

    >>> [[round(side) for side in box] for box in boxes(NearValue(0, 179, 300_000))]
    [[176, -3, 180, 3], [-180, -3, -178, 3]]
    >>> [[round(side) for side in box] for box in boxes(NearValue(89, 0, 300_000))]
    [[-180, 86, 180, 90]]
    """
    angle = value.distance_m / LEAST_RADIUS_M * 1.01 + 1e-7
    south, north = value.latitude - degrees(angle), value.latitude + degrees(angle)
    if angle >= pi / 2 or south <= -90 or north >= 90:
        return [(-180.0, max(south, -90.0), 180.0, min(north, 90.0))]
    width = degrees(asin(min(1.0, sin(angle) / cos(radians(value.latitude)))))
    west, east = value.longitude - width, value.longitude + width
    if east - west >= 360:
        return [(-180.0, south, 180.0, north)]
    if west < -180:
        return [(west + 360, south, 180.0, north), (-180.0, south, east, north)]
    if east > 180:
        return [(west, south, 180.0, north), (-180.0, south, east - 360, north)]
    return [(west, south, east, north)]


def extract(parameter: Parameter, environment: Environment) -> Extractor:
    """Return what gives the row of a Location.position.

    >>> extract(Parameter("Location", "near", "near"), Environment())(
    ...     "Location.position", {"latitude": 52, "longitude": Decimal("193.4")})
    [('(-166.6,52)',)]
    """
    return cells


def cells(type_name: str, value: Any) -> Sequence[Cell]:
    """Return the point of one element, none where no place on the earth is meant."""
    if not isinstance(value, dict):
        return []
    north, east = value.get("latitude"), value.get("longitude")
    if not isinstance(north, (int, Decimal)) or not isinstance(east, (int, Decimal)):
        return []
    latitude, longitude = Decimal(north), Decimal(east)
    if abs(latitude) > 90 or abs(longitude) > 360:
        return []
    if abs(longitude) > 180:
        longitude -= 360 if longitude > 0 else -360
    return [(f"({longitude},{latitude})",)]


SEARCH_TYPE = SearchType(
    name="near",
    extract=extract,
    parse=parse,
    where=where,
    table="idx_position",
    columns=Columns(point="at"),
)
