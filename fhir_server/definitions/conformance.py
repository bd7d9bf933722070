"""The conformance resources that may be looked up by their canonical url: R4's own, and what is added.

A canonical is `url` or `url|version` (R4/references.html#canonical). R4's own definitions cannot be
replaced. What packages and clients add is looked up through `Source`s, later ones first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Resource = dict[str, Any]


class Source(Protocol):
    """Where conformance resources come from."""

    def find(self, type_name: str, url: str, version: str | None) -> Resource | None:
        """Return the resource; without a version the newest one; None if it is not there."""
        ...


class Conformance:
    """What validation, search and terminology look up; a value that does not change.

    `generation` tells one state of an installation from the next, so that what was compiled from
    it can be kept exactly as long.
    """

    def __init__(self, sources: Sequence[Source] = (), generation: int = 0) -> None:
        self.sources = tuple(sources)
        self.generation = generation
        self.compiled: dict[str, Any] = {}
        """What others have made of it, each under a name of its own; it lives as long as this does."""

    def find(self, type_name: str, canonical: str) -> Resource | None:
        """Return the StructureDefinition, ValueSet, CodeSystem … of a canonical, None if it is unknown."""
        url, _, version = canonical.partition("|")
        for source in self.sources:
            found = source.find(type_name, url, version or None)
            if found is not None:
                return found
        return None
