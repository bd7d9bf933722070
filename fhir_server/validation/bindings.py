"""Codes that an element may not leave: required value sets and maximum ones (R4/terminologies.html).

Most are enumerated in the definitions. Those that cannot be have a rule of grammar here; the
terminology room may know more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from fhir_server.definitions import value_sets
from fhir_server.definitions.primitives import Test
from fhir_server.definitions.structures import Binding

VALUE_SET = "http://hl7.org/fhir/ValueSet/"
UCUM = "http://unitsofmeasure.org"

_PREFIX = "(?:Y|Z|E|P|T|G|M|k|h|da|d|c|m|u|n|p|f|a|z|y)?"
_TIME = rf"{_PREFIX}s|min|h|d|wk|mo(?:_[sjg])?|a(?:_[tjg])?"
_LENGTH = rf"{_PREFIX}m|{_PREFIX}pc|{_PREFIX}\[ly\]|AU|Ao|\[[a-zA-Z]+(?:_[a-zA-Z]+)?\]"
# BCP 47: language, extended language, script, region, variants, extensions, private use.
_LANGUAGE = (
    r"(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})(?:-[a-z]{4})?(?:-(?:[a-z]{2}|\d{3}))?"
    r"(?:-(?:[a-z\d]{5,8}|\d[a-z\d]{3}))*(?:-[a-wyz\d](?:-[a-z\d]{2,8})+)*(?:-x(?:-[a-z\d]{1,8})+)?"
    r"|x(?:-[a-z\d]{1,8})+|i-[a-z]{2,8}|[a-z]{2,3}-[a-z\-]{3,12}"
)
# RFC 6838; R4 itself lists the bare xml, json and ttl among the formats of a CapabilityStatement.
_MIME = r"[\w!#$&^.+\-]+/[\w!#$&^.+\-]+(?:\s*;.*)?|xml|json|ttl"
# The characters of a UCUM expression, with brackets and braces in pairs.
_UNIT = r"(?:\[[\x21-\x5a\x5c\x5e-\x7e]+\]|\{[\x21-\x7a\x7c\x7e]*\}|[A-Za-z0-9%'\"*^_./()+\-])+"


def _rule(pattern: str, flags: re.RegexFlag = re.NOFLAG) -> Test:
    return re.compile(pattern, re.ASCII | flags).fullmatch


# Value set → (grammar, what a person is told, the system that a coding must name).
RULES: Mapping[str, tuple[Test, str, str]] = {
    VALUE_SET + "all-languages": (
        _rule(_LANGUAGE, re.IGNORECASE),
        "a language tag of BCP 47, such as en or zh-Hans-CN",
        "urn:ietf:bcp:47",
    ),
    VALUE_SET + "mimetypes": (_rule(_MIME), "a MIME type, such as application/pdf", "urn:ietf:bcp:13"),
    "http://www.rfc-editor.org/bcp/bcp13.txt": (
        _rule(_MIME),
        "a MIME type, such as text/cql",
        "urn:ietf:bcp:13",
    ),
    VALUE_SET + "currencies": (
        _rule("[A-Z]{3}"),
        "a currency of ISO 4217, such as EUR",
        "urn:iso:std:iso:4217",
    ),
    VALUE_SET + "ucum-units": (_rule(_UNIT), "a unit of UCUM, such as mg/dL", UCUM),
    VALUE_SET + "all-time-units": (_rule(_TIME), "a UCUM unit of time, such as min or a", UCUM),
    VALUE_SET + "all-distance-units": (_rule(_LENGTH), "a UCUM unit of length, such as m", UCUM),
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


def code_test(value_set: str) -> Test:
    """Return the test of a plain code, whose system is implied by the binding.

    >>> bool(code_test(VALUE_SET + "administrative-gender")("male"))
    True
    >>> [bool(code_test(VALUE_SET + "all-languages")(tag)) for tag in ("en-US", "zh-Hans-CN", "en_US")]
    [True, True, False]
    >>> [bool(code_test(VALUE_SET + "ucum-units")(unit)) for unit in ("mm[Hg]", "/{score}", "[x", "a b")]
    [True, True, False, False]
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
