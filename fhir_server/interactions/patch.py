"""patch and conditional patch (R4/http.html#patch): JSON Patch, XML Patch and FHIRPath Patch.

The version that is patched is locked before it is read, so no change of anybody is lost. What the
patch makes of it is judged like the body of an update. Where R4 leaves a choice:

- JSON Patch may leave an empty array or object behind (the last name removed), and may make one to put
  something in; what is still empty at the end is taken away, as FHIR has no empty elements;
- a narrative must not say what is no longer so: when the patch changes data and leaves the narrative,
  one that was generated of the data is removed, and one that says more refuses the patch.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fhir_server.authorization.permit import permit
from fhir_server.fhirpath import patch as fhirpath_patch
from fhir_server.fhirpath.api import Watch
from fhir_server.interactions import conditions, drafts
from fhir_server.interactions.context import Context, Resource, Result, Settings
from fhir_server.interactions.integrity import store
from fhir_server.interactions.read import standing
from fhir_server.model import json_format, json_patch, positions, xml_format, xml_patch
from fhir_server.outcome import FhirError, Invalid, Issue, NotFound, TooLarge, Unprocessable
from fhir_server.storage import writer
from fhir_server.storage.version import Version
from fhir_server.storage.writer import Draft

MAX_SECONDS, MAX_STEPS = 5.0, 5_000_000
"""How long the paths of one FHIRPath Patch may take together, and how many items they may pass through."""

Change = Callable[[Resource], Any]
"""A patch that was read: resource → what it makes of it. It keeps no state and may be applied again."""


@dataclass(frozen=True, slots=True)
class Patched:
    """What a patch made of a version, and what its writer should know of that."""

    resource: Resource
    issues: tuple[Issue, ...] = ()


def patch(context: Context, type_name: str, id_: str, change: Change, if_match: int | None = None) -> Result:
    """Change a resource by a patch; one that changes nothing makes no new version (200).

    Raises NotFound (404), Gone (410), PreconditionFailed (412) when `if_match` is not current,
    Unprocessable (422) for a patch that cannot be applied, and what an update raises for the result.
    """
    permit(context.grant, "patch", type_name)
    return _patch(context, type_name, id_, change, if_match)


def conditional_patch(
    context: Context, type_name: str, criteria_text: str, change: Change, if_match: int | None = None
) -> Result:
    """Change the one resource that the criteria match.

    Raises NotFound (404) when they match none, MultipleMatches (412), and what `patch` raises.
    """
    permit(context.grant, "patch", type_name)
    criteria = conditions.criteria(context, type_name, criteria_text)
    conditions.lock(context, [criteria])
    return _patch(context, type_name, only_match(context, criteria), change, if_match, criteria)


def only_match(context: Context, criteria: conditions.Criteria) -> str:
    """Return the id of the one resource that the criteria match; raises NotFound (404) without one."""
    match = conditions.match(context, criteria)
    if match is None:
        raise NotFound(
            f"{criteria} matches nothing here, so there is nothing to patch",
            expression=criteria.type_name,
        )
    return match


def _patch(
    context: Context,
    type_name: str,
    id_: str,
    change: Change,
    if_match: int | None,
    criteria: conditions.Criteria | None = None,
) -> Result:
    version = writer.lock(context.unit, [(type_name, id_)]).get((type_name, id_))
    if criteria is not None:
        conditions.still_match(context, criteria, [id_])
    made = patched(context.settings, version, type_name, id_, change, if_match)
    checked = drafts.judge(context, made.resource)
    draft = drafts.draft(context, made.resource, id_, "P", issues=checked.outcome)
    written = store(context, [draft])[0]
    issues = (*checked.issues, *made.issues, *written.issues)
    return Result(200, written.version, issues=issues, changes=int(written.changed))


def patched(
    settings: Settings,
    version: Version | None,
    type_name: str,
    id_: str,
    change: Change,
    if_match: int | None,
) -> Patched:
    """Return what a patch makes of the current version, which is locked; it is not judged yet."""
    version = standing(version, type_name, id_)
    writer.check_conditions(Draft(type_name, id_, "P", None, if_version=if_match), version)
    before = json_format.parse(version.text().encode())
    after = change(before)
    if not isinstance(after, dict):
        raise Unprocessable("the patch makes no object of the resource", expression=type_name)
    for name, value in (("resourceType", type_name), ("id", id_)):
        if after.get(name) != value:
            raise Invalid(
                f"the patch changes the {name} of {version.address}; type and id of a resource stay",
                expression=f"{type_name}.{name}",
            )
    try:
        text = json_format.encode(after)
        if len(text) > settings.max_resource_bytes:
            raise TooLarge(
                f"the patch makes a resource of {len(text)} bytes; "
                f"at most {settings.max_resource_bytes} are kept (setting max_body_bytes)"
            )
        after = json_format.parse(text)
    except (Invalid, RecursionError) as error:
        raise Unprocessable(f"the patch makes what cannot be kept: {error}", expression=type_name) from None
    return _with_safe_narrative(before, after)


def _with_safe_narrative(before: Resource, after: Resource) -> Patched:
    """Hold what R4/http.html#patch asks of the narrative: it is not clinically unsafe afterwards."""
    text = before.get("text")
    if not isinstance(text, dict) or text.get("status") == "empty" or text != after.get("text"):
        return Patched(after)
    if json_patch.equal(_data(before), _data(after)):
        return Patched(after)
    if text.get("status") != "generated":
        raise Unprocessable(
            f"the narrative (status {text.get('status')!r}) says more than the data and may contradict "
            "what the patch changes; let the patch replace or remove text, too",
            expression=f"{after['resourceType']}.text",
        )
    del after["text"]
    what = "the narrative was generated of data that the patch changes; it is removed"
    return Patched(after, (Issue("information", "informational", what, f"{after['resourceType']}.text"),))


def _data(resource: Resource) -> Resource:
    return {name: value for name, value in resource.items() if name not in ("text", "meta")}


def read_json_patch(data: bytes, settings: Settings) -> Change:
    """Return the change that a JSON Patch says (RFC 6902)."""
    read = json_patch.operations(json_format.parse_value(data), settings.max_patch_operations)
    return lambda resource: _without_empty(
        json_patch.apply(resource, read, max_size=2 * settings.max_resource_bytes)
    )


def _without_empty(value: Any) -> Any:
    """Take away members that are empty arrays or objects, and what is empty without them."""
    if isinstance(value, dict):
        members = ((name, _without_empty(member)) for name, member in value.items())
        return {name: member for name, member in members if member not in ([], {})}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value


def read_fhirpath_patch(data: bytes, settings: Settings) -> Change:
    """Return the change that a FHIRPath Patch in JSON says (R4/fhirpatch.html)."""
    value = json_format.parse_value(data)
    if not isinstance(value, dict):
        raise Invalid(
            "the body is no resource; a FHIRPath Patch is a Parameters resource, "
            f"and a JSON Patch is sent with Content-Type: {JSON_PATCH}"
        )
    return _placed_change(value, data, settings)


def read_fhirpath_patch_in_xml(data: bytes, settings: Settings) -> Change:
    """Return the change that a FHIRPath Patch in XML says."""
    return _placed_change(xml_format.parse(data), data, settings)


def _placed_change(parameters: Resource, data: bytes, settings: Settings) -> Change:
    """Return the change that Parameters say; what is wrong with them is told with line and column."""
    try:
        return fhirpath_change(parameters, settings)
    except Invalid as error:
        raise Invalid(issues=positions.placed(error.issues, data)) from None


def read_xml_patch(data: bytes, settings: Settings) -> Change:
    """Return the change that an XML Patch says (RFC 5261): of the resource as it is in XML."""
    read = xml_patch.operations(data, settings.max_patch_operations)

    def change(resource: Resource) -> Resource:
        try:
            document = xml_format.encode(resource)
        except xml_format.Unwritable as error:
            raise Unprocessable(f"the resource cannot be patched as XML: {error}; use {JSON_PATCH}") from None
        untouched = xml_format.parse(xml_patch.written(xml_patch.read(document)))
        try:
            made = xml_format.parse(xml_patch.written(xml_patch.apply(xml_patch.read(document), read)))
        except Invalid as error:  # lines and columns are those of a text that nobody has seen
            told = [replace(one, line=None, column=None) for one in error.issues]
            raise Invalid(issues=told) from None
        except RecursionError:
            raise Unprocessable("the patch makes a resource that nests too deeply") from None
        if made == untouched:
            return resource
        # A narrative is a text in JSON: one that is not patched stays as it was written.
        if "text" in made and made["text"] == untouched.get("text"):
            made["text"] = resource["text"]
        return made

    return change


def fhirpath_change(parameters: Resource, settings: Settings) -> Change:
    """Return the change that a Parameters resource says."""
    if parameters.get("resourceType") == "Parameters":
        drafts.check(parameters)
    read = fhirpath_patch.operations(parameters, settings.max_patch_operations)
    return lambda resource: fhirpath_patch.apply(resource, read, Watch(MAX_SECONDS, MAX_STEPS))


JSON_PATCH = "application/json-patch+json"

FORMATS: Mapping[str, Callable[[bytes, Settings], Change]] = {
    JSON_PATCH: read_json_patch,
    "application/xml-patch+xml": read_xml_patch,
    "application/fhir+json": read_fhirpath_patch,
    "application/fhir+xml": read_fhirpath_patch_in_xml,
}
"""How a patch may come: CapabilityStatement.patchFormat and Accept-Patch (RFC 5789)."""


def of_entry(resource: Resource, settings: Settings) -> Change:
    """Return the change that the resource of a PATCH entry says: Parameters, or a Binary with a patch."""
    if resource.get("resourceType") == "Parameters":
        return fhirpath_change(resource, settings)
    media_type = str(resource.get("contentType")).partition(";")[0].strip().lower()
    read = FORMATS.get(media_type)
    if resource.get("resourceType") != "Binary" or read is None:
        kind = resource.get("resourceType")
        what = f"a Binary of {media_type}" if kind == "Binary" else f"a {kind}"
        raise Invalid(
            f"the patch is {what}; it can be Parameters (R4/fhirpatch.html) or a Binary with the "
            f"contentType {' or '.join(FORMATS)}"
        )
    text = resource.get("data")
    try:
        data = binascii.a2b_base64("".join(text.split()), strict_mode=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        raise Invalid("Binary.data is no base64", expression="Binary.data") from None
    try:
        return read(data, settings)
    except FhirError as error:  # what stands in the Binary has no place in the Bundle
        told = type(error)(issues=[Issue("error", one.code, one.diagnostics) for one in error.issues])
        raise told from None
