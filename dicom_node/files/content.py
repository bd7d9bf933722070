"""A kept file opened for reading: its data set as bytes that the system pages in as needed."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicom_node import header
from dicom_node.files.part10 import read_meta
from dicom_node.header import Bytes, Syntax


@dataclass(frozen=True, slots=True)
class Content:
    """The data set of a file (inflated, if it was deflated), and how it is encoded."""

    data: Bytes
    syntax: Syntax
    transfer_syntax: str


@contextmanager
def opened(path: Path) -> Iterator[Content]:
    """Give the content of a kept file for the block; nothing of it may be used after its end."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        meta = read_meta(whole)
        syntax = header.syntax_of(meta.transfer_syntax)
        with memoryview(whole) as view, view[meta.data_set_at :] as data_set:
            data: Bytes = header.inflate(data_set, MAX_INFLATED_BYTES) if syntax.deflated else data_set
            yield Content(data, header.sniff(data, syntax), meta.transfer_syntax)


MAX_INFLATED_BYTES = 1024 * 1024 * 1024
