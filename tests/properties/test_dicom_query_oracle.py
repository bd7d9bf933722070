"""Random queries: what SQL finds is what a slow filter over the same data sets finds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_node.dictionary import hex_of, tag_of
from dicom_node.index.moments import Zones
from dicom_node.index.query import Manner, Match, Question, count, find, stream
from dicom_node.instance import Level, first
from fhir_server.database.engine import Mode
from tests.support.dicom_fixtures import Node
from tests.support.oracle import dicom as oracle
from tests.support.query_archive import MODALITIES, NAMES, archive, studies

KEPT = studies(40)


@pytest.fixture(scope="module")
def node(
    _template: tuple[str, str], worker_id: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("oracle")
    with archive(_template, f"{_template[1]}_{worker_id}_oracle", folder, KEPT) as node:
        yield node


def _wildly(text: str) -> st.SearchStrategy[str]:
    """Return a text with wild cards in it somewhere."""
    places = st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))
    cut = places.map(lambda ends: text[: min(ends)] + "*" + text[max(ends) :])
    sign = st.integers(0, max(0, len(text) - 1)).map(lambda at: text[:at] + "?" + text[at + 1 :])
    around = places.map(lambda ends: f"*{text[min(ends) : max(ends)]}*")
    return st.one_of(st.just(text), cut, sign, around, st.just(text.upper()), st.just(text.lower()))


_GROUPS = sorted({group for name in NAMES for group in (name, *name.split("=")) if group})
_NAME = st.sampled_from(_GROUPS).flatmap(_wildly)
_WORD = st.sampled_from(sorted({w for name in NAMES for w in name.replace("=", "^").split("^") if w}))
_DAY = st.dates(min_value=date(2024, 12, 1), max_value=date(2026, 1, 31))
_DAYS = st.one_of(
    _DAY.map(lambda day: f"{day:%Y%m%d}"),
    st.tuples(_DAY, _DAY).map(lambda two: f"{min(two):%Y%m%d}-{max(two):%Y%m%d}"),
    _DAY.map(lambda day: f"{day:%Y%m%d}-"),
    _DAY.map(lambda day: f"-{day:%Y%m%d}"),
)
_CLOCK = st.tuples(st.integers(0, 23), st.integers(0, 59))
_TIMES = st.one_of(
    st.tuples(_CLOCK, _CLOCK).map(lambda two: "{:02d}{:02d}-{:02d}{:02d}".format(*min(two), *max(two))),
    _CLOCK.map(lambda one: f"{one[0]:02d}{one[1]:02d}-"),
    _CLOCK.map(lambda one: f"-{one[0]:02d}{one[1]:02d}"),
    st.sampled_from(["0000", "2330", "12", "23"]),
)
_TEXTS = {
    "PatientID": ("P001", "P012", "P0"),
    "AccessionNumber": ("A0001", "A0013", "A"),
    "StudyDescription": ("Thorax", "Kopf nativ", "thorax_2", "thorax%2"),
    "PatientSex": ("M", "F", "O"),
}
_SERIES_TEXTS = {"SeriesDescription": ("axial", "Coronal 3mm"), "BodyPartExamined": ("CHEST", "HEAD")}
_OF_STUDY = [
    st.tuples(st.just(("PatientName",)), _NAME),
    st.tuples(st.just(("ReferringPhysicianName",)),
              st.sampled_from(["Größmann^Hans", "House^Gregory", "山田^花子"]).flatmap(_wildly)),
    st.tuples(st.just(("StudyDate",)), _DAYS),
    st.tuples(st.just(("StudyTime",)), _TIMES),
    st.tuples(st.just(("PatientBirthDate",)),
              st.sampled_from(["19110212", "19200101-19351231", "-19250505"])),
    st.tuples(st.just(("StudyInstanceUID",)), st.lists(
        st.sampled_from([one.StudyInstanceUID for one in KEPT]), min_size=1, max_size=3).map("\\".join)),
    st.tuples(st.just(("ModalitiesInStudy",)), st.lists(
        st.sampled_from([*MODALITIES, "C*", "?R"]), min_size=1, max_size=2).map("\\".join)),
    *(st.tuples(st.just((name,)), st.sampled_from(values).flatmap(_wildly))
      for name, values in _TEXTS.items()),
]  # fmt: skip
_OF_SERIES = [
    *_OF_STUDY,
    st.tuples(st.just(("Modality",)), st.sampled_from(MODALITIES)),
    st.tuples(st.just(("SeriesNumber",)), st.sampled_from(["1", "2", "1\\3"])),
    st.tuples(st.just(("SeriesDate",)), _DAYS),
    st.tuples(st.just(("SeriesTime",)), _TIMES),
    st.tuples(st.just(("RequestAttributesSequence", "ScheduledProcedureStepID")),
              st.sampled_from(["SPS1", "SPS2", "SPS*"])),
    st.tuples(st.just(("RequestAttributesSequence", "RequestedProcedureID")),
              st.sampled_from(["RP1", "RP?", "RP3"])),
    *(st.tuples(st.just((name,)), st.sampled_from(values).flatmap(_wildly))
      for name, values in _SERIES_TEXTS.items()),
]  # fmt: skip
_OF_INSTANCE = [
    *_OF_SERIES,
    st.tuples(st.just(("InstanceNumber",)), st.sampled_from(["1", "2\\3"])),
    st.tuples(st.just(("Rows",)), st.sampled_from(["2", "3"])),
]
_UNIQUE = {Level.STUDY: "0020000D", Level.SERIES: "0020000E", Level.INSTANCE: "00080018"}


def _keys(elements: list[st.SearchStrategy[oracle.Key]]) -> st.SearchStrategy[list[oracle.Key]]:
    several = st.lists(st.one_of(elements), min_size=1, max_size=3)
    return several.map(lambda keys: list({key[0]: key for key in keys}.values()))


def _matches(keys: list[oracle.Key]) -> tuple[Match, ...]:
    return tuple(Match(tuple(hex_of(tag_of(one) or 0) for one in path), value) for path, value in keys)


def _expected(level: Level, keys: list[oracle.Key], options: oracle.Options) -> set[str]:
    by_study: dict[str, list[Dataset]] = {}
    for one in KEPT:
        by_study.setdefault(one.StudyInstanceUID, []).append(one)
    name = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")[level]
    return {
        str(one[name].value)
        for one in KEPT
        if oracle.matches(by_study[one.StudyInstanceUID], one, keys, options)
    }


def _agree(node: Node, level: Level, keys: list[oracle.Key], options: oracle.Options) -> None:
    zone = None if options.zone is None else timedelta(minutes=options.zone)
    question = Question(
        level, _matches(keys), 1000, manner=Manner(options.combined, options.fuzzy, Zones(zone, "UTC"))
    )
    with node.engine.connection(Mode.SINGLE) as connection:
        found = find(connection, question)
        assert count(connection, question) == len(found)
    uids = [str(first(one.at(level), _UNIQUE[level])) for one in found]
    assert len(uids) == len(set(uids))
    assert set(uids) == _expected(level, keys, options)
    streamed = [
        one for batch in stream(lambda: node.engine.connection(Mode.SINGLE), question) for one in batch
    ]
    assert [one.key for one in streamed] == [one.key for one in found]


_COMBINED = st.booleans()


@settings(max_examples=250)
@given(_keys(_OF_STUDY), _COMBINED)
def test_studies(node: Node, keys: list[oracle.Key], combined: bool) -> None:
    _agree(node, Level.STUDY, keys, oracle.Options(combined))


@settings(max_examples=120)
@given(_keys(_OF_SERIES), _COMBINED)
def test_series(node: Node, keys: list[oracle.Key], combined: bool) -> None:
    _agree(node, Level.SERIES, keys, oracle.Options(combined))


@settings(max_examples=80)
@given(_keys(_OF_INSTANCE), _COMBINED)
def test_instances(node: Node, keys: list[oracle.Key], combined: bool) -> None:
    _agree(node, Level.INSTANCE, keys, oracle.Options(combined))


@settings(max_examples=120)
@given(
    st.lists(_WORD.flatmap(lambda word: st.sampled_from([word, word[:3], word[:-1], word[::-1], word + "s"])),
             min_size=1, max_size=2).map("^".join).filter(lambda name: name.strip("^_%"))
)  # fmt: skip
def test_fuzzy_names(node: Node, name: str) -> None:
    _agree(node, Level.STUDY, [(("PatientName",), name)], oracle.Options(fuzzy=True))


@settings(max_examples=120)
@given(_DAYS, st.one_of(st.just(""), _TIMES), st.sampled_from([0, 60, -300, 330, 840, -720]), _COMBINED)
def test_zones(node: Node, days: str, times: str, zone: int, combined: bool) -> None:
    keys: list[oracle.Key] = [(("StudyDate",), days), (("StudyTime",), times)]
    _agree(node, Level.STUDY, keys, oracle.Options(combined, zone=zone))
