"""An order as requested procedure, imaging service request and visit (PS3.4 table K.6-1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from dicom_node.attributes import Attributes
from dicom_node.coding_schemes import DCM
from dicom_node.workflow.chart import Chart, concepts
from dicom_node.workflow.codes import code_items, text_of
from dicom_node.workflow.demographics import universal
from dicom_node.workflow.elements import attributes, is_uid, short
from dicom_node.workflow.moments import date_time
from dicom_node.workflow.person import from_text, person_name

UID_SYSTEM: Final = "urn:dicom:uid"
IDENTIFIER_TYPE: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
_PRIORITIES: Final = {"stat": "STAT", "asap": "HIGH", "urgent": "HIGH", "routine": "ROUTINE"}
_VISITS: Final = {
    "planned": "SCHEDULED",
    "arrived": "ADMITTED",
    "triaged": "ADMITTED",
    "in-progress": "ADMITTED",
    "onleave": "ADMITTED",
    "finished": "DISCHARGED",
}

Resource = dict[str, Any]


def identifier_of(resource: Resource, kind: str) -> Resource:
    """Return the identifier of a type (ACSN, PLAC, FILL, VN …); an empty one without it."""
    for one in resource.get("identifier", ()):
        if one.get("value") and kind in {
            coding.get("code") for coding in one.get("type", {}).get("coding", ())
        }:
            return dict(one)
    return {}


def study_uid_of(request: Resource) -> str:
    """Return the Study Instance UID that an order carries, or the empty string.

    >>> study_uid_of({"identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}]})
    '1.2.3'
    """
    for one in request.get("identifier", ()):
        uid = str(one.get("value", "")).removeprefix("urn:oid:")
        if one.get("system") == UID_SYSTEM and is_uid(uid):
            return uid
    return ""


def requested(chart: Chart, request: Resource) -> Attributes:
    """Return the requested procedure, without its id and Study Instance UID."""
    reasons = concepts(request.get("reasonCode"))
    for reference in request.get("reasonReference", ()):
        reason = chart.follow(reference, request)
        shown = {"text": reference["display"]} if reference.get("display") else None
        reasons = [*reasons, *concepts(reason.get("code") if reason else shown)]
    code = request.get("code", {})
    return attributes(
        RequestedProcedureDescription=text_of(code),
        RequestedProcedureCodeSequence=code_items(code),
        ReferencedStudySequence=[],
        RequestedProcedurePriority=_PRIORITIES.get(str(request.get("priority", "")), "ROUTINE"),
        PatientTransportArrangements=None,
        ReasonForTheRequestedProcedure="; ".join(text for one in reasons if (text := text_of(one))),
        ReasonForRequestedProcedureCodeSequence=[item for one in reasons for item in code_items(one)],
        RequestedProcedureComments="\n".join(
            str(note["text"]) for note in request.get("note", ()) if note.get("text")
        ),
        AdditionalPatientHistory="; ".join(
            text
            for reference in request.get("supportingInfo", ())
            if (text := _supporting(chart, reference, request))
        ),
    )


def _supporting(chart: Chart, reference: Resource, request: Resource) -> str:
    if not chart.address(reference).startswith("Condition/"):
        return ""
    found = chart.follow(reference, request) or {}
    return text_of(found.get("code")) or str(reference.get("display", ""))


def protocol_codes(request: Resource) -> list[Attributes]:
    """Return the codes by which a station chooses its protocol: order details, else the procedure itself.

    A detail that only names the modality chooses nothing.
    """
    details = [
        concept
        for concept in concepts(request.get("orderDetail"))
        if {coding.get("system") for coding in concept.get("coding", ())} != {DCM}
    ]
    found = [item for concept in details for item in code_items(concept)]
    return found or code_items(request.get("code", {}))


def service_request(chart: Chart, request: Resource) -> Attributes:
    """Return accession number with its issuer, who asked, and the numbers of the order.

    An accession number of more than sixteen characters cannot stand in its VR: it is left out, never cut.
    """
    accession = identifier_of(request, "ACSN")
    placer = identifier_of(request, "PLAC") or request.get("requisition", {})
    filler = identifier_of(request, "FILL")
    requester = request.get("requester")
    name, service = _person(chart, requester, request)
    date, time = date_time(str(request.get("authoredOn", "")), chart.settings.zone)
    found = attributes(
        AccessionNumber=accession.get("value"),
        IssuerOfAccessionNumberSequence=_issuer(accession),
        RequestingPhysician=[name],
        RequestingPhysicianIdentificationSequence=_identified(chart, requester, request),
        RequestingService=service,
        PlacerOrderNumberImagingServiceRequest=placer.get("value"),
        OrderPlacerIdentifierSequence=_issuer(placer),
        FillerOrderNumberImagingServiceRequest=filler.get("value"),
        OrderFillerIdentifierSequence=_issuer(filler),
        IssueDateOfImagingServiceRequest=date,
        IssueTimeOfImagingServiceRequest=time,
        ImagingServiceRequestComments=request.get("patientInstruction"),
        ReferringPhysicianName=[name],
        ReferringPhysicianIdentificationSequence=_identified(chart, requester, request),
    )
    encounter = chart.follow(request.get("encounter"), request)
    for participant in (encounter or {}).get("participant", ()):
        if _plays(participant, ("REF", "RFR")):
            referrer = participant.get("individual")
            found |= attributes(
                ReferringPhysicianName=[_person(chart, referrer, encounter or {})[0]],
                ReferringPhysicianIdentificationSequence=_identified(chart, referrer, encounter or {}),
            )
    return found


def visit(chart: Chart, request: Resource) -> Attributes:
    """Return admission, present location and institution, from the Encounter of the order."""
    encounter = chart.follow(request.get("encounter"), request) or {}
    admission = identifier_of(encounter, "VN") or next(
        (one for one in encounter.get("identifier", ()) if one.get("value")), {}
    )
    date, time = date_time(str(encounter.get("period", {}).get("start", "")), chart.settings.zone)
    places = [
        place.get("location", {})
        for place in encounter.get("location", ())
        if place.get("status", "active") == "active"
    ]
    diagnoses = []
    for one in encounter.get("diagnosis", ()):
        condition = chart.follow(one.get("condition"), encounter) or {}
        diagnoses.append(text_of(condition.get("code")) or one.get("condition", {}).get("display", ""))
    return attributes(
        AdmissionID=admission.get("value"),
        IssuerOfAdmissionIDSequence=_issuer(admission),
        CurrentPatientLocation=_named(chart, places[-1], encounter) if places else None,
        InstitutionName=_named(chart, encounter.get("serviceProvider"), encounter),
        VisitStatusID=_VISITS.get(str(encounter.get("status"))),
        AdmittingDate=date,
        AdmittingTime=time,
        AdmittingDiagnosesDescription=diagnoses,
        ReferencedPatientSequence=[],
        PatientState=None,
        SpecialNeeds=None,
    )


def physician(chart: Chart, reference: Any, holder: Resource) -> dict[str, str]:
    """Return the name of the person behind a Reference."""
    return _person(chart, reference, holder)[0]


def identified(chart: Chart, reference: Any, holder: Resource) -> list[Attributes]:
    """Return a person by his identifier, as an item of an identification sequence; none without one."""
    return _identified(chart, reference, holder)


def _person(chart: Chart, reference: Any, holder: Resource) -> tuple[dict[str, str], str]:
    """Return the name of a person, and of the organisation for which he acts."""
    if not isinstance(reference, Mapping):
        return {}, ""
    found = chart.follow(reference, holder) or {}
    display = str(reference.get("display", ""))
    match found.get("resourceType"):
        case "PractitionerRole":
            name, _ = _person(chart, found.get("practitioner"), found)
            return name or from_text(display), _named(chart, found.get("organization"), found)
        case "Organization":
            return {}, str(found.get("name", display))
        case "Practitioner" | "Patient" | "RelatedPerson":
            return person_name(found.get("name", ())) or from_text(display), ""
    return from_text(display), ""


def _identified(chart: Chart, reference: Any, holder: Resource) -> list[Attributes]:
    found = chart.follow(reference, holder) or {}
    if found.get("resourceType") == "PractitionerRole":
        return _identified(chart, found.get("practitioner"), found)
    if found.get("resourceType") != "Practitioner":
        return []
    name = person_name(found.get("name", ())).get("Alphabetic", "").replace("^", " ").strip()
    codes = [
        item
        for one in found.get("identifier", ())
        if one.get("value")
        for item in code_items(
            {"coding": [{"system": one.get("system"), "code": one["value"], "display": name or one["value"]}]}
        )
    ]
    if not codes:
        return []
    return [attributes(PersonIdentificationCodeSequence=codes, InstitutionName=None)]


def _named(chart: Chart, reference: Any, holder: Resource) -> str:
    """Return what a place or an organisation is called."""
    if not isinstance(reference, Mapping):
        return ""
    found = chart.follow(reference, holder) or {}
    return str(found.get("name") or reference.get("display") or "")


def _issuer(identifier: Mapping[str, Any]) -> list[Attributes]:
    """Return who gave an identifier as an HL7v2 hierarchic designator; none when nobody says."""
    if not identifier.get("value"):
        return []
    system, assigner = identifier.get("system"), identifier.get("assigner", {}).get("display")
    item: Attributes = attributes(LocalNamespaceEntityID=assigner) if assigner else {}
    if system:
        item |= universal(str(system))
    return [item] if item else []


def _plays(participant: Resource, roles: Iterable[str]) -> bool:
    wanted = set(roles)
    return any(
        coding.get("code") in wanted
        for kind in participant.get("type", ())
        for coding in kind.get("coding", ())
    )


def place_name(text: str) -> str:
    """Return the name of a place as an SH holds it."""
    return short(text)
