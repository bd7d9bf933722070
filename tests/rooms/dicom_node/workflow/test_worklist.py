"""dimse/worklist: modalities ask what is to be done (PS3.4 Annex K)."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pynetdicom import AE

from tests.support.clause import clause
from tests.support.dicom_fixtures import Node
from tests.support.orders import DCM, Hospital, order, patient
from tests.support.server import Server, wait_for

WORKLIST = "1.2.840.10008.5.1.4.31"


def ask(port: int, identifier: Dataset, title: str = "CT1") -> list[Dataset]:
    """Return the answers to a C-FIND that pynetdicom sends."""
    ae = AE(title)
    ae.add_requested_context(WORKLIST)
    association = ae.associate("127.0.0.1", port, ae_title="XINGLIN")
    assert association.is_established
    found, last = [], None
    for status, answer in association.send_c_find(identifier, WORKLIST):
        last = status.Status
        if last in (0xFF00, 0xFF01):
            found.append(answer)
    association.release()
    assert last == 0x0000
    return found


def keys(scheduled: dict[str, Any] | None = None, **top: Any) -> Dataset:
    identifier = Dataset()
    for keyword, value in {"PatientName": "", "PatientID": "", "AccessionNumber": "", **top}.items():
        setattr(identifier, keyword, value)
    item = Dataset()
    wanted = {
        "Modality": "",
        "ScheduledStationAETitle": "",
        "ScheduledProcedureStepStartDate": "",
        "ScheduledProcedureStepStartTime": "",
        **(scheduled or {}),
    }
    for keyword, value in wanted.items():
        setattr(item, keyword, value)
    identifier.ScheduledProcedureStepSequence = [item]
    return identifier


PEOPLE = [
    ("P1", {"family": "Müller", "given": ["Jörg"]}, "2026-01-02T09:30:00+01:00", "CT"),
    ("P2", {"family": "Muster", "given": ["Anna"]}, "2026-01-02T14:00:00+01:00", "MR"),
    ("P3", {"family": "Yamada", "given": ["Tarou"]}, "2026-01-03T08:00:00+01:00", "CT"),
    ("P4", {"family": "O'Neil", "given": ["Sean"]}, "2026-02-01", "US"),
]


@pytest.fixture
def day(hospital: Hospital) -> Hospital:
    """Four orders, one of them at the station CT7."""
    device = hospital.add(
        {"resourceType": "Device", "identifier": [{"system": "urn:xinglin:ae-title", "value": "CT7"}]}
    )
    for number, (id_, name, start, modality) in enumerate(PEOPLE, 1):
        more = {"performer": [{"reference": device}]} if id_ == "P3" else {}
        names = [name]
        if id_ == "P3":
            names.append({"family": "山田", "given": ["太郎"]})
        hospital.add(
            order(
                hospital.add(patient(id_, name=names)),
                f"A{number}",
                occurrenceDateTime=start,
                orderDetail=[{"coding": [{"system": DCM, "code": modality}]}],
                **more,
            )
        )
    hospital.drain()
    return hospital


@clause("PS3.4 K.6.1.2", "matching by each kind, within the sequence too")
@pytest.mark.parametrize(
    ("identifier", "found"),
    [
        (keys(), "P1 P2 P3 P4"),
        (keys({"Modality": "CT"}), "P1 P3"),
        (keys({"ScheduledProcedureStepStartDate": "20260102"}), "P1 P2"),
        (keys({"ScheduledProcedureStepStartDate": "20260102-20260103"}), "P1 P2 P3"),
        (keys({"ScheduledProcedureStepStartDate": "20260103-"}), "P3 P4"),
        (keys({"ScheduledProcedureStepStartDate": "-20260102"}), "P1 P2"),
        (
            keys(
                {
                    "ScheduledProcedureStepStartDate": "20260102-20260103",
                    "ScheduledProcedureStepStartTime": "100000-090000",
                }
            ),
            "P2 P3",
        ),
        (keys({"ScheduledProcedureStepStartTime": "0900-1000"}), "P1"),
        (keys({"ScheduledStationAETitle": "CT7"}), "P1 P2 P3 P4"),
        (keys({"ScheduledStationAETitle": "CT7", "Modality": "CT"}), "P1 P3"),
        (keys({"ScheduledStationAETitle": "MR1"}), "P1 P2 P4"),
        (keys(PatientName="MU*"), "P1 P2"),
        (keys(PatientName="mueller*"), ""),
        (keys(PatientName="m?ller^jorg"), "P1"),
        (keys(PatientName="山田*", SpecificCharacterSet="ISO_IR 192"), "P3"),
        (keys(PatientName="*tarou"), "P3"),
        (keys(PatientID="P2"), "P2"),
        (keys(PatientID="P?"), "P1 P2 P3 P4"),
        (keys(AccessionNumber="A4"), "P4"),
        (keys(AccessionNumber="A9"), ""),
        (keys({"Modality": "CT"}, AccessionNumber="A2"), ""),
    ],
)
def test_matching(day: Hospital, dimse_port: int, identifier: Dataset, found: str) -> None:
    answers = ask(dimse_port, identifier)
    assert " ".join(str(one.PatientID) for one in answers) == found


@clause("PS3.4 K.4.1.1.3.2", "the answer has the keys of the request, with a value or without")
def test_return_keys(day: Hospital, dimse_port: int) -> None:
    identifier = keys(PatientID="P1", StudyInstanceUID="", RequestedProcedureID="", PregnancyStatus=None)
    identifier.RequestedProcedureCodeSequence = []
    (answer,) = ask(dimse_port, identifier, "CT9")
    assert {element.keyword for element in answer} == {
        "SpecificCharacterSet",
        "AccessionNumber",
        "PatientName",
        "PatientID",
        "PregnancyStatus",
        "StudyInstanceUID",
        "RequestedProcedureID",
        "RequestedProcedureCodeSequence",
        "ScheduledProcedureStepSequence",
    }
    (scheduled,) = answer.ScheduledProcedureStepSequence
    assert {element.keyword for element in scheduled} == {
        "Modality",
        "ScheduledStationAETitle",
        "ScheduledProcedureStepStartDate",
        "ScheduledProcedureStepStartTime",
    }
    assert scheduled.ScheduledStationAETitle == "CT9"
    assert answer.StudyInstanceUID.startswith("2.25.")
    assert answer.RequestedProcedureCodeSequence[0].CodeMeaning == "CT Chest"


@clause("PS3.5 6.1", "answers come in the character set of the request while it can say them")
@pytest.mark.parametrize(
    ("asked", "id_", "answered", "raw"),
    [
        ("ISO_IR 100", "P1", "ISO_IR 100", "Müller^Jörg".encode("latin_1")),
        ("ISO_IR 192", "P1", "ISO_IR 192", "Müller^Jörg".encode()),
        ("", "P1", "ISO_IR 192", "Müller^Jörg".encode()),
        ("ISO_IR 100", "P3", "ISO_IR 192", "Yamada^Tarou=山田^太郎".encode()),
        ("GB18030", "P3", "GB18030", "Yamada^Tarou=山田^太郎".encode("gb18030")),
        ("\\ISO 2022 IR 87", "P3", ["", "ISO 2022 IR 87"], None),
    ],
)
def test_character_sets(
    day: Hospital, dimse_port: int, asked: str, id_: str, answered: Any, raw: bytes | None
) -> None:
    identifier = keys(PatientID=id_)
    if asked:
        identifier.SpecificCharacterSet = asked.split("\\") if "\\" in asked else asked
    (answer,) = ask(dimse_port, identifier)
    assert answer.SpecificCharacterSet == answered
    if raw is not None:
        assert answer.PatientName.original_string.rstrip(b" ") == raw
    answer.decode()
    expected = {"P1": "Müller^Jörg", "P3": "Yamada^Tarou=山田^太郎"}[id_]
    assert str(answer.PatientName) == expected


def test_what_was_asked_is_noted(day: Hospital, dimse_port: int, node: Node) -> None:
    ask(dimse_port, keys(PatientID="P1"))
    ((event,),) = node.rows("SELECT event FROM dicom_audit WHERE event->>'kind' = '110112'")
    assert event["source"]["ae"] == "CT1"
    assert event["sop_class"] == WORKLIST


def test_an_identifier_that_cannot_be_read(day: Hospital, dimse_port: int) -> None:
    """A data set that breaks off is refused with a status, and the association lives on."""
    from dicom_node.dimse import command as commands
    from dicom_node.dimse.command import CommandField
    from dicom_node.dimse.requestor import Remote, associate
    from dicom_node.upper_layer.negotiation import Proposed

    with associate(Remote("XINGLIN", "127.0.0.1", dimse_port), "CT1", [Proposed(WORKLIST)]) as association:
        command: commands.Command = {
            commands.COMMAND_FIELD: CommandField.C_FIND_RQ,
            commands.AFFECTED_SOP_CLASS_UID: WORKLIST,
            commands.PRIORITY: 0,
        }
        answer, _ = association.request(
            association.contexts[0], dict(command), b"\x10\x00\x20\x00LO\xff\x00P1"
        )
        assert answer[commands.STATUS] == 0xC000
        answers = list(association.requests(association.contexts[0], dict(command), b""))
        assert [one[0][commands.STATUS] for one in answers] == [0xFF00] * 4 + [0]


@clause("PS3.4 K.4.1.3", "a C-CANCEL ends the answers")
def test_cancel(day: Hospital, dimse_port: int) -> None:
    ae = AE("CT1")
    ae.add_requested_context(WORKLIST)
    association = ae.associate("127.0.0.1", dimse_port, ae_title="XINGLIN")
    statuses = []
    for status, _ in association.send_c_find(keys(), WORKLIST, msg_id=7):
        if not statuses:
            association.send_c_cancel(7, query_model=WORKLIST)
        statuses.append(status.Status)
    association.release()
    assert statuses[-1] in (0x0000, 0xFE00)


SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
"""Where Debian's tools are: pynetdicom brings programs of the same names."""


def tool(name: str) -> str:
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        pytest.skip(f"{name} of dcmtk is not installed")
    return found


def findscu(folder: Path, port: int, title: str, *options: str, **environment: str) -> list[Dataset]:
    """Return what dcmtk's findscu is answered."""
    folder.mkdir(exist_ok=True)
    command = [tool("findscu"), "-W", "-aec", title, "-aet", "CT7", "-X", "-od", str(folder), *options]
    environment = {"PATH": SYSTEM_PATH, **environment}
    subprocess.run([*command, "127.0.0.1", str(port)], check=True, timeout=60, env=environment)
    return [dcmread(path, force=True) for path in sorted(folder.glob("rsp*.dcm"))]


@pytest.mark.parametrize("environment", [{}, {"TCP_NODELAY": "1"}])
def test_findscu(day: Hospital, dimse_port: int, tmp_path: Path, environment: dict[str, str]) -> None:
    asked = ["-k", "0010,0010=MU*", "-k", "0010,0020", "-k", "0040,0100[0].0008,0060=CT"]
    (answer,) = findscu(tmp_path / "out", dimse_port, "XINGLIN", *asked, **environment)
    assert (answer.PatientID, answer.ScheduledProcedureStepSequence[0].Modality) == ("P1", "CT")


RETURNED = (
    "AccessionNumber", "ReferringPhysicianName", "PatientName", "PatientID", "PatientBirthDate",
    "PatientSex", "PatientWeight", "MedicalAlerts", "Allergies", "PregnancyStatus", "StudyInstanceUID",
    "RequestingPhysician", "RequestedProcedureDescription", "AdmissionID", "SpecialNeeds",
    "CurrentPatientLocation", "PatientState", "RequestedProcedureID", "RequestedProcedurePriority",
    "PatientTransportArrangements",
)  # fmt: skip
STEP = (
    "Modality", "ScheduledStationAETitle", "ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepStartTime", "ScheduledPerformingPhysicianName",
    "ScheduledProcedureStepDescription", "ScheduledProcedureStepID", "ScheduledStationName",
    "ScheduledProcedureStepLocation", "PreMedication", "RequestedContrastAgent",
)  # fmt: skip


def options(matched: dict[str, str], step: dict[str, str]) -> list[str]:
    """Return findscu's keys: all that are returned, some with a value to match."""
    found = ["-k", "0008,0005=ISO_IR 192"]
    for prefix, keywords, values in (("", RETURNED, matched), ("0040,0100[0].", STEP, step)):
        for keyword in keywords:
            tag = Tag(keyword)
            found += ["-k", f"{prefix}{tag.group:04x},{tag.element:04x}={values.get(keyword, '')}"]
    return found


def dumped(answer: Dataset) -> str:
    """Return an answer as dump2dcm reads it."""

    def lines(dataset: Dataset) -> Iterator[str]:
        for element in dataset:
            tag = f"({element.tag.group:04x},{element.tag.element:04x})"
            values = element.value if element.VM > 1 else [element.value]
            if element.VR == "SQ":
                yield f"{tag} SQ"
                for item in element.value:
                    yield "(fffe,e000) -"
                    yield from lines(item)
                    yield "(fffe,e00d) -"
                yield "(fffe,e0dd) -"
            elif element.VM == 0 or element.value in ("", None):
                yield f"{tag} {element.VR}"
            elif element.VR == "US":
                yield f"{tag} US {element.value}"
            else:
                yield f"{tag} {element.VR} [{chr(92).join(str(one) for one in values)}]"

    return "\n".join(lines(answer)) + "\n"


def plain(dataset: Dataset) -> dict[str, Any]:
    """Return what an answer says, for comparing: empty and missing are the same, sequences are lists."""
    found: dict[str, Any] = {}
    for element in dataset:
        if element.VR == "SQ":
            found[element.keyword] = [plain(item) for item in element.value]
        elif element.keyword != "SpecificCharacterSet" and element.value not in ("", None, b""):
            found[element.keyword] = str(element.value)
    return found


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def reference(day: Hospital, dimse_port: int, tmp_path: Path) -> Iterator[int]:
    """The port of dcmtk's worklist server over the same worklist, written out by dump2dcm."""
    folder = tmp_path / "worklists" / "XINGLIN"
    folder.mkdir(parents=True)
    (folder / "lockfile").touch()
    whole = findscu(tmp_path / "whole", dimse_port, "XINGLIN", *options({}, {}))
    for number, answer in enumerate(whole):
        answer.SpecificCharacterSet = "ISO_IR 192"
        text = folder / f"{number}.dump"
        text.write_text(dumped(answer))
        subprocess.run([tool("dump2dcm"), str(text), str(text.with_suffix(".wl"))], check=True, timeout=30)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    server = subprocess.Popen([tool("wlmscpfs"), "-csk", "-dfp", str(folder.parent), str(port)])
    try:
        wait_for(lambda: listens(port))
        yield port
    finally:
        server.terminate()
        server.wait(30)


@clause("PS3.4 K.6.1", "the answers are those of another worklist server over the same worklist")
@pytest.mark.parametrize(
    ("matched", "step"),
    [
        ({}, {}),
        ({"PatientName": "M*"}, {}),
        ({"PatientName": "Yamada*"}, {"Modality": "CT"}),
        ({"PatientID": "P2"}, {}),
        ({"AccessionNumber": "A3"}, {}),
        ({}, {"Modality": "CT"}),
        ({}, {"ScheduledProcedureStepStartDate": "20260102"}),
        ({}, {"ScheduledProcedureStepStartDate": "20260102-20260103"}),
        ({}, {"ScheduledProcedureStepStartDate": "20260103-", "Modality": "US"}),
        ({}, {"ScheduledProcedureStepStartTime": "090000-100000"}),
        ({}, {"ScheduledStationAETitle": "CT7"}),
    ],
)
def test_answers_as_wlmscpfs(
    dimse_port: int, reference: int, tmp_path: Path, matched: dict[str, str], step: dict[str, str]
) -> None:
    asked = options(matched, step)
    ours = findscu(tmp_path / "ours", dimse_port, "XINGLIN", *asked)
    theirs = findscu(tmp_path / "theirs", reference, "XINGLIN", *asked)
    in_order = [sorted(map(plain, answers), key=lambda one: one["PatientID"]) for answers in (ours, theirs)]
    assert ours
    for mine, other in zip(*in_order, strict=True):
        if mine.get("PregnancyStatus") is None and other.get("PregnancyStatus") == "4":
            del other["PregnancyStatus"]  # it says "unknown" of men, too
        assert mine == other


def test_an_order_is_seen_by_a_modality_within_seconds(fresh_database_url: str, tmp_path: Path) -> None:
    """The whole server: an order comes by REST, a modality asks, performs and reports."""
    server = Server(tmp_path / "data", "--database-url", fresh_database_url)
    try:

        def post(resource: dict[str, Any]) -> dict[str, Any]:
            request = urllib.request.Request(
                f"{server.url}/fhir/{resource['resourceType']}",
                json.dumps(resource).encode(),
                {"Content-Type": "application/fhir+json", "Prefer": "return=representation"},
            )
            with urllib.request.urlopen(request, timeout=30) as response:
                return dict(json.load(response))

        def asked() -> list[Dataset]:
            return ask(server.facts["dimse_port"], keys(StudyInstanceUID=""))

        subject = post(patient())
        post(order(f"Patient/{subject['id']}"))
        (answer,) = wait_for(asked, 20)
        assert answer.StudyInstanceUID.startswith("2.25.")
    finally:
        server.stop()
