"""The data set of a request: its attributes, and the character set that it came in."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node import header
from dicom_node.attributes import SPECIFIC_CHARACTER_SET, Attributes, read


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says; `character_set` as it wrote it, empty when it named none.

    `problem` says where its encoding breaks off, None when it does not.
    """

    attributes: Attributes
    character_set: str
    problem: str | None


def asked(data: bytes, transfer_syntax: str) -> Asked:
    r"""Return what an encoded data set says.

    >>> asked(b"\x10\x00\x20\x00LO\x02\x00P1", "1.2.840.10008.1.2.1").attributes
    {'00100020': {'vr': 'LO', 'Value': ['P1']}}
    """
    syntax = header.syntax_of(transfer_syntax)
    reading = read(data, syntax)
    return Asked(reading.attributes, _character_set(data, syntax), reading.problem)


def _character_set(data: bytes, syntax: header.Syntax) -> str:
    try:
        for kind, depth, tag, _, start, length, _ in header.walk(data, syntax):
            if tag > SPECIFIC_CHARACTER_SET:
                break
            if depth == 0 and tag == SPECIFIC_CHARACTER_SET and kind == header.VALUE:
                return bytes(data[start : start + length]).decode("latin_1").strip("\0 ")
    except header.Malformed:
        pass
    return ""
