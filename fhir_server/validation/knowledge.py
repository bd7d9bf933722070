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
    """

    knowledge: Knowledge = field(default_factory=Knowledge)
    profiles: tuple[str, ...] = ()
    claims: bool = False
    in_transaction: bool = False
    vital_signs: bool = False


R4 = Task()
"""R4 alone, no profiles."""
