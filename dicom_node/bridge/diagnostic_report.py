"""A structured report → a DiagnosticReport (R4/diagnosticreport.html); its measurements are Observations.

Pure. The text of the report is the narrative; conclusion and conclusionCode come from impression and
conclusion; `presentedForm` leads to the object itself in DICOMweb.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dicom_node.attributes import Attributes
from dicom_node.bridge.codes import concept, items, text, without_gaps
from dicom_node.bridge.people import spelled
from dicom_node.bridge.source import Source
from dicom_node.instance import first
from dicom_node.structured_report.content import Tree, meaning
from dicom_node.structured_report.wording import conclusion, conclusion_codes, narrative

_SR: Final = "1.2.840.10008.5.1.4.1.1.88."
REPORTS: Final = frozenset(
    _SR + last
    for last in ("1", "2", "11", "22", "33", "34", "35", "50", "65", "67", "68", "69", "72", "73", "76")
)
"""Basic text, enhanced, comprehensive, extensible, CAD, dose and echo reports; what documents a procedure
(log, acquisition context, planned agents) is no report on the patient and stays in the ImagingStudy."""

_RADIOLOGY: Final = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD", "display": "Radiology"}
    ]
}

Resource = dict[str, Any]


def status(found: Attributes) -> str:
    """Return the status of a report (PS3.3 C.17.2: completion, verification, preliminary flag).

    >>> status({"0040A491": {"Value": ["COMPLETE"]}, "0040A493": {"Value": ["VERIFIED"]}})
    'final'
    """
    if first(found, "0040A491") == "PARTIAL":
        return "partial"
    verified = first(found, "0040A493") == "VERIFIED"
    if first(found, "0040A496") == "PRELIMINARY" or (not verified and first(found, "0040A496") != "FINAL"):
        return "preliminary"
    return "amended" if items(found, "0040A360") else "final"  # predecessor documents


def observation_status(report: str) -> str:
    """Return the status of the Observations of a report of this status."""
    return "preliminary" if report in ("partial", "preliminary") else report


def diagnostic_report(source: Source, tree: Tree, results: Sequence[str]) -> Resource:
    """Return the DiagnosticReport of a structured report; `results` are references to its Observations."""
    found = source.attributes
    title = meaning(tree.root.name) or "Structured report"
    codes = [said for item in conclusion_codes(tree) if (said := concept(item.code))]
    interpreters, organizations = _verifiers(found)
    return without_gaps(
        {
            "resourceType": "DiagnosticReport",
            "text": {"status": "generated", "div": narrative(tree, title)},
            "identifier": [source.identifier],
            "basedOn": [{"reference": reference} for reference in source.based_on],
            "status": status(found),
            "category": [_RADIOLOGY],
            "code": concept(tree.root.name) or {"text": title},
            "subject": {"reference": source.subject},
            "effectiveDateTime": source.started or source.made,
            "issued": source.issued,
            "performer": organizations,
            "resultsInterpreter": interpreters,
            "result": [{"reference": reference} for reference in results],
            "imagingStudy": [{"reference": source.imaging}],
            "conclusion": conclusion(tree),
            "conclusionCode": codes,
            "presentedForm": [{"contentType": "application/dicom", "url": source.address, "title": title}],
        }
    )


def _verifiers(found: Attributes) -> tuple[list[Resource], list[Resource]]:
    """Return who verified the report, else who wrote it, and their organizations, by name."""
    people: list[Resource] = []
    organizations: list[Resource] = []
    for sequence, person, organization in (
        ("0040A073", "0040A075", "0040A027"),  # verifying observer
        ("0040A078", "0040A123", "00080080"),  # author observer
    ):
        for item in items(found, sequence):
            name = first(item, person)
            if isinstance(name, dict) and (said := spelled(name)) and {"display": said} not in people:
                people.append({"display": said})
            if (said := text(item, organization)) and {"display": said} not in organizations:
                organizations.append({"display": said})
        if people:
            break
    return people, organizations
