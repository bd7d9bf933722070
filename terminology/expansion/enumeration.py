"""All codes of a value set, where they can be written out (R4/valueset.html#expansion).

The compose decides, one candidate after the other; the candidates are the codes of its systems and those
that it lists itself. An expansion that might leave a code out is refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from terminology.code_systems import CodeSystem
from terminology.expansion.compose import Part, Question, ValueSet, World

MOST_LOOKED_THROUGH = 20_000  # codes of the systems of one value set
UNLIKELY = "(no code of anybody)"


class NotEnumerable(Exception):
    """Says why the codes of a value set cannot be written out."""


class TooMany(NotEnumerable):
    """There are more codes than are wanted."""


def enumerated(
    world: World, canonical: str, most: int, through: int = MOST_LOOKED_THROUGH
) -> list[tuple[str, str]]:
    """Return system and code of all members of a value set, looking through so many codes at most.

    Raises NotEnumerable where not all of them are known, TooMany where there are more than `most`.
    """
    closure = list(_closure(world, canonical))
    candidates: dict[str, list[str]] = {}
    for system in sorted(_systems(closure)):
        written = sorted({code for value_set in closure for code in value_set.enumerated(system)})
        here = world.system(system)
        codes = list(here.codes() or ()) if isinstance(here, CodeSystem) and here.complete else None
        if codes is None and any(part.codes is None for part in _parts(closure, system)):
            raise NotEnumerable(f"the codes of {system} are not all here")
        candidates[system] = codes if codes is not None else written
        if sum(map(len, candidates.values())) > through:
            raise TooMany(f"it draws on more than {through} codes")
    members: list[tuple[str, str]] = []
    for system, codes in candidates.items():
        for code in [*codes, UNLIKELY]:
            answer = Question(world, system, code).of(canonical)
            if answer is None:
                raise NotEnumerable(f"whether it has codes of {system} cannot be told from what is here")
            if answer:
                members.append((system, code))
                if len(members) > most:
                    raise TooMany(f"it has more than {most} codes")
    return members


def _closure(world: World, canonical: str) -> Iterable[ValueSet]:
    """Yield a value set and all that it imports."""
    seen, todo = {canonical}, [canonical]
    while todo:
        url = todo.pop()
        value_set = world.value_set(url)
        if value_set is None:
            raise NotEnumerable(
                "it is not known here" if url == canonical else f"it imports {url}, unknown here"
            )
        if not value_set.include and value_set.listed is None:
            raise NotEnumerable("it has neither a compose nor an expansion")
        yield value_set
        for part in (*value_set.include, *value_set.exclude):
            new = [each for each in part.imports if each not in seen]
            seen.update(new)
            todo += new


def _systems(closure: Iterable[ValueSet]) -> set[str]:
    found: set[str] = set()
    for value_set in closure:
        found |= {system for system, _ in value_set.listed or () if system is not None}
        found |= {part.system for part in value_set.include if part.system is not None}
    return found


def _parts(closure: Iterable[ValueSet], system: str) -> list[Part]:
    return [part for value_set in closure for part in value_set.include if part.system == system]
