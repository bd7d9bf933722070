"""The addresses that instances, and what is in them, are retrieved from (PS3.18 10.4.1.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flask import Response, current_app, request

from dicom_node.dicomweb import bulk_data, capabilities, frames, metadata, rendered, wado, wado_uri
from dicom_node.dicomweb.accesses import Accesses
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
    found |= {f"{_INSTANCE}{ending}": view for ending, view in of_an_instance.items()}
    accesses = Accesses(archive.engine)
    return {rule: _noted(archive, accesses, view) for rule, view in found.items()}


def _noted(archive: Archive, accesses: Accesses, view: View) -> View:
    """Return a view whose answers are written down for the audit, before anything of them is sent."""

    def noting(**uids: str) -> Response:
        response = view(**uids)
        if response.status_code < 400 and request.method == "GET":
            accesses.note(archive.caller().subject, request.remote_addr or "", uids["study"])
        return response

    return noting


def root(archive: Archive, accesses: Accesses) -> Response:
    """Answer at the address of the services themselves: capabilities, and WADO-URI (PS3.18 8.9, 9)."""
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        return Response()  # a browser asks what it may ask
    if request.args and request.method != "OPTIONS":
        response = answer(wado_uri.retrieve(archive, accept(), request.args))
        if request.method == "GET":
            accesses.note(archive.caller().subject, request.remote_addr or "", request.args["studyUID"])
        return response
    archive.may("read")
    return answer(capabilities.described(archive.address, _all_routes(), accept()))


def _all_routes() -> Iterator[tuple[str, str]]:
    """Yield method and rule of every transaction that the services know, refusals left out."""
    prefix = request.url_rule.rule.rstrip("/") if request.url_rule else ""
    for rule in current_app.url_map.iter_rules():
        name = rule.endpoint.partition(".")[2]
        if not rule.rule.startswith(f"{prefix}/") or name.startswith(("no ", "unknown", "root")):
            continue
        methods = rule.methods or set()
        for method in {"GET"} if "PATCH" in methods else methods & {"GET", "POST", "PUT", "DELETE"}:
            yield method, rule.rule.removeprefix(prefix)


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
    found = found[:1] if "instance" in uids else found
    return answer(rendered.rendered(archive, accept(), found, frames, request.args, thumbnail=thumbnail))
