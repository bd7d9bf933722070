"""Cursors: the place where a page ends, sealed into a text that says nothing to its bearer.

R4/http.html#paging leaves links opaque. A cursor must carry the sort keys themselves, not only the
pk of the last resource: that resource may change or go before the next page is asked for, and its
new keys would send the walk elsewhere. Sort keys are patient data (a birth date, a name), and so
are the criteria of a search, and links end in logs and histories; so both are encrypted.

The standard library has no cipher, but a keyed BLAKE2b is a pseudo-random function, and that is
enough for the SIV construction (Rogaway and Shrimpton 2006): the tag is BLAKE2b under one key of
the purpose and the plain text, the key stream BLAKE2b under another key of the tag and a counter.
Encryption is deterministic: the same place gives the same link, and nobody needs a random source or
has to fear a repeated nonce. A bearer can tell that two cursors are equal, nothing else, and can
make none: a changed one fails its tag.
"""

from __future__ import annotations

import binascii
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import Any

import msgspec

from fhir_server.outcome import Invalid
from fhir_server.search.order import Position

TAG = 16
BLOCK = 64
LONGEST = 16_384


def seal(key: bytes, values: Sequence[Any], purpose: str = "") -> str:
    """Return a cursor that holds `values` (what JSON can say), good for one purpose only.

    >>> unseal(b"k" * 32, seal(b"k" * 32, [7, "2020-01-01", None]))
    (7, '2020-01-01', None)
    """
    plain = msgspec.json.encode(list(values))
    packer = zlib.compressobj(
        9, zlib.DEFLATED, 12, 4
    )  # a window of 4 KiB; the usual 256 KiB cost 40 µs to get
    packed = packer.compress(plain) + packer.flush()
    plain = b"\x01" + packed if len(packed) < len(plain) else b"\x00" + plain
    tag = _tag(key, purpose, plain)
    return urlsafe_b64encode(tag + _stream(key, tag, plain)).rstrip(b"=").decode()


def unseal(key: bytes, cursor: str, purpose: str = "") -> tuple[Any, ...]:
    """Return the values that `seal` put into a cursor.

    Raises Invalid (400) for anything that it did not make with this key and for this purpose.
    """
    refusal = Invalid("this page link is not one of ours, or it is too old; start the search again")
    if len(cursor) > LONGEST or not cursor.isascii():
        raise refusal
    try:
        sealed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (binascii.Error, ValueError):
        raise refusal from None
    tag, plain = sealed[:TAG], _stream(key, sealed[:TAG], sealed[TAG:])
    if len(sealed) <= TAG or not compare_digest(tag, _tag(key, purpose, plain)):
        raise refusal
    packed = plain[1:]
    values: list[Any] = msgspec.json.decode(zlib.decompress(packed) if plain[:1] == b"\x01" else packed)
    return tuple(values)


def seal_page(key: bytes, path: str, pairs: Sequence[tuple[str, str]], position: Position) -> str:
    """Return the cursor of a page of the search at `path`: its whole query and its place.

    A link needs nothing else beside it, so no criterion stands in clear and links stay short.
    """
    values = [[list(pair) for pair in pairs], position.pk, list(position.keys), position.backward]
    return seal(key, values, f"search {path}")


def unseal_page(key: bytes, path: str, cursor: str) -> tuple[list[tuple[str, str]], Position]:
    """Return the query and the place of `seal_page`; Invalid where it was of another address."""
    pairs, pk, keys, backward = unseal(key, cursor, f"search {path}")
    return [(name, value) for name, value in pairs], Position(pk, tuple(keys), backward)


def _tag(key: bytes, purpose: str, plain: bytes) -> bytes:
    said = purpose.encode()
    return blake2b(
        len(said).to_bytes(4, "big") + said + plain, key=_key(key), person=b"xinglin tag", digest_size=TAG
    ).digest()


def _stream(key: bytes, tag: bytes, text: bytes) -> bytes:
    """Return `text` under the key stream of `tag`; doing it twice gives it back."""
    blocks = (
        blake2b(tag + count.to_bytes(4, "big"), key=_key(key), person=b"xinglin stream", digest_size=BLOCK)
        for count in range((len(text) + BLOCK - 1) // BLOCK)
    )
    stream = b"".join(block.digest() for block in blocks)[: len(text)]
    return (int.from_bytes(text, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(text), "big")


def _key(key: bytes) -> bytes:
    """Return a key of the length that BLAKE2b takes; the person parts the two uses of it."""
    return key if 16 <= len(key) <= 64 else blake2b(key, digest_size=32).digest()
