"""near: Locations by their distance from a place (R4/location.html#search)."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

import pytest

from tests.spec.r4_http.test_errors import check
from tests.spec.r4_search.conftest import Search
from tests.support.clause import clause
from tests.support.http import FhirClient
from tests.support.oracle import globe

Resource = dict[str, Any]


def place(id: str, latitude: float | str, longitude: float | str) -> Resource:
    position = {"latitude": Decimal(str(latitude)), "longitude": Decimal(str(longitude))}
    return {"resourceType": "Location", "id": id, "position": position}


PLACES = (
    place("berlin", "52.52", "13.405"),
    place("potsdam", "52.39", "13.0645"),
    place("sydney", "-33.8688", "151.2093"),
    place("suva", "-18.1416", "178.4419"),
    place("taveuni", "-16.8", "-179.95"),  # on the other side of the date line
    place("pole", "90", "0"),
    place("alert", "82.5018", "-62.3481"),
    place("date-line", "-17", "180"),
    place("wrapped", "52.52", "-346.595"),  # Berlin once around
    place("nowhere", "95", "10"),
    {"resourceType": "Location", "id": "without"},
)


@clause("R4/location.html#search", "near: within the distance, which is in km where no unit is given")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("near=52.52|13.405|30|km", ["berlin", "potsdam", "wrapped"]),
        ("near=52.52|13.405|30", ["berlin", "potsdam", "wrapped"]),
        ("near=52.52|13.405|27", ["berlin", "wrapped"]),
        ("near=52.52|13.405", ["berlin", "potsdam", "wrapped"]),
        ("near=52.52|13.405||km", ["berlin", "potsdam", "wrapped"]),
        ("near=52.52|13.405|0", ["berlin", "wrapped"]),
        ("near=52.52|13.405|20|[mi_i]", ["berlin", "potsdam", "wrapped"]),
        ("near=52.52|13.405|30000|m", ["berlin", "potsdam", "wrapped"]),
        ("near=52.52|13.405|30|m", ["berlin", "wrapped"]),
        ("near=-17|179.9|250|km", ["suva", "taveuni", "date-line"]),
        ("near=-17|-180|250|km", ["suva", "taveuni", "date-line"]),
        ("near=-17|-179.99|30|km", ["taveuni", "date-line"]),
        ("near=89.9|120|1000|km", ["pole", "alert"]),
        ("near=-33|151|20000", [each["id"] for each in PLACES[:9]]),
        ("near=-33|151|100,52|13|100", ["berlin", "potsdam", "sydney", "wrapped"]),
        ("near=52.52|13.405|30&near=52.39|13.0645|5", ["potsdam"]),
        ("near:missing=true", ["without"]),
        ("near=52.52|13.405|30&_sort=-_id", ["wrapped", "potsdam", "berlin"]),
        ("near=52.4|13.1|30&_sort=near", ["potsdam", "berlin", "wrapped"]),
        ("near=52.4|13.1|30&_sort=-near", ["wrapped", "berlin", "potsdam"]),
        ("near=52.4|13.1|30&_sort=near,-_id", ["potsdam", "wrapped", "berlin"]),
        ("near=52.4|13.1|30,-33|151|100&_sort=near", ["potsdam", "berlin", "wrapped", "sydney"]),
        (
            "_filter=near eq 52.4|13.1|30 or near eq -33|151|100&_sort=near",
            ["potsdam", "berlin", "wrapped", "sydney"],
        ),
        ("near=-17|-179.96|300|km&_sort=near", ["date-line", "taveuni", "suva"]),
        ("_filter=near eq 52.52|13.405|27", ["berlin", "wrapped"]),
    ],
)
def test_near(search: Search, query: str, ids: list[str]) -> None:
    assert search(f"Location?{query}", *PLACES) == ids


@clause("R4/search.html#chaining", "near behind a reference")
def test_chained(search: Search) -> None:
    stay = {
        "resourceType": "Encounter",
        "id": "stay",
        "location": [{"location": {"reference": "Location/potsdam"}}],
    }
    assert search("Encounter?location.near=52.52|13.405|30", stay, *PLACES) == ["stay"]
    assert search("Encounter?location.near=52.52|13.405|20") == []


@clause("R4/location.html#search", "near finds what the geodesic says, at poles and date line too")
def test_like_the_globe(search: Search, connection: Any) -> None:
    """Random places and circles; only what is within a ten-thousandth of the circle's edge may differ."""
    random = Random(7)
    centres = [(random.uniform(-90, 90), random.uniform(-180, 180)) for _ in range(25)]
    centres += [(90, 0), (-90, 45), (89.95, 10), (-89.9, -170), (0, 180), (10, -180), (-45, 179.99), (0, 0)]
    spots: list[tuple[float, float]] = []
    for latitude, longitude in centres:
        for spread in (0.01, 0.5, 5, 40):
            north = max(-90.0, min(90.0, latitude + random.uniform(-spread, spread)))
            east = longitude + random.uniform(-spread, spread) * (8 if abs(latitude) > 80 else 1)
            spots.append((round(north, 7), round((east + 180) % 360 - 180, 7)))
    search("Location?_id=none", *(place(f"p{n}", *spot) for n, spot in enumerate(spots)))
    checked = 0
    for latitude, longitude in centres:
        for radius_km in (0.5, 20, 300, 2500, 9000):
            found = set(search(f"Location?near={latitude:.7f}|{longitude:.7f}|{radius_km}"))
            for number, spot in enumerate(spots):
                metres = globe.distance_m((round(latitude, 7), round(longitude, 7)), spot)
                if metres is None or abs(metres / (radius_km * 1000) - 1) < 1e-4:
                    continue
                checked += 1
                assert (f"p{number}" in found) == (metres <= radius_km * 1000), (latitude, longitude, spot)
    assert checked > 20_000
    with connection.cursor() as cursor:
        worst = 0.0
        for one in centres:
            for other in spots[::5]:
                metres = globe.distance_m(one, other)
                cursor.execute("select geodesic_m(%s, %s, %s, %s)", (*one, *other))
                [(ours,)] = cursor.fetchall()
                if metres is not None and metres < 15_000_000:
                    worst = max(worst, abs(ours - metres))
    assert worst < 60  # metres, of up to 15,000 km


@clause(
    "R4/location.html#search", "_sort=near: the nearest first, page by page; each match tells how far it is"
)
def test_sorted_by_distance(client: FhirClient, stored: Any) -> None:
    """Pages of two from the nearest to the farthest, and back again."""
    spots = {stored(place(f"x{n}", f"-{70 + n / 8}", "33.25") | {"id": f"sorted-{n}"}): n for n in range(7)}
    address = "Location?near=-70|33.25|200|km&_sort=near&_count=2"
    pages = [client.get(address).json]
    while following := link(pages[-1], "next"):
        pages.append(client.get(following).json)
    walked = [entry for page in pages for entry in page["entry"]]
    assert [spots[entry["resource"]["id"]] for entry in walked] == list(range(7))
    metres = [extension(entry["search"]) for entry in walked]
    for number, found in enumerate(metres):
        expected = globe.distance_m((-70, 33.25), (-70 - number / 8, 33.25))
        assert expected is not None
        assert abs(found - expected) < 1
    for before, page in zip(reversed(pages[:-1]), reversed(pages[1:]), strict=True):
        assert client.get(link(page, "previous")).json["entry"] == before["entry"]
    parts = client.get(f"{address}&_elements=position").json["entry"]
    assert [extension(entry["search"]) for entry in parts] == metres[:2]
    several = client.get(f"?_type=Location&{address.partition('?')[2]}").json["entry"]
    assert [entry["search"] for entry in several] == [entry["search"] for entry in pages[0]["entry"]]
    farthest = client.get(address.replace("=near", "=-near")).json["entry"]
    assert [spots[entry["resource"]["id"]] for entry in farthest] == [6, 5]


def link(page: Resource, relation: str) -> str:
    found = {each["relation"]: each["url"] for each in page["link"]}.get(relation, "")
    return found.partition("/fhir/")[2]


def extension(search: Resource) -> float:
    """Return the metres that an entry of a searchset tells."""
    [told] = search["extension"]
    assert told["url"] == "http://hl7.org/fhir/StructureDefinition/location-distance"
    distance = told["valueDistance"]
    assert (distance["system"], distance["code"]) == ("http://unitsofmeasure.org", "km")
    return float(distance["value"]) * 1000


@clause("R4/location.html#search", "near is answered by its index, not by looking at all places")
def test_index(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into idx_position (pk, at, param) select n, point(n % 360 - 180, n % 178 - 89), 1 "
            "from generate_series(1, 20000) n; analyze idx_position"
        )
        cursor.execute(
            "explain select pk from idx_position where tenant = 0 and param = 1 "
            "and at <@ box(point(5, 5), point(9, 9)) and geodesic_m(7, 7, at[1], at[0]) < 1000"
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
    connection.rollback()
    assert "idx_position_at" in plan


@clause("R4/location.html#search", "what is no place is refused by name")
@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("near=52.52", "is not a place; write latitude|longitude|distance|unit"),
        ("near=52.52|13.4|1|km|x", "is not a place"),
        ("near=north|13.4", "'north' is no latitude"),
        ("near=52|181", "'181' is no longitude"),
        ("near=52|13|-1", "'-1' is no distance"),
        ("near=52|13|1|mile", "'mile' is no length of UCUM; km, m, [mi_i]"),
        ("near=52|13|1|kg", "'kg' is no length of UCUM"),
        ("near=gt52|13", "'gt52' is no latitude"),
        ("_sort=near", "_sort=near needs a place to measure from"),
        ("_sort=-near&near:missing=false", "_sort=near needs a place to measure from"),
        ("_sort=near&_filter=near eq 52|13 or name eq x", "_sort=near needs a place to measure from"),
    ],
)
def test_refused(client: FhirClient, query: str, says: str) -> None:
    check(client.get(f"Location?{query}"), 400, says)
