"""A history Bundle sent to the base: a batch, the oldest version first (R4/http.html#other-bundles).

So what another server has told of its changes is done here in the same order. Each version becomes an update
under the id that the resource has there, each deletion a deletion; conditions of then are not looked at.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fhir_server.interactions.context import Resource

_OLDEST = datetime.min.replace(tzinfo=UTC)


def as_batch(bundle: Resource) -> tuple[Resource, list[int]]:
    """Return the Bundle with the requests that repeat its versions, and its entries in the order of time.

    >>> made, order = as_batch({"entry": [
    ...     {"request": {"method": "DELETE", "url": "Basic/7"}},
    ...     {"resource": {"resourceType": "Basic", "id": "7"}, "request": {"method": "POST", "url": "Basic"}},
    ... ]})
    >>> made["entry"][1]["request"], order
    ({'method': 'PUT', 'url': 'Basic/7'}, [1, 0])
    """
    entries = bundle.get("entry", [])
    if not isinstance(entries, list):
        return bundle, []
    places = [(_moment(entry), _version(entry)) for entry in entries]
    order = list(range(len(entries)))
    if places and places[0] >= places[-1]:  # the newest come first, unless the Bundle says otherwise
        order.reverse()
    order.sort(key=places.__getitem__)
    return {**bundle, "entry": [_repeated(entry) for entry in entries]}, order


def _repeated(entry: Any) -> Any:
    """Return an entry that asks for what its own request came to; one that does not say stays as it is."""
    if not isinstance(entry, dict):
        return entry
    asked, resource = entry.get("request"), entry.get("resource")
    method, there = (asked.get("method"), asked.get("url")) if isinstance(asked, dict) else (None, None)
    if method == "DELETE" and isinstance(there, str):  # of one resource: a history has no criteria
        return {"request": {"method": "DELETE", "url": there.partition("?")[0]}}
    if method not in ("POST", "PUT", "PATCH", None):
        return entry
    if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
        return entry
    url = f"{resource['resourceType']}/{resource.get('id')}"
    return {"resource": resource, "request": {"method": "PUT", "url": url}}


def _moment(entry: Any) -> datetime:
    """Return when an entry was made, as it says itself."""
    for element, name in (("response", "lastModified"), ("resource", "meta")):
        part = entry.get(element) if isinstance(entry, dict) else None
        value = part.get(name) if isinstance(part, dict) else None
        text = value.get("lastUpdated") if isinstance(value, dict) else value
        if isinstance(text, str):
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                continue
            return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return _OLDEST


def _version(entry: Any) -> int:
    """Return the number of the version, which tells those of one moment apart; 0 where there is none."""
    response = entry.get("response") if isinstance(entry, dict) else None
    etag = response.get("etag") if isinstance(response, dict) else None
    number = etag.removeprefix("W/").strip('"') if isinstance(etag, str) else ""
    return int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0
