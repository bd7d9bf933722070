"""PS3.18 chapter 11: the worklist service; its states by PS3.4 table CC.1.1-2."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.clause import clause
from tests.support.dicom_fixtures import ADDRESS, Node

JSON = "application/dicom+json"
GLOBAL, FILTERED = "1.2.840.10008.5.1.4.34.5", "1.2.840.10008.5.1.4.34.5.1"
LOCK, OTHER_LOCK = "2.25.1", "2.25.2"
INCONSISTENT = "The submitted request is inconsistent with the state of the UPS Instance."


def element(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def workitem(**changes: Any) -> dict[str, Any]:
    """Return a new workitem; `changes` by tag (t00741204=element or None)."""
    found = {
        "00741000": element("CS", "SCHEDULED"),
        "00741200": element("CS", "HIGH"),
        "00741204": element("LO", "Contour the liver"),
        "00741202": element("LO", "Planning"),
        "00404005": element("DT", "20260102100000"),
        "00404041": element("CS", "READY"),
        "00404018": element("SQ", {"00080100": element("SH", "121726"), "00080102": element("SH", "DCM")}),
        "0040A370": element("SQ", {"00080050": element("SH", "A1")}),
        "00100010": element("PN", {"Alphabetic": "Müller^Jörg"}),
        "00100020": element("LO", "P1"),
        "00081195": element("UI"),
    }
    for name, value in changes.items():
        found.pop(name[1:], None)
        if value is not None:
            found[name[1:]] = value
    return found


def send(web: FlaskClient, method: str, address: str, document: Any = None) -> Any:
    body = None if document is None else json.dumps(document)
    return web.open(f"/dicom-web/workitems{address}", method=method, data=body, content_type=JSON)


def create(web: FlaskClient, uid: str = "1.2.3", **changes: Any) -> Any:
    return send(web, "POST", f"?workitem={uid}", workitem(**changes))


def state(web: FlaskClient, wanted: str, lock: str = LOCK, uid: str = "1.2.3") -> Any:
    document = {"00741000": element("CS", wanted), "00081195": element("UI", *([lock] if lock else []))}
    return send(web, "PUT", f"/{uid}/state", document)


def found(web: FlaskClient, uid: str = "1.2.3") -> dict[str, Any]:
    answer = web.get(f"/dicom-web/workitems/{uid}")
    assert answer.status_code == 200
    (one,) = answer.json
    return one


def warning(answer: Any) -> str:
    return " ".join(answer.headers.getlist("Warning"))


def performed(*, end: bool = True) -> dict[str, Any]:
    item = {"00404050": element("DT", "20260102100000")}
    if end:
        item["00404051"] = element("DT", "20260102110000")
    return {"00741216": element("SQ", item)}


@clause("PS3.18 11.4", "201: the workitem is created, its address is in Location")
def test_a_workitem_is_created_and_retrieved(node: Node, web: FlaskClient) -> None:
    answer = create(web)
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"{ADDRESS}/workitems/1.2.3"
    one = found(web)
    assert one["00741000"]["Value"] == ["SCHEDULED"]
    assert one["00080016"]["Value"] == ["1.2.840.10008.5.1.4.34.6.1"]
    assert one["00080018"]["Value"] == ["1.2.3"]
    assert one["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]
    assert "00081195" not in one
    assert web.get("/dicom-web/workitems/1.2.4").status_code == 404


def test_a_workitem_without_a_uid_gets_one(web: FlaskClient) -> None:
    answer = send(web, "POST", "", [workitem()])
    assert answer.status_code == 201
    uid = answer.headers["Location"].rpartition("/")[2]
    assert uid.startswith("2.25.")
    assert found(web, uid)["00080018"]["Value"] == [uid]
    assert send(web, "POST", "?1.2.77", workitem()).headers["Location"].endswith("/1.2.77")


@clause("PS3.18 11.4.3", "409: a workitem of this UID is here")
def test_a_uid_is_given_once(web: FlaskClient) -> None:
    assert create(web).status_code == 201
    assert create(web).status_code == 409


@clause("PS3.4 table CC.2.5-3", "what a new workitem must have, and may not have")
@pytest.mark.parametrize(
    "changes",
    [
        {"t00741000": None},
        {"t00741000": element("CS", "IN PROGRESS")},
        {"t00741200": element("CS", "URGENT")},
        {"t00741204": element("LO")},
        {"t00404005": None},
        {"t00404041": element("CS", "MAYBE")},
        {"t00081195": element("UI", "1.2")},
        {"t00741216": performed()["00741216"]},
        {"tRows": element("US", 1)},
        {"t00100010": "Müller"},
        {"t00080018": element("UI", "9.9")},
    ],
)
def test_a_new_workitem_that_is_none_is_refused(node: Node, web: FlaskClient, changes: Any) -> None:
    answer = create(web, **changes)
    assert answer.status_code == 400
    assert answer.json["issue"][0]["diagnostics"]
    assert not node.rows("SELECT FROM dicom_workitem")


def test_what_is_added_to_a_new_workitem_is_told(web: FlaskClient) -> None:
    assert "created with modifications" in warning(create(web, t00741202=None))
    assert "00404021" in found(web)


@clause("PS3.4 table CC.1.1-2", "claimed, performed, completed")
def test_a_workitem_is_claimed_and_completed_by_who_knows_its_transaction(web: FlaskClient) -> None:
    create(web)
    assert state(web, "IN PROGRESS").status_code == 200
    update = {**performed(), "00741204": element("LO", "Contoured")}
    assert send(web, "POST", f"/1.2.3?transaction-uid={LOCK}", update).status_code == 200
    assert state(web, "COMPLETED").status_code == 200
    one = found(web)
    assert one["00741000"]["Value"] == ["COMPLETED"]
    assert one["00741204"]["Value"] == ["Contoured"]
    again = state(web, "COMPLETED")
    assert again.status_code == 200
    assert "already in the requested state of COMPLETED" in warning(again)


@clause("PS3.18 11.7.3", "409 with the Warning that describes the conflict")
@pytest.mark.parametrize(
    ("before", "wanted", "lock", "status", "said"),
    [
        ([], "COMPLETED", LOCK, 409, INCONSISTENT),
        ([], "CANCELED", LOCK, 409, INCONSISTENT),
        ([], "SCHEDULED", LOCK, 409, INCONSISTENT),
        ([], "IN PROGRESS", "", 409, "The Transaction UID is missing."),
        ([], "DONE", LOCK, 400, ""),
        (["IN PROGRESS"], "IN PROGRESS", OTHER_LOCK, 409, INCONSISTENT),
        (["IN PROGRESS"], "IN PROGRESS", LOCK, 409, INCONSISTENT),
        (["IN PROGRESS"], "CANCELED", OTHER_LOCK, 409, "The Transaction UID is incorrect."),
        (["IN PROGRESS"], "COMPLETED", OTHER_LOCK, 409, "The Transaction UID is incorrect."),
        (["IN PROGRESS"], "COMPLETED", LOCK, 409, INCONSISTENT),  # nothing was performed
        (["IN PROGRESS", "CANCELED"], "CANCELED", LOCK, 200, "already in the requested state of CANCELED"),
        (["IN PROGRESS", "CANCELED"], "COMPLETED", LOCK, 409, INCONSISTENT),
        (["IN PROGRESS", "CANCELED"], "IN PROGRESS", LOCK, 409, INCONSISTENT),
    ],
)
def test_the_table_of_states(
    web: FlaskClient, before: list[str], wanted: str, lock: str, status: int, said: str
) -> None:
    create(web)
    for one in before:
        assert state(web, one).status_code == 200
    answer = state(web, wanted, lock)
    assert answer.status_code == status
    assert said in warning(answer)
    assert found(web)["00741000"]["Value"] == (before[-1:] or ["SCHEDULED"])


def test_a_workitem_is_not_complete_without_an_end(web: FlaskClient) -> None:
    create(web)
    state(web, "IN PROGRESS")
    send(web, "POST", f"/1.2.3?transaction-uid={LOCK}", performed(end=False))
    assert state(web, "COMPLETED").status_code == 409


@clause("PS3.18 11.6.3", "an update needs the Transaction UID of who claimed the workitem")
def test_updates_by_state(web: FlaskClient) -> None:
    create(web)
    label = {"00741204": element("LO", "New")}
    assert send(web, "POST", "/1.2.3", label).status_code == 200
    early = send(web, "POST", f"/1.2.3?transaction-uid={LOCK}", label)
    assert (early.status_code, "did not reference a claimed Workitem" in warning(early)) == (409, True)
    state(web, "IN PROGRESS")
    missing = send(web, "POST", "/1.2.3", label)
    assert (missing.status_code, "is missing" in warning(missing)) == (409, True)
    wrong = send(web, "POST", f"/1.2.3?transaction-uid={OTHER_LOCK}", label)
    assert (wrong.status_code, "is incorrect" in warning(wrong)) == (409, True)
    assert send(web, "POST", f"/1.2.3?{LOCK}", label).status_code == 200
    assert send(web, "POST", "/1.2.3", {**label, "00081195": element("UI", LOCK)}).status_code == 200
    state(web, "CANCELED")
    late = send(web, "POST", f"/1.2.3?transaction-uid={LOCK}", label)
    assert (late.status_code, "inconsistent" in warning(late)) == (409, True)
    assert send(web, "POST", "/9.9", label).status_code == 404


@pytest.mark.parametrize(
    "changes",
    [
        {"00741000": element("CS", "COMPLETED")},
        {"00100020": element("LO", "P2")},
        {"0040A370": element("SQ")},
        {"00741204": element("LO")},
        {"00741200": element("CS", "URGENT")},
    ],
)
def test_an_update_may_not_change_whose_it_is_or_its_state(web: FlaskClient, changes: Any) -> None:
    create(web)
    before = found(web)
    assert send(web, "POST", "/1.2.3", changes).status_code == 400
    assert found(web) == before


@clause("PS3.18 11.8", "202: a workitem that nobody has claimed is canceled")
def test_a_cancellation_is_requested(web: FlaskClient) -> None:
    create(web)
    reason = {"00741238": element("LT", "Patient went home"), "0074100C": element("LO", "Dr Who")}
    assert send(web, "POST", "/1.2.3/cancelrequest", reason).status_code == 202
    one = found(web)
    assert one["00741000"]["Value"] == ["CANCELED"]
    (progress,) = one["00741002"]["Value"]
    assert progress["00741238"]["Value"] == ["Patient went home"]
    assert progress["00404052"]["Value"] == ["20260102030405+0000"]
    again = web.post("/dicom-web/workitems/1.2.3/cancelrequest")
    assert (again.status_code, "requested state of CANCELED" in warning(again)) == (202, True)


@clause("PS3.18 11.8.3", "409: it is completed, or who performs it cannot be contacted")
def test_a_cancellation_that_comes_too_late_is_refused(web: FlaskClient) -> None:
    create(web)
    state(web, "IN PROGRESS")
    claimed = web.post("/dicom-web/workitems/1.2.3/cancelrequest")
    assert (claimed.status_code, "performer cannot be contacted" in warning(claimed)) == (409, True)
    send(web, "POST", f"/1.2.3?transaction-uid={LOCK}", performed())
    state(web, "COMPLETED")
    done = web.post("/dicom-web/workitems/1.2.3/cancelrequest")
    assert (done.status_code, "already COMPLETED" in warning(done)) == (409, True)


def uids(web: FlaskClient, query: str) -> list[str]:
    answer = web.get(f"/dicom-web/workitems?{query}")
    assert answer.status_code == 200, answer.text
    return [one["00080018"]["Value"][0] for one in answer.json]


@clause("PS3.18 11.9", "workitems are searched by their attributes, into sequences too")
def test_workitems_are_searched(web: FlaskClient) -> None:
    create(web, "1.1")
    create(
        web,
        "1.2",
        t00404005=element("DT", "20260203090000+0100"),
        t00100010=element("PN", {"Alphabetic": "Abbott^Ann", "Ideographic": "山田^太郎"}),
        t00100020=element("LO", "P2"),
        t0040A370=element("SQ", {"00080050": element("SH", "A2")}, {"00080050": element("SH", "A3")}),
    )
    state(web, "IN PROGRESS", uid="1.2")
    for query, expected in {
        "": ["1.1", "1.2"],
        "ProcedureStepState=SCHEDULED": ["1.1"],
        "00741000=IN PROGRESS": ["1.2"],
        "PatientID=P*": ["1.1", "1.2"],
        "PatientName=abb*": ["1.2"],
        "PatientName=山田*": ["1.2"],
        "ScheduledProcedureStepStartDateTime=20260102": ["1.1"],
        "ScheduledProcedureStepStartDateTime=202601-202602": ["1.1", "1.2"],
        "ScheduledProcedureStepStartDateTime=-20260131": ["1.1"],
        "ScheduledProcedureStepStartDateTime=20260201-": ["1.2"],
        "ReferencedRequestSequence.AccessionNumber=A3": ["1.2"],
        "0040A370.00080050=A?": ["1.1", "1.2"],
        "ScheduledWorkitemCodeSequence.CodeValue=121726&PatientID=P1": ["1.1"],
        "SOPInstanceUID=1.1,1.2": ["1.1", "1.2"],
        "SOPInstanceUID=1.1": ["1.1"],
        "ProcedureStepLabel=nothing": [],
        "limit=1": ["1.1"],
        "limit=1&offset=1&includefield=all": ["1.2"],
    }.items():
        assert uids(web, query) == expected, query
    assert "1 additional" in warning(web.get("/dicom-web/workitems?limit=1"))
    for query in ("Nonsense=1", "limit=x", "ScheduledProcedureStepStartDateTime=soon"):
        assert web.get(f"/dicom-web/workitems?{query}").status_code == 400


@clause("PS3.18 11.10", "an AE watches one workitem, all, or those that match, with a deletion lock")
def test_subscriptions(node: Node, web: FlaskClient) -> None:
    def watched(ae_title: str) -> list[str]:
        return [
            row[0]
            for row in node.rows(
                "SELECT uid FROM dicom_workitem w JOIN dicom_workitem_subscription s ON s.workitem_pk = w.pk"
                " WHERE ae_title = %s ORDER BY uid",
                ae_title,
            )
        ]

    create(web, "1.1")
    answer = send(web, "POST", "/1.1/subscribers/ONE?deletionlock=true")
    assert answer.status_code == 201
    assert "WebSocket" in warning(answer)
    assert send(web, "POST", f"/{GLOBAL}/subscribers/ALL").status_code == 201
    assert send(web, "POST", f"/{FILTERED}/subscribers/SOME?filter=PatientID=P2").status_code == 201
    assert send(web, "POST", f"/{FILTERED}/subscribers/SOME?PatientID=P2").status_code == 201
    create(web, "1.2", t00100020=element("LO", "P2"))
    assert (watched("ONE"), watched("ALL"), watched("SOME")) == (["1.1"], ["1.1", "1.2"], ["1.2"])
    assert send(web, "POST", f"/{GLOBAL}/subscribers/ALL/suspend").status_code == 200
    create(web, "1.3")
    assert watched("ALL") == ["1.1", "1.2"]
    assert send(web, "DELETE", "/1.1/subscribers/ONE").status_code == 200
    assert send(web, "DELETE", f"/{GLOBAL}/subscribers/ALL").status_code == 200
    assert watched("ONE") == watched("ALL") == []
    assert send(web, "DELETE", "/1.1/subscribers/ONE").status_code == 404
    assert send(web, "POST", "/9.9/subscribers/ONE").status_code == 404
    assert send(web, "POST", "/1.1/subscribers/A-TITLE-THAT-IS-TOO-LONG").status_code == 400
    assert send(web, "POST", "/1.1/subscribers/ONE?deletionlock=perhaps").status_code == 400
    assert send(web, "POST", f"/{FILTERED}/subscribers/SOME").status_code == 400
    assert send(web, "POST", "/1.1/subscribers/ONE/suspend").status_code == 400


def test_what_is_not_built_is_refused_by_name(web: FlaskClient) -> None:
    answer = web.get("/dicom-web/subscribers/ONE")
    assert answer.status_code == 501
    assert "WebSocket" in answer.json["issue"][0]["diagnostics"]
    xml = web.post("/dicom-web/workitems", data="<x/>", content_type="application/dicom+xml")
    assert xml.status_code == 415
    assert web.put("/dicom-web/workitems/1.2").headers["Allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize(
    "body", ["", "no json", "[]", "[1]", "{}{}", "[" * 5000, '{"00741000": {"vr": "CS", "Value": 1}}']
)
def test_bodies_that_are_none_are_refused(web: FlaskClient, body: str) -> None:
    create(web)
    for method, address in (("POST", ""), ("POST", "/1.2.3"), ("PUT", "/1.2.3/state")):
        answer = web.open(f"/dicom-web/workitems{address}", method=method, data=body, content_type=JSON)
        assert answer.status_code in (400, 409), (method, address)


def test_of_many_who_claim_a_workitem_one_gets_it(node: Node, web: FlaskClient) -> None:
    create(web)
    answers: list[int] = []

    def claim(number: int) -> None:
        client = web.application.test_client()
        answers.append(state(client, "IN PROGRESS", f"2.25.{number}").status_code)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] + [409] * 7
