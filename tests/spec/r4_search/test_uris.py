"""uri parameters of what every resource has: _profile and _source, and what is below a url."""

from __future__ import annotations

from typing import Any

import pytest

from tests.spec.r4_search.conftest import Search
from tests.support.clause import clause

Resource = dict[str, Any]


def basic(id: str, *profiles: str, source: str | None = None) -> Resource:
    meta: Resource = {"profile": list(profiles)} if profiles else {}
    return {"resourceType": "Basic", "id": id, "meta": meta if source is None else {**meta, "source": source}}


BASICS = (
    basic("plain", "http://a.org/p/one"),
    basic("version", "http://a.org/p/one|3.1.1"),
    basic("second", "http://b.org/x", "http://a.org/p/two|3.1"),
    basic("prefix", "http://a.org/p/one-more"),
    basic("wild", "http://a.org/p%/one"),
    basic("lab", source="http://lab.org/system#req7"),
    basic("deep", source="http://lab.org/system/unit"),
    basic("urn", source="urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
    basic("none"),
)


@clause("R4/search.html#uri", "_profile: the canonical, its versions, and what is below a path")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("_profile=http://a.org/p/one", ["plain", "version"]),
        ("_profile=http://a.org/p/one|3.1.1", ["version"]),
        ("_profile=http://a.org/p/one|3", []),
        ("_profile:below=http://a.org/p/one|3", ["version"]),
        ("_profile:below=http://a.org/p/two|3", ["second"]),
        ("_profile:above=http://a.org/p/two|3.1.4", ["second"]),
        ("_profile:above=http://a.org/p/two\\|3.1.4/x/y", ["second"]),  # what follows | is a version, no path
        ("_profile:above=http://a.org/p/two|3/x/y", []),
        ("_profile:below=http://a.org/p", ["plain", "version", "second", "prefix"]),
        ("_profile:below=http://a.org/p/", ["plain", "version", "second", "prefix"]),
        ("_profile:below=http://a.org/p/one", ["plain", "version"]),
        ("_profile:below=http://a.org/p%", ["wild"]),
        ("_profile:below=http://a.org", ["plain", "version", "second", "prefix", "wild"]),
        ("_profile:above=http://a.org/p/one/x/y", ["plain", "version"]),
        ("_profile:missing=true", ["lab", "deep", "urn", "none"]),
        ("_profile:below=http://a.org/p&_profile:below=http://b.org", ["second"]),
        ("_profile:below=http://b.org,http://a.org/p%", ["second", "wild"]),
    ],
)
def test_profile(search: Search, query: str, ids: list[str]) -> None:
    assert search(f"Basic?{query}", *BASICS) == ids


@clause("R4/search.html#uri", "_source: sign by sign with its fragment; the fragment is below its url")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("_source=http://lab.org/system#req7", ["lab"]),
        ("_source=http://lab.org/system", []),
        ("_source:below=http://lab.org/system", ["lab", "deep"]),
        ("_source:below=http://lab.org/system/unit", ["deep"]),
        ("_source:above=http://lab.org/system/unit/3", ["deep"]),
        ("_source:above=http://lab.org/system/unit#9", ["deep"]),
        ("_source=urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8", ["urn"]),
    ],
)
def test_source(search: Search, query: str, ids: list[str]) -> None:
    assert search(f"Basic?{query}", *BASICS) == ids
