"""Code systems by rule: languages, media types, currencies, countries, units, check digits."""

import pytest

from terminology import iso
from terminology.grammars import GRAMMARS, LOINC, M49, SNOMED, UCUM, URI
from terminology.languages import is_tag


@pytest.mark.parametrize(
    "tag",
    [
        "de", "fr-CA", "zh-Hant", "zh-yue", "zh-cmn-Hans-CN", "sr-Latn-RS", "sl-nedis", "de-CH-1901",
        "sl-IT-nedis", "hy-Latn-IT-arevela", "es-419", "de-CH-x-phonebk", "az-Arab-x-AZE-derbend",
        "x-whatever", "qaa-Qaaa-QM-x-southern", "en-US-u-islamcal", "zh-CN-a-myext-x-private",
        "en-a-myext-b-another", "i-enochian", "sgn-BE-FR", "EN-us", "art-lojban", "zh-min-nan",
        "en-GB-oed", "de-1996-x-1996", "mn-Cyrl-MN",
    ],
)  # fmt: skip
def test_language_tags(tag):
    """The examples of RFC 5646, appendix A, and the registered tags from before it."""
    assert is_tag(tag)


@pytest.mark.parametrize(
    "tag",
    ["", "a-DE", "de-419-DE", "ar-a-aaa-b-bbb-a-ccc", "en-US-x", "englishlanguage", "de_DE", "de-", "-de",
     "i-xyz", "de-DE-1901-1901", "en us", "zh-cmn-yue-nan-wuu", "d", "en-a", "dé"],
)  # fmt: skip
def test_what_is_no_language_tag(tag):
    assert not is_tag(tag)


@pytest.mark.parametrize(
    ("system", "right", "wrong"),
    [
        ("urn:ietf:bcp:13", ["text/plain", "application/fhir+xml", "text/x-a.b;v=1"], ["xml", "a/", "a b"]),
        ("urn:iso:std:iso:4217", ["EUR", "CHF", "XAU", "DEM", "CLF"], ["eur", "EURO", "ABC", ""]),
        ("urn:iso:std:iso:3166", ["CH", "CHE", "756", "004"], ["ch", "XX", "000", "UK"]),
        (URI, ["urn:oid:1.2.3", "http://a.b", "urn:uuid:x"], ["1.2.3", "a b", "Patient/1"]),
        (UCUM, ["mg/dL", "10*3/uL", "[in_i]", "{score}", "1"], ["mmHg", "mg/", "", "TAB"]),
        (M49, ["001", "150", "756"], ["Europe", "CH"]),
    ],
)  # fmt: skip
def test_systems_by_rule(system, right, wrong):
    assert [code for code in right if GRAMMARS[system].has(code) is not True] == []
    assert [code for code in wrong if GRAMMARS[system].has(code) is not False] == []


@pytest.mark.parametrize(
    ("system", "possible", "impossible"),
    [
        (SNOMED, ["73211009", "900000000000003001", "138875005", "1295447006", "731000124108",
                  "=== 73211009 |Diabetes|", "73211009 + 64572001"],
         ["73211090", "7321100", "12345", "T-15460", "look up value", "١٢٣"]),
        (LOINC, ["8867-4", "85354-9", "2093-3", "104207-6", "LA6576-8", "LP43571-6", "LL715-4", "MTHU000123"],
         ["8867-5", "8867", "8867-4 ", "LX1-1"]),
        ("urn:iso:std:iso:3166:-2", ["US-MA", "CH-ZH"], ["XX-MA", "MA", "US_MA"]),
    ],
)  # fmt: skip
def test_systems_that_are_not_here_may_still_say_no(system, possible, impossible):
    assert [code for code in possible if GRAMMARS[system].has(code) is not None] == []
    assert [code for code in impossible if GRAMMARS[system].has(code) is not False] == []


def test_the_lists_are_those_of_iso():
    assert len(iso.countries()) == 3 * 249
    assert len([code for code in iso.countries() if code.isdecimal()]) == 249
    assert all(len(code) == 3 and code.isalpha() for code in iso.currencies())


@pytest.mark.parametrize(
    ("system", "code", "meant"),
    [
        (UCUM, "mcg", "ug"), (UCUM, "mmHg", "mm[Hg]"), (UCUM, "mEq/hr", "meq/h"),
        (UCUM, "10^3/uL", "10*3/uL"),
        (UCUM, "nonsense", None), ("urn:iso:std:iso:4217", "usd", "USD"), (URI, "1.2.3", "urn:oid:1.2.3"),
        ("urn:iso:std:iso:3166", "ch", "CH"),
    ],
)  # fmt: skip
def test_what_was_meant(system, code, meant):
    assert GRAMMARS[system].near(code) == meant


def test_sameness_is_all_that_rules_know_of_more_general():
    assert GRAMMARS[SNOMED].subsumes("73211009", "73211009") is True
    assert GRAMMARS[SNOMED].subsumes("73211009", "46635009") is None
    assert GRAMMARS[UCUM].subsumes("mg", "g") is False
