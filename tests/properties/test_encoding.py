"""Attributes → bytes → attributes is the identity, and pydicom reads the same from the bytes."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_charset_files
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from dicom_node import header
from dicom_node.attributes import read
from dicom_node.dictionary import hex_of, tag_of
from dicom_node.encode import Unsayable, encode
from dicom_node.forms import Form

IMPLICIT, EXPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
SYNTAXES = (IMPLICIT, EXPLICIT, BIG, DEFLATED)

_WORDS = {
    "": "AZaz09 .",
    "ISO_IR 100": "aÄöüßé",
    "ISO_IR 101": "ałŁŐ",
    "ISO_IR 109": "aĦŬ",
    "ISO_IR 110": "aĀŲ",
    "ISO_IR 144": "aЖя",
    "ISO_IR 127": "aشم",
    "ISO_IR 126": "aΔω",
    "ISO_IR 138": "aשל",
    "ISO_IR 148": "ağİ",
    "ISO_IR 166": "aกข",
    "ISO_IR 13": "aﾔﾏﾀﾞ",
    "ISO_IR 192": "aÄ山Ж😀",
    "GB18030": "a王小东镕😀",
    "GBK": "a王小东镕",
    r"\ISO 2022 IR 87": "a山田太郎やまだ",
    r"ISO 2022 IR 13\ISO 2022 IR 87": "aﾔﾏﾀﾞ山田",
    r"\ISO 2022 IR 87\ISO 2022 IR 159": "a山田丂丄",
    r"\ISO 2022 IR 149": "a김희중洪吉洞",
    r"ISO 2022 IR 6\ISO 2022 IR 58": "a王小东",
    r"ISO 2022 IR 100\ISO 2022 IR 144\ISO 2022 IR 126": "aÄЖяω",
    r"ISO 2022 IR 126\ISO 2022 IR 87\ISO 2022 IR 149": "aω山田김희",
}


def _text(letters: str) -> st.SearchStrategy[str]:
    return st.text(letters + "b", min_size=1, max_size=12).map(str.strip).filter(bool)


def _names(letters: str) -> st.SearchStrategy[dict[str, str]]:
    group = st.lists(_text(letters), min_size=1, max_size=3).map("^".join).filter(lambda g: g.strip(" ^"))
    groups = st.dictionaries(
        st.sampled_from(["Alphabetic", "Ideographic", "Phonetic"]), group, min_size=1, max_size=3
    )
    return groups.map(lambda found: {key: found[key] for key in sorted(found, key=_position)})


def _position(group: str) -> int:
    return ["Alphabetic", "Ideographic", "Phonetic"].index(group)


def _finite(width: int) -> st.SearchStrategy[float]:
    return st.floats(allow_nan=False, allow_infinity=False, width=32 if width == 32 else 64)


def _element(keyword: str, vr: str, value: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[Any]:
    filled = st.lists(value, min_size=1, max_size=most).map(lambda found: {"vr": vr, "Value": found})
    return st.tuples(st.just(hex_of(tag_of(keyword) or 0)), st.one_of(st.just({"vr": vr}), filled))


def _attributes(letters: str, depth: int = 2) -> st.SearchStrategy[dict[str, Any]]:
    elements = [
        _element("PatientName", "PN", _names(letters)),
        _element("PatientID", "LO", _text(letters)),
        _element("AccessionNumber", "SH", _text(letters)),
        _element("AdditionalPatientHistory", "LT", _text(letters), 1),
        _element("TextValue", "UT", _text(letters), 1),
        _element("LongCodeValue", "UC", _text(letters)),
        _element("StudyInstanceUID", "UI", st.sampled_from(["1.2.3", "1.2.34", "1.2.840.10008.1.2"])),
        _element("Modality", "CS", st.sampled_from(["CT", "MR", "OT"])),
        _element("StudyDate", "DA", st.dates().map(lambda day: f"{day:%Y%m%d}".zfill(8))),
        _element("StudyTime", "TM", st.sampled_from(["0930", "235959.123456"])),
        _element("AcquisitionDateTime", "DT", st.sampled_from(["202601020304", "2026+0100"])),
        _element("PatientAge", "AS", st.sampled_from(["017Y", "003M"])),
        _element("RetrieveURL", "UR", st.sampled_from(["http://a.example/b"]), 1),
        _element("StationAETitle", "AE", st.sampled_from(["STORE", "CT 1"])),
        _element("InstanceNumber", "IS", st.integers(-(2**31), 2**31 - 1)),
        _element("SliceThickness", "DS", st.sampled_from([0.5, -1024.0, 1e-7, 123456.789])),
        _element("Rows", "US", st.integers(0, 65535)),
        _element("ReferencePixelX0", "SL", st.integers(-(2**31), 2**31 - 1)),
        _element("TagAngleSecondAxis", "SS", st.integers(-32768, 32767)),
        _element("RegionFlags", "UL", st.integers(0, 2**32 - 1)),
        _element("SelectorUVValue", "UV", st.integers(0, 2**64 - 1)),
        _element("SelectorSVValue", "SV", st.integers(-(2**63), 2**63 - 1)),
        _element("SelectorFLValue", "FL", _finite(32)),
        _element("RealWorldValueSlope", "FD", _finite(64)),
        _element("FrameIncrementPointer", "AT", st.sampled_from(["00181063", "0020000D"])),
    ]
    if depth:
        items = st.lists(st.deferred(lambda: _attributes(letters, depth - 1)), max_size=2)
        sequence = items.map(lambda found: {"vr": "SQ", **({"Value": found} if found else {})})
        elements.append(st.tuples(st.just("00400275"), sequence))
    return st.lists(st.one_of(elements), max_size=8).map(
        lambda found: dict(sorted(found, key=lambda pair: pair[0]))
    )


_CASES = st.sampled_from(sorted(_WORDS)).flatmap(
    lambda terms: st.tuples(st.just(terms), _attributes(_WORDS[terms]))
)


def _read(raw: bytes, transfer_syntax: str) -> dict[str, Any]:
    syntax = header.syntax_of(transfer_syntax)
    reading = read(header.inflate(raw) if syntax.deflated else raw, syntax)
    assert reading.problem is None
    reading.attributes.pop("00080005", None)
    return reading.attributes


def _by_pydicom(raw: bytes, transfer_syntax: str) -> Dataset:
    syntax = header.syntax_of(transfer_syntax)
    if syntax.deflated:
        raw = header.inflate(raw)
    return read_dataset(io.BytesIO(raw), syntax.implicit, syntax.little)


def _said(attributes: dict[str, Any], name: str) -> list[str]:
    return [str(value) for value in attributes.get(name, {}).get("Value", [])]


@settings(max_examples=60)
@given(_CASES, st.sampled_from(SYNTAXES))
def test_what_is_encoded_reads_as_it_was(case: tuple[str, dict[str, Any]], transfer_syntax: str) -> None:
    terms, attributes = case
    raw = encode(attributes, transfer_syntax, character_set=terms)
    assert _read(raw, transfer_syntax) == attributes


@settings(max_examples=60)
@given(_CASES, st.sampled_from(SYNTAXES))
def test_pydicom_reads_it_too(case: tuple[str, dict[str, Any]], transfer_syntax: str) -> None:
    terms, attributes = case
    dataset = _by_pydicom(encode(attributes, transfer_syntax, character_set=terms), transfer_syntax)
    assert "\\".join(_multiple(dataset.get("SpecificCharacterSet"))) == terms  # nothing had to give way
    names = [
        "=".join(value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
        for value in attributes.get("00100010", {}).get("Value", [])
    ]
    if names:
        assert [str(name) for name in _multiple(dataset.PatientName)] == names
    for keyword in ("PatientID", "AccessionNumber", "StudyInstanceUID", "Modality", "StudyDate"):
        if (said := _said(attributes, hex_of(tag_of(keyword) or 0))) and any(said):
            assert [str(one) for one in _multiple(dataset[keyword].value)] == said
    for keyword in ("Rows", "SelectorUVValue", "RealWorldValueSlope", "InstanceNumber"):
        if keyword in dataset and dataset[keyword].value not in (None, ""):
            found = [float(one) for one in _multiple(dataset[keyword].value)]
            assert found == [float(one) for one in attributes[hex_of(tag_of(keyword) or 0)]["Value"]]
    items = attributes.get("00400275", {}).get("Value", [])
    assert len(dataset.get("RequestAttributesSequence") or []) == len(items)


def _multiple(value: Any) -> list[Any]:
    if value is None:
        return [""]
    return list(value) if isinstance(value, (MultiValue, list)) else [value]


@given(st.sampled_from(SYNTAXES), st.floats(-1e300, 1e300))
def test_a_decimal_has_at_most_16_signs_and_is_near(transfer_syntax: str, value: float) -> None:
    raw = encode({"00180050": {"vr": "DS", "Value": [value]}}, transfer_syntax)
    text = _by_pydicom(raw, transfer_syntax)["SliceThickness"].value.original_string
    assert len(text) <= 16
    assert math.isclose(float(text), value, rel_tol=1e-8)


@pytest.mark.parametrize("path", get_charset_files("*.dcm"), ids=lambda path: Path(path).name)
def test_files_in_every_character_set_survive_in_their_own_and_in_unicode(path: str) -> None:
    dataset = dcmread(path, force=True)
    buffer = io.BytesIO()
    bare = Dataset(dataset)
    bare.save_as(buffer, implicit_vr=False, little_endian=True, enforce_file_format=False)
    # without what is private (its VR is lost in implicit), names that are only a ^, and sets of items
    attributes = {
        name: element
        for name, element in _read(buffer.getvalue(), EXPLICIT).items()
        if int(name[3], 16) % 2 == 0 and element.get("Value") != [None]
    }
    for element in attributes.values():
        for item in element.get("Value", []) if element["vr"] == "SQ" else []:
            item.pop("00080005", None)

    own = "\\".join(_multiple(dataset.get("SpecificCharacterSet")))
    for terms in (own, "ISO_IR 192"):
        for transfer_syntax in SYNTAXES:
            raw = encode(attributes, transfer_syntax, character_set=terms)
            assert _read(raw, transfer_syntax) == attributes
    again = _by_pydicom(encode(attributes, EXPLICIT, character_set=own), EXPLICIT)
    assert str(again.get("PatientName")).rstrip("^=") == str(dataset.get("PatientName")).rstrip("^=")


def test_what_a_set_cannot_say_is_said_in_unicode() -> None:
    attributes = {"00100020": {"vr": "LO", "Value": ["山田"]}}
    for terms in ("", "ISO_IR 100", "ISO_IR 13", r"\ISO 2022 IR 149\ISO 2022 IR 999", "NO SUCH SET"):
        dataset = _by_pydicom(encode(attributes, EXPLICIT, character_set=terms), EXPLICIT)
        assert (dataset.SpecificCharacterSet, dataset.PatientID) == ("ISO_IR 192", "山田")


def test_binary_values_and_what_is_not_there() -> None:
    words = {"52009229": {"vr": "SQ", "Value": [{"00091001": {"vr": "OW", "InlineBinary": "AQIDBA=="}}]}}
    assert encode(words, EXPLICIT, character_set="").endswith(b"\x01\x02\x03\x04")
    assert encode(words, BIG, character_set="").endswith(b"\x02\x01\x04\x03")
    for element in (
        {"vr": "OW", "BulkDataURI": "x"},
        {"vr": "US", "Value": [-1]},
        {"vr": "LO", "Value": [{}]},
    ):
        with pytest.raises(Unsayable):
            encode({"00280010": element}, EXPLICIT)
    long = {"00081030": {"vr": "LO", "Value": ["x" * 70_000]}}
    assert encode(long, EXPLICIT, character_set="")[4:6] == b"UN"
    assert _read(encode(long, EXPLICIT), EXPLICIT) == long


def test_items_do_not_bring_a_character_set_of_their_own() -> None:
    item = {"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}, "00400007": {"vr": "LO", "Value": ["Ä"]}}
    raw = encode({"00400275": {"vr": "SQ", "Value": [item]}}, EXPLICIT)
    dataset = _by_pydicom(raw, EXPLICIT)
    assert isinstance(dataset.RequestAttributesSequence, Sequence)
    assert "SpecificCharacterSet" not in dataset.RequestAttributesSequence[0]


@settings(max_examples=60)
@given(_CASES, st.sampled_from(SYNTAXES))
def test_a_form_writes_the_same_bytes(case: tuple[str, dict[str, Any]], transfer_syntax: str) -> None:
    terms, attributes = case
    fixed = {"00080052": {"vr": "CS", "Value": ["STUDY"]}}
    told = {"00201206": {"vr": "IS", "Value": [3]}}
    names = [*attributes, "00081030"]  # one that has no value
    form = Form(fixed, names, list(told), transfer_syntax, terms)
    written = [json.dumps(attributes[name].get("Value"), ensure_ascii=False) for name in attributes]
    values = [None if value == "null" else value for value in written]
    whole = {**attributes, **fixed, **told, "00081030": {"vr": "LO"}}
    assert form.encode([*values, None], told) == encode(whole, transfer_syntax, character_set=terms)
