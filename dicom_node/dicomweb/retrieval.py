"""The addresses that instances, and what is in them, are retrieved from (PS3.18 10.4.1.1)."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, request

from dicom_node.dicomweb import bulk_data, frames, metadata, rendered, wado
from dicom_node.dicomweb.answers import accept, answer
from dicom_node.dicomweb.archive import Archive

_STUDY = "/studies/<study>"
_SERIES = f"{_STUDY}/series/<series>"
_INSTANCE = f"{_SERIES}/instances/<instance>"

View = Callable[..., Response]


def routes(archive: Archive) -> dict[str, View]:
    """Return address → view; the names in the address are the keywords of the view."""
    every_level: dict[str, View] = {
        "": lambda **uids: _instances(archive, **uids),
        "/metadata": lambda **uids: _metadata(archive, **uids),
        "/bulkdata": lambda **uids: answer(bulk_data.every(archive, accept(), archive.locate(*_of(uids)))),
        "/pixeldata": lambda **uids: answer(frames.pixel_data(archive, accept(), archive.locate(*_of(uids)))),
        "/rendered": lambda **uids: _rendered(archive, **uids),
        "/thumbnail": lambda **uids: _rendered(archive, thumbnail=True, **uids),
    }
    found = {
        f"{level}{ending}": view
        for level in (_STUDY, _SERIES, _INSTANCE)
        for ending, view in every_level.items()
    }
    of_an_instance: dict[str, View] = {
        "/frames/<frames>": lambda frames, **uids: _frames(archive, frames, **uids),
        "/frames/<frames>/rendered": lambda **uids: _rendered(archive, **uids),
        "/frames/<frames>/thumbnail": lambda **uids: _rendered(archive, thumbnail=True, **uids),
        "/bulkdata/<path:path>": lambda path, **uids: _bulk_data(archive, path, **uids),
    }
    return found | {f"{_INSTANCE}{ending}": view for ending, view in of_an_instance.items()}


def _of(uids: dict[str, str]) -> tuple[str, str, str]:
    return uids["study"], uids.get("series", ""), uids.get("instance", "")


def _instances(archive: Archive, **uids: str) -> Response:
    found = archive.locate(*_of(uids))
    return answer(wado.instances(archive, accept(), found, single="instance" in uids))


def _metadata(archive: Archive, **uids: str) -> Response:
    study, series, instance = _of(uids)
    if instance:
        return answer(metadata.of_instance(archive, accept(), archive.locate(study, series, instance)[0]))
    encodings = request.headers.get("Accept-Encoding", "")
    return answer(metadata.of_series(archive, accept(), encodings, study, series))


def _frames(archive: Archive, numbers: str, **uids: str) -> Response:
    (instance, *_) = archive.locate(*_of(uids))
    return answer(frames.frames(archive, accept(), instance, numbers))


def _bulk_data(archive: Archive, path: str, **uids: str) -> Response:
    (instance, *_) = archive.locate(*_of(uids))
    return answer(bulk_data.value(archive, accept(), instance, path))


def _rendered(archive: Archive, *, frames: str = "", thumbnail: bool = False, **uids: str) -> Response:
    found = archive.locate(*_of(uids))
    one = found[0] if "instance" in uids else found[len(found) // 2]  # the middle of a series shows the most
    body = rendered.rendered(archive, accept(), one, frames or "1", request.args, thumbnail=thumbnail)
    return answer(body)
