"""Products and ingredients by RxNorm code: hand-kept tables, one a field of medicine.

A table is a text file beside this one (`opioids.txt`, `benzodiazepines.txt`, …) that names its
source. Its lines are `ingredient|code|name|kinds` and `code|dose form|ingredient:strength+…|name`;
an ingredient without a code that we could check has `-` and is known by its products alone. To add
a field: a file of that form and its name in TABLES.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

TABLES = ("opioids.txt", "benzodiazepines.txt", "naloxone.txt", "prescribing.txt")

MASS, LIQUID, PATCH, SPRAY = "mg", "mg/mL", "mg/h", "mg/{actuat}"
"""The units a strength may have: a piece, a liquid, a patch (released in an hour), a spray."""


@dataclass(frozen=True, slots=True)
class Strength:
    """How much of an ingredient is in one piece, one mL, one actuation, or released in one hour."""

    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Ingredient:
    """An ingredient as a code named it: alone, or with its strength in a product.

    `code` is the RxNorm code of the ingredient ("" where none could be checked), `kinds` are words
    such as `opioid`. `form` is the dose form of the product, "" where only the ingredient is known;
    `parts` is how many ingredients the product has, 0 where only the ingredient is known.
    """

    code: str
    name: str
    kinds: frozenset[str] = frozenset()
    strength: Strength | None = None
    form: str = ""
    parts: int = 0


class TableError(ValueError):
    """A line of a table that cannot be read; the message names table and line."""


def of_code(code: str) -> tuple[Ingredient, ...]:
    """Return the ingredients behind an RxNorm code, () for a code that no table has.

    >>> [(i.name, i.strength.value) for i in of_code("856999")]
    [('hydrocodone', 10.0), ('acetaminophen', 325.0)]
    >>> of_code("7804")[0].form, of_code("0")
    ('', ())
    """
    return _codes().get(code, ())


def product_name(code: str) -> str:
    """Return the RxNorm name of a product, "" for an ingredient or a code that no table has.

    >>> product_name("1049221")
    'acetaminophen 325 MG / oxycodone hydrochloride 5 MG Oral Tablet'
    """
    return _names().get(code, "")


@cache
def _names() -> Mapping[str, str]:
    lines = (line.split("|") for text in _texts().values() for line in text.splitlines())
    return {line[0]: line[3] for line in lines if len(line) == 4 and line[0] != "ingredient"}


@cache
def named(kind: str) -> tuple[str, ...]:
    """Return the names of all ingredients of a kind.

    >>> len(named("opioid")), "naloxone" in named("opioid")
    (20, False)
    """
    return tuple(sorted({i.name for found in _codes().values() for i in found if kind in i.kinds}))


@cache
def _texts() -> Mapping[str, str]:
    folder = files(__package__)
    return {name: (folder / name).read_text(encoding="utf-8") for name in TABLES}


@cache
def _codes() -> Mapping[str, tuple[Ingredient, ...]]:
    return merged(read(name, text.splitlines()) for name, text in _texts().items())


def merged(tables: Iterable[Mapping[str, tuple[Ingredient, ...]]]) -> dict[str, tuple[Ingredient, ...]]:
    """Put tables together; a product that two of them know has the ingredients of both.

    Raises TableError when two tables give one ingredient of one code different strengths.
    """
    found: dict[str, dict[str, Ingredient]] = {}
    for table in tables:
        for code, ingredients in table.items():
            known = found.setdefault(code, {})
            for entry in ingredients:
                have = known.get(entry.name)
                if have is not None and have.strength != entry.strength and have.strength and entry.strength:
                    raise TableError(f"{code}: two strengths of {entry.name}")
                kinds = entry.kinds | (have.kinds if have else frozenset())
                known[entry.name] = replace(entry, kinds=kinds, strength=entry.strength or _strength(have))
    return {
        code: tuple(
            replace(entry, parts=max(entry.parts, len(known)) if entry.parts else 0)
            for entry in known.values()
        )
        for code, known in found.items()
    }


def _strength(entry: Ingredient | None) -> Strength | None:
    return None if entry is None else entry.strength


def read(table: str, lines: Iterable[str]) -> dict[str, tuple[Ingredient, ...]]:
    """Read a table: every code with its ingredients. Raises TableError naming table and line.

    >>> found = read("x", ["ingredient|1|a|opioid", "7|Oral Tablet|1:5 mg|a 5 MG Oral Tablet"])
    >>> found["7"][0].strength
    Strength(value=5.0, unit='mg')
    """
    ingredients: dict[str, Ingredient] = {}
    found: dict[str, tuple[Ingredient, ...]] = {}
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        try:
            head, second, third, last = line.split("|")
            if head == "ingredient":
                code = "" if second == "-" else second
                ingredient = Ingredient(code, third, frozenset(last.split()))
                ingredients[code or third] = ingredient
                if code:
                    found[code] = (ingredient,)
            else:
                parts = third.split("+")
                found[head] = tuple(_part(part, second, len(parts), ingredients) for part in parts)
        except (ValueError, KeyError) as error:
            raise TableError(f"{table}, line {number}: {error!r}") from error
    return found


def _part(text: str, form: str, parts: int, ingredients: Mapping[str, Ingredient]) -> Ingredient:
    key, _, amount = text.partition(":")
    strength = None
    if amount:
        value, unit = amount.split(" ")
        if unit not in (MASS, LIQUID, PATCH, SPRAY) or float(value) <= 0:
            raise ValueError(f"{amount!r} is no strength")
        strength = Strength(float(value), unit)
    return replace(ingredients[key], strength=strength, form=form, parts=parts)
