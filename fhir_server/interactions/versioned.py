"""References to a version, and what `_include` brings for them (R4/search.html#versions).

The index knows a reference by its target, whatever its version, so what is included first is the current
resource. Where a resource of the page names a version of it by what is followed, that version takes
its place; the current one stays beside it where something refers to that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from fhir_server.interactions.context import Context, Version
from fhir_server.model import json_format
from fhir_server.search import keys
from fhir_server.search.ast import Include
from fhir_server.search.types.reference import local
from fhir_server.storage import reader

_VERSIONED = re.compile(r'"((?:https?://[^"\\]*/)?[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}/_history/[0-9]{1,9})"')

Target = tuple[str, str]
"""Type and id of a resource."""


def exact(
    context: Context, includes: Sequence[Include], page: Sequence[Version], added: Sequence[Version]
) -> list[Version]:
    """Return what is included, those in the version that was asked for whose referrers name one.

    `page` are the resources that were followed, `added` the current ones that this brought. A version that
    is not there any more stays the current one.
    """
    naming = [each for each in page if "/_history/" in (each.content or "")]
    asked = _asked(context, includes, naming) if naming else {}
    if not asked:
        return list(added)
    plain = "\n".join(each.content or "" for each in page)
    made: list[Version] = []
    for version in added:
        numbers = asked.pop((version.type_name, version.id), [])
        past = _past(context, version, numbers)
        if len(past) < len(numbers) or not past or f'/{version.id}"' in plain:
            made.append(version)
        made += past
    for version in page:  # a match stays as it is, and has its former versions beside it
        made += _past(context, version, asked.pop((version.type_name, version.id), []))
    return made


def _asked(
    context: Context, includes: Sequence[Include], naming: Iterable[Version]
) -> dict[Target, list[int]]:
    """Return which versions the page refers to by the parameters that are followed."""
    codes: dict[str, set[str]] = {}
    for include in includes:
        if not include.reverse:
            parameter = include.parameter
            codes.setdefault(parameter.type_name, set()).update(parameter.sources or (parameter.code,))
    asked: dict[Target, list[int]] = {}
    for version in naming:
        if version.type_name not in codes:
            continue
        held: set[str] | None = None
        for found in dict.fromkeys(_VERSIONED.findall(version.content or "")):
            here = local(found, context.settings.base_urls)
            if ":" in here:
                continue
            if held is None:
                resource = json_format.parse(version.text().encode())
                held = set(context.indexer().index(version.type_name, resource, version.id).keys)
            if any(keys.key(version.type_name, code, here) in held for code in codes[version.type_name]):
                type_name, id_, _, number = here.split("/")
                numbers = asked.setdefault((type_name, id_), [])
                if int(number) not in numbers:
                    numbers.append(int(number))
    return asked


def _past(context: Context, current: Version, numbers: Iterable[int]) -> list[Version]:
    """Return those versions of a resource that are there and are not the current one."""
    wanted = [number for number in numbers if number != current.version]
    found = [reader.vread(context.unit, current.type_name, current.id, number) for number in wanted]
    return [
        each
        for number, each in zip(wanted, found, strict=True)
        if each is not None and each.version == number and not each.deleted
    ]
