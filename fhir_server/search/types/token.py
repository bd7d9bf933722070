"""token search parameters: a code or an identifier, with or without its system (R4/search.html#token).

    c        the code in any system          |c   the code where no system is given
    s|c      system and code                 s|   any code of the system

Coding, CodeableConcept (each coding) and Identifier carry their system. The system of a `code` is
that of the value set it is bound to, so `gender=http://hl7.org/fhir/administrative-gender|male` is
understood though nothing of it is stored. boolean, uri, ContactPoint (its value) and string have no
system; strings ignore case ("If the underlying datatype is string then the token is not case
sensitive"), all else is compared sign by sign. `:not` is the complement, resources without a value
included; `:of-type` asks for `type system|type code|value` of an Identifier.

`:in` and `:not-in` name a value set, `:below` and `:above` a code with its system: what they stand for
is written out, and asked for as so many keys; media types have a `:below` of their own (search/mime.py).
`:not-in` is the complement of `:in`, as `:not` is.
`:text` is in search/wording.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.outcome import Invalid
from fhir_server.search import elements, keys, mime, values
from fhir_server.search.ast import Parameter
from fhir_server.search.types.protocol import (
    Cell,
    Columns,
    Environment,
    Extractor,
    Match,
    Row,
    SearchType,
    Texts,
)

WITH_SYSTEM = frozenset({"Coding", "CodeableConcept", "Identifier"})
PLAIN = frozenset({"ContactPoint", "uri", "boolean"})  # with these R4 has no bar
CODED = frozenset({"Coding", "CodeableConcept", "code"})


@dataclass(frozen=True, slots=True)
class TokenValue:
    """A token to look for: any of `texts` as key; `system` and `code` for the row of a composite.

    `system` is None for any and "" for none; `code` is None for any.
    """

    system: str | None
    code: str | None
    texts: tuple[str, ...]


def parse(
    text: str,
    modifier: str | None = None,
    parameter: Parameter | None = None,
    environment: Environment | None = None,
) -> TokenValue:
    """Read one value of a token parameter.

    >>> parse("http://loinc.org|8867-4").texts, parse("|x").system, parse("http://loinc.org|").code
    (('http://loinc.org|8867-4',), '', None)
    """
    if modifier in ("in", "not-in"):
        return _members(values.unescape(text), modifier, parameter, environment or Environment())
    parts = [values.unescape(part) for part in values.split(text, "|")]
    if modifier == "below" and len(parts) == 1 and parameter is not None and mime.is_media_type(parameter):
        return TokenValue(None, None, (mime.below(parts[0]),))
    if modifier in ("above", "below"):
        return _related(parts, modifier, parameter, environment or Environment())
    if modifier == "of-type":
        if len(parts) != 3 or not all(parts):
            raise Invalid(f":of-type asks for system|code|value of an identifier's type; got {text!r}")
        return TokenValue(None, parts[2], (keys.OF_TYPE + "|".join(map(keys.escaped, parts)),))
    if len(parts) > 2:
        raise Invalid(f"{text!r} has {len(parts) - 1} bars; a token is code, system|code, |code or system|")
    system, code = (None, parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    if not code and not system:
        raise Invalid(f"{text!r} names neither a system nor a code")
    facts = elements.facts(parameter) if parameter is not None else elements.UNKNOWN
    if facts.types and not facts.types & WITH_SYSTEM:
        return _without_system(system, code, facts)
    return TokenValue(system, code or None, (written(system, code or None),))


def _members(
    value_set: str, modifier: str, parameter: Parameter | None, environment: Environment
) -> TokenValue:
    """Read a value set: its codes, each as it would be asked for."""
    facts = _coded(modifier, parameter)
    return _any_of(environment.codes.members(value_set), facts)


def _related(
    parts: Sequence[str], modifier: str, parameter: Parameter | None, environment: Environment
) -> TokenValue:
    """Read system|code with what is above or below it."""
    facts = _coded(modifier, parameter)
    if len(parts) != 2 or not all(parts):
        raise Invalid(
            f":{modifier} asks for system|code, got {'|'.join(parts)!r}; the system has the hierarchy"
        )
    system, code = parts
    found = environment.codes.below if modifier == "below" else environment.codes.above
    return _any_of([(system, each) for each in found(system, code)], facts)


def _coded(modifier: str, parameter: Parameter | None) -> elements.Facts:
    facts = elements.facts(parameter) if parameter is not None else elements.UNKNOWN
    if facts.types and not facts.types & CODED:
        raise Invalid(f":{modifier} is for codes; the values here are {', '.join(sorted(facts.types))}")
    return facts


def _any_of(pairs: Sequence[tuple[str, str]], facts: elements.Facts) -> TokenValue:
    texts: dict[str, None] = {}
    for system, code in pairs:
        if facts.types and not facts.types & WITH_SYSTEM:
            texts.update(dict.fromkeys(_without_system(system, code, facts).texts))
        else:
            texts[written(system, code)] = None
    return TokenValue(None, None, tuple(texts))


def _without_system(system: str | None, code: str, facts: elements.Facts) -> TokenValue:
    """Read a token of a parameter whose elements store no system.

    A `code` has the system of its binding; everything else matches only where no system is asked for.
    """
    if system and facts.types <= PLAIN:
        raise Invalid(
            f"the values here are {' and '.join(sorted(facts.types))}, which have no system; ask for "
            f"{code!r} alone (R4/search.html#token)"
        )
    if system:
        codes = [known for known, of in facts.systems.items() if of == system and code in ("", known)]
        return TokenValue(None, code or None, tuple(map(keys.escaped, codes)))
    texts: tuple[str, ...] = (keys.escaped(code),)
    if "string" in facts.types:
        texts += (keys.FOLDED + keys.escaped(code.casefold()),)
    return TokenValue(None, code, texts)


def written(system: str | None, code: str | None) -> str:
    """Return the key text of a token.

    >>> written("s", "c"), written(None, "c"), written("", "c"), written("s", None)
    ('s|c', 'c', '|c', 's|')
    """
    end = "" if code is None else keys.escaped(code)
    return end if system is None else f"{keys.escaped(system)}|{end}"


def where(value: TokenValue, columns: Columns) -> Match:
    """Return the keys asked for; inside the row of a composite, the condition on code and system."""
    if not columns.code:
        return Texts(value.texts)
    sql, parameters = [], []
    if value.code is not None:
        sql.append(f"{columns.code} = %s")
        parameters.append(keys.short(value.code))
    if value.system is not None:
        sql.append(f"{columns.system} = %s" if value.system else f"{columns.system} is null")
        parameters.extend([value.system] if value.system else [])
    return Row(" and ".join(sql), tuple(parameters))


def extract(parameter: Parameter, environment: Environment) -> Extractor:
    """Return what gives the key texts of one element.

    >>> cells = extract(Parameter("Observation", "code", "token"), Environment())
    >>> cells("CodeableConcept", {"coding": [{"system": "s", "code": "c"}]})
    ['s|c', 'c', 's|']
    """
    return of_media_type if mime.is_media_type(parameter) else cells


def of_media_type(type_name: str, value: Any) -> Sequence[Cell]:
    """Return the texts of a media type, with those by which `:below` finds it."""
    found = cells(type_name, value)
    return [*found, *mime.texts(value)] if isinstance(value, str) else found


def cells(type_name: str, value: Any) -> Sequence[Cell]:
    """Return the texts under which one element is found."""
    if type_name == "code":
        return [keys.escaped(value)] if isinstance(value, str) else []
    if isinstance(value, dict):
        texts: list[Cell] = []
        for system, code in pairs(type_name, value):
            text = keys.escaped(code)
            if system is None:
                texts += (f"|{text}", text) if type_name in WITH_SYSTEM else (text,)
            else:
                system = keys.escaped(system)
                texts += (f"{system}|{text}", text, f"{system}|") if text else (f"{system}|",)
        if type_name == "Identifier" and "type" in value:
            texts += _of_type(value)
        return texts
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if type_name == "string" and isinstance(value, str):
        return [keys.FOLDED + keys.escaped(value.casefold())]
    return [keys.escaped(str(value))]


def pairs(type_name: str, value: Any) -> Sequence[tuple[str | None, str]]:
    """Return (system or None, code) of each coding or identifier of one element.

    >>> pairs("Identifier", {"system": "urn:mrn", "value": "7"})
    [('urn:mrn', '7')]
    """
    if not isinstance(value, dict):
        return [(None, "true" if value is True else "false" if value is False else str(value))]
    if type_name == "CodeableConcept":
        codings = value.get("coding") or ()
        found = [(coding.get("system"), coding.get("code") or "") for coding in codings]
    elif type_name == "Coding":
        found = [(value.get("system"), value.get("code") or "")]
    elif type_name == "Identifier":
        found = [(value.get("system"), value.get("value") or "")]
    elif type_name == "ContactPoint":
        found = [(None, value.get("value") or "")]
    else:
        return []
    return [(system, code) for system, code in found if system or code]


def _of_type(identifier: Any) -> list[Cell]:
    value = identifier.get("value")
    codings = (identifier.get("type") or {}).get("coding") or ()
    return [
        keys.OF_TYPE + "|".join(map(keys.escaped, (coding["system"], coding["code"], value)))
        for coding in codings
        if value and coding.get("system") and coding.get("code")
    ]


SEARCH_TYPE = SearchType(
    name="token",
    extract=extract,
    parse=parse,
    where=where,
    modifiers=frozenset({"not", "of-type", "text", "in", "not-in", "above", "below"}),
    pairs=pairs,
)
