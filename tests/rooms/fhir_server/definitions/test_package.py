"""Reading a FHIR package: what is in it, and archives that are none or mean no good."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from fhir_server.definitions.package import Limits, read
from fhir_server.outcome import FhirError, Invalid, TooLarge, Unprocessable
from tests.support.packages import PROFILE, archive, package, profile, value_set

MANIFEST = b'{"name": "a.b", "version": "1.0.0", "fhirVersions": ["4.0.1"]}'


def test_definitions_and_examples_are_told_apart() -> None:
    example = {"resourceType": "StructureDefinition", "url": "http://example.org/only-an-example"}
    data = package(
        profile(), value_set("http://example.org/v"), examples=[example], dependencies={"x.y": "1"}
    )
    found = read(data)
    assert (found.name, found.version, found.fhir_versions) == ("example.tested", "1.0.0", ("4.0.1",))
    assert found.counts() == {"StructureDefinition": 1, "ValueSet": 1}
    assert (found.examples, found.faults, found.left_out) == (1, (), ())
    assert found.dependencies == {"x.y": "1"}
    assert found.digest == sha256(data).digest()
    [of_profile, of_value_set] = found.definitions
    assert (of_profile.url, of_profile.version, of_profile.profile_of) == (PROFILE, "1.0.0", "Patient")
    assert of_value_set.profile_of is None


def test_what_defines_nothing_here_is_left_out_with_its_reason() -> None:
    found = read(
        package(
            {"resourceType": "Patient"},
            {"resourceType": "SubscriptionTopic", "url": "http://example.org/t"},
            profile(name="first"),
            profile(name="second"),
            {"no": "resource"},
        )
    )
    assert [each.name for each in found.definitions] == ["first"]
    assert [reason for _, reason in found.left_out] == [
        "it has no url, so nothing can refer to it",
        "R4 has no type SubscriptionTopic",
        "StructureDefinition-2.json has the same url and version",
    ]


def test_a_file_that_is_no_json_is_a_fault() -> None:
    found = read(archive({"package/package.json": MANIFEST, "package/StructureDefinition-x.json": b"{"}))
    [(file, reason)] = found.faults
    assert file == "StructureDefinition-x.json"
    assert "not a resource" in reason


def _link(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


def _damaged() -> bytes:
    whole = package(profile())
    return whole[: len(whole) // 2]


@pytest.mark.parametrize(
    ("data", "refusal", "says"),
    [
        (b"", Invalid, "ends early or is damaged"),
        (b"PK\x03\x04 a zip file", Invalid, "is not gzip"),
        (gzip.compress(b"no tar", mtime=0), Invalid, "ends early or is damaged"),
        (_damaged(), Invalid, "ends early or is damaged"),
        (archive({"package/x.json": b"{}"}), Invalid, "no package/package.json"),
        (archive({"package/package.json": b"[]"}), Invalid, "package.json cannot be read"),
        (archive({"package/package.json": b'{"name": "../a", "version": "1"}'}), Invalid, "the name '../a'"),
        (archive({"package/package.json": MANIFEST, "package/../x.json": b"{}"}), Invalid, "leads out"),
        (archive({"package/package.json": MANIFEST, "/package/x.json": b"{}"}), Invalid, "leads out"),
        (archive({"package/package.json": MANIFEST}, _link("package/x.json")), Invalid, "no plain file"),
        (package(fhir="5.0.0"), Unprocessable, "made for FHIR 5.0.0 (R5); this server is R4"),
        (package(fhir="3.0.2"), Unprocessable, "made for FHIR 3.0.2 (STU3)"),
    ],
)  # fmt: skip
def test_what_is_no_package_for_us_is_refused(data: bytes, refusal: type[FhirError], says: str) -> None:
    with pytest.raises(refusal) as caught:
        read(data)
    assert says in str(caught.value)


def test_r4b_is_read_as_r4() -> None:
    assert read(package(profile(), fhir="4.3.0")).counts() == {"StructureDefinition": 1}


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (Limits(packed_bytes=500), "more than 500 bytes packed"),
        (Limits(unpacked_bytes=10_000), "more than 10000 bytes once unpacked"),
        (Limits(file_bytes=100), "100 are taken"),
        (Limits(files=3), "more than 3 files"),
    ],
)
def test_an_archive_beyond_its_limits_is_given_up(limits: Limits, says: str) -> None:
    with pytest.raises(TooLarge, match=says):
        read(package(*(profile(f"http://example.org/{n}") for n in range(50))), limits)


def test_a_bomb_is_given_up_before_it_goes_off() -> None:
    """A gibibyte of zeros in an entry that is not even read."""

    class Zeros(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return bytes(size)

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        info = tarfile.TarInfo("package/other/zeros")
        info.size = 100 * 2**20
        tar.addfile(info, Zeros())
    with pytest.raises(TooLarge, match="once unpacked"):
        read(packed.getvalue(), Limits(unpacked_bytes=2**20))


@pytest.mark.parametrize(
    ("file", "profiles"),
    [("us.core-3.1.1", 30), ("us.core-6.1.0", 59), ("us.core-7.0.0", 63), ("uv.ips-1.1.0", 36)],
)
def test_published_packages(shared: Callable[[str], Path], file: str, profiles: int) -> None:
    found: Any = read(shared(f"data/packages/hl7.fhir.{file}.tgz").read_bytes())
    assert found.counts()["StructureDefinition"] == profiles
    assert found.faults == ()


def test_r4_itself_is_known_as_built_in(shared: Callable[[str], Path]) -> None:
    assert read(shared("data/packages/hl7.fhir.r4.core-4.0.1.tgz").read_bytes()).built_in
