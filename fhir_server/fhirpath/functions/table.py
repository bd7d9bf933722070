"""What a function is: its name, how many arguments it takes, and how they reach it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fhir_server.fhirpath.values import Collection


@dataclass(frozen=True, slots=True)
class Function:
    """A function of FHIRPath.

    `run` takes the scope, the input collection and the arguments: collections, or, where `lazy`,
    the compiled expressions themselves, to be evaluated for each item.
    """

    name: str
    run: Callable[..., Collection]
    least: int = 0
    most: int = 0
    lazy: bool = False


def eager(name: str, run: Callable[..., Collection], least: int = 0, most: int | None = None) -> Function:
    """Return a function whose arguments are evaluated before it is called."""
    return Function(name, run, least, least if most is None else most)


def lazy(name: str, run: Callable[..., Collection], least: int = 0, most: int | None = None) -> Function:
    """Return a function that evaluates its arguments itself."""
    return Function(name, run, least, least if most is None else most, True)
