"""One patient in, one probability out, without importing lightgbm.

The wheel of LightGBM carries `lib_lightgbm.so`; ctypes opens it directly (3 MB, microseconds a
row) while the Python package would bring pandas-sized imports and 200 MB. The single-row fast
path keeps one FastConfig per thread, because a shared one takes a lock. Where the library or
libgomp is missing, `walker` gives the same numbers in Python.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from cds_hooks.models import walker

_NORMAL, _CONTRIBUTIONS = 0, 3  # C_API_PREDICT_NORMAL, C_API_PREDICT_CONTRIB
_FLOAT64 = 1  # C_API_DTYPE_FLOAT64
_OPTIONS = b"num_threads=1 verbosity=-1"


class PredictionError(RuntimeError):
    """The model cannot be loaded or does not answer."""


class Engine(Protocol):
    """What gives the numbers: the native library or the walker."""

    name: str

    def predict(self, row: Sequence[float]) -> float:
        """Return P(y = 1)."""

    def contributions(self, row: Sequence[float]) -> list[float]:
        """Return the share of each column in the log odds, and the base value last."""


class Predictor:
    """A loaded model: `predict` and `contributions` of one row, safe to share between threads.

    `engine` is `lib_lightgbm` or `python`. Raises PredictionError when the text is no model or
    its columns are not the expected ones.
    """

    def __init__(self, text: str, columns: Sequence[str], *, native: bool = True) -> None:
        self.columns = tuple(columns)
        header = text.partition("\nTree=")[0]
        names = next(
            (line[len("feature_names=") :].split() for line in header.splitlines()
             if line.startswith("feature_names=")), [],
        )  # fmt: skip
        if tuple(names) != self.columns:
            raise PredictionError(f"the model has the columns {names}; expected {list(self.columns)}")
        library = _library() if native else None
        self._engine: Engine
        if library is not None:
            self._engine = _Native(library, text, len(self.columns))
        else:
            try:
                self._engine = _Walked(walker.parse(text))
            except walker.ModelTextError as error:
                raise PredictionError(str(error)) from error

    @property
    def engine(self) -> str:
        """Which engine answers: `lib_lightgbm` or `python`."""
        return self._engine.name

    def predict(self, row: Sequence[float]) -> float:
        """Return P(y = 1) for one row in the order of the columns; NaN is a gap."""
        self._check(row)
        return self._engine.predict(row)

    def contributions(self, row: Sequence[float]) -> dict[str, float]:
        """Return the share of each column in the log odds of this row (TreeSHAP)."""
        self._check(row)
        return dict(zip(self.columns, self._engine.contributions(row), strict=False))

    def _check(self, row: Sequence[float]) -> None:
        if len(row) != len(self.columns):
            raise PredictionError(f"the row has {len(row)} values; expected {len(self.columns)}")


class _Walked:
    name = "python"

    def __init__(self, model: walker.Model) -> None:
        self._model = model

    def predict(self, row: Sequence[float]) -> float:
        return self._model.predict(row)

    def contributions(self, row: Sequence[float]) -> list[float]:
        return self._model.contributions(row)


class _Native:
    name = "lib_lightgbm"

    def __init__(self, library: ctypes.CDLL, text: str, columns: int) -> None:
        self._library = library
        self._columns = columns
        self._handle = ctypes.c_void_p()
        rounds = ctypes.c_int()
        self._call(
            library.LGBM_BoosterLoadModelFromString(
                text.encode(), ctypes.byref(rounds), ctypes.byref(self._handle)
            )
        )
        self._local = threading.local()

    def predict(self, row: Sequence[float]) -> float:
        return float(self._run(_NORMAL, row)[0])

    def contributions(self, row: Sequence[float]) -> list[float]:
        return list(self._run(_CONTRIBUTIONS, row))

    def _run(self, kind: int, row: Sequence[float]) -> Any:
        paths = self._local.__dict__.setdefault("paths", {})
        path = paths.get(kind)
        if path is None:
            path = paths[kind] = _FastPath(self, kind)
        return path.run(row)

    def _call(self, status: int) -> None:
        if status != 0:
            raise PredictionError(self._library.LGBM_GetLastError().decode(errors="replace"))

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.LGBM_BoosterFree(self._handle)


class _FastPath:
    """The FastConfig and the buffers of one thread."""

    def __init__(self, native: _Native, kind: int) -> None:
        library = native._library
        self._native = native  # the booster must outlive its fast path
        self._free = library.LGBM_FastConfigFree
        self._fast = library.LGBM_BoosterPredictForMatSingleRowFast
        self._config = ctypes.c_void_p()
        native._call(
            library.LGBM_BoosterPredictForMatSingleRowFastInit(
                native._handle, kind, 0, -1, _FLOAT64, ctypes.c_int32(native._columns), _OPTIONS,
                ctypes.byref(self._config),
            )
        )  # fmt: skip
        self._row = (ctypes.c_double * native._columns)()
        self._length = ctypes.c_int64()
        self._answer = (ctypes.c_double * (native._columns + 1))()

    def run(self, row: Sequence[float]) -> Any:
        self._row[:] = list(row)
        self._native._call(self._fast(self._config, self._row, ctypes.byref(self._length), self._answer))
        return self._answer

    def __del__(self) -> None:
        if getattr(self, "_config", None):
            self._free(self._config)


_LOCK = threading.Lock()
_OPENED: list[ctypes.CDLL | None] = []


def _library() -> ctypes.CDLL | None:
    """Open the shared library once a process; None where it is missing or cannot be loaded."""
    with _LOCK:
        if not _OPENED:
            _OPENED.append(_open())
        return _OPENED[0]


def _open() -> ctypes.CDLL | None:
    try:
        specification = importlib.util.find_spec("lightgbm")  # finds, does not execute the package
    except (ImportError, ValueError):
        return None
    name = {"darwin": "lib_lightgbm.dylib", "win32": "lib_lightgbm.dll"}.get(sys.platform, "lib_lightgbm.so")
    for folder in (specification.submodule_search_locations or ()) if specification else ():
        path = Path(folder) / "lib" / name
        if path.exists():
            try:
                library = ctypes.CDLL(str(path))
                library.LGBM_GetLastError.restype = ctypes.c_char_p
                library.LGBM_BoosterPredictForMatSingleRowFastInit  # noqa: B018 (older ones lack it)
            except (OSError, AttributeError):
                return None
            return library
    return None
