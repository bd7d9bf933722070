"""An order → its scheduled procedure steps (PS3.4 K.6.1.2.2, table K.6-1; IHE RAD-5).

A step is an Appointment that is based on the order; without one a Task for it; without one the order itself.
A cancelled Appointment takes its step away and nothing else takes its place: nobody comes.
An order without any time is meant for when it was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, Final

from dicom_node.attributes import Attributes
from dicom_node.workflow import demographics, requested
from dicom_node.workflow.chart import Chart, concepts
from dicom_node.workflow.codes import text_of
from dicom_node.workflow.elements import attributes, short
from dicom_node.workflow.modality import is_imaging, modality_of
from dicom_node.workflow.moments import moment, offset

AE_TITLE: Final = "urn:xinglin:ae-title"
"""System of an identifier of a Device, Location or HealthcareService that is the AE title of its station."""

INTENTS: Final = frozenset({"order", "original-order", "reflex-order", "filler-order", "instance-order"})
_APPOINTMENTS: Final = {
    "proposed": "SCHEDULED",
    "pending": "SCHEDULED",
    "booked": "SCHEDULED",
    "arrived": "ARRIVED",
    "checked-in": "ARRIVED",
}
_TASKS: Final = {
    "requested": "SCHEDULED",
    "received": "SCHEDULED",
    "accepted": "SCHEDULED",
    "ready": "READY",
    "in-progress": "STARTED",
}
TASK_CODES: Final = "http://hl7.org/fhir/CodeSystem/task-code"

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One scheduled procedure step; `attributes` are a whole answer but for our own ids and the UID.

    `stations` are AE titles, none for "any station of the modality".
    """

    source: str
    start: datetime
    open: bool
    modality: str
    stations: tuple[str, ...]
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Order:
    """An imaging order with its steps; `wanted` says that it is to be performed."""

    patient: str
    accession: str
    wanted: bool
    steps: Sequence[Step]


def order_of(chart: Chart, request: Resource, *, known: bool) -> Order | None:
    """Return what the worklist says of a ServiceRequest; None when it is no order for imaging.

    `known` says that it was one before.
    """
    imaging = known or bool(requested.study_uid_of(request)) or is_imaging(concepts(request.get("category")))
    said = concepts(request.get("orderDetail"), request.get("code"), request.get("category"))
    modality = modality_of(said, imaging=imaging)
    if not (imaging or modality) or request.get("intent") not in INTENTS:
        return None
    wanted = request.get("status") == "active" and not request.get("doNotPerform", False)
    patient = chart.follow(request.get("subject"), request) or {}
    address = chart.address(request.get("subject"))
    accession = str(requested.identifier_of(request, "ACSN").get("value", ""))
    if not wanted:
        return Order(address, accession, wanted, [])
    if patient.get("resourceType") == "Patient":
        patient = demographics.current(chart, patient)
    common = (
        demographics.identification(patient, chart.settings)
        | demographics.demographic(patient)
        | demographics.medical(chart, patient)
        | requested.requested(chart, request)
        | requested.service_request(chart, request)
        | requested.visit(chart, request)
    )
    steps = [_step(chart, request, plan, modality, common) for plan in _plans(chart, request)]
    return Order(address, accession, wanted, steps)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What schedules a step, and which elements of it say when, where and by whom."""

    source: Resource
    status: str
    start: str
    end: str
    actors: Sequence[tuple[Any, Resource]]
    """References with the resource that holds them."""

    said: Sequence[Resource]
    description: str = ""
    comment: str = ""


def _plans(chart: Chart, request: Resource) -> list[_Plan]:
    about = f"ServiceRequest/{request['id']}"
    appointments = chart.search("Appointment", ("based-on", about))
    tasks = [
        task
        for task in {
            one["id"]: one for name in ("focus", "based-on") for one in chart.search("Task", (name, about))
        }.values()
        if _performs(task)
    ]
    own = _of_request(request)
    if appointments:
        beside = [_of_task(task) for task in tasks if task.get("status") in _TASKS]
        actors = [*(beside[0].actors if len(beside) == 1 else ()), *own.actors]
        return [_of_appointment(one, actors) for one in appointments]
    if tasks:
        return [_of_task(task, own) for task in tasks]
    return [own]


def _performs(task: Resource) -> bool:
    """Whether a Task is for performing the order, not for approving or changing it."""
    codes = {
        coding.get("code")
        for coding in task.get("code", {}).get("coding", ())
        if coding.get("system") == TASK_CODES
    }
    return not codes or "fulfill" in codes


def _of_appointment(appointment: Resource, more: Sequence[tuple[Any, Resource]]) -> _Plan:
    actors = [
        (participant.get("actor"), appointment)
        for participant in appointment.get("participant", ())
        if participant.get("status") != "declined"
    ]
    period = (appointment.get("requestedPeriod") or [{}])[0]
    return _Plan(
        appointment,
        _APPOINTMENTS.get(str(appointment.get("status")), ""),
        appointment.get("start") or period.get("start", ""),
        appointment.get("end") or period.get("end", ""),
        [*actors, *more],
        concepts(appointment.get("serviceType"), appointment.get("specialty")),
        str(appointment.get("description", "")),
        str(appointment.get("comment", "")),
    )


def _of_task(task: Resource, own: _Plan | None = None) -> _Plan:
    limits = task.get("restriction", {}).get("period", {})
    period = task.get("executionPeriod", {})
    return _Plan(
        task,
        _TASKS.get(str(task.get("status")), ""),
        limits.get("start") or period.get("start") or (own.start if own else ""),
        limits.get("end") or (own.end if own else ""),
        [(task.get("owner"), task), (task.get("location"), task), *(own.actors if own else ())],
        concepts(task.get("code")),
        str(task.get("description", "")),
        "\n".join(str(note["text"]) for note in task.get("note", ()) if note.get("text")),
    )


def _of_request(request: Resource) -> _Plan:
    period, timing = request.get("occurrencePeriod", {}), request.get("occurrenceTiming", {})
    bounds = timing.get("repeat", {}).get("boundsPeriod", {})
    start = (
        request.get("occurrenceDateTime") or period.get("start") or next(iter(timing.get("event", ())), "")
    )
    updated = request.get("meta", {}).get("lastUpdated", "")
    return _Plan(
        request,
        "SCHEDULED" if request.get("status") == "active" else "",
        start or bounds.get("start") or request.get("authoredOn") or updated,
        period.get("end", ""),
        [(one, request) for name in ("performer", "locationReference") for one in request.get(name, ())],
        [],
    )


def _step(chart: Chart, request: Resource, plan: _Plan, modality: str, common: Attributes) -> Step:
    zone = chart.settings.zone
    start = moment(str(plan.start), zone) or chart.context.clock().astimezone(zone)
    if "T" not in str(plan.start):
        start = datetime.combine(start.date(), time(), zone)
    end = moment(str(plan.end), zone) if "T" in str(plan.end) else None
    found = [
        (chart.follow(actor, holder) or {}, actor, holder)
        for actor, holder in plan.actors
        if isinstance(actor, dict)
    ]
    places = [(one, actor) for one, actor, _ in found if one.get("resourceType") in _STATIONED]
    stations = next((titles for one, _ in places if (titles := _titles(one))), ())
    if not modality:
        kinds = [one.get(name) for one, _ in places for name in ("type", "specialty")]
        modality = modality_of([*plan.said, *concepts(*kinds)], imaging=True)
    performers = [(actor, holder) for one, actor, holder in found if _is_person(chart, one, actor)]
    code_text = text_of(request.get("code"))
    scheduled = attributes(
        ScheduledStationAETitle=list(stations),
        ScheduledProcedureStepStartDate=f"{start:%Y%m%d}",
        ScheduledProcedureStepStartTime=f"{start:%H%M%S}",
        ScheduledProcedureStepEndDate=f"{end:%Y%m%d}" if end else None,
        ScheduledProcedureStepEndTime=f"{end:%H%M%S}" if end else None,
        Modality=modality or "OT",
        ScheduledPerformingPhysicianName=[requested.physician(chart, *one) for one in performers[:1]],
        ScheduledPerformingPhysicianIdentificationSequence=[
            item for one in performers[:1] for item in requested.identified(chart, *one)
        ],
        ScheduledProcedureStepDescription=plan.description or code_text,
        ScheduledStationName=[short(name) for one, actor in places if (name := _device_name(one, actor))],
        ScheduledProcedureStepLocation=[
            short(str(one.get("name") or actor.get("display") or ""))
            for one, actor in places
            if one.get("resourceType") == "Location"
        ][:1],
        ScheduledProtocolCodeSequence=requested.protocol_codes(request),
        PreMedication=None,
        RequestedContrastAgent=_contrast(request),
        ScheduledProcedureStepStatus=plan.status or None,
        CommentsOnTheScheduledProcedureStep=plan.comment,
    )
    whole = common | attributes(
        ScheduledProcedureStepSequence=[scheduled],
        TimezoneOffsetFromUTC=offset(date(start.year, start.month, start.day), start.time(), zone),
    )
    return Step(
        source=f"{plan.source['resourceType']}/{plan.source['id']}",
        start=start.replace(tzinfo=None),
        open=bool(plan.status),
        modality=modality or "OT",
        stations=tuple(stations),
        attributes=whole,
    )


_STATIONED = frozenset({"Device", "Location", "HealthcareService"})


def _titles(place: Resource) -> tuple[str, ...]:
    """Return the AE titles of a Device, Location or HealthcareService."""
    return tuple(
        str(one["value"]).strip()
        for one in place.get("identifier", ())
        if one.get("value")
        and len(str(one["value"]).strip()) <= 16
        and (one.get("system") == AE_TITLE or str(one.get("type", {}).get("text", "")).lower() == "ae title")
    )


def _device_name(place: Resource, actor: Resource) -> str:
    if place.get("resourceType") != "Device":
        return ""
    names: Iterable[Resource] = place.get("deviceName", ())
    return next((str(one["name"]) for one in names if one.get("name")), str(actor.get("display", "")))


def _is_person(chart: Chart, found: Resource, actor: Resource) -> bool:
    kind = found.get("resourceType") or chart.address(actor).partition("/")[0] or actor.get("type")
    return kind in ("Practitioner", "PractitionerRole")


def _contrast(request: Resource) -> str | None:
    """Return what the order's details say of contrast."""
    for concept in concepts(request.get("orderDetail")):
        text = text_of(concept)
        if "contrast" in text.lower():
            return text
    return None
