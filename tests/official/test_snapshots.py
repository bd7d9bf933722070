"""The snapshots that packages publish, made anew from the differentials alone and compared."""

from __future__ import annotations

import json
import os
import tarfile
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from fhir_server.definitions.conformance import Conformance
from fhir_server.definitions.core import Core
from fhir_server.definitions.structure_definitions import structure_definition
from fhir_server.validation.snapshot import elements, snapshot

SHARED = Path(os.environ.get("XINGLIN_SHARED", Path(__file__).parents[2] / ".." / "shared"))
PACKAGES = SHARED / "data" / "packages"
if not PACKAGES.exists():
    pytest.skip(f"the packages are not at {PACKAGES}; set XINGLIN_SHARED", allow_module_level=True)

COMPARED = (
    ("hl7.fhir.r4.core-4.0.1", 99.4),
    ("hl7.fhir.us.core-3.1.1", 97.6),
    ("hl7.fhir.us.core-6.1.0", 100),
    ("hl7.fhir.us.core-7.0.0", 99.9),
    ("hl7.fhir.uv.ips-1.1.0", 98.3),
)
"""Package, and of a hundred published elements how many we make just so, at least."""

OF_TYPE = "constraints of the type's profile are repeated in the element; we leave them to that profile"
OLD_CHOICE = (
    "the publisher of 2020 closes an optional valueQuantity to the other types; later ones leave them"
)
OLD_EXTENSION = (
    "the publisher of 2020 opens the extensions in an extension and slices its value inside a slice"
)
SLICE_ALONE = "slices without the element that they are slices of, which R4 asks for"
KNOWN = {
    ("hl7.fhir.r4.core-4.0.1", "more"): (15, SLICE_ALONE),
    ("hl7.fhir.r4.core-4.0.1", "missing"): (8, "two extensions are opened that nothing is said about"),
    ("hl7.fhir.r4.core-4.0.1", "constraint"): (3, OF_TYPE),
    ("hl7.fhir.r4.core-4.0.1", "contentReference"): (1, "it leads to one slice; R4's element leads to all"),
    ("hl7.fhir.us.core-3.1.1", "type"): (4, OLD_CHOICE),
    ("hl7.fhir.us.core-3.1.1", "slicing"): (7, f"{OLD_CHOICE}; {OLD_EXTENSION}"),
    ("hl7.fhir.us.core-3.1.1", "missing"): (27, OLD_EXTENSION),
    ("hl7.fhir.us.core-3.1.1", "binding"): (
        3,
        f"{OLD_EXTENSION}; a binding of an extension's value beside it",
    ),
    ("hl7.fhir.us.core-3.1.1", "contentReference"): (1, "it leads to one slice; R4's element leads to all"),
    ("hl7.fhir.us.core-7.0.0", "constraint"): (1, OF_TYPE),
    ("hl7.fhir.uv.ips-1.1.0", "constraint"): (39, OF_TYPE),
    ("hl7.fhir.uv.ips-1.1.0", "isModifier"): (4, "said to be no modifiers, which a profile cannot say"),
    ("hl7.fhir.uv.ips-1.1.0", "slicing"): (2, "published as open, stated as closed"),
}
"""Package and kind of difference → how many there are, and why; these only shrink."""

NOT_HERE = {"http://hl7.org/fhir/us/core/StructureDefinition/us-core-questionnaireresponse"}
"""Its base is of the package hl7.fhir.uv.sdc."""

TOLD = ("min", "max", "type", "contentReference", "constraint", "isModifier", "mustSupport", "binding")
TOLD += ("slicing", "sliceName", "base")
VALUES = ("fixed", "pattern", "minValue", "maxValue")


class Package:
    """The StructureDefinitions of a package without their snapshots: everything is made anew."""

    def __init__(self, name):
        self.published = {}
        with tarfile.open(PACKAGES / f"{name}.tgz") as package:
            for member in package:
                folder, _, file = member.name.rpartition("/")
                if folder == "package" and file.startswith("StructureDefinition-"):
                    definition = json.load(package.extractfile(member))
                    self.published[definition["url"]] = definition

    def find(self, type_name, url, version):
        found = self.published.get(url)
        return found and {name: value for name, value in found.items() if name != "snapshot"}


@cache
def package(name):
    if not (PACKAGES / f"{name}.tgz").exists():
        pytest.skip(f"{name}.tgz is not at {PACKAGES}")
    return Package(name)


def conformance(name):
    return Conformance([Core()] if ".core-4.0.1" in name else [Core(), package(name)])


def as_compared(element):
    """Return what is compared of an element, without the order and the spelling that mean nothing."""
    made = {name: element[name] for name in TOLD if element.get(name)}
    made |= {name: value for name, value in element.items() if name.startswith(VALUES)}
    if "binding" in made:
        value_set = made["binding"].get("valueSet", "").partition("|")[0]
        made["binding"] = value_set and (made["binding"]["strength"], value_set)
    if "constraint" in made:
        made["constraint"] = {constraint["key"] for constraint in made["constraint"]}
    if "type" in made:
        made["type"] = [
            (choice["code"], choice.get("profile"), set(choice.get("targetProfile", ())))
            for choice in made["type"]
        ]
    if "slicing" in made:
        made["slicing"] = (made["slicing"].get("discriminator"), made["slicing"].get("rules"))
    if "contentReference" in made:  # publishers of today write it with the url of the type before the #
        made["contentReference"] = made["contentReference"].partition("#")[2]
    return {name: value for name, value in made.items() if value}


def differences(published, made):
    """Yield (id, kind) of everything that is not as published."""
    wanted = {element["id"]: as_compared(element) for element in published}
    found = {element["id"]: as_compared(element) for element in made}
    yield from ((id_, "missing") for id_ in wanted if id_ not in found)
    yield from ((id_, "more") for id_ in found if id_ not in wanted)
    if [id_ for id_ in wanted if id_ in found] != [id_ for id_ in found if id_ in wanted]:
        yield "", "order"
    for id_ in wanted.keys() & found.keys():
        for name in wanted[id_].keys() | found[id_].keys():
            if wanted[id_].get(name) != found[id_].get(name):
                yield id_, name


@pytest.mark.parametrize(("name", "least"), COMPARED)
def test_snapshots_are_what_the_package_publishes(name, least):
    known = conformance(name)
    count, other, kinds = 0, 0, Counter()
    for url, definition in package(name).published.items():
        if definition.get("derivation") != "constraint" or "snapshot" not in definition or url in NOT_HERE:
            continue
        published = definition["snapshot"]["element"]
        found = list(differences(published, snapshot(known.find("StructureDefinition", url), known)))
        count += len(published)
        other += len({id_ for id_, _ in found})
        kinds += Counter(kind for _, kind in found)
    assert kinds == {kind: much for (of, kind), (much, _) in KNOWN.items() if of == name}
    assert 100 * (count - other) / count >= least


@pytest.mark.parametrize("name", [name for name, _ in COMPARED[2:]])
def test_a_base_may_bring_its_own_snapshot(name):
    """On top of bases as published the same is made, apart from their own oddities."""

    class Published(Package):
        def __init__(self):
            self.published = package(name).published

        def find(self, type_name, url, version):
            return self.published.get(url)

    known = Conformance([Core(), Published()])
    kinds = Counter()
    for url, definition in package(name).published.items():
        if url not in NOT_HERE:
            published = definition["snapshot"]["element"]
            kinds += Counter(kind for _, kind in differences(published, snapshot(definition, known)))
    assert set(kinds) <= {"constraint", "isModifier", "slicing"}


def test_the_types_are_as_published():
    """Cardinality, types, targets, bindings, constraints, slicing and origin of 7,675 elements."""
    core = package("hl7.fhir.r4.core-4.0.1").published.values()
    types = [one for one in core if one.get("derivation") != "constraint" and one["kind"] != "logical"]
    assert sum(len(one["snapshot"]["element"]) for one in types) == 7675
    found = set()
    for one in types:
        found |= set(
            differences(one["snapshot"]["element"], elements(structure_definition(one["url"]), Conformance()))
        )
    # The range of an integer is a matter of `definitions.primitives`.
    assert found == {("integer.value", "minValueInteger"), ("integer.value", "maxValueInteger")}
