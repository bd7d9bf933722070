"""Data that a call did not bring: fetched with its token, from where it may be, whole or not at all."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cds_hooks.client_trust import Caller
from cds_hooks.fhir_access import MOST_PAGES, Access
from cds_hooks.hooks.table import HOOKS
from cds_hooks.prefetch import CannotBeHad, SourceFailed
from cds_hooks.records.clients import Client
from cds_hooks.request import HookRequest, parse
from fhir_server.model import json_format
from tests.support import cds, cds_echo
from tests.support.cds_echo import authorization
from tests.support.cds_ehr import PATIENT, Ehr, condition, ehr, searchset, tls
from tests.support.clause import clause
from tests.support.web_peer import Reply, json_reply, web_peer

SPEC = "CDS-Hooks-2.0/"
PATIENT_QUERY = {"patient": "Patient/p1"}
CONDITIONS = {"conditions": "Condition?patient=p1"}
ERROR = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
WARNING = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "informational"}]}


@pytest.fixture
def server() -> Iterator[Ehr]:
    with ehr() as running:
        yield running


def request(**more: Any) -> HookRequest:
    return parse(json_format.encode(cds_echo.call(**more)), HOOKS, ("patient-view",))


def registered(*bases: str, **more: Any) -> Caller:
    return Caller(Client("north", "https://north.example", fhir_servers=bases, **more))


def source(server: Ehr, within_s: float = 5.0, access: Access | None = None, **more: Any) -> Any:
    asked = request(fhirServer=server.base, fhirAuthorization=authorization(**more))
    return (access or Access(None, ())).source(asked, registered(server.base), within_s)


# What comes ---------------------------------------------------------------------------------------
@clause(f"{SPEC}#fhir-resource-access", "every request to the FHIR server presents the token of the call")
def test_what_is_missing_is_fetched_with_the_token_of_the_call(server: Ehr) -> None:
    access = Access(None, ())
    client, records = cds.client(services_=cds_echo.service(), access=access)
    call = cds_echo.call(fhirServer=server.base, fhirAuthorization=authorization())
    assert client.post(cds_echo.URL, json=call).status_code == 412, "nobody knows this caller"
    assert server.asked == []
    found = source(server).fetch(
        {"patient": "Patient/p1", **CONDITIONS, "pressure": "Observation?patient=p1&code=8480-6&_count=1"}
    )
    assert found == {"patient": [PATIENT], "conditions": [condition("c1"), condition("c2")], "pressure": []}
    assert sorted(each.path for each in server.asked) == [
        "/fhir/Condition?patient=p1",
        "/fhir/Observation?patient=p1&code=8480-6&_count=1",
        "/fhir/Patient/p1",
    ]
    for each in server.asked:
        assert each.method == "GET"
        assert each.headers["authorization"] == "Bearer Secret-Token"
        assert each.headers["accept"] == "application/fhir+json"
    assert "Secret-Token" not in repr(records.calls)


def test_a_key_that_came_is_not_fetched(server: Ehr) -> None:
    from cds_hooks.prefetch import gather

    given = request(
        prefetch={"patient": None, "conditions": searchset(condition("given"))},
        fhirServer=server.base,
        fhirAuthorization=authorization(),
    )
    found = gather(
        cds_echo.PREFETCH, given, HOOKS["patient-view"],
        Access(None, ()).source(given, registered(server.base), 5.0),
    )  # fmt: skip
    assert found.origin == {"patient": "empty", "conditions": "given", "pressure": "fetched"}
    assert [each.path.partition("?")[0] for each in server.asked] == ["/fhir/Observation"]


def test_nothing_there_is_no_data_and_no_error(server: Ehr) -> None:
    for status in (404, 410):
        server.replies["/fhir/Patient/p1"] = json_reply(ERROR, status)
        assert source(server).fetch(PATIENT_QUERY) == {"patient": []}


@clause(f"{SPEC}#prefetch-template", "pages are followed, below the same base and not without end")
def test_pages_are_followed(server: Ehr) -> None:
    pages = "/fhir?_getpages=7&_offset"
    server.replies["/fhir/Condition"] = searchset(condition("c1"), following=f"{server.peer.url}{pages}=1")
    server.replies[f"{pages}=1"] = searchset(condition("c2"), following="?_getpages=7&_offset=2")
    server.replies["/fhir/?_getpages=7&_offset=2"] = searchset(condition("c3"))
    found = source(server).fetch(CONDITIONS)["conditions"]
    assert [each["id"] for each in found] == ["c1", "c2", "c3"]
    assert {each.headers["authorization"] for each in server.asked} == {"Bearer Secret-Token"}


def test_a_template_that_counts_asks_for_one_page(server: Ehr) -> None:
    server.replies["/fhir/Condition"] = searchset(condition("c1"), following=f"{server.base}/next")
    assert len(source(server).fetch({"x": "Condition?patient=p1&_count=1"})["x"]) == 1
    assert len(server.asked) == 1


def test_pages_elsewhere_or_without_end_are_not_followed(server: Ehr) -> None:
    with web_peer(lambda _: json_reply(searchset())) as other:
        for following in (
            f"{other.url}/fhir?page=2",
            "//evil.example/fhir",
            f"{server.peer.url}/elsewhere?page=2",
            f"{server.base}/../admin",
            f"{server.base.replace('127.0.0.1', 'localhost')}?page=2",
            f"http://127.0.0.1:{server.peer.port}@{other.url.removeprefix('http://')}/fhir",
            "file:///etc/passwd",
            f"{server.base}/Condition?patient=p1",
        ):
            server.replies["/fhir/Condition"] = searchset(condition("c1"), following=following)
            with pytest.raises(CannotBeHad, match="page"):
                source(server).fetch(CONDITIONS)
        assert other.asked == []
    numbers = iter(range(1000))
    server.peer.asked.clear()
    server.replies["/fhir/Condition"] = lambda: searchset(
        following=f"{server.base}/Condition?{next(numbers)}"
    )
    with pytest.raises(CannotBeHad, match="more pages"):
        source(server).fetch(CONDITIONS)
    assert len(server.asked) == MOST_PAGES


# What does not --------------------------------------------------------------------------------------
@clause(f"{SPEC}#prefetch-template", "data that the FHIR server refuses: 412; a server that breaks: no cards")
@pytest.mark.parametrize(
    ("reply", "refusal"),
    [
        (json_reply(ERROR, 401), CannotBeHad),
        (json_reply(ERROR, 403), CannotBeHad),
        (json_reply(ERROR, 404), CannotBeHad),
        (json_reply(ERROR, 400), CannotBeHad),
        (json_reply(ERROR), CannotBeHad),
        (json_reply(PATIENT), CannotBeHad),
        (json_reply(searchset(condition("c"), ERROR)), CannotBeHad),
        (Reply(302, b"", {"Location": "http://127.0.0.1:1/"}), CannotBeHad),
        (Reply(307, b"", {"Location": "/fhir/Condition"}), CannotBeHad),
        (Reply(200, b" " * (9 * 1024 * 1024)), CannotBeHad),
        (Reply(200, b"{}", {"Content-Encoding": "gzip"}), CannotBeHad),
        (json_reply(ERROR, 500), SourceFailed),
        (json_reply(ERROR, 503), SourceFailed),
        (json_reply(ERROR, 429), SourceFailed),
        (Reply(200, b"<html>"), SourceFailed),
        (Reply(200, b'{"a": 1}'), SourceFailed),
        (Reply(200, b"[]"), SourceFailed),
        (json_reply({"resourceType": "Bundle", "entry": [{"resource": 7}]}), SourceFailed),
        (Reply(raw=iter([b""])), SourceFailed),
    ],
)  # fmt: skip
def test_a_server_that_does_not_give_it(server: Ehr, reply: Reply, refusal: type[Exception]) -> None:
    server.replies["/fhir/Condition"] = reply
    with pytest.raises(refusal):
        source(server).fetch(CONDITIONS)


def test_warnings_in_a_searchset_are_passed_over(server: Ehr) -> None:
    server.replies["/fhir/Condition"] = searchset(condition("c1"), WARNING)
    assert source(server).fetch(CONDITIONS) == {"conditions": [condition("c1")]}


def test_another_type_than_was_asked_for_is_a_failure(server: Ehr) -> None:
    server.replies["/fhir/Patient/p1"] = condition("c1")
    with pytest.raises(SourceFailed):
        source(server).fetch(PATIENT_QUERY)


def test_a_slow_server_is_given_up_in_time(server: Ehr) -> None:
    def slow() -> Reply:
        time.sleep(1.0)
        return json_reply(searchset())

    server.replies["/fhir/Condition"] = slow
    started = time.monotonic()
    with pytest.raises(SourceFailed):
        source(server, within_s=0.2).fetch(CONDITIONS | {"b": "Condition?patient=p1&x=1"})
    assert time.monotonic() - started < 0.9


def test_nobody_there_is_a_failure(server: Ehr) -> None:
    found = source(server)
    server.peer.close()
    with pytest.raises(SourceFailed):
        found.fetch(CONDITIONS)


# Where it may come from -------------------------------------------------------------------------------
HOSTILE = (
    "https://evil.example/fhir",
    "https://north.example.evil.example/fhir",
    "https://north.example@evil.example/fhir",
    "https://north.example:8443/fhir",
    "http://north.example/fhir",
    "https://north.example/other",
    "https://north.example/fhir/../admin",
    "https://north.example/fhir?x=1",
    "https://north.example/fhir#x",
    "https://north.example\\@evil.example/fhir",
    "https://north.example./fhir",
    "https://north.example%2eevil.example/fhir",
    "https://nörth.example/fhir",
    "http://169.254.169.254/latest/meta-data",
    "http://127.0.0.1:5432/",
    "http://localhost/fhir",
    "http://[::1]/fhir",
    "http://0.0.0.0/fhir",
    "http://2130706433/fhir",
    "http://0x7f.1/fhir",
    "https://10.0.0.1/fhir",
)


@clause(
    f"{SPEC}#fhir-resource-access",
    "a FHIR server that is not registered is never asked",
)
@pytest.mark.parametrize("address", HOSTILE)
def test_a_hostile_fhir_server_counts_as_missing(address: str) -> None:
    def never(host: str, port: int) -> list[str]:
        raise AssertionError(f"{host} was looked up")

    access = Access(None, ("https://cds.example/fhir",), resolver=never)
    asked = request(fhirServer=address, fhirAuthorization=authorization())
    assert access.source(asked, registered("https://north.example/fhir")) is None
    client, records = cds.client(services_=cds_echo.service(), access=access)
    call = cds_echo.call(fhirServer=address, fhirAuthorization=authorization())
    assert client.post(cds_echo.URL, json=call).status_code == 412
    assert records.calls[0].reasons == ("prefetch-missing",)


def test_http_is_for_this_machine_alone() -> None:
    asked = request(fhirServer="http://north.example/fhir", fhirAuthorization=authorization())
    assert Access(None, ()).source(asked, registered("http://north.example/fhir")) is None


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["169.254.169.254"], ["0.0.0.0"], ["::ffff:127.0.0.1"], ["::1"], ["fe80::1%eth0"], [],
     ["224.0.0.1"], ["240.0.0.1"], ["2002:7f00:1::1"], ["10.0.0.7", "127.0.0.1"], ["no address"]],
)  # fmt: skip
def test_a_name_that_means_this_machine_or_a_metadata_service_is_not_asked(addresses: list[str]) -> None:
    access = Access(None, (), resolver=lambda host, port: addresses)
    base = "https://north.example/fhir"
    asked = request(fhirServer=base, fhirAuthorization=authorization())
    with pytest.raises(CannotBeHad, match="address"):
        access.source(asked, registered(base)).fetch(PATIENT_QUERY)  # type: ignore[union-attr]


def test_a_name_is_looked_up_once_and_what_was_checked_is_connected_to(server: Ehr) -> None:
    looked_up: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"] if len(looked_up) == 1 else ["169.254.169.254"]

    base = server.base.replace("127.0.0.1", "localhost")
    asked = request(fhirServer=base, fhirAuthorization=authorization())
    found = Access(None, (), resolver=rebinding).source(asked, registered(base), 5.0)
    assert found is not None
    assert found.fetch(CONDITIONS)["conditions"]
    assert looked_up == ["localhost"]
    assert server.asked[0].headers["host"] == f"localhost:{server.peer.port}"


def test_over_tls_the_certificate_counts(tmp_path: Path) -> None:
    context, trusting = tls(tmp_path)
    with ehr(context) as server:
        with pytest.raises(CannotBeHad, match="certificate"):
            source(server).fetch(PATIENT_QUERY)
        assert server.asked == [], "the token was not shown to a stranger"
        access = Access(None, (), context=trusting)
        assert source(server, access=access).fetch(PATIENT_QUERY) == {"patient": [PATIENT]}
    other, _ = tls(tmp_path, address="10.0.0.7")
    with ehr(other) as server, pytest.raises(CannotBeHad, match="certificate"):
        source(server, access=access).fetch(PATIENT_QUERY)


# What the token may --------------------------------------------------------------------------------
@clause(f"{SPEC}#fhir-resource-access", "scopes of both syntaxes say what may be fetched")
@pytest.mark.parametrize(
    ("scope", "reads", "searches"),
    [
        ("patient/*.read", True, True),
        ("user/*.*", True, True),
        ("system/*.rs", True, True),
        ("launch openid patient/Patient.read user/Condition.read", True, True),
        ("patient/Patient.r patient/Condition.s", True, True),
        ("patient/Patient.cruds patient/Condition.rs", True, True),
        ("patient/Patient.s patient/Condition.r", False, False),
        ("patient/Condition.rs", False, True),
        ("patient/Patient.rs", True, False),
        ("patient/*.write", False, False),
        ("patient/*.cud", False, False),
        ("patient/*.sr", False, False),
        ("patient/*.", False, False),
        ("patient/Patient.rs?active=true patient/Condition.rs?category=x", False, False),
        ("patient/*.read?x=1", False, False),
        ("Patient/*.read patient/condition.rs practitioner/*.read", False, False),
        ("x", False, False),
    ],
)
def test_scopes(server: Ehr, scope: str, reads: bool, searches: bool) -> None:
    for queries, allowed in ((PATIENT_QUERY, reads), (CONDITIONS, searches)):
        server.peer.asked.clear()
        if allowed:
            assert source(server, scope=scope).fetch(queries)
            continue
        with pytest.raises(CannotBeHad, match="scope"):
            source(server, scope=scope).fetch(queries)
        assert server.asked == []


@pytest.mark.parametrize("more", [{"expires_in": 0}, {"expires_in": -5}, {"access_token": "a b"},
                                  {"access_token": "a\r\nX-Evil: 1"}, {"access_token": "ä"}])  # fmt: skip
def test_a_token_that_cannot_be_used_is_not(server: Ehr, more: dict[str, Any]) -> None:
    asked = request(fhirServer=server.base, fhirAuthorization=authorization(**more))
    assert Access(None, ()).source(asked, registered(server.base)) is None


def test_without_a_token_nothing_is_fetched_from_elsewhere(server: Ehr) -> None:
    assert Access(None, ()).source(request(fhirServer=server.base), registered(server.base)) is None


def test_our_own_base_is_asked_over_http_where_the_store_is_closed(server: Ehr) -> None:
    asked = request(fhirServer=server.base, fhirAuthorization=authorization())
    found = Access(None, (server.base,)).source(asked, within_s=5.0)
    assert found is not None
    assert found.fetch(PATIENT_QUERY) == {"patient": [PATIENT]}


# Through the whole door --------------------------------------------------------------------------------
class Known(Access):
    """An access whose every caller is registered for one server."""

    def __init__(self, base: str) -> None:
        super().__init__(None, ())
        self.base = base

    def source(self, request: HookRequest, caller: Any = None, within_s: float = 0.25) -> Any:
        return super().source(request, registered(self.base), within_s)


def test_a_call_end_to_end_leaves_no_token_behind(server: Ehr, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    client, records = cds.client(services_=cds_echo.service(), access=Known(server.base))
    call = cds_echo.call(fhirServer=f"{server.base}/", fhirAuthorization=authorization())
    answer = client.post(cds_echo.URL, json=call)
    assert cds_echo.summary(answer) == "Condition/c1 Condition/c2 Patient/p1"
    server.replies["/fhir/Condition"] = json_reply(ERROR, 500)
    assert client.post(cds_echo.URL, json=call).json == {"cards": []}
    server.replies["/fhir/Condition"] = json_reply(ERROR, 403)
    refusal = client.post(cds_echo.URL, json=call)
    assert (refusal.status_code, refusal.json["issue"][0]["expression"]) == (412, ["prefetch.conditions"])
    reasons = [kept.reasons[0] for kept in records.calls]
    assert reasons == ["shown", "fhir-server-failed", "prefetch-missing"]
    assert "Secret-Token" not in repr(records.calls) + caplog.text + refusal.text


def test_somebody_else_s_data_are_never_decided_on(server: Ehr) -> None:
    server.replies["/fhir/Condition"] = searchset(condition("c1", "p2"))
    client, records = cds.client(services_=cds_echo.service(), access=Known(server.base))
    call = cds_echo.call(fhirServer=server.base, fhirAuthorization=authorization())
    assert client.post(cds_echo.URL, json=call).json == {"cards": []}
    assert records.calls[0].reasons == ("other-patient",)
