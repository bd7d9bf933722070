"""Odd DICOM files: those that pydicom brings and the archive beside the project, and mutants of them."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pydicom.data

from dicom_node.files.part10 import read_meta
from tests.support.dicom_data import SHARED

ARCHIVE = SHARED / "data" / "dicom" / "pydicom-data.tar.xz"
_NOT_DICOM = (".json", ".xml", ".txt", ".py", ".pyc", ".md", ".toml")


_INSERTED = (b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\xdd\xe0\0\0\0\0", b"\x08\x00\x40\x11SQ\0\0")


class Odd(NamedTuple):
    """A data set and what the file around it said; what it did not say is made up, as a sender would."""

    name: str
    data: bytes
    transfer_syntax: str
    sop_class: str
    sop_uid: str


@lru_cache(maxsize=1)
def bundled() -> list[Odd]:
    """Return what is in the wheel of pydicom."""
    folder = Path(pydicom.data.__file__).parent
    paths = sorted([*folder.glob("test_files/**/*"), *folder.glob("charset_files/*")])
    return [
        odd(path.name, path.read_bytes())
        for path in paths
        if path.is_file() and path.suffix not in _NOT_DICOM and path.stat().st_size
    ]


def archived() -> Iterator[Odd]:
    """Yield what is in the archive; nothing where it is absent (see ARCHIVE)."""
    if not ARCHIVE.exists():
        return
    with tarfile.open(ARCHIVE) as members:
        for member in members:
            stream = members.extractfile(member) if member.isfile() else None
            if stream is not None:
                yield odd(member.name, stream.read())


def odd(name: str, raw: bytes) -> Odd:
    """Return the data set in a file, however little of a file it is."""
    meta = read_meta(raw)
    made_up = "2.25." + str(int.from_bytes(name.encode(), "big") % 10**30)
    return Odd(
        name,
        raw[meta.data_set_at :],
        meta.transfer_syntax,
        meta.sop_class or "1.2.840.10008.5.1.4.1.1.7",
        meta.sop_uid or made_up,
    )


def mutant(original: Odd, seed: int) -> Odd:
    """Return a data set with a few bytes changed, cut out, doubled or cut off, mostly in its header."""
    chance = random.Random(f"{original.name} {seed}")
    data = bytearray(original.data)
    for _ in range(chance.randint(1, 4)):
        if not data:
            break
        at = chance.randrange(min(len(data), chance.choice((64, 1024, 8192, len(data)))))
        match chance.randrange(6):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"))
            case 2:
                del data[at : at + chance.randint(1, 40)]
            case 3:
                data[at:at] = data[at : at + chance.randint(1, 200)]
            case 4:
                del data[at:]
            case _:
                data[at:at] = chance.choice(
                    (
                        b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
                        b"\xfe\xff\xdd\xe0\0\0\0\0",
                        b"\x08\x00\x40\x11SQ\0\0",
                    )
                )
    return original._replace(name=f"{original.name} {seed}", data=bytes(data))
