"""What the DICOMweb services can do, as a WADL document or as JSON (PS3.18 8.9, Annex H).

Made from the routes themselves, so that nothing is announced that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

from dicom_node.dicomweb import json_model
from dicom_node.dicomweb.answers import Body
from dicom_node.dicomweb.media import DICOM, DICOM_JSON, OCTETS, accepted, allows
from dicom_node.dicomweb.native_model import DICOM_XML
from dicom_node.pixels.render import GIF, JPEG, PNG
from dicom_node.pixels.transcode import TARGETS
from fhir_server.outcome import NotAcceptable

WADL = "application/vnd.sun.wadl+xml"
JSON = "application/json"
_NAMESPACE = "http://wadl.dev.java.net/2009/02"
_NAMED = re.compile(r"<(?:[a-z]+:)?([a-z]+)>")

_PICTURES = (JPEG, PNG, GIF)
_GIVEN = {
    "metadata": (DICOM_JSON, JSON, f'multipart/related; type="{DICOM_XML}"'),
    "rendered": (
        *_PICTURES,
        f'multipart/related; type="{JPEG}"',
        "video/mp4",
        "video/mpeg",
        "application/pdf",
    ),
    "thumbnail": _PICTURES,
    "bulkdata": (f'multipart/related; type="{OCTETS}"', OCTETS),
    "pixeldata": (f'multipart/related; type="{OCTETS}"', 'multipart/related; type="image/*"'),
    "frames": (f'multipart/related; type="{OCTETS}"', 'multipart/related; type="image/*"', OCTETS),
    "instances": (
        f'multipart/related; type="{DICOM}"; transfer-syntax=*',
        *(f'multipart/related; type="{DICOM}"; transfer-syntax={syntax}' for syntax in TARGETS),
        DICOM,
        "application/zip",
    ),
    "search": (DICOM_JSON, JSON),
}
_PARAMETERS = {
    "search": ("includefield", "fuzzymatching", "limit", "offset"),
    "rendered": ("window", "viewport", "quality"),
    "thumbnail": ("window", "viewport", "quality"),
}
_SEARCHED = ("studies", "series", "instances", "workitems")

Route = tuple[str, str]
"""Method and rule: ("GET", "/studies/<study>")."""


def described(base: str, routes: Iterable[Route], accept: str | None) -> Body:
    """Return the description of all routes below `base`; WADL unless the client would rather have JSON."""
    tree = _tree(routes)
    for wanted in accepted(accept):
        for media in (WADL, JSON):
            if allows(wanted.media, media):
                text = _wadl(base, tree) if media == WADL else json_model.encode(_json(base, tree))
                return Body(media, [text], len(text), {"Vary": "Accept"})
    raise NotAcceptable(f"the capabilities are given as {WADL} or {JSON}")


def _tree(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the resources by path segment; under "" the methods of a resource with its rule."""
    root: dict[str, Any] = {}
    for method, rule in sorted(routes):
        at = root
        for segment in _NAMED.sub(r"{\1}", rule).strip("/").split("/"):
            at = at.setdefault(segment, {})
        at.setdefault("", []).append(method)
    return root


def _methods(path: str, methods: list[str]) -> list[dict[str, Any]]:
    found = []
    for method in methods:
        kind = _kind(path)
        described: dict[str, Any] = {"name": method, "id": _id(method, path)}
        if method == "GET":
            described["query"] = list(_PARAMETERS.get(kind, ()))
            described["given"] = list(_GIVEN.get(kind, ()))
        found.append(described)
    return found


def _kind(path: str) -> str:
    """Return what a GET of an address is about: a key of the tables above."""
    *_, last = path.split("/")
    if last in _GIVEN and last not in _SEARCHED:
        return last
    if last in _SEARCHED:
        return "search"
    if last.startswith("{frames"):
        return "frames"
    return "bulkdata" if last == "{path}" else "instances"


def _id(method: str, path: str) -> str:
    """Return a name that no other method of the description has.

    >>> _id("GET", "studies/{study}/metadata")
    'GET.studies.study.metadata'
    """
    return f"{method}.{re.sub(r'[^A-Za-z]+', '.', path).strip('.')}"


def _wadl(base: str, tree: dict[str, Any]) -> bytes:
    application = ElementTree.Element("application", {"xmlns": _NAMESPACE})
    resources = ElementTree.SubElement(application, "resources", {"base": base})

    def add(parent: ElementTree.Element, below: dict[str, Any], path: str) -> None:
        for segment, inner in below.items():
            if not segment:
                continue
            here = f"{path}/{segment}".strip("/")
            resource = ElementTree.SubElement(parent, "resource", {"path": segment})
            if segment.startswith("{"):
                template = {"name": segment.strip("{}"), "style": "template", "required": "true"}
                ElementTree.SubElement(resource, "param", template)
            for method in _methods(here, inner.get("", [])):
                _method(resource, method)
            add(resource, inner, here)

    add(resources, tree, "")
    ElementTree.indent(application)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(application)


def _method(resource: ElementTree.Element, method: dict[str, Any]) -> None:
    element = ElementTree.SubElement(resource, "method", {"name": method["name"], "id": method["id"]})
    if "given" not in method:
        return
    request = ElementTree.SubElement(element, "request")
    for name in method["query"]:
        ElementTree.SubElement(request, "param", {"name": name, "style": "query"})
    header = ElementTree.SubElement(request, "param", {"name": "Accept", "style": "header"})
    response = ElementTree.SubElement(element, "response", {"status": "200"})
    for media in method["given"]:
        ElementTree.SubElement(header, "option", {"value": media})
        ElementTree.SubElement(response, "representation", {"mediaType": media})


def _json(base: str, tree: dict[str, Any]) -> dict[str, Any]:
    def resources(below: dict[str, Any], path: str) -> list[dict[str, Any]]:
        found = []
        for segment, inner in below.items():
            if segment:
                here = f"{path}/{segment}".strip("/")
                one: dict[str, Any] = {"path": segment, "methods": _methods(here, inner.get("", []))}
                one["resources"] = resources(inner, here)
                found.append({name: value for name, value in one.items() if value})
        return found

    return {"base": base, "standard": "PS3.18", "resources": resources(tree, "")}
