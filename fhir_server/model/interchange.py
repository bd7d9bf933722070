"""Resources as pydantic models of fhir.resources, and back, with what would be lost said aloud.

For Python users of this library (`pip install 'xinglin[python]'`); the server itself never imports it.
fhir.resources has no classes of R4, but of R4B, which differs (R4B/diff.html): 18 resource types are
gone, Evidence and EvidenceVariable are others. Besides, its Extension knows no `_valueString` and the
like, and it keeps moments as datetime and forgets how they were written. A resource that would come
back different is refused, with every difference; who can live with them says so.

>>> patient = {"resourceType": "Patient", "birthDate": "1970-02"}
>>> from_model(to_model(patient)) == patient  # doctest: +SKIP
True
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import zip_longest
from typing import Any, NamedTuple

from fhir_server.definitions import structures
from fhir_server.model import json_format

_MISSING = """
    EffectEvidenceSynthesis MedicinalProduct MedicinalProductAuthorization MedicinalProductContraindication
    MedicinalProductIndication MedicinalProductIngredient MedicinalProductInteraction
    MedicinalProductManufactured MedicinalProductPackaged MedicinalProductPharmaceutical
    MedicinalProductUndesirableEffect RiskEvidenceSynthesis SubstanceNucleicAcid SubstancePolymer
    SubstanceProtein SubstanceReferenceInformation SubstanceSourceMaterial SubstanceSpecification
"""
MISSING = frozenset(_MISSING.split())
"""The resource types of R4 that R4B has not."""


class Difference(NamedTuple):
    """A value that does not survive: the way to it in JSON, and how it reads before and after.

    None stands for what is not there.
    """

    path: str
    before: Any
    after: Any


class NotInterchangeable(ValueError):
    """A resource of R4 that fhir.resources cannot hold, or not without changing it.

    `differences` lists what would change, nothing where there is no model at all.
    """

    def __init__(self, message: str, differences: tuple[Difference, ...] = ()) -> None:
        super().__init__(message)
        self.differences = differences


def to_model(resource: dict[str, Any], *, may_change: bool = False) -> Any:
    """Return a resource as an instance of its class in fhir.resources.R4B.

    >>> to_model({"resourceType": "SubstanceProtein"})
    Traceback (most recent call last):
    fhir_server.model.interchange.NotInterchangeable: SubstanceProtein: R4B has no SubstanceProtein any more

    Raises NotInterchangeable when R4B has no class for it or for a resource in it, when the class
    refuses it, and when it would come back different, unless it `may_change`.
    """
    for path, type_name in _types(resource, str(resource.get("resourceType"))):
        if type_name in MISSING:
            raise NotInterchangeable(f"{path}: R4B has no {type_name} any more")
        if not structures.is_resource_type(type_name):
            raise NotInterchangeable(f"{path}: {type_name!r} is no resource type of R4")
    for path in _extended_values(resource, str(resource["resourceType"])):
        raise NotInterchangeable(f"{path}: the Extension of fhir.resources has no extensions beside a value")
    from fhir.resources.R4B import get_fhir_model_class
    from pydantic import ValidationError

    try:
        model = get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    except (ValidationError, KeyError, ValueError) as error:
        raise NotInterchangeable(f"fhir.resources.R4B refuses it: {error}") from error
    if not may_change:
        found = tuple(differences(resource, from_model(model)))
        if found:
            first, more = found[0], f", and {len(found) - 1} more" if len(found) > 1 else ""
            what = f"{first.path} would change from {first.before!r} to {first.after!r}{more}"
            raise NotInterchangeable(f"{what}; may_change=True accepts that", found)
    return model


def from_model(model: Any) -> dict[str, Any]:
    """Return a model of fhir.resources as a resource in our form; decimals keep their digits.

    It is not validated: R4B allows what R4 does not. `validate` tells.
    """
    resource = json_format.parse(model.model_dump_json().encode())
    _restore_decimals(resource, model)
    return resource


def differences(before: Any, after: Any, path: str | None = None) -> Iterator[Difference]:
    """Yield what differs between two resources; 1.10 is not 1.1, but 1e2 is 1E2.

    >>> [*differences({"value": Decimal("1.10")}, {"value": Decimal("1.1")}, "Quantity")]
    [Difference(path='Quantity.value', before=Decimal('1.10'), after=Decimal('1.1'))]
    """
    if path is None:
        path = str(before.get("resourceType"))
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            yield from differences(before.get(key), after.get(key), f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list):
        for number, (one, other) in enumerate(zip_longest(before, after)):
            yield from differences(one, other, f"{path}[{number}]")
    elif not _same(before, after):
        yield Difference(path, before, after)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | Decimal) and isinstance(other, int | Decimal):
        return Decimal(one).as_tuple() == Decimal(other).as_tuple()
    return bool(one == other)


def _types(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the types of a resource and of those in it, each with its place."""
    yield path, str(value.get("resourceType"))
    for number, inner in enumerate(value.get("contained", ())):
        yield from _types(inner, f"{path}.contained[{number}]")
    yield from _held(value, path)


def _held(value: Any, path: str) -> Iterator[tuple[str, str]]:
    for key in ("entry", "parameter", "part"):
        held = value.get(key, ())
        for number, item in enumerate(held if isinstance(held, list) else ()):
            place = f"{path}.{key}[{number}]"
            if isinstance(item, dict) and isinstance(item.get("resource"), dict):
                yield from _types(item["resource"], f"{place}.resource")
            if isinstance(item, dict):
                yield from _held(item, place)


def _extended_values(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in value.items():
            if key[:6] == "_value" and "url" in value and key[1:] in structures.fields("Extension"):
                yield f"{path}.{key}"
            yield from _extended_values(member, f"{path}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _extended_values(item, f"{path}[{number}]")


def _restore_decimals(value: Any, model: Any) -> None:
    """Put the decimals of a model, which its JSON writes as floats, into that JSON."""
    for name, field in type(model).model_fields.items():
        key = field.alias or name
        member = getattr(model, name, None)
        if member is None or key not in value:
            continue
        if isinstance(member, Decimal):
            value[key] = json_format.number(str(member))
        elif isinstance(member, list):
            for number, item in enumerate(member):
                if isinstance(item, Decimal):
                    value[key][number] = json_format.number(str(item))
                elif hasattr(type(item), "model_fields"):
                    _restore_decimals(value[key][number], item)
        elif hasattr(type(member), "model_fields"):
            _restore_decimals(value[key], member)
