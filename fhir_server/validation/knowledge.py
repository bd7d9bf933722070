"""What a validation may know beside the resource: definitions, terminology, other resources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from fhir_server.definitions.conformance import Conformance


class Terminology(Protocol):
    """What is asked about codes; None is the answer wherever it is not known."""

    def member(self, value_set: str, system: str | None, code: str) -> bool | None:
        """Say whether a value set (canonical) has a code; with no system, a code of any of its systems."""
        ...

    def known(self, system: str, code: str) -> bool | None:
        """Say whether a code system has a code."""
        ...

    def display(self, system: str, code: str) -> str | None:
        """Return the name of a code."""
        ...

    def names(self, system: str, code: str) -> tuple[str, ...]:
        """Return all names of a code, in any language; none if they are not known."""
        ...

    def near(self, system: str, code: str) -> str | None:
        """Return the code that somebody probably meant by one that the system does not have."""
        ...

    def listed(self, value_set: str, most: int) -> list[tuple[str, str]] | None:
        """Return system and code of all members; None if they are not known or more than `most`."""
        ...

    def subsumes(self, system: str, code: str, other: str) -> bool | None:
        """Say whether `code` is `other` or more general than it."""
        ...


class NoTerminology:
    """Knows nothing."""

    def member(self, value_set: str, system: str | None, code: str) -> bool | None:
        """Return None."""
        return None

    def known(self, system: str, code: str) -> bool | None:
        """Return None."""
        return None

    def display(self, system: str, code: str) -> str | None:
        """Return None."""
        return None

    def names(self, system: str, code: str) -> tuple[str, ...]:
        """Return none."""
        return ()

    def near(self, system: str, code: str) -> str | None:
        """Return None."""
        return None

    def listed(self, value_set: str, most: int) -> list[tuple[str, str]] | None:
        """Return None."""
        return None

    def subsumes(self, system: str, code: str, other: str) -> bool | None:
        """Return None."""
        return None


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Definitions, terminology and a way to resources elsewhere (`resolve("Patient/7")`; None: not there)."""

    conformance: Conformance = field(default_factory=Conformance)
    terminology: Terminology = field(default_factory=NoTerminology)
    resolve: Callable[[str], dict[str, Any] | None] = lambda reference: None


@dataclass(frozen=True, slots=True)
class Task:
    """How a resource is to be validated.

    `profiles` are canonicals that it must meet, besides those of its own `meta.profile` if `claims`
    are looked at, and those that R4 asks of Observations by their codes if `vital_signs`.
    `in_transaction`: references such as `Practitioner?identifier=…` are allowed.
    `malformed` tells the checks after the first that the structure is faulty somewhere: values of any
    kind may stand anywhere, and what a check stumbles over means nothing.
    `strict` names what R4 allows and this task refuses (see `STRICT`).
    """

    knowledge: Knowledge = field(default_factory=Knowledge)
    profiles: tuple[str, ...] = ()
    claims: bool = False
    in_transaction: bool = False
    malformed: bool = False
    strict: frozenset[str] = frozenset()
    vital_signs: bool = False


STRICT = frozenset(
    {"markup", "markup in markdown", "example addresses", "dangling references", "unknown extensions"}
)
"""What a task may refuse beyond R4: HTML tags in strings and in markdown, addresses at example.org and
its like, references to resources that are neither beside the resource nor known to `resolve`, and
extensions that have no definition here and are none of those that HL7 publishes for all."""

R4 = Task()
"""R4 alone, no profiles."""
