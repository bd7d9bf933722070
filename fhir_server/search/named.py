"""Named queries: what `_query` stands for, as an OperationDefinition says it (R4/search.html#query).

R4 leaves open how a definition of the kind `query` says what is searched. Here its `out` parameter says it,
by R4's extension cqf-expression in the language application/x-fhir-query:

    Patient?_has:Flag:patient:status=active&general-practitioner={{%by}}&_sort=family

`{{%by}}` is the `in` parameter `by`: what the client gives in the search stands in its place, with prefix and
commas, as if it were written there. A criterion whose parameter is not given is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any
from urllib.parse import parse_qsl

from fhir_server.outcome import Invalid

EXPRESSION = "http://hl7.org/fhir/StructureDefinition/cqf-expression"
LANGUAGE = "application/x-fhir-query"
MAY = frozenset({"_sort", "_include", "_revinclude", "_count"})
"""What shapes an answer and may stand in a definition; the rest of it is the client's."""

_SLOT = re.compile(r"\{\{\s*%([A-Za-z][\w-]*)\s*\}\}")
_MARK = re.compile("\ue000([^\ue001]*)\ue001")
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Input:
    """An `in` parameter: whether it must be given, and whether it may be given more than once."""

    required: bool
    repeats: bool


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A definition that can be run: `criteria` are names and values of a search on `type_name`."""

    code: str
    url: str
    type_name: str
    inputs: Mapping[str, Input]
    criteria: Pairs

    def filled(self, given: Pairs) -> list[tuple[str, str]]:
        """Return the criteria with what the client gave.

        Raises Invalid (400) for what is missing, empty, or given more than once.
        """
        values: dict[str, list[str]] = {name: [] for name in self.inputs}
        for name, text in given:
            if not text:
                raise Invalid(f"{name} has no value; the named query {self.code} needs one")
            values[name].append(text)
        for name, one in self.inputs.items():
            if one.required and not values[name]:
                raise Invalid(f"the named query {self.code} needs the parameter {name}")
            if len(values[name]) > 1 and not one.repeats:
                raise Invalid(f"{name} is given more than once; the named query {self.code} takes one")
        found: list[tuple[str, str]] = []
        for name, template in self.criteria:
            slots = list(dict.fromkeys(_MARK.findall(template)))
            for chosen in product(*(values[slot] for slot in slots)):
                known = dict(zip(slots, chosen, strict=True))
                found.append((name, _MARK.sub(lambda slot, known=known: known[slot[1]], template)))  # type: ignore[misc]
        return found


def read(definition: Mapping[str, Any], url: str = "") -> NamedQuery | None:
    """Return the query that an OperationDefinition defines, None for one of another kind or not in use.

    `url` is its address where it has no canonical.

    >>> said = {"url": EXPRESSION, "valueExpression": {"language": LANGUAGE,
    ...     "expression": "Patient?birthdate=ge{{%from}}&active=true"}}
    >>> parameters = [{"name": "from", "use": "in", "min": 1, "max": "1", "type": "date"},
    ...     {"name": "return", "use": "out", "min": 1, "max": "1", "type": "Bundle", "extension": [said]}]
    >>> made = read({"kind": "query", "status": "active", "code": "born", "resource": ["Patient"],
    ...     "parameter": parameters})
    >>> made.filled([("from", "1980")])
    [('birthdate', 'ge1980'), ('active', 'true')]

    Raises Invalid (400) for a definition that cannot be run, with the reason.
    """
    if definition.get("kind") != "query" or definition.get("status") != "active":
        return None
    code, parameters = str(definition.get("code")), definition.get("parameter", [])
    text = next(
        (found for one in parameters if one.get("use") == "out" if (found := _expression(one)) is not None),
        None,
    )
    if text is None:
        raise Invalid(
            f"the OperationDefinition of the query {code} does not say what is searched: its out parameter "
            f"has no {EXPRESSION} in the language {LANGUAGE}"
        )
    inputs = {
        one["name"]: Input(one.get("min", 0) > 0, one.get("max") != "1")
        for one in parameters
        if one.get("use") == "in" and "name" in one
    }
    type_name, _, query = _SLOT.sub(lambda slot: f"\ue000{slot[1]}\ue001", text.strip()).partition("?")
    if type_name not in definition.get("resource", []):
        raise Invalid(
            f"the query {code} searches {type_name!r}, which its definition does not have as resource"
        )
    criteria = parse_qsl(query, keep_blank_values=True)
    for name, template in criteria:
        if name.startswith(("_query", "_filter")) and (_MARK.search(template) or name == "_query"):
            raise Invalid(
                f"the query {code} has a parameter in {name.partition(':')[0]}, where none can stand"
            )
        for slot in _MARK.findall(template):
            if slot not in inputs:
                raise Invalid(f"the query {code} has no parameter {slot!r}, which its expression names")
    return NamedQuery(code, str(definition.get("url") or url), type_name, inputs, criteria)


def _expression(parameter: Mapping[str, Any]) -> str | None:
    for extension in parameter.get("extension", []):
        said = extension.get("valueExpression", {})
        if extension.get("url") == EXPRESSION and said.get("language") == LANGUAGE:
            return str(said.get("expression", ""))
    return None
