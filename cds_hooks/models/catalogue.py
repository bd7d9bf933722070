"""The releases of models on disk: found, verified, loaded.

A release is a folder `<model>-<version>` with `model.txt`, `card.json` and `SHA256SUMS.txt`.
It is never changed: one altered byte and it is refused. The card says how a release begins, as
draft or as demonstration; what has become of it since stands in Postgres (`states`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cds_hooks.models import features
from cds_hooks.models.predictor import PredictionError, Predictor

SHIPPED = Path(__file__).parent / "shipped"
"""The releases that come with the package, all of them demonstrations."""

MODEL, CARD, SUMS = "model.txt", "card.json", "SHA256SUMS.txt"
FIRST_STATES = ("draft", "demonstration")
"""How a release may begin: draft (trained, not shown), demonstration (answers for test data only)."""
_FOLDER = re.compile(r"(?P<model>[a-z][a-z0-9-]*[a-z0-9])-(?P<version>[0-9]+)")


class ReleaseError(RuntimeError):
    """A release is missing, altered or does not fit this program; the message says which."""


@dataclass(frozen=True)
class Release:
    """One version of a model: its identity, its card, where it lies, what has become of it.

    `digest` is the SHA-256 of the list of hashes, so of every byte of the release.
    """

    model: str
    version: str
    folder: Path
    card: dict[str, Any]
    digest: str
    state: str

    @property
    def fits(self) -> bool:
        """Whether it was made with the feature table that this program has; else it does not load."""
        return bool(self.card["schema_sha256"] == features.schema_hash())

    def standing(self, state: str) -> Release:
        """Return the same release in another state."""
        return replace(self, state=state)

    @property
    def sha256(self) -> str:
        """The SHA-256 of model.txt."""
        return str(self.card["model"]["sha256"])

    @property
    def identity(self) -> str:
        """`model@version#hash`, the first twelve digits of the hash."""
        return f"{self.model}@{self.version}#{self.sha256[:12]}"


def releases(folders: Sequence[Path]) -> Iterator[Release]:
    """Give every sound release in the folders, by model and version; the first folder wins a tie.

    A folder that cannot be read as a release is passed over here; `find` says why.
    """
    seen: dict[tuple[str, int], Path] = {}
    for folder in folders:
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_dir() and (match := _FOLDER.fullmatch(path.name)):
                seen.setdefault((match["model"], int(match["version"])), path)
    for (model, version), path in sorted(seen.items()):
        try:
            yield _read(model, str(version), path)
        except ReleaseError:
            continue


def find(folders: Sequence[Path], model: str, version: str | None = None) -> Release:
    """Return a release, without version the newest.

    Raises ReleaseError when there is none or it is altered.
    """
    versions = _versions(folders, model)
    wanted = int(version) if version is not None and version.isdecimal() else max(versions, default=0)
    if wanted not in versions or (version is not None and not version.isdecimal()):
        known = ", ".join(map(str, sorted(versions))) or "none"
        raise ReleaseError(f"there is no {model} version {version or ''}; known are {known}")
    return _read(model, str(wanted), versions[wanted])


def highest(folders: Sequence[Path], model: str) -> int:
    """Return the highest version of a model in the folders, altered ones included; 0 for none."""
    return max(_versions(folders, model), default=0)


def _versions(folders: Sequence[Path], model: str) -> dict[int, Path]:
    versions: dict[int, Path] = {}
    for folder in reversed(folders):
        for path in folder.iterdir() if folder.is_dir() else ():
            match = _FOLDER.fullmatch(path.name)
            if match and match["model"] == model:
                versions[int(match["version"])] = path
    return versions


def load(release: Release, *, native: bool = True) -> Predictor:
    """Return the predictor of a release.

    Raises ReleaseError when the model does not load or was trained with another feature table.
    """
    if not release.fits:
        raise ReleaseError(f"{release.identity} was trained with another feature table than this program has")
    try:
        data = (release.folder / MODEL).read_bytes()
        if _sha256(data) != release.sha256:
            raise ReleaseError(f"{release.folder.name}/{MODEL} was altered: its SHA-256 is another one")
        return Predictor(data.decode("utf-8"), features.NAMES, native=native)
    except (OSError, UnicodeDecodeError) as error:
        raise ReleaseError(f"{release.identity} cannot be read: {error}") from error
    except PredictionError as error:
        raise ReleaseError(f"{release.identity} does not load: {error}") from error


def write(folder: Path, model: str, version: str, text: str, card: dict[str, Any]) -> Release:
    """Write a release; raises ReleaseError when one with that version is there already."""
    path = folder / f"{model}-{version}"
    if path.exists():
        raise ReleaseError(f"{path} is there already; a release is never changed")
    content = {MODEL: text, CARD: json.dumps(card, indent=1, ensure_ascii=False, sort_keys=True) + "\n"}
    partial = folder / f".{path.name}.part"
    partial.mkdir(parents=True, exist_ok=True)
    for name, body in content.items():
        (partial / name).write_text(body, encoding="utf-8")
    sums = "".join(f"{_sha256(body.encode())}  {name}\n" for name, body in content.items())
    (partial / SUMS).write_text(sums, encoding="utf-8")
    partial.rename(path)
    return _read(model, version, path)


def _read(model: str, version: str, path: Path) -> Release:
    try:
        listing = (path / SUMS).read_bytes()
        lines = listing.decode("utf-8").splitlines()
        expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        for name in (MODEL, CARD):
            if _sha256((path / name).read_bytes()) != expected.get(name):
                raise ReleaseError(f"{path.name}/{name} was altered: its SHA-256 is not the one in {SUMS}")
        card = json.loads((path / CARD).read_text(encoding="utf-8"))
        release = Release(model, version, path, card, _sha256(listing), card["state"])
        if (card["id"], card["version"], release.sha256) != (model, version, expected[MODEL]):
            raise ReleaseError(f"{path.name}/{CARD} describes another model")
        if release.state not in FIRST_STATES:
            raise ReleaseError(
                f"{path.name}: a card cannot say {release.state!r}; it begins as {' or '.join(FIRST_STATES)}"
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReleaseError(f"{path.name} cannot be read: {error}") from error
    return release


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
