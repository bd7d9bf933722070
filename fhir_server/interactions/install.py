"""Installing and removing FHIR packages, while the server runs.

A package comes in whole or not at all, in one transaction that begins a new generation: what is
written meanwhile is judged by the state before or the one after. Its definitions are checked first;
with one that is faulty the package is refused, unless `lenient` leaves the faulty ones out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from fhir_server.authorization.permit import permit
from fhir_server.definitions.package import CORE, Definition, Package
from fhir_server.interactions import parameters
from fhir_server.interactions.context import Context
from fhir_server.interactions.parameters import Settled
from fhir_server.model import json_format
from fhir_server.outcome import FhirError, Issue, NotFound, Unprocessable
from fhir_server.storage import packages
from fhir_server.storage.definitions import STORED
from fhir_server.storage.packages import Installed
from fhir_server.validation import invariants
from fhir_server.validation.knowledge import R4
from fhir_server.validation.validator import structural

MOST_FAULTS = 100


@dataclass(frozen=True, slots=True)
class Installation:
    """What became of a package: `status` is installed, replaced, unchanged or built-in.

    `notes` are what the installer should know: dependencies that are not there, files left out.
    """

    name: str
    version: str
    status: str
    counts: dict[str, int]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            "name": self.name,
            "version": self.version,
            "status": self.status,
            "definitions": sum(self.counts.values()),
            "counts": self.counts,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Checked:
    """A package whose definitions were looked at: those to take, and what is wrong with the others."""

    package: Package
    taken: tuple[Definition, ...]
    faults: tuple[Issue, ...]


def check(package: Package) -> Checked:
    """Hold the definitions that validation reads against R4; takes no database and some time."""
    taken: list[Definition] = []
    faults = [Issue("error", "structure", f"{file}: {reason}") for file, reason in package.faults]
    for definition in () if package.built_in else package.definitions:
        wrong = _wrong(definition) if definition.type_name in STORED else []
        if wrong:
            faults += wrong
        else:
            taken.append(definition)
    return Checked(package, tuple(taken), tuple(faults))


def _wrong(definition: Definition) -> list[Issue]:
    """Return the breaks of structure and invariants, on which everything that reads a definition relies.

    What else an author may have miswritten (a wrong count of concepts in US Core 3.1.1) is no reason
    to go without a whole package.
    """
    try:
        resource = json_format.parse(definition.content)
        found = list(structural(resource, R4)) or list(invariants.check(resource, R4))
    except FhirError as error:
        found = list(error.issues)
    return [
        Issue(issue.severity, issue.code, f"{definition.file}: {issue.diagnostics}", issue.expression)
        for issue in found
        if issue.severity in ("error", "fatal")
    ]


def install(context: Context, checked: Checked, *, lenient: bool = False) -> Installation:
    """Install a package, or put it in the place of what stands under its name and version.

    The same bytes once more change nothing. Raises Unprocessable (422) with the faults of the
    definitions, unless `lenient`.
    """
    permit(context.grant, "install", "ImplementationGuide")
    package = checked.package
    if package.built_in:
        says = "R4's own definitions are built in and cannot be replaced; nothing was installed"
        return Installation(package.name, package.version, "built-in", {}, (says,))
    if checked.faults and not lenient:
        raise Unprocessable(issues=_refusal(package, checked.faults))
    context.unit.lock([packages.LOCK])
    there = packages.installed(context.unit)
    before = [each for each in there if (each.name, each.version) == (package.name, package.version)]
    notes = _notes(checked, there)
    if before and before[0].digest == package.digest and len(checked.taken) == sum(before[0].counts.values()):
        return Installation(package.name, package.version, "unchanged", before[0].counts, notes)
    packages.put(context.unit, package, list(checked.taken), context.now(), context.grant.subject)
    counts: dict[str, int] = {}
    for each in checked.taken:
        counts[each.type_name] = counts.get(each.type_name, 0) + 1
    status = "replaced" if before else "installed"
    settled = parameters.settle(
        context.unit, context.now(), context.grant.subject, context.settings.reindex_rate
    )
    notes += _of_parameters(
        settled, {each.url for each in checked.taken if each.type_name == parameters.TYPE}
    )
    return Installation(package.name, package.version, status, dict(sorted(counts.items())), notes)


def _of_parameters(settled: Settled, urls: Collection[str]) -> tuple[str, ...]:
    """Return what became of the search parameters of a package, in words."""
    notes = []
    if new := sorted({f"{each.type_name}?{each.code}" for each in settled.new if each.url in urls}):
        notes.append(
            f"{', '.join(new)} can be searched by when what is stored is indexed: "
            f"GET /fhir/$reindex-status?job={settled.job} tells how far that is"
        )
    notes += [f"{url} is not searched by: {why}" for url, why in settled.left_out if url in urls]
    return tuple(notes[:MOST_FAULTS])


def _refusal(package: Package, faults: Sequence[Issue]) -> list[Issue]:
    files = len({issue.diagnostics.partition(":")[0] for issue in faults})
    head = Issue(
        "error",
        "processing",
        f"{package.name} {package.version} was not installed: {files} of its definitions break R4's rules. "
        "Have them mended, or install it leniently (--lenient, lenient=true), which leaves them out",
    )
    return [head, *faults[:MOST_FAULTS]]


def _notes(checked: Checked, there: Sequence[Installed]) -> tuple[str, ...]:
    """Return what is missing or was left out, in words."""
    package = checked.package
    notes = []
    for name, version in sorted(package.dependencies.items()):
        versions = [each.version for each in there if each.name == name]
        if CORE.match(name) or _fits(version, versions):
            continue
        others = f"; installed is {', '.join(versions)}" if versions else ""
        notes.append(
            f"it depends on {name} {version}, which is not installed{others}: "
            "profiles and codes that stand there are not known"
        )
    if any(version.startswith("4.3") for version in package.fhir_versions):
        notes.append("it is made for R4B (4.3) and is read as R4")
    notes += [f"{file} is left out: {reason}" for file, reason in package.left_out[:MOST_FAULTS]]
    notes += [f"left out as faulty: {issue.diagnostics}" for issue in checked.faults[:MOST_FAULTS]]
    return tuple(notes)


def _fits(wanted: str, versions: Sequence[str]) -> bool:
    """Say whether a dependency is there; `5.0.x` and `latest` take what fits.

    >>> _fits("5.0.x", ["5.0.2"]), _fits("5.0.0", ["5.1.0"]), _fits("latest", ["1.0.0"])
    (True, False, True)
    """
    if wanted in ("latest", "current", "dev", "*"):
        return bool(versions)
    if wanted.endswith((".x", ".*")):
        return any(version.startswith(wanted[:-1]) for version in versions)
    return wanted in versions


def remove(context: Context, name: str, version: str | None = None) -> list[Installed]:
    """Take a package away, all its versions when none is named, and return what went.

    Raises NotFound (404) when there is no such package.
    """
    permit(context.grant, "install", "ImplementationGuide")
    context.unit.lock([packages.LOCK])
    found = packages.installed(context.unit, name, version)
    if not found:
        known = sorted({f"{each.name}@{each.version}" for each in packages.installed(context.unit)})
        what = f"{name}@{version}" if version else name
        raise NotFound(
            f"the package {what} is not installed; installed: {', '.join(known) or 'none'}",
            expression="ImplementationGuide",
        )
    packages.remove(context.unit, [each.pk for each in found])
    parameters.settle(context.unit, context.now(), context.grant.subject, context.settings.reindex_rate)
    return found


def installed(context: Context) -> list[Installed]:
    """Return the packages that are installed."""
    permit(context.grant, "read", "ImplementationGuide")
    return packages.installed(context.unit)
