"""Runs: what is passed over in one step is what a walk passes over; what never fits is given up."""

from __future__ import annotations

import random

from dicom_node import header, instance
from dicom_node.attributes import read
from dicom_node.runs import MOST, RENEWED_AFTER, Run, Runs
from dicom_node.skim import skim
from tests.support.dicom_data import ct, encoded


def element(group: int, number: int, value: bytes) -> bytes:
    tag = group.to_bytes(2, "little") + number.to_bytes(2, "little")
    return tag + b"LO" + len(value).to_bytes(2, "little") + value


def step(data: bytes) -> object:
    def following(at: int) -> tuple[int, int] | None:
        if at + 8 > len(data):
            return None
        start = at + 8
        return start, start + int.from_bytes(data[at + 6 : at + 8], "little")

    return following


def test_a_run_fits_other_values_of_the_same_lengths() -> None:
    one = b"".join(element(9, number, b"abcd") for number in range(5))
    other = b"".join(element(9, number, b"wxyz") for number in range(5))
    shorter = b"".join(element(9, number, b"wx") for number in range(5))
    run = Run(one, 0, step(one), 64)  # type: ignore[arg-type]
    assert run.size == len(one)
    assert run.fits(other, 0)
    assert not run.fits(shorter, 0)
    assert not run.fits(other[:-1], 0)
    assert run.fits(b"ab" + other, 2)


def test_what_differs_is_cut_off() -> None:
    runs = Runs()
    chance = random.Random(1)
    passed = []
    for _ in range(40):
        data = element(9, 0, b"ab") + element(9, 1, b"cd") + element(9, 2, bytes(2 * chance.randrange(9)))
        passed.append(runs.length(data, 0, step(data)))  # type: ignore[arg-type]
    assert passed[-1] == 0  # a run of one element is none


def test_all_is_forgotten_now_and_then() -> None:
    runs = Runs()
    for number in range(MOST + 2):
        data = element(9, number, b"ab") + element(9, number + 1, b"ab")
        runs.length(data, 0, step(data))  # type: ignore[arg-type]
    assert len(runs._known) > MOST
    runs.begin()
    assert not runs._known
    runs.length(data, 0, step(data))  # type: ignore[arg-type]
    for _ in range(RENEWED_AFTER):
        runs.begin()
    assert not runs._known


def test_a_series_whose_private_lengths_change_reads_as_it_always_did() -> None:
    chance = random.Random(2)
    for implicit in (False, True):
        syntax = header.Syntax(implicit)
        for _ in range(60):
            dataset = ct(pixels=2)
            block = dataset.private_block(0x0009, "XINGLIN TEST", create=True)
            for number in range(1, 30):
                block.add_new(number, "LO", "x" * (chance.randrange(1, 4) if number % 7 == 0 else 6))
            data = encoded(dataset, implicit=implicit)
            found = skim(data, implicit, instance._TABLE, whole=True)
            reading = read(
                data, syntax, wanted=instance._WANTED, into=instance._SEQUENCES, last=instance._LAST
            )
            kept = {name: one for name, one in reading.attributes.items() if name in instance.LEVEL_OF}
            assert found is not None
            assert {**found[0][0], **found[0][1], **found[0][2]} == kept
