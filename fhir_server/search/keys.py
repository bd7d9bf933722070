"""Search keys: what a client may ask for by equality, as 128 bits that fit a uuid column.

A key is 4 bytes for the parameter ("Observation.code") and 12 bytes for the text, both BLAKE2b.
The parameter hashes of all R4 (type, code) pairs are distinct (a test holds that), so two keys
can only meet inside one parameter: with a thousand million different texts there the chance
that any two of 96 bits agree is below 1e-11, which is why a match is not compared again.

Key texts, by parameter type (R4/search.html):

    token      "s|c", "c" (any system), "|c" (no system), "s|" (any code of the system)
    reference  "Type/id", "Type/id/_history/v"; absolute urls of other servers; canonical "url", "url|version"
    string     "=Exact String"
    uri        the uri as it is
    any        "" stands for "a value is present" (:missing), "\\x01absent\\x01" for "none is" (absence.py)
    special    "\\x01identifier\\x01s|v" (:identifier), "\\x01of-type\\x01s|c|v" (:of-type),
               "\\x01folded\\x01…" (tokens on strings, which ignore case), "\\x01below\\x01url|1"
               (a canonical of version 1.2.3, by the beginnings of its version)
    composite  the texts of the components joined with "$"

A bar, dollar or backslash inside a part is escaped with a backslash: a value "a|b" without a system
must not be found as code b of system a.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

PRESENT = ""
ABSENT = "\x01absent\x01"
IDENTIFIER = "\x01identifier\x01"
OF_TYPE = "\x01of-type\x01"
FOLDED = "\x01folded\x01"
BELOW = "\x01below\x01"
EXACT = "="


def param_hash(type_name: str, code: str) -> int:
    """Return the 32 bits that stand for one search parameter of one type.

    >>> f"{param_hash('Observation', 'code'):08x}"
    '248dfcec'
    """
    return int.from_bytes(blake2b(f"{type_name}.{code}".encode(), digest_size=4).digest(), "big")


@lru_cache(maxsize=8192)
def column_hash(type_name: str, code: str) -> int:
    """Return param_hash as the signed integer that an int4 column holds.

    >>> column_hash('Observation', 'code') % 2**32 == param_hash('Observation', 'code')
    True
    """
    unsigned = param_hash(type_name, code)
    return unsigned - 2**32 if unsigned >= 2**31 else unsigned


@lru_cache(maxsize=8192)
def prefix(type_name: str, code: str) -> str:
    """Return the first 8 hex digits of every key of the parameter."""
    return f"{param_hash(type_name, code):08x}"


def digest(text: str) -> str:
    """Return the last 24 hex digits of the keys of `text`, the same under every parameter."""
    return blake2b(text.encode(), digest_size=12).hexdigest()


def key(type_name: str, code: str, text: str) -> str:
    """Return the key of one text under one parameter: 32 hex digits, as Postgres' uuid reads them.

    >>> key("Observation", "code", "http://loinc.org|8867-4").startswith(prefix("Observation", "code"))
    True
    """
    return prefix(type_name, code) + digest(text)


@lru_cache(maxsize=1024)
def unit(system: str, code: str) -> str:
    """Return the 128 bits that stand for a unit: a column of its own, so without a parameter."""
    return blake2b(f"{escaped(system)}|{escaped(code)}".encode(), digest_size=16).hexdigest()


def escaped(text: str) -> str:
    """Return a part of a key text with its bars and dollars escaped, so that parts cannot run together.

    >>> escaped("2345-7"), escaped("a|b")
    ('2345-7', 'a\\\\|b')
    """
    if "|" in text or "\\" in text or "$" in text:
        return text.replace("\\", "\\\\").replace("|", "\\|").replace("$", "\\$")
    return text


def canonical(text: str) -> list[str]:
    """Return the key texts of a canonical with a version: itself, without version, and what it is below.

    >>> canonical("http://a.org/q|1.2.3") == [
    ...     "http://a.org/q|1.2.3", "http://a.org/q", f"{BELOW}http://a.org/q|1.2", f"{BELOW}http://a.org/q|1"]
    True
    """
    url, _, version = text.partition("|")
    return [text, url, *(f"{BELOW}{url}|{beginning}" for beginning in beginnings(version))]


def beginnings(version: str) -> list[str]:
    """Return the versions that a version is below, the nearest first.

    >>> beginnings("1.2.3"), beginnings("2020-01")
    (['1.2', '1'], [])
    """
    parts = version.split(".")
    return [".".join(parts[:end]) for end in range(min(len(parts) - 1, 8), 0, -1)]


def short(text: str) -> str:
    """Return a text for an indexed column: itself, or its beginning and its hash where it is long.

    >>> short("2345-7"), len(short("9" * 1000))
    ('2345-7', 96)
    """
    if len(text) <= 96:
        return text
    return text[:63] + "\x01" + blake2b(text.encode(), digest_size=16).hexdigest()


def rid(type_name: str, id: str) -> str:
    """Return the 128 bits that stand for the resource Type/id.

    Its last 12 bytes are those of every reference key to it, so SQL makes one out of the other.

    >>> rid("Patient", "7")[8:] == key("Observation", "subject", "Patient/7")[8:]
    True
    """
    return rid_of(f"{type_name}/{id}")


def rid_of(address: str) -> str:
    """Return rid of an address that is written Type/id already."""
    return "00000000" + digest(address)
