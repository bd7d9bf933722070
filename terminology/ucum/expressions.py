"""Unit expressions → factor and dimensions (UCUM §2, case-sensitive; the table is units.txt)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from importlib.resources import files

_EXPONENT = re.compile(r"(.+?)([+-]?\d+)")
_MAX_LENGTH, _MAX_DEPTH, _MAX_EXPONENT = 200, 20, 400


class UnitError(ValueError):
    """The text is no unit of UCUM."""


@dataclass(frozen=True, slots=True)
class Unit:
    """`factor` times the base units of `dimensions`; `special` names a conversion before that.

    For a special unit `scale` is its prefix: 1 dB is a tenth of a bel before the logarithm is undone.
    """

    factor: Fraction
    dimensions: tuple[tuple[str, int], ...] = ()
    special: str | None = None
    scale: Fraction = Fraction(1)
    words: str = ""

    def times(self, other: Unit, sign: int) -> Unit:
        """Return the product (or with sign -1 the quotient) of two units."""
        if self.special or other.special:
            raise UnitError("a unit on a scale of its own (a temperature, pH, decibel) stands alone")
        powers = dict(self.dimensions)
        for base, exponent in other.dimensions:
            powers[base] = powers.get(base, 0) + sign * exponent
        dimensions = tuple(sorted((base, exponent) for base, exponent in powers.items() if exponent))
        return Unit(self.factor * other.factor**sign, dimensions, words=self.words)

    def to(self, exponent: int) -> Unit:
        """Return a power of the unit."""
        if exponent == 1:
            return self
        if self.special:
            raise UnitError("a unit on a scale of its own (a temperature, pH, decibel) has no powers")
        dimensions = tuple((base, power * exponent) for base, power in self.dimensions if exponent)
        return Unit(self.factor**exponent, dimensions, words=f"{self.words} ^ {exponent}")


@dataclass(frozen=True, slots=True)
class _Atom:
    kind: str
    factor: str
    unit: str
    name: str
    conversion: str | None


@cache
def _table() -> tuple[Mapping[str, Fraction], Mapping[str, str], Mapping[str, _Atom]]:
    prefixes: dict[str, Fraction] = {}
    prefix_names: dict[str, str] = {}
    atoms: dict[str, _Atom] = {}
    for line in files("terminology.ucum").joinpath("units.txt").read_text("utf-8").splitlines():
        if line.startswith("#"):
            continue
        kind, code, factor, unit, name, *conversion = line.split("\t")
        if kind == "prefix":
            prefixes[code], prefix_names[code] = Fraction(factor), name
        else:
            atoms[code] = _Atom(kind, factor, unit, name, conversion[0] if conversion else None)
    return prefixes, prefix_names, atoms


@lru_cache(maxsize=4096)
def parse(code: str) -> Unit:
    """Return what `code` measures; raises UnitError.

    >>> parse("kg.m/s2").dimensions, parse("10*-3").factor
    ((('g', 1), ('m', 1), ('s', -2)), Fraction(1, 1000))
    """
    return _read(code)[0]


def display(code: str) -> str:
    """Return a unit in words.

    >>> display("m3.kg-1.s-2")
    '(meter ^ 3) * (kilogram ^ -1) * (second ^ -2)'
    """
    return _read(code)[1] if code else "(unity)"


def _read(code: str) -> tuple[Unit, str]:
    if not code or len(code) > _MAX_LENGTH:
        raise UnitError("a unit has 1 to 200 characters")
    if not all("!" <= sign <= "~" for sign in code):
        raise UnitError(f"{code!r}: a unit is written in ASCII without spaces")
    reader = _Reader(code)
    unit, words = reader.term(0)
    if reader.at < len(code):
        raise reader.error("expected . or / before")
    return unit, words


class _Reader:
    def __init__(self, code: str) -> None:
        self.code, self.at = code, 0

    def error(self, what: str) -> UnitError:
        rest = self.code[self.at :]
        return UnitError(f"{self.code!r}: {what} {rest!r}" if rest else f"{self.code!r}: {what} the end")

    def term(self, depth: int) -> tuple[Unit, str]:
        if depth > _MAX_DEPTH:
            raise UnitError("a unit may have 20 levels of parentheses")
        unit, words = Unit(Fraction(1)), ""
        sign = 1
        if self.code.startswith("/", self.at):
            self.at += 1
            sign, words = -1, "1 / "
        while True:
            part, name = self.component(depth)
            unit = part if not words and sign == 1 else unit.times(part, sign)
            words += name
            operator = self.code[self.at : self.at + 1]
            if operator not in (".", "/") or not operator:
                return unit, words
            sign = 1 if operator == "." else -1
            words += " * " if sign == 1 else " / "
            self.at += 1

    def component(self, depth: int) -> tuple[Unit, str]:
        if self.code.startswith("(", self.at):
            self.at += 1
            unit, words = self.term(depth + 1)
            if not self.code.startswith(")", self.at):
                raise self.error("expected ) before")
            self.at += 1
            return unit, f"({words})"
        symbol = self.symbol()
        if not symbol:
            if not self.annotation():
                raise self.error("expected a unit before")
            return Unit(Fraction(1)), "1"
        self.annotation()
        return _component(symbol)

    def symbol(self) -> str:
        start, bracket = self.at, False
        while self.at < len(self.code):
            sign = self.code[self.at]
            if sign == "[":
                bracket = True
            elif sign == "]":
                bracket = False
            elif not bracket and sign in "./(){}":
                break
            self.at += 1
        return self.code[start : self.at]

    def annotation(self) -> bool:
        if not self.code.startswith("{", self.at):
            return False
        end = self.code.find("}", self.at)
        if end < 0 or "{" in self.code[self.at + 1 : end]:
            raise self.error("an annotation is closed by } in")
        self.at = end + 1
        return True


def _component(symbol: str) -> tuple[Unit, str]:
    if symbol.isdecimal():
        if int(symbol) == 0:
            raise UnitError("a unit has no factor 0")
        return Unit(Fraction(symbol)), symbol
    unit = _atom(symbol)
    if unit is not None:
        return unit, f"({unit.words})"
    match = _EXPONENT.fullmatch(symbol)
    if match is not None:
        unit = _atom(match.group(1))
        exponent = int(match.group(2))
        if unit is not None and abs(exponent) <= _MAX_EXPONENT and exponent != 0:
            return unit.to(exponent), f"({unit.words} ^ {exponent})"
    raise UnitError(f"{symbol!r} is no unit of UCUM")


@lru_cache(maxsize=2048)
def _atom(symbol: str) -> Unit | None:
    prefixes, prefix_names, atoms = _table()
    if symbol in atoms:
        return _defined(symbol, atoms[symbol])
    for length in (1, 2):
        prefix, rest = symbol[:length], symbol[length:]
        atom = atoms.get(rest)
        if prefix not in prefixes or atom is None or not atom.kind.startswith(("metric", "base")):
            continue
        unit = _defined(rest, atom)
        words = prefix_names[prefix] + atom.name
        if unit.special is not None:
            return Unit(unit.factor, unit.dimensions, unit.special, prefixes[prefix], words)
        return Unit(unit.factor * prefixes[prefix], unit.dimensions, words=words)
    return None


def _defined(code: str, atom: _Atom) -> Unit:
    if atom.kind == "base":
        return Unit(Fraction(1), ((code, 1),), words=atom.name)
    if atom.kind.endswith("arbitrary"):  # comparable with nothing but itself (UCUM §24)
        return Unit(Fraction(1), ((code, 1),), words=atom.name)
    inner = parse(atom.unit)
    return Unit(inner.factor * Fraction(atom.factor), inner.dimensions, atom.conversion, words=atom.name)
