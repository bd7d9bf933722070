"""A FHIR package: the .tgz in which profiles, value sets and search parameters are published.

https://hl7.org/fhir/packages.html: a gzipped tar whose `package/package.json` names it and whose
other JSON files directly in `package/` are its resources; `package/example/` holds examples, which
define nothing. Nothing is ever written to disk: entries are read one after the other, and an archive
that unpacks to more than its limits is given up in the middle.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import IO, Any, cast

import msgspec

from fhir_server.definitions.structures import is_resource_type
from fhir_server.outcome import Invalid, TooLarge, Unprocessable

MAX_URL = 1000
"""Signs of a canonical that can be looked up; the longest in use are a tenth of that."""

CORE = re.compile(r"hl7\.fhir\.r4b?\.(core|expansions|examples|search)\Z")
"""R4's own packages: what they define is built in."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_OUTSIDE = re.compile(r"/|[A-Za-z]:|.*(?:^|[/\\])\.\.(?:[/\\]|$)")
_RELEASES = {"4.0": "R4", "4.3": "R4B", "5.0": "R5", "3.0": "STU3", "1.0": "DSTU2", "6.0": "R6"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may hold: bytes as they come, bytes once unpacked, bytes of one file, files."""

    packed_bytes: int = 512 * 2**20
    unpacked_bytes: int = 2**30
    file_bytes: int = 128 * 2**20
    files: int = 100_000


@dataclass(frozen=True, slots=True)
class Definition:
    """One conformance resource of a package: `content` is its JSON as published.

    `profile_of` is the resource type that a StructureDefinition constrains, None for all else.
    """

    type_name: str
    url: str
    version: str
    name: str
    file: str
    content: bytes
    profile_of: str | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """What an archive holds. `left_out` are files that define nothing here, with the reason of each."""

    name: str
    version: str
    fhir_versions: tuple[str, ...]
    dependencies: Mapping[str, str]
    digest: bytes
    definitions: tuple[Definition, ...]
    examples: int = 0
    faults: tuple[tuple[str, str], ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def built_in(self) -> bool:
        """Say whether this is one of R4's own packages."""
        return CORE.match(self.name) is not None

    def counts(self) -> dict[str, int]:
        """Return how many definitions there are of each type."""
        return dict(sorted(Counter(each.type_name for each in self.definitions).items()))


class _Manifest(msgspec.Struct):
    name: str
    version: str
    fhirVersions: list[str] = []
    fhir_versions: list[str] = msgspec.field(default_factory=list, name="fhir-version-list")
    dependencies: dict[str, str] | None = None


class _Head(msgspec.Struct):
    """What is asked of a resource before it is taken; decoding it skips everything else."""

    resourceType: str | None = None
    url: str | None = None
    version: str | None = None
    name: Any = None
    type: Any = None
    kind: Any = None
    derivation: Any = None


_manifest = msgspec.json.Decoder(_Manifest)
_head = msgspec.json.Decoder(_Head)


def read(source: bytes | IO[bytes], limits: Limits | None = None) -> Package:
    """Return what the package holds.

    Raises Invalid (400) for what is no FHIR package, TooLarge (413) beyond `limits`, Unprocessable
    (422) for a package of another release than R4 (R4B is read as R4, without the types that R4 lacks).

    >>> read(b"PK")
    Traceback (most recent call last):
    fhir_server.outcome.Invalid: the package is not gzip; a FHIR package is a .tgz file (gzipped tar)
    """
    limits = limits or Limits()
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    found = _Found()
    packed = _Counted(stream, limits.packed_bytes, "packed")
    for name, content in _files(packed, limits):
        _take(found, name, content)
    while packed.read(2**16):  # what stands behind the archive belongs to the digest, too
        pass
    if found.manifest is None:
        raise Invalid("there is no package/package.json in the archive; is this a FHIR package?")
    return _package(found, packed.digest())


@dataclass(slots=True)
class _Found:
    manifest: bytes | None = None
    examples: int = 0
    definitions: dict[tuple[str, str, str], Definition] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


class _Counted(io.RawIOBase):
    """A stream that is hashed, and given up when it is longer than allowed."""

    def __init__(self, stream: IO[bytes], most: int, what: str) -> None:
        self._stream, self._left, self._most, self._what = stream, most, most, what
        self._hash = sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes. Raises TooLarge beyond the limit."""
        data = self._stream.read(min(size, 2**20) if size >= 0 else 2**20)
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge(f"the package has more than {self._most} bytes {self._what}; that is not taken")
        self._hash.update(data)
        return data

    def digest(self) -> bytes:
        """Return the SHA-256 of what was read."""
        return self._hash.digest()


def _files(packed: _Counted, limits: Limits) -> Iterator[tuple[str, bytes | None]]:
    """Give name and content of each file, the content of those directly in package/ only."""
    plain = cast(IO[bytes], gzip.GzipFile(fileobj=packed))
    unpacked = _Counted(plain, limits.unpacked_bytes, "once unpacked")
    try:
        with tarfile.open(fileobj=unpacked, mode="r|") as archive:
            for count, member in enumerate(archive, 1):
                if count > limits.files:
                    raise TooLarge(f"the package has more than {limits.files} files; that is not taken")
                name = member.name.removeprefix("./")
                if _OUTSIDE.match(name) or not (member.isfile() or member.isdir()):
                    raise Invalid(f"the entry {name[:100]!r} leads out of the package or is no plain file")
                if not member.isfile():
                    continue
                if member.size > limits.file_bytes:
                    raise TooLarge(f"{name[:100]} has {member.size} bytes; {limits.file_bytes} are taken")
                wanted = name.startswith("package/") and name.count("/") == 1 and name.endswith(".json")
                file = archive.extractfile(member) if wanted else None
                yield name, file.read() if file is not None else None
    except gzip.BadGzipFile as error:
        raise Invalid("the package is not gzip; a FHIR package is a .tgz file (gzipped tar)") from error
    except (EOFError, zlib.error, tarfile.TarError) as error:
        raise Invalid("the package ends early or is damaged; fetch it again", code="incomplete") from error


def _take(found: _Found, path: str, content: bytes | None) -> None:
    file = path.removeprefix("package/")
    if content is None:
        found.examples += path.startswith(("package/example/", "package/examples/"))
        return
    if file == "package.json":
        found.manifest = content
        return
    if file.startswith("."):
        return
    try:
        head = _head.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        found.faults.append((file, f"not a resource as JSON: {error}"))
        return
    if head.resourceType is None:
        return
    if not is_resource_type(head.resourceType):
        found.left_out.append((file, f"R4 has no type {head.resourceType[:64]}"))
    elif not head.url:
        found.left_out.append((file, "it has no url, so nothing can refer to it"))
    elif len(head.url) > MAX_URL or "|" in head.url:
        found.left_out.append((file, f"its url has a bar or more than {MAX_URL} signs"))
    else:
        made = Definition(
            type_name=head.resourceType,
            url=head.url,
            version=head.version or "",
            name=head.name if isinstance(head.name, str) else "",
            file=file,
            content=content,
            profile_of=_profile_of(head),
        )
        first = found.definitions.setdefault((made.type_name, made.url, made.version), made)
        if first is not made:
            found.left_out.append((file, f"{first.file} has the same url and version"))


def _profile_of(head: _Head) -> str | None:
    if head.resourceType != "StructureDefinition" or head.kind != "resource":
        return None
    return head.type if head.derivation == "constraint" and is_resource_type(head.type) else None


def _package(found: _Found, digest: bytes) -> Package:
    assert found.manifest is not None
    try:
        manifest = _manifest.decode(found.manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"package/package.json cannot be read: {error}") from error
    for what, text in (("name", manifest.name), ("version", manifest.version)):
        if not _NAME.match(text):
            raise Invalid(
                f"package/package.json has the {what} {text[:140]!r}; letters, digits and . _ - only"
            )
    versions = tuple(manifest.fhirVersions or manifest.fhir_versions)
    if versions and not any(version.startswith(("4.0", "4.3")) for version in versions):
        shown = ", ".join(f"{version} ({_RELEASES.get(version[:3], '?')})" for version in versions)
        raise Unprocessable(
            f"{manifest.name} {manifest.version} is made for FHIR {shown}; this server is R4 (4.0.1) and its "
            "profiles would not fit R4's resources. Many packages have an R4 edition, often named so: .r4"
        )
    return Package(
        name=manifest.name,
        version=manifest.version,
        fhir_versions=versions,
        dependencies=manifest.dependencies or {},
        digest=digest,
        definitions=tuple(found.definitions.values()),
        examples=found.examples,
        faults=tuple(found.faults),
        left_out=tuple(found.left_out),
    )
