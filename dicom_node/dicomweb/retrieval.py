"""The addresses that instances, and what is in them, are retrieved from (PS3.18 10.4.1.1)."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, request

from dicom_node.dicomweb import rendered, wado
from dicom_node.dicomweb.answers import accept, answer
from dicom_node.dicomweb.archive import Archive

_STUDY = "/studies/<study>"
_SERIES = f"{_STUDY}/series/<series>"
_INSTANCE = f"{_SERIES}/instances/<instance>"


def routes(archive: Archive) -> dict[str, Callable[..., Response]]:
    """Return address → view; the names in the address are the keywords of the view."""
    return {
        _STUDY: lambda study: _instances(archive, study),
        _SERIES: lambda study, series: _instances(archive, study, series),
        _INSTANCE: lambda study, series, instance: _instances(archive, study, series, instance),
        f"{_STUDY}/metadata": lambda study: _metadata(archive, study),
        f"{_SERIES}/metadata": lambda study, series: _metadata(archive, study, series),
        f"{_INSTANCE}/metadata": lambda study, series, instance: _metadata(archive, study, series, instance),
        f"{_INSTANCE}/frames/<frames>": lambda study, series, instance, frames: answer(
            wado.frames(archive, accept(), archive.locate(study, series, instance)[0], frames)
        ),
        f"{_INSTANCE}/bulkdata/<path:path>": lambda study, series, instance, path: answer(
            wado.bulk_data(
                archive,
                accept(),
                archive.locate(study, series, instance)[0],
                path,
                request.headers.get("Range"),
            )
        ),
        f"{_INSTANCE}/rendered": lambda **uids: _rendered(archive, **uids),
        f"{_INSTANCE}/thumbnail": lambda **uids: _rendered(archive, thumbnail=True, **uids),
        f"{_INSTANCE}/frames/<frames>/rendered": lambda **uids: _rendered(archive, **uids),
        f"{_INSTANCE}/frames/<frames>/thumbnail": lambda **uids: _rendered(archive, thumbnail=True, **uids),
        f"{_SERIES}/thumbnail": lambda **uids: _rendered(archive, thumbnail=True, **uids),
        f"{_STUDY}/thumbnail": lambda **uids: _rendered(archive, thumbnail=True, **uids),
    }


def _instances(archive: Archive, study: str, series: str = "", instance: str = "") -> Response:
    found = archive.locate(study, series, instance)
    return answer(wado.instances(archive, accept(), found, single=bool(instance)))


def _metadata(archive: Archive, study: str, series: str = "", instance: str = "") -> Response:
    return answer(wado.metadata(archive, accept(), archive.locate(study, series, instance)))


def _rendered(
    archive: Archive,
    study: str,
    series: str = "",
    instance: str = "",
    frames: str = "1",
    *,
    thumbnail: bool = False,
) -> Response:
    found = archive.locate(study, series, instance)
    one = found[0] if instance else found[len(found) // 2]  # the middle of a series shows the most
    body = rendered.rendered(archive, accept(), one, frames, request.args, thumbnail=thumbnail)
    return answer(body)
