"""What stands in resources and searches at the edge of what can be said (R4/search.html#ptypes)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.builders import observation
from tests.support.clause import clause
from tests.support.http import FhirClient

Store = Callable[[dict[str, Any]], str]


def ids(client: FhirClient, query: str) -> list[str]:
    """Return the ids of the matches of a search, in their order."""
    reply = client.get(query)
    assert reply.status == 200, reply.data
    entries = reply.json.get("entry", [])
    return [each["resource"]["id"] for each in entries if each["search"]["mode"] == "match"]


@clause("R4/datatypes.html#SampledData", "data that are no numbers, or absurd ones, are stored and not found")
@pytest.mark.parametrize("data", ["NaN 1", "1 Infinity", "1e200000", "1e9999999999 1", "x", "1" * 5000])
def test_absurd_samples(client: FhirClient, stored: Store, data: str) -> None:
    sampled = {"origin": {"value": 0}, "period": 1, "dimensions": 1, "data": data}
    one = observation("Patient/samples", code="1-8", valueSampledData=sampled)
    del one["valueString"]
    id_ = stored(one)
    assert id_ not in ids(client, "Observation?value-quantity=gt0&code=1-8")
    sampled["data"] = "1 -1.5e3 E L"
    id_ = stored(one)
    assert id_ in ids(client, "Observation?value-quantity=lt-1400&code=1-8")
