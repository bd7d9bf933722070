"""Definitions that are read and not stored: R4's own, those of packages, and those of our own operations.

They stand at their canonical ids (SearchParameter/individual-family, OperationDefinition/reindex), are
found by `url` and `_id`, and cannot be written: a client that stores a resource under such an id
has one of its own, which is read in the place of the other. Nothing of them is in the database
but what packages brought.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

from fhir_server.definitions import published
from fhir_server.interactions.context import Context, Resource
from fhir_server.model import json_format
from fhir_server.search import results, values
from fhir_server.search.ast import Query
from fhir_server.storage import definitions, reader
from fhir_server.storage.version import Version

ASKED = frozenset({"url", "_id"})
"""The criteria that find them; a search with any other finds what is stored alone."""


def read(context: Context, type_name: str, id_: str) -> Version | None:
    """Return a published definition as the version 1 of a resource, None where there is none."""
    if type_name == "OperationDefinition" and id_ in context.settings.operation_definitions:
        return _version(type_name, id_, context.settings.operation_definitions[id_])
    official = published.resource(type_name, id_)
    if official is not None:
        return _version(type_name, id_, official)
    if type_name not in definitions.READ:
        return None
    text = definitions.of_packages_by_id(context.unit, type_name, id_)
    return None if text is None else _version(type_name, id_, json_format.parse(text.encode()))


def matches(context: Context, query: Query) -> list[Version]:
    """Return the published definitions that a search finds beside what is stored.

    Those come first that the search names first. An id under which something is stored is left out.
    """
    type_name = query.type_name
    if type_name not in definitions.READ or query.includes or query.contained == "true":
        return []
    asked = [(name, text) for name, text in query.applied if name.partition(":")[0] not in results.NAMES]
    if not asked or any(name not in ASKED for name, _ in asked):
        return []
    found: dict[str, Version] | None = None
    for name, text in asked:
        wanted = [values.unescape(part) for part in values.split(text, ",")]
        some = _of_urls(context, type_name, wanted) if name == "url" else _of_ids(context, type_name, wanted)
        these = {each.id: each for each in some}
        found = these if found is None else {id_: each for id_, each in found.items() if id_ in these}
    if not found:
        return []
    stored = {each.id for each in reader.read_several(context.unit, [(type_name, id_) for id_ in found])}
    return [each for id_, each in found.items() if id_ not in stored]


def _of_urls(context: Context, type_name: str, wanted: Iterable[str]) -> Iterable[Version]:
    official = {url: id_ for id_, url in published.urls(type_name).items()}
    for url in wanted:
        own = f"{context.settings.base_url}/OperationDefinition/"
        id_ = url.removeprefix(own) if type_name == "OperationDefinition" and url.startswith(own) else None
        id_ = official.get(url, id_)
        if id_ is not None:
            if (version := read(context, type_name, id_)) is not None:
                yield version
            continue
        text = definitions.of_packages_by_url(context.unit, type_name, url)
        if text is not None:
            resource = json_format.parse(text.encode())
            yield _version(type_name, _id_of(resource), resource)


def _of_ids(context: Context, type_name: str, wanted: Sequence[str]) -> Iterable[Version]:
    for text in wanted:
        if (version := read(context, type_name, text.removeprefix("|"))) is not None:
            yield version


def _id_of(resource: Resource) -> str:
    return str(resource.get("id") or str(resource.get("url", "")).rpartition("/")[2])


def _version(type_name: str, id_: str, resource: Resource) -> Version:
    content = {name: value for name, value in resource.items() if name not in ("resourceType", "id", "meta")}
    text = json_format.encode(content)
    # no row has it; another text has another one, so that pages with it have another ETag
    pk = -int.from_bytes(blake2b(text, digest_size=7).digest(), "big")
    return Version(pk, type_name, id_, 1, published.RELEASED, "PUT", text.decode())
