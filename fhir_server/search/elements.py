"""What the expression of a search parameter can yield, read off the definitions without a resource.

Search parameters are written in a small part of FHIRPath (R4/searchparameter.html#SearchParameter.
expression): paths, unions, `as`/`as()`/`ofType()`, `where(…)`, `extension(…)`. What is outside it
gives no facts, and callers then take the careful way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from fhir_server.definitions import structures, value_sets
from fhir_server.search.ast import Clause, Parameter


@dataclass(frozen=True, slots=True)
class Facts:
    """Types of the elements, whether a resource can have several, the system of each bound code.

    `targets` are the resource types that the references may point to, by the elements themselves and
    by `where(resolve() is …)`. Empty `types` mean that nothing is known.
    """

    types: frozenset[str] = frozenset()
    many: bool = True
    systems: Mapping[str, str] = field(default_factory=dict)
    targets: frozenset[str] = frozenset()


UNKNOWN = Facts()


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a path: a member `name`, with a `cast` or a where-`filter` behind it.

    `filter` is the text between the parentheses; `element` is False for functions that lead nowhere
    we can follow.
    """

    name: str
    cast: str | None = None
    filter: str | None = None


def branches(expression: str, type_name: str) -> list[str]:
    """Cut a union into those of its branches that begin at the type or one of its ancestors.

    >>> branches("Patient.name | Practitioner.name | Resource.id", "Patient")
    ['Patient.name', 'Resource.id']
    """
    found = []
    for branch in _unions(expression):
        root = re.match(r"[\s(]*(%resource|\w+)", branch)
        if root is None:
            continue
        if not root[1][0].isupper() or root[1] in (type_name, "Resource", "DomainResource"):
            found.append(branch)
    return found


def _unions(expression: str) -> list[str]:
    """Cut at every bar outside parentheses and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for position, sign in enumerate(expression):
        if sign == "'":
            quoted = not quoted
        elif quoted:
            continue
        elif sign == "(":
            depth += 1
        elif sign == ")":
            depth -= 1
        elif sign == "|" and depth == 0:
            parts.append(expression[start:position].strip())
            start = position + 1
    return [*parts, expression[start:].strip()]


def steps(branch: str, type_name: str) -> list[Step] | None:
    """Return the path of one branch below its type, or None where it is more than a path.

    >>> steps("(Observation.value as Quantity)", "Observation")
    [Step(name='value', cast='Quantity', filter=None)]
    >>> steps("Patient.telecom.where(system='email')", "Patient")
    [Step(name='telecom', cast=None, filter="system='email'")]
    """
    branch = branch.strip()
    found: list[Step] = []
    if branch.startswith("(") and (close := _closing(branch, 0)) > 0:
        inner, rest = branch[1:close], branch[close + 1 :]
        if cast := re.fullmatch(r"(.*\S)\s+as\s+(\w+)", inner, re.DOTALL):
            path = steps(cast[1], type_name)
            if not path:
                return None
            found = [*path[:-1], Step(path[-1].name, cast[2], path[-1].filter)]
        else:
            inside = steps(inner, type_name)
            if inside is None:
                return None
            found = inside
    else:
        if cast := re.fullmatch(r"([\w.]+)\s+as\s+(\w+)", branch):
            return steps(f"({branch})", type_name)
        head = re.match(r"\w+", branch)
        if head is None:
            return None
        rest = branch[head.end() :]
        if head[0] not in (type_name, "Resource", "DomainResource"):
            found = [Step(head[0])]
    while rest:
        member = re.match(r"\.(\w+)(\()?", rest)
        if member is None:
            return None
        if not member[2]:
            found.append(Step(member[1]))
            rest = rest[member.end() :]
            continue
        close = _closing(rest, member.end() - 1)
        argument, rest = rest[member.end() : close], rest[close + 1 :]
        if not found or close < 0:
            return None
        if member[1] in ("as", "ofType"):
            found[-1] = Step(found[-1].name, argument.strip(), found[-1].filter)
        elif member[1] == "where":
            found[-1] = Step(found[-1].name, found[-1].cast, argument.strip())
        else:
            return None
    return found


def _closing(text: str, opening: int) -> int:
    depth, quoted = 0, False
    for position in range(opening, len(text)):
        sign = text[position]
        if sign == "'":
            quoted = not quoted
        elif not quoted:
            depth += (sign == "(") - (sign == ")")
            if depth == 0:
                return position
    return -1


@lru_cache(maxsize=4096)
def facts(parameter: Parameter) -> Facts:
    """Return what is known about the values of a parameter.

    >>> gender = facts(Parameter("Patient", "gender", "token", "Patient.gender"))
    >>> sorted(gender.types), gender.many, gender.systems["male"]
    (['code'], False, 'http://hl7.org/fhir/administrative-gender')
    """
    if not parameter.expression:
        return UNKNOWN
    return of(parameter.expression, parameter.type_name)


def is_bound(clause: Clause) -> bool:
    """Tell whether a clause is a condition on the one row that a resource has for the parameter."""
    return clause.modifier is None and has_one_row(clause.parameter)


@lru_cache(maxsize=4096)
def has_one_row(parameter: Parameter) -> bool:
    """Tell whether a resource has at most one row for a parameter, which is then a range.

    >>> has_one_row(Parameter("Patient", "birthdate", "date", "Patient.birthDate"))
    True
    """
    ordered = parameter.kind in ("date", "number", "quantity")
    return ordered and len(parameter.sources) <= 1 and not facts(parameter).many


def of(expression: str, type_name: str) -> Facts:
    """Return what is known about the values of an expression on a type (or on a path of elements)."""
    types: set[str] = set()
    systems: dict[str, str] = {}
    targets: set[str] = set()
    many = False
    parts = branches(expression, type_name.partition(".")[0])
    stems = set()
    for branch in parts:
        if re.search(r" and | or |!=|\bexists\(\)$", branch):
            types.add("boolean")
            stems.add(branch)
            continue
        path = steps(branch, type_name.partition(".")[0])
        reached = None if path is None else _walk(path, type_name)
        if path is None or reached is None:
            return UNKNOWN
        types |= reached.types
        systems |= reached.systems
        targets |= reached.targets
        many |= reached.many
        stems.add(".".join(step.name for step in path))
    # The branches of one choice element exclude each other; those of different elements do not.
    return Facts(frozenset(types), many or len(stems) > 1, systems, frozenset(targets))


def _walk(path: list[Step], type_name: str) -> Facts | None:
    """Follow the steps through the definitions."""
    here = {type_name}
    many = False
    systems: dict[str, str] = {}
    targets: set[str] = set()
    for step in path:
        following: set[str] = set()
        systems, targets = {}, set()
        for kind in here:
            for field_ in structures.fields(kind).values() if not _is_leaf(kind) else ():
                stem = field_.element.name.removesuffix("[x]")
                if stem != step.name and field_.key != step.name:
                    continue
                if step.cast is not None and field_.type.lower() != step.cast.lower():
                    continue
                following.add(field_.type)
                many |= field_.many
                if only := re.fullmatch(r"resolve\(\) is (\w+)", step.filter or ""):
                    targets.add(only[1])
                elif field_.type in ("Reference", "canonical"):
                    targets |= set(field_.element.targets)
                if field_.type == "code" and field_.element.binding is not None:
                    url = field_.element.binding.value_set.partition("|")[0]
                    for system, codes in (value_sets.enumeration(url) or {}).items():
                        systems.update(dict.fromkeys(codes, system))
        if not following:
            return None
        here = following
    return Facts(frozenset(here), many, systems, frozenset(targets))


def _is_leaf(kind: str) -> bool:
    return not kind or structures.is_primitive(kind)
