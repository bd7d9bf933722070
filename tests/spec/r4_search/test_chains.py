"""Chained parameters and _has (R4/search.html#chaining, #has)."""

from __future__ import annotations

import time

import pytest

from tests.spec.r4_http.test_errors import check
from tests.support.clause import clause
from tests.support.http import FhirClient


@clause("R4/search.html#chaining", "a chain without types that fans out over most of FHIR is refused at once")
@pytest.mark.parametrize("links", [3, 5, 8])
def test_a_chain_that_fans_out(client: FhirClient, links: int) -> None:
    started = time.monotonic()
    reply = client.get("Task?" + "subject." * links + "_id=1")
    check(reply, 400, "name the type that is meant", "too-costly")
    assert time.monotonic() - started < 5
    assert client.get("Task?" + "subject:Task." * links + "_id=1").status == 200
