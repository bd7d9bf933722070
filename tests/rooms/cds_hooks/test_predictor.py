"""The predictor: the library without the package, the walker beside it, releases that cannot be altered."""

from __future__ import annotations

import math
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cds_hooks.models import catalogue, features, predictor, walker
from cds_hooks.models.catalogue import ReleaseError
from tests.rooms.cds_hooks.test_features import random_row

RELEASE = catalogue.find([catalogue.SHIPPED], "stroke-early-aspirin")
TEXT = (RELEASE.folder / catalogue.MODEL).read_text()


def rows(count: int) -> list[list[float]]:
    rng = random.Random(3)
    vectors = [features.encode(random_row(rng)) for _ in range(count)]
    for vector in vectors[: count // 4]:  # gaps where training had none, too
        vector[rng.randrange(len(vector))] = math.nan
    return vectors


@pytest.fixture(scope="module")
def native() -> predictor.Predictor:
    loaded = catalogue.load(RELEASE)
    if loaded.engine != "lib_lightgbm":
        pytest.skip("lib_lightgbm.so or libgomp is not here")
    return loaded


WALKED = catalogue.load(RELEASE, native=False)


def test_the_walker_gives_the_same_numbers_as_the_library(native: predictor.Predictor) -> None:
    assert WALKED.engine == "python"
    for row in rows(400):
        assert abs(native.predict(row) - WALKED.predict(row)) <= 1e-12


def test_contributions_are_the_same_and_add_up(native: predictor.Predictor) -> None:
    for row in rows(12):
        shares, walked = native.contributions(row), WALKED.contributions(row)
        assert max(abs(shares[name] - walked[name]) for name in features.NAMES) <= 1e-12
        base = walker.parse(TEXT).contributions(row)[-1]
        log_odds = math.log(native.predict(row) / (1 - native.predict(row)))
        assert sum(walked.values()) + base == pytest.approx(log_odds, abs=1e-9)


def test_the_library_equals_the_package(native: predictor.Predictor) -> None:
    module = pytest.importorskip("lightgbm")
    import numpy as np

    vectors = rows(50)
    expected = module.Booster(model_str=TEXT).predict(np.array(vectors), num_threads=1)
    assert [native.predict(row) for row in vectors] == expected.tolist()


def test_one_row_takes_less_than_a_tenth_of_a_millisecond(native: predictor.Predictor) -> None:
    vectors, taken = rows(200), []
    for row in vectors * 5:
        start = time.perf_counter()
        native.predict(row)
        taken.append(time.perf_counter() - start)
    assert sorted(taken)[len(taken) // 2] < 100e-6


def test_threads_share_a_predictor(native: predictor.Predictor) -> None:
    vectors = rows(50)
    expected = [native.predict(row) for row in vectors]
    answers: list[list[float]] = []
    threads = [
        threading.Thread(target=lambda: answers.append([native.predict(row) for row in vectors]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected] * 8


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(predictor.PredictionError, match="the row has 3 values; expected 22"):
        WALKED.predict([1.0, 2.0, 3.0])


def test_serving_imports_neither_lightgbm_nor_pandas_nor_numpy() -> None:
    code = (
        "import sys, cds_hooks.door, cds_hooks.registry as r\n"
        "s = r.services()['stroke-early-aspirin']\n"
        "assert s.model is not None\n"
        "print(sorted({'lightgbm', 'pandas', 'numpy', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_without_the_library_the_walker_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "_library", lambda: None)
    assert catalogue.load(RELEASE).engine == "python"


def test_a_missing_wheel_or_a_missing_libgomp_is_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def unloadable(_path: str) -> None:
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(predictor.ctypes, "CDLL", unloadable)
    assert predictor._open() is None
    monkeypatch.setattr(predictor.importlib.util, "find_spec", lambda _name: None)
    assert predictor._open() is None


@pytest.mark.parametrize("name", [catalogue.MODEL, catalogue.CARD])
def test_one_altered_byte_and_the_release_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / RELEASE.folder.name
    shutil.copytree(RELEASE.folder, folder)
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ReleaseError, match=f"{name} was altered"):
        catalogue.find([tmp_path], "stroke-early-aspirin")
    assert list(catalogue.releases([tmp_path])) == []


def test_a_release_is_never_written_twice(tmp_path: Path) -> None:
    catalogue.write(tmp_path, RELEASE.model, RELEASE.version, TEXT, RELEASE.card)
    with pytest.raises(ReleaseError, match="is there already"):
        catalogue.write(tmp_path, RELEASE.model, RELEASE.version, TEXT, RELEASE.card)


def test_an_unknown_version_names_the_known_ones() -> None:
    with pytest.raises(ReleaseError, match="known are 1"):
        catalogue.find([catalogue.SHIPPED], "stroke-early-aspirin", "7")
    with pytest.raises(ReleaseError, match="known are none"):
        catalogue.find([catalogue.SHIPPED], "other")


def test_the_shipped_release_says_that_it_is_a_demonstration() -> None:
    assert RELEASE.state == "demonstration"
    assert RELEASE.card["schema_sha256"] == features.schema_hash(), "train and ship the demonstration again"
    assert "ODC Attribution License" in RELEASE.card["data"]["notice"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("objective=regression\nfeature_names=a\n", "the objective is regression"),
        ("objective=binary sigmoid:1\nfeature_names=a\n", "holds no tree"),
        ("objective=binary\nfeature_names=a\n\nTree=0\nnum_cat=1\nleaf_value=1\n", "categorical"),
        ("objective=binary\nfeature_names=a\n\nTree=0\nleaf_value=1 2\n", "different lengths"),
    ],
)
def test_texts_that_are_not_walked(text: str, message: str) -> None:
    with pytest.raises(walker.ModelTextError, match=message):
        walker.parse(text)
