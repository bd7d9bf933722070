"""Facts of ISO 4217 (currencies) and ISO 3166-1 (countries)."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def currencies() -> frozenset[str]:
    """Return the codes of currencies and funds, those withdrawn too: an old bill is in its old money.

    >>> "EUR" in currencies(), "DEM" in currencies(), "XYZ" in currencies()
    (True, True, False)
    """
    return frozenset(word for word in _words("currencies.txt") if word.isupper())


@cache
def countries() -> frozenset[str]:
    """Return alpha-2, alpha-3 and numeric codes.

    >>> countries() >= {"CH", "CHE", "756"}, len(countries())
    (True, 747)
    """
    return frozenset(_words("countries.txt"))


def _words(name: str) -> list[str]:
    lines = files("terminology.iso").joinpath(name).read_text("ascii").splitlines()
    return [word for line in lines if not line.startswith("#") for word in line.split()]
