"""Codes that an element may not leave: required value sets and maximum ones (R4/terminologies.html).

Most are enumerated in the definitions. Those that cannot be have a rule of grammar here; the
terminology room may know more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import Any

from fhir_server.definitions import value_sets
from fhir_server.definitions.primitives import Test
from fhir_server.definitions.structures import Binding
from terminology import iso, ucum
from terminology.grammars import GRAMMARS, media_type
from terminology.languages import is_tag

VALUE_SET = "http://hl7.org/fhir/ValueSet/"
UCUM = "http://unitsofmeasure.org"

# R4 itself lists these among the formats of a CapabilityStatement.
_BARE = frozenset({"json", "ttl", "xml"})


@lru_cache(maxsize=2048)
def _is_unit(code: str) -> bool:
    return ucum.problem(code) is None


@lru_cache(maxsize=512)
def _is_time(code: str) -> bool:
    return ucum.measures_like(code, "a") is True


@lru_cache(maxsize=512)
def _is_length(code: str) -> bool:
    return ucum.measures_like(code, "m") is True


@lru_cache(maxsize=2048)
def _is_media_type(code: str) -> bool:
    return code in _BARE or media_type(code)


def _is_currency(code: str) -> bool:
    return code in iso.currencies()


# Value set → (grammar, what a person is told, the system that a coding must name).
RULES: Mapping[str, tuple[Test, str, str]] = {
    VALUE_SET + "all-languages": (
        lru_cache(maxsize=2048)(is_tag),
        "a language tag of BCP 47, such as en or zh-Hans-CN",
        "urn:ietf:bcp:47",
    ),
    VALUE_SET + "mimetypes": (_is_media_type, "a MIME type, such as application/pdf", "urn:ietf:bcp:13"),
    "http://www.rfc-editor.org/bcp/bcp13.txt": (
        _is_media_type,
        "a MIME type, such as text/cql",
        "urn:ietf:bcp:13",
    ),
    VALUE_SET + "currencies": (_is_currency, "a currency of ISO 4217, such as EUR", "urn:iso:std:iso:4217"),
    VALUE_SET + "ucum-units": (_is_unit, "a unit of UCUM, such as mg/dL", UCUM),
    VALUE_SET + "all-time-units": (_is_time, "a UCUM unit of time, such as min or a", UCUM),
    VALUE_SET + "all-distance-units": (_is_length, "a UCUM unit of length, such as m", UCUM),
}


def limits(binding: Binding | None) -> tuple[str, ...]:
    """Return the value sets of a binding that may not be left and that we can check.

    >>> limits(Binding("preferred", "http://x", VALUE_SET + "all-languages"))
    ('http://hl7.org/fhir/ValueSet/all-languages',)
    """
    if binding is None:
        return ()
    found = [binding.value_set] if binding.strength == "required" else []
    if binding.max_value_set is not None:
        found.append(binding.max_value_set)
    return tuple(url for url in found if url in RULES or value_sets.enumeration(url) is not None)


@cache
def codes(value_set: str) -> frozenset[str]:
    """Return all codes of an enumerated value set, whatever their system; none of the others."""
    return frozenset().union(*(value_sets.enumeration(value_set) or {}).values())


def systems(value_set: str, code: object) -> list[str]:
    """Return the systems from which a value set takes a code.

    >>> systems(VALUE_SET + "condition-clinical", "active")
    ['http://terminology.hl7.org/CodeSystem/condition-clinical']
    """
    if value_set in RULES:
        test, _, system = RULES[value_set]
        return [system] if isinstance(code, str) and test(code) else []
    enumerated = value_sets.enumeration(value_set) or {}
    return sorted(system for system, known in enumerated.items() if code in known)


def code_test(value_set: str) -> Test:
    """Return the test of a plain code, whose system is implied by the binding.

    >>> bool(code_test(VALUE_SET + "administrative-gender")("male"))
    True
    >>> [bool(code_test(VALUE_SET + "all-languages")(tag)) for tag in ("en-US", "zh-Hans-CN", "en_US")]
    [True, True, False]
    >>> [code_test(VALUE_SET + "ucum-units")(unit) for unit in ("mm[Hg]", "/{score}", "mmHg", "a b")]
    [True, True, False, False]
    >>> [code_test(VALUE_SET + "currencies")(currency) for currency in ("EUR", "EURO")]
    [True, False]
    """
    if value_set in RULES:
        return RULES[value_set][0]
    return codes(value_set).__contains__


def has_coding(value_set: str, concept: Mapping[str, Any], *, text_is_enough: bool = False) -> bool:
    """Return whether a CodeableConcept has a coding from `value_set`, or need not have one.

    A text alone is not from a required value set, but leaves no maximum one; extensions alone may
    say why there is no coding.

    >>> required = VALUE_SET + "condition-clinical"
    >>> has_coding(required, {"text": "active"})
    False
    >>> system = "http://terminology.hl7.org/CodeSystem/condition-clinical"
    >>> has_coding(required, {"coding": [{"system": system, "code": "active"}]})
    True
    """
    if "coding" not in concept and (text_is_enough or "text" not in concept):
        return True
    rule = RULES.get(value_set)
    enumerated = value_sets.enumeration(value_set) or {}
    for coding in concept.get("coding", ()):
        system, code = coding.get("system"), coding.get("code")
        if rule is not None and system == rule[2] and isinstance(code, str) and rule[0](code):
            return True
        if code in enumerated.get(system, ()):
            return True
    return False


def expected(value_set: str) -> str:
    """Return what a value set holds, for a message: its codes if they are few.

    >>> expected(VALUE_SET + "administrative-gender")
    'one of female, male, other, unknown (http://hl7.org/fhir/ValueSet/administrative-gender)'
    """
    if value_set in RULES:
        return RULES[value_set][1]
    known = sorted(codes(value_set))
    if len(known) > 25:
        return f"one of the {len(known)} codes of {value_set}"
    return f"one of {', '.join(known)} ({value_set})"


def near(value_set: str, code: object) -> Iterable[str]:
    """Return the codes that somebody may have meant by one that `value_set` does not have.

    >>> list(near(VALUE_SET + "currencies", "eur")), list(near(VALUE_SET + "all-languages", "en_US"))
    (['EUR'], ['en-US'])
    """
    if value_set not in RULES:
        return codes(value_set)
    if not isinstance(code, str):
        return ()
    test, _, system = RULES[value_set]
    others = (code.replace("_", "-"), GRAMMARS[system].near(code) or "")
    return [other for other in others if other != code and test(other)][:1]
