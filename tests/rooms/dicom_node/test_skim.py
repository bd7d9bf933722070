"""skim: what the quick loop says of a header is what the general walk says, or nothing."""

from __future__ import annotations

from collections import Counter

import pytest

from dicom_node import header, instance
from dicom_node.attributes import Attributes, read
from dicom_node.skim import skim
from tests.support.dicom_data import ct, encoded
from tests.support.torture import ARCHIVE, Odd, archived, bundled, mutant


def general(data: bytes, syntax: header.Syntax, whole: bool) -> tuple[list[Attributes], bool, str | None]:
    reading = read(
        data,
        syntax,
        wanted=instance._WANTED,
        into=instance._SEQUENCES,
        last=instance._LAST,
        whole=whole,
    )
    found: list[Attributes] = [{}, {}, {}]
    for name, element in reading.attributes.items():
        if name in instance.LEVEL_OF:
            found[instance.LEVEL_OF[name]][name] = element
    return found, reading.complete, reading.problem


def agree(odd: Odd, seen: Counter[str]) -> None:
    syntax = header.syntax_of(odd.transfer_syntax)
    data = header.inflate(odd.data) if syntax.deflated else odd.data
    syntax = header.sniff(data, syntax)
    if not syntax.little:
        seen["big endian"] += 1
        return
    for part, whole in ((data, True), (data[:3000], False), (data[: len(data) // 2], False)):
        skimmed = skim(part, syntax.implicit, instance._TABLE, whole=whole)
        if skimmed is None:
            seen["given up"] += 1
            continue
        found, complete, problem = general(part, syntax, whole)
        assert skimmed == (found, complete), odd.name
        assert problem is None, odd.name
        seen["skimmed"] += 1


def test_every_file_that_pydicom_brings() -> None:
    seen: Counter[str] = Counter()
    for odd in bundled():
        agree(odd, seen)
    assert seen["skimmed"] > 3 * seen["given up"], seen


def test_mutants_of_them() -> None:
    seen: Counter[str] = Counter()
    small = [odd for odd in bundled() if len(odd.data) < 40_000]
    for seed in range(12):
        for odd in small:
            agree(mutant(odd, seed), seen)
    assert seen["skimmed"] > 500 < seen["given up"], seen


def test_the_archive() -> None:
    if not ARCHIVE.exists():
        pytest.skip(f"{ARCHIVE} is not there")
    seen: Counter[str] = Counter()
    for odd in archived():
        agree(odd, seen)
    assert seen["skimmed"] > 3 * seen["given up"], seen


@pytest.mark.parametrize("implicit", [False, True])
def test_every_length_of_a_first_part(implicit: bool) -> None:
    data = encoded(ct(pixels=2), implicit=implicit)
    syntax = header.Syntax(implicit)
    for length in range(len(data)):
        skimmed = skim(data[:length], implicit, instance._TABLE, whole=False)
        if skimmed is not None:
            assert skimmed == general(data[:length], syntax, False)[:2], length
