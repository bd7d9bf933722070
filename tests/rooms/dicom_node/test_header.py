"""The header walker: the same elements as pydicom sees, and nothing but Malformed for mutants."""

from __future__ import annotations

import io
import random
import warnings
from pathlib import Path

import pydicom.data
import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.sequence import Sequence

from dicom_node import header
from dicom_node.files.part10 import read_meta
from dicom_node.header import FRAGMENTS, ITEM, SEQUENCE, VALUE, Malformed, Syntax, walk
from dicom_node.instance import read_instance
from tests.support.dicom_data import ct, encoded

FILES = sorted((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm"))
BROKEN = {"MR_truncated.dcm", "no_meta.dcm", "rtplan_truncated.dcm"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_elements_at_the_top_are_those_of_pydicom(path: Path) -> None:
    raw = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [int(element.tag) for element in pydicom.dcmread(path, force=True)]
        stream = io.BytesIO(raw)
        read_preamble(stream, force=True)
        _read_file_meta_info(stream)
    meta = read_meta(raw)
    if raw[128:132] == b"DICM":
        assert meta.data_set_at == stream.tell()
    syntax = header.syntax_of(meta.transfer_syntax)
    data = header.inflate(raw[meta.data_set_at :]) if syntax.deflated else raw[meta.data_set_at :]
    found = []
    try:
        for event in walk(data, header.sniff(data, syntax), into=()):
            assert event.depth == 0
            if event.kind in (VALUE, SEQUENCE, FRAGMENTS):
                found.append(event.tag)
    except Malformed:
        assert path.name in BROKEN or not expected
    if expected and path.name not in BROKEN:
        assert found == expected


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("undefined", [False, True])
def test_nested_sequences_come_as_a_flat_stream(implicit: bool, undefined: bool) -> None:
    inner, outer = Dataset(), Dataset()
    inner.PatientID = "inner"
    outer.OtherPatientIDsSequence = Sequence([inner, Dataset()])
    outer.PatientName = "behind"
    if undefined:
        outer["OtherPatientIDsSequence"].is_undefined_length = True
        inner.is_undefined_length_sequence_item = True
    data = encoded(outer, implicit=implicit)
    seen = [(event.kind, event.depth, f"{event.tag:08X}") for event in walk(data, Syntax(implicit))]
    assert [one for one in seen if one[0] in (VALUE, SEQUENCE, ITEM)] == [
        (VALUE, 0, "00100010"),
        (SEQUENCE, 0, "00101002"),
        (ITEM, 1, "00101002"),
        (VALUE, 2, "00100020"),
        (ITEM, 1, "00101002"),
    ]
    assert [kind for kind, *_ in seen].count(header.ITEM_END) == 2
    closed = [event.kind for event in walk(data, Syntax(implicit), into=())]
    assert closed == [VALUE, VALUE]


def test_mutants_give_an_answer_or_malformed_and_nothing_else() -> None:
    dice = random.Random(20260102)
    originals = [encoded(ct()), encoded(ct(), implicit=True), encoded(ct(), little=False)]
    originals += [path.read_bytes()[:4000] for path in FILES[:40]]
    for _ in range(1500):
        data = bytearray(dice.choice(originals))
        for _ in range(dice.randrange(1, 8)):
            at = dice.randrange(min(len(data), 1500))
            match dice.randrange(3):
                case 0:
                    data[at] = dice.randrange(256)
                case 1:
                    data[at : at + 4] = b"\xff\xff\xff\xff"
                case _:
                    del data[at : at + dice.randrange(1, 9)]
        for syntax in (
            "1.2.840.10008.1.2",
            "1.2.840.10008.1.2.1",
            "1.2.840.10008.1.2.2",
            "1.2.840.10008.1.2.1.99",
        ):
            instance, complete = read_instance(bytes(data), syntax)
            assert complete
            assert instance.transfer_syntax == syntax
        meta = read_meta(bytes(data))
        assert 0 <= meta.data_set_at <= len(data)
