"""Identifiers that nobody would write: they are read or refused, and never more than that."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.dimse import identifier
from dicom_node.index.conditions import Manner, conditions
from dicom_node.index.query import Match, Question, find, supported
from dicom_node.instance import Level
from fhir_server.database.engine import Engine, Mode
from fhir_server.outcome import Invalid
from tests.support.dicom_data import encoded

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"


def _asked() -> Dataset:
    item = Dataset()
    item.ScheduledProcedureStepID = "SPS*"
    asked = Dataset()
    asked.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    asked.QueryRetrieveLevel = "IMAGE"
    asked.PatientName = "山田*"
    asked.StudyDate = "20260101-20260131"
    asked.StudyTime = "0900-1000"
    asked.SeriesNumber = "1"
    asked.ModalitiesInStudy = ["CT", "MR"]
    asked.RequestAttributesSequence = Sequence([item])
    asked.TimezoneOffsetFromUTC = "+0100"
    return asked


@pytest.mark.parametrize(("syntax", "implicit", "little"), [(IMPLICIT, True, True), (BIG, False, False)])
def test_an_identifier_as_it_is_read(syntax: str, implicit: bool, little: bool) -> None:
    found = identifier.parse(encoded(_asked(), implicit=implicit, little=little), syntax)
    assert found.level == "IMAGE"
    assert found.character_set == "\\ISO 2022 IR 87"
    assert found.zone_text == "+0100"
    assert {".".join(match.path): match.value for match in found.matches} == {
        "00080020": "20260101-20260131",
        "00080030": "0900-1000",
        "00080061": "CT\\MR",
        "00100010": "山田*",
        "00200011": "1",
        "00400275.00400009": "SPS*",
    }
    assert found.wanted["00400275"] == {"00400009": {}}


def _through(raw: bytes, syntax: str) -> None:
    with suppress(Invalid):
        found = identifier.parse(raw, syntax)
        known = [match for match in found.matches if supported(Level.INSTANCE, match)]
        conditions(known, Manner())


@settings(max_examples=150)
@given(st.binary(max_size=200), st.sampled_from([IMPLICIT, EXPLICIT, BIG, "1.2.840.10008.1.2.1.99"]))
def test_any_bytes_are_read_or_refused(raw: bytes, syntax: str) -> None:
    _through(raw, syntax)


@pytest.mark.parametrize("seed", range(150))
def test_damaged_identifiers_are_read_or_refused(seed: int) -> None:
    chance = random.Random(seed)
    raw = bytearray(encoded(_asked(), implicit=bool(seed % 2)))
    for _ in range(chance.randrange(1, 6)):
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    _through(
        bytes(raw[: chance.randrange(len(raw))] if seed % 3 == 0 else raw), (EXPLICIT, IMPLICIT)[seed % 2]
    )


def test_sequences_within_sequences_have_an_end() -> None:
    asked = inner = Dataset()
    for _ in range(20):
        item = Dataset()
        inner.RequestAttributesSequence = Sequence([item])
        inner = item
    with pytest.raises(Invalid, match="sequences within each other"):
        identifier.parse(encoded(asked), EXPLICIT)


def test_a_session_that_lost_what_was_prepared_is_asked_all_the_same(engine: Engine) -> None:
    question = Question(Level.STUDY, (Match(("0020000D",), "1.2.3"),))
    for _ in range(4):
        with engine.connection(Mode.SINGLE) as connection:
            assert find(connection, question) == []
            connection.cursor().execute("DEALLOCATE ALL")
