"""Writing past the page cache: whatever the lengths of pieces and files, the bytes are those that came."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from blake3 import blake3

from dicom_node.files.direct import BLOCK_BYTES, PAGE_BYTES, SHORT_BYTES, Blocks, blocks_for
from dicom_node.files.store import FileStore, Incoming

SIZES = [0, 1, PAGE_BYTES, SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 1, BLOCK_BYTES, BLOCK_BYTES + 1]


@pytest.mark.parametrize("size", [*SIZES, 2 * BLOCK_BYTES, 3 * BLOCK_BYTES + PAGE_BYTES + 7])
@pytest.mark.parametrize("longest", [5_000, 131_060, 3 * BLOCK_BYTES])
def test_a_file_has_the_bytes_that_came(tmp_path: Path, size: int, longest: int) -> None:
    chance = random.Random(size + longest)
    data = chance.randbytes(size)
    incoming = Incoming(tmp_path / "1.part", Blocks())
    at = 0
    while at < size:
        take = chance.randrange(1, longest + 1)
        incoming.write(memoryview(data)[at : at + take])
        at += take
    assert incoming.size_bytes == size
    assert incoming.digest() == blake3(data).hexdigest()
    incoming.sync()
    incoming.close()
    assert (tmp_path / "1.part").read_bytes() == data


def test_a_buffer_is_used_again(tmp_path: Path) -> None:
    blocks = Blocks()
    block = blocks.take()
    blocks.give_back(block)
    for number in range(3):
        incoming = Incoming(tmp_path / str(number), blocks)
        incoming.write(bytes(SHORT_BYTES))
        incoming.drop()
        assert not (tmp_path / str(number)).exists()
    assert blocks.take() is block


def test_a_disk_that_refuses_is_written_to_through_the_cache(tmp_path: Path) -> None:
    if blocks_for(tmp_path) is None:
        pytest.skip("the temporary folder is on no disk that is written to directly")
    blocks = Blocks()
    file = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    os.write(file, b"odd")  # behind which nothing can be written directly
    block = blocks.take()
    block[:] = data = os.urandom(BLOCK_BYTES)
    blocks.write(file, block, last=False)
    os.close(file)
    assert blocks.refused
    assert (tmp_path / "file").read_bytes() == b"odd" + data


def test_memory_is_no_disk(tmp_path: Path) -> None:
    assert blocks_for(Path("/proc")) is None
    assert FileStore(tmp_path / "store", direct=False).blocks is None
