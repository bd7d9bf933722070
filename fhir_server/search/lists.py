"""`_list`: what is in a List, by its id or by what it is for (R4/search.html#list, lifecycle.html#current).

    _list=42                     the entries of List/42
    _list=$current-allergies     the entries of every List that is current and coded as one of allergies

R4 is plain about the second: no element of a Condition says that it is on the problem list, being named by
the List does. So nothing is guessed from the status of a resource, and who has no such List has no entry;
the answer says so. `$current-drug-allergies` are those of the allergies whose category is medication.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fhir_server.outcome import Invalid, Issue
from fhir_server.search import values
from fhir_server.search.ast import All, Clause, Criterion, Either, Has, Parameter
from fhir_server.search.names import unknown

_USES = "http://terminology.hl7.org/CodeSystem/list-example-use-codes"
_LOINC = "http://loinc.org"
_ALLERGIES = (
    f"{_USES}|allergies",
    f"{_LOINC}|52472-8",
    f"{_LOINC}|48765-2",
    f"{_LOINC}|18716-1",
)


@dataclass(frozen=True, slots=True)
class Functional:
    """What a List is for: the codes that say so, and the category of its entries where some are meant."""

    codes: tuple[str, ...]
    category: str | None = None


FUNCTIONAL = {
    "$current-problems": Functional((f"{_USES}|problems", f"{_LOINC}|46105-3")),
    "$current-medications": Functional(
        (f"{_USES}|medications", f"{_LOINC}|57828-6", f"{_LOINC}|10160-0"),
    ),
    "$current-allergies": Functional(_ALLERGIES),
    "$current-drug-allergies": Functional(_ALLERGIES, "medication"),
}
"""The names that R4 defines, with the codes of its own value set of Lists and those of its table."""


class Reader(Protocol):
    """What is known of names and values; parse.Reader."""

    told: list[Issue]

    def parameter(self, type_name: str, code: str) -> Parameter:
        """Return the parameter `code` of a type."""
        ...

    def clause(self, parameter: Parameter, modifier: str | None, text: str) -> Clause:
        """Return one parameter with its alternatives."""
        ...


def criterion(reader: Reader, type_name: str, text: str) -> Criterion:
    """Return that a resource is in one of the Lists that `text` names: ids, or names of what they are for.

    Raises Unknown (400) for a name that R4 does not have, Invalid for one whose entries are of another type.
    """
    parts = [values.unescape(part) for part in values.split(text, ",")]
    ids = [part for part in parts if not part.startswith("$")]
    found: list[Criterion] = [_current(reader, type_name, part) for part in parts if part.startswith("$")]
    if ids:
        written = ",".join(values.escape(each) for each in ids)
        found.insert(
            0, _named(reader, type_name, reader.clause(reader.parameter("List", "_id"), None, written))
        )
    return found[0] if len(found) == 1 else Either(tuple(found))


def _current(reader: Reader, type_name: str, name: str) -> Criterion:
    if name not in FUNCTIONAL:
        raise unknown(f"_list={name} is no list that R4 defines", name, sorted(FUNCTIONAL))
    asked = FUNCTIONAL[name]
    if asked.category is not None and type_name != "AllergyIntolerance":
        raise Invalid(f"_list={name} has resources of the type AllergyIntolerance; searched is {type_name}")
    told = Issue(
        "information",
        "informational",
        f"{name} is what Lists name whose status is current and whose code says so; "
        "of whom no such List is stored, nothing is here, whatever is recorded",
    )
    if told not in reader.told:
        reader.told.append(told)
    of_list = [
        reader.clause(reader.parameter("List", "code"), None, ",".join(asked.codes)),
        reader.clause(reader.parameter("List", "status"), None, "current"),
    ]
    listed = _named(reader, type_name, All(tuple(of_list)))
    if asked.category is None:
        return listed
    category = reader.clause(reader.parameter(type_name, "category"), None, asked.category)
    return All((category, listed))


def _named(reader: Reader, type_name: str, of_list: Criterion) -> Has:
    return Has(reader.parameter("List", "item"), type_name, of_list)
