"""Language tags: is it a well-formed tag of BCP 47 (RFC 5646, section 2.1)?

The registry of subtags is not asked: it grows every few months.
"""

from __future__ import annotations

import re

_TAG = re.compile(
    r"(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})"  # language, extended language
    r"(?:-[a-z]{4})?"  # script
    r"(?:-(?:[a-z]{2}|\d{3}))?"  # region
    r"((?:-(?:[a-z\d]{5,8}|\d[a-z\d]{3}))*)"  # variants
    r"((?:-[a-wyz\d](?:-[a-z\d]{2,8})+)*)"  # extensions
    r"(?:-x(?:-[a-z\d]{1,8})+)?"  # private use
    r"|x(?:-[a-z\d]{1,8})+",
    re.ASCII | re.IGNORECASE,
)
_SINGLETON = re.compile(r"-([a-wyz\d])(?=-)", re.ASCII)

# Registered before there was a grammar, and kept.
_GRANDFATHERED = frozenset((
    "art-lojban", "cel-gaulish", "en-gb-oed", "i-ami", "i-bnn", "i-default", "i-enochian", "i-hak",
    "i-klingon", "i-lux", "i-mingo", "i-navajo", "i-pwn", "i-tao", "i-tay", "i-tsu", "no-bok", "no-nyn",
    "sgn-be-fr", "sgn-be-nl", "sgn-ch-de", "zh-guoyu", "zh-hakka", "zh-min", "zh-min-nan", "zh-xiang",
))  # fmt: skip


def is_tag(text: str) -> bool:
    """Return whether a text is a language tag; upper and lower case mean the same.

    >>> [is_tag(tag) for tag in ("en", "zh-cmn-Hans-CN", "de-CH-1996", "sl-rozaj-biske", "x-ours", "i-lux")]
    [True, True, True, True, True, True]
    >>> [is_tag(tag) for tag in ("en_US", "e", "en-", "de-1996-1996", "en-a-bb-a-cc", "i-ours", "en-x")]
    [False, False, False, False, False, False, False]
    """
    match = _TAG.fullmatch(text)
    if match is None:
        return text.lower() in _GRANDFATHERED
    variants, extensions = (match.group(1) or "").lower(), (match.group(2) or "").lower()
    return _distinct(variants.split("-")[1:]) and _distinct(_SINGLETON.findall(extensions))


def _distinct(subtags: list[str]) -> bool:
    return len(set(subtags)) == len(subtags)
