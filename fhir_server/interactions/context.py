"""What every interaction is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol

from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.database.unit_of_work import UnitOfWork, looking_up
from fhir_server.definitions.conformance import Conformance
from fhir_server.interactions.parameters import Parameters, Searchable
from fhir_server.interactions.policy import Policy
from fhir_server.interactions.registry import Registry
from fhir_server.interactions.statistics import Statistics
from fhir_server.model import json_format, references
from fhir_server.model.temporal import instant
from fhir_server.outcome import Forbidden, Issue
from fhir_server.search.frequency import Frequencies
from fhir_server.search.index import Indexer
from fhir_server.search.types.protocol import Environment
from fhir_server.storage import reader
from fhir_server.storage.version import Version as Version  # part of every Result
from fhir_server.storage.writer import ANY_VERSION as ANY_VERSION  # for those who read If-Match
from fhir_server.validation.knowledge import Knowledge

MOST_RESOLVED = 256
"""Resources that were referred to and are kept while one unit validates."""

Clock = Callable[[], datetime]
"""Gives the present moment as an aware datetime."""


class Secrets:
    """What this installation alone knows; read from its database when it is first needed."""

    __slots__ = ("_cursor_key",)

    def __init__(self) -> None:
        self._cursor_key: bytes | None = None

    def cursor_key(self, unit: UnitOfWork) -> bytes:
        """Return the key that seals the cursors of paging, the same in every process."""
        if self._cursor_key is None:
            self._cursor_key = bytes(unit.execute("SELECT cursor_key FROM installation")[0][0])
        return self._cursor_key


@dataclass(frozen=True, slots=True)
class Settings:
    """What an installation decides about its interactions.

    `base_urls` are the addresses of the FHIR base, the first one being that of our links;
    `indexer` knows the search parameters and what zone-less dates and our own addresses mean;
    `registry` the definitions that are installed, `parameters` the search parameters among them,
    `reindex_rate` how many resources a second a job indexes by them (0: no limit), `policy` what becomes
    of a write that does not keep the profiles it claims, `operations` those that an entry of a Bundle
    may call, `operation_definitions` our own OperationDefinitions by id.
    """

    base_urls: tuple[str, ...]
    indexer: Indexer = field(default_factory=Indexer)
    default_count: int = 20
    max_count: int = 1000
    max_includes: int = 1000
    total_budget_ms: int = 2000
    max_bundle_entries: int = 20_000
    max_patch_operations: int = 10_000
    max_resource_bytes: int = 64 * 1024 * 1024
    max_conditional_deletes: int = 100
    upsert: bool = True
    referential_integrity: str = "off"
    max_response_bytes: int = 16 * 1024 * 1024
    operations: Operations | None = None
    operation_definitions: Mapping[str, Resource] = field(default_factory=dict)
    secrets: Secrets = field(default_factory=Secrets)
    statistics: Statistics = field(default_factory=Statistics)
    registry: Registry = field(default_factory=Registry)
    parameters: Parameters = field(default_factory=Parameters)
    reindex_rate: int = 1000
    policy: Policy = field(default_factory=Policy)

    @property
    def base_url(self) -> str:
        """Return the address that our links begin with."""
        return self.base_urls[0]

    @property
    def environment(self) -> Environment:
        """Return what a date without zone and an address of ours mean."""
        return self.indexer.environment


@dataclass(frozen=True, slots=True)
class Context:
    """One caller's unit of work: on which transaction, for whom, when, in which installation."""

    unit: UnitOfWork
    grant: Grant
    clock: Clock
    settings: Settings

    def cursor_key(self) -> bytes:
        """Return the key that seals the cursors of paging."""
        return self.settings.secrets.cursor_key(self.unit)

    def frequencies(self) -> Frequencies | None:
        """Return how frequent search keys are, as far as the database knows."""
        return self.settings.statistics.frequencies(self.unit)

    def now(self) -> str:
        """Return the present moment as a FHIR instant with milliseconds in UTC."""
        return instant(self.clock())

    def conformance(self) -> Conformance:
        """Return the definitions by which this unit judges."""
        return self.settings.registry.state(self.unit).conformance

    def knowledge(self) -> Knowledge:
        """Return what validation may know: definitions, codes, and what is stored for the caller's eyes."""
        state = self.settings.registry.state(self.unit)
        return Knowledge(state.conformance, state.terminology, lru_cache(MOST_RESOLVED)(self._resolve))

    def indexer(self) -> Indexer:
        """Return what indexes the resources that this unit writes."""
        return self.settings.parameters.known(self.unit, self.settings.indexer).indexer

    def searchable(self) -> Searchable:
        """Return the parameters by which this unit may search."""
        return Searchable(self.unit, self.settings.parameters, self.settings.indexer)

    def _resolve(self, reference: str) -> dict[str, Any] | None:
        """Return the resource that a reference leads to if it is ours, there, and for this caller's eyes."""
        found = references.parse(reference, self.settings.base_urls)
        if found.kind != "local" or found.type is None or found.id is None:
            return None
        try:
            permit(self.grant, "read", found.type)
        except Forbidden:
            return None
        number = found.version or ""
        if number and not (number.isascii() and number.isdigit() and len(number) < 10):
            return None
        with looking_up():
            version = (
                reader.vread(self.unit, found.type, found.id, int(number))
                if number
                else reader.read(self.unit, found.type, found.id)
            )
        if version is None or version.deleted:
            return None
        return json_format.parse(version.text().encode())


@dataclass(frozen=True, slots=True)
class Result:
    """What an interaction came to: a status and a version or a text of JSON.

    `version` is the state that the answer speaks of (None for Bundles and deletions of what
    never was); `text` is a whole Bundle or other answer as JSON text; `issues` are what the
    caller should know beside it; `changes` counts the versions that were made. `tag` is the same for
    two answers to one search that differ in nothing but when they were given.
    """

    status: int
    version: Version | None = None
    text: str | None = None
    issues: tuple[Issue, ...] = ()
    changes: int = 0
    tag: str | None = None


def utc_now() -> datetime:
    """Return the present moment; the clock of a running installation."""
    return datetime.now(UTC)


Resource = dict[str, Any]
"""A resource as JSON: numbers with a point are Decimals."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call of an operation whose arguments are read; `run` carries it out in a unit of work."""

    code: str
    affects_state: bool
    run: Callable[[Context], Resource]


class Operations(Protocol):
    """The operations of an installation, which stand on a floor above the interactions."""

    def __call__(
        self,
        code: str,
        method: str,
        type_name: str | None,
        id_: str | None,
        pairs: Sequence[tuple[str, str]],
        body: Resource | None,
    ) -> Prepared:
        """Return the call of `$code`; raises what is wrong with it, NotFound (404) where there is none."""
