"""Who may call: registration, tokens at the door, pages of browsers."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from cds_hooks.client_trust import ClientTrust, checked, mode
from cds_hooks.records.clients import Client, Clients
from cds_hooks.records.store import Store
from fhir_server.cli.main import main
from fhir_server.database.engine import Engine
from fhir_server.observability import events
from fhir_server.outcome import Conflict, Invalid, NotFound, Unavailable
from tests.support import cds, cds_echo
from tests.support.cds_echo import ROOT, URL
from tests.support.clause import clause
from tests.support.jwt_signer import ISSUER, Signer, key
from tests.support.server import wait_for

SPEC = "CDS-Hooks-2.0/"
ORIGIN = "https://pages.ehr.example"
NORTH = Client("north", ISSUER, keys=(Signer().public(),), origins=(ORIGIN,))
SOUTH_SIGNER = Signer(issuer="https://south.example", kind="P-521", algorithm="ES512")
SOUTH = Client(
    "south", SOUTH_SIGNER.issuer, keys=(SOUTH_SIGNER.public(),), origins=("https://south.example",)
)
NULLS = {"patient": None, "conditions": None, "pressure": None}


class Once:
    """Used tokens in memory."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()

    def first(self, issuer: str, token_id: str, until: datetime) -> bool:
        known = (issuer, token_id) in self.seen
        self.seen.add((issuer, token_id))
        return not known


def trust(asked: str = "required", clients: Sequence[Client] = (NORTH, SOUTH), used: Any = None) -> Any:
    return ClientTrust(asked, (ROOT, "http://127.0.0.1:8080"), lambda: clients, used or Once())


def door(*arguments: Any, **options: Any) -> tuple[FlaskClient, Any]:
    return cds.client(services_=cds_echo.service(), trust=trust(*arguments, **options))


def bearer(path: str = URL, signer: Signer | None = None, **more: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {(signer or Signer()).token(f'{ROOT}{path}', **more)}"}


def ask(client: FlaskClient, headers: dict[str, str] | None = None, path: str = URL, **more: Any) -> Any:
    return client.post(path, json=cds_echo.call(prefetch=NULLS, **more), headers=headers or {})


# At the door ----------------------------------------------------------------------------------
@clause(f"{SPEC}#trusting-cds-clients", "a call without a token is refused where tokens are required")
def test_a_call_needs_a_token() -> None:
    client, records = door()
    answer = ask(client)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.json["issue"][0]["code"] == "login"
    for header in ("Basic abc", "Bearer", "Bearer "):
        assert ask(client, {"Authorization": header}).status_code == 401
    assert ask(client, path="/cds-services/unknown").status_code == 401, "who is there is not told"
    answer = ask(client, bearer())
    assert (answer.status_code, cds_echo.summary(answer)) == (200, "nothing")
    assert [call.client for call in records.calls] == [ISSUER]


@clause(
    f"{SPEC}#trusting-cds-clients",
    "aud is the address that is called: service, feedback or discovery",
)
def test_every_address_has_an_audience_of_its_own() -> None:
    client, _ = door()
    addresses = ("/cds-services", URL, f"{URL}/feedback")
    card = ask(client, bearer()).json["cards"][0]["uuid"]
    report = {
        "feedback": [{"card": card, "outcome": "overridden", "outcomeTimestamp": "2026-03-02T15:05:00Z"}]
    }
    bodies = {URL: cds_echo.call(prefetch=NULLS), f"{URL}/feedback": report}
    for made_for in (*addresses, "/cds-services/other"):
        for called in addresses:
            headers = bearer(made_for)
            answer = (
                client.get(called, headers=headers)
                if called == "/cds-services"
                else client.post(called, json=bodies[called], headers=headers)
            )
            assert answer.status_code == (200 if made_for == called else 401), (made_for, called)
    local = Signer().token(f"http://127.0.0.1:8080{URL}")
    assert ask(client, {"Authorization": f"Bearer {local}"}).status_code == 200, "its other public address"


@clause(f"{SPEC}#discovery", "discovery is always there: without a token too, but not with a bad one")
def test_discovery_needs_no_token() -> None:
    client, _ = door()
    for method in (client.get, client.head):
        assert method("/cds-services").status_code == 200
    assert client.get("/cds-services", headers=bearer("/cds-services")).status_code == 200
    assert client.get("/cds-services", headers={"Authorization": "Bearer x"}).status_code == 401
    assert client.get("/cds-services/models/none/versions/1/source-attributes").status_code == 404
    assert client.get(URL).status_code == 401


def test_a_token_is_good_once_over_all_addresses() -> None:
    client, _ = door()
    headers = bearer()
    assert [ask(client, headers).status_code for _ in range(3)] == [200, 401, 401]
    again = ask(client, headers)
    assert again.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert "used before" in again.json["issue"][0]["diagnostics"]


def test_optional_lets_strangers_in_and_liars_not() -> None:
    client, records = door("optional")
    assert ask(client).status_code == 200
    assert ask(client, bearer()).status_code == 200
    assert ask(client, {"Authorization": "Bearer x.y.z"}).status_code == 401
    assert ask(client, {"Authorization": "Basic abc"}).status_code == 401
    assert [call.client for call in records.calls] == [None, ISSUER]


def test_off_looks_at_nothing() -> None:
    client, records = door("off")
    assert ask(client, {"Authorization": "Bearer x"}).status_code == 200
    assert ask(client, bearer()).status_code == 200
    assert [call.client for call in records.calls] == [None, None]


def test_neither_token_nor_claims_reach_the_log(caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    client, records = door()
    token = Signer(issuer="https://Marker.example").token(f"{ROOT}{URL}", sub="Marker")
    told: list[events.Event] = []
    with events.listening(told.append):
        assert ask(client, {"Authorization": f"Bearer {token}"}).status_code == 401
    assert told == [events.CallerRefused("cds", "issuer")]
    assert "Marker" not in caplog.text
    assert token not in caplog.text
    assert records.calls == [], "a stranger cannot fill the records"


class NoDatabase:
    def first(self, issuer: str, token_id: str, until: datetime) -> bool:
        raise Unavailable("the database cannot be reached right now; try again")


@clause(f"{SPEC}#cds-service-response", "who calls cannot be known for a moment: no cards, no crash")
def test_without_a_database_a_call_gets_no_cards() -> None:
    client, records = door(used=NoDatabase())
    answer = ask(client, bearer())
    assert (answer.status_code, answer.json) == (200, {"cards": []})
    assert [call.reasons for call in records.calls] == [("caller-unknown",)]
    assert client.post(f"{URL}/feedback", json={}, headers=bearer(f"{URL}/feedback")).status_code == 503
    assert client.get("/cds-services").status_code == 200

    def gone() -> list[Client]:
        raise Unavailable("the database cannot be reached right now")

    lost = ClientTrust("required", (ROOT,), gone, Once())
    client, _ = cds.client(services_=cds_echo.service(), trust=lost)
    assert ask(client, bearer()).json == {"cards": []}
    assert ask(client).status_code == 401


def tell(client: FlaskClient, cards: Sequence[str], signer: Signer | None = None) -> Any:
    """Send feedback on cards; without a signer as somebody who does not say who he is."""
    path, at = f"{URL}/feedback", "2026-03-02T15:05:00Z"
    entries = [{"card": card, "outcome": "overridden", "outcomeTimestamp": at} for card in cards]
    headers = bearer(path, signer) if signer else {}
    return client.post(path, json={"feedback": entries}, headers=headers)


@clause(
    f"{SPEC}#feedback", "feedback on a card is taken from the client that was given it, and from no other"
)
def test_feedback_is_of_who_was_given_the_card(fresh_database_url: str) -> None:
    engine = Engine(fresh_database_url)
    store = Store(engine)
    required, _ = cds.client(store, services_=cds_echo.service(), trust=trust())
    optional, _ = cds.client(store, services_=cds_echo.service(), trust=trust("optional"))
    off, _ = cds.client(store, services_=cds_echo.service(), trust=trust("off"))

    def card(headers: dict[str, str]) -> str:
        return str(ask(optional, headers).json["cards"][0]["uuid"])

    north, south, nobodys = card(bearer()), card(bearer(signer=SOUTH_SIGNER)), card({})
    assert tell(required, [north], SOUTH_SIGNER).status_code == 404
    assert tell(required, [nobodys], SOUTH_SIGNER).status_code == 404, "what is nobody's is not everybody's"
    assert tell(optional, [north]).status_code == 404, "nor may a stranger speak for a client"
    foreign, unknown = tell(required, [north], SOUTH_SIGNER), tell(required, [str(uuid4())], SOUTH_SIGNER)
    assert foreign.json == unknown.json, "another's card and an unknown one cannot be told apart"
    assert told(engine) == []
    assert tell(required, [north, south], SOUTH_SIGNER).status_code == 200
    assert told(engine) == [(south, SOUTH_SIGNER.issuer)], "of several cards only its own are taken"
    assert tell(required, [north], Signer()).status_code == 200
    assert tell(optional, [nobodys]).status_code == 200
    assert tell(off, [north]).status_code == 200, "where nobody is asked nobody can be told apart"
    assert told(engine) == sorted(
        [(north, ISSUER), (south, SOUTH_SIGNER.issuer), (nobodys, None)], key=str
    ), "the same report twice is one row"
    engine.close()


@clause(f"{SPEC}#trusting-cds-clients", "tenants of one issuer are callers of their own")
def test_feedback_is_of_the_tenant_that_was_given_the_card(fresh_database_url: str) -> None:
    engine = Engine(fresh_database_url)
    client, _ = cds.client(Store(engine), services_=cds_echo.service(), trust=trust())

    def card(**claims: str) -> str:
        return str(ask(client, bearer(**claims)).json["cards"][0]["uuid"])

    def report(*cards: str, **claims: str) -> Any:
        headers = bearer(f"{URL}/feedback", **claims)
        at = "2026-03-02T15:05:00Z"
        entries = [{"card": one, "outcome": "overridden", "outcomeTimestamp": at} for one in cards]
        return client.post(f"{URL}/feedback", json={"feedback": entries}, headers=headers)

    east, west, nobodys = card(tenant="east"), card(tenant="west"), card()
    assert report(east, tenant="west").status_code == 404
    assert report(east).status_code == 404, "the issuer alone is none of its tenants"
    assert report(nobodys, tenant="east").status_code == 404
    assert report(east, tenant="east ").status_code == 404, "a tenant is compared letter by letter"
    assert told(engine) == []
    assert report(east, west, nobodys, tenant="east").status_code == 200
    assert told(engine) == [(east, f"{ISSUER}#tenant=east")], "of several cards only its own are taken"
    assert report(west, tenant="west").status_code == 200
    assert report(nobodys).status_code == 200
    assert sorted(told(engine), key=str) == sorted(
        [(east, f"{ISSUER}#tenant=east"), (west, f"{ISSUER}#tenant=west"), (nobodys, ISSUER)], key=str
    )
    assert {call.client for call in Store(engine).latest()} == {
        ISSUER, f"{ISSUER}#tenant=east", f"{ISSUER}#tenant=west",
    }  # fmt: skip
    engine.close()


def test_a_tenant_cannot_pass_for_another_caller() -> None:
    client, records = door()
    for tenant in ("a#tenant=b", "a b", "é/?", "a%20b"):
        assert ask(client, bearer(tenant=tenant)).status_code == 200
    names = [call.client for call in records.calls]
    assert names == [
        f"{ISSUER}#tenant={kept}" for kept in ("a%23tenant%3Db", "a%20b", "%C3%A9%2F%3F", "a%2520b")
    ]
    assert len(set(names)) == 4
    with pytest.raises(Invalid, match="no fragment"):
        checked(replace(NORTH, issuer=f"{ISSUER}#tenant=a"))


def told(engine: Engine) -> list[tuple[str, str | None]]:
    """Return the feedback that is kept: card and client."""
    with engine.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT card::text, client FROM cds_feedback")
        return sorted(cursor.fetchall(), key=str)


# Pages of browsers ------------------------------------------------------------------------------
def allowed(answer: Any) -> str | None:
    found: str | None = answer.headers.get("Access-Control-Allow-Origin")
    return found


@clause(f"{SPEC}#cross-origin-resource-sharing", "preflight needs no token; pages of registered clients only")
@pytest.mark.parametrize("path", ["/cds-services", URL, f"{URL}/feedback"])
def test_preflight_names_the_origin_that_is_registered(path: str) -> None:
    client, _ = door()
    for origin, expected in ((ORIGIN, ORIGIN), ("https://south.example", "https://south.example"),
                             ("https://evil.example", None), ("null", None), (f"{ORIGIN}.evil.example", None),
                             (ORIGIN.replace("https", "http"), None), (f"{ORIGIN}:8443", None)):  # fmt: skip
        answer = client.options(path, headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
        assert (answer.status_code, allowed(answer)) == (204, expected)
        assert answer.headers["Vary"] == "Origin"
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
        assert "Access-Control-Allow-Credentials" not in answer.headers


def test_an_answer_to_a_client_is_for_its_own_pages() -> None:
    client, _ = door()
    for origin, expected in ((ORIGIN, ORIGIN), ("https://south.example", None)):
        answer = ask(client, bearer() | {"Origin": origin})
        assert (answer.status_code, allowed(answer)) == (200, expected)
    refusal = ask(client, {"Origin": ORIGIN})
    assert (refusal.status_code, allowed(refusal)) == (401, ORIGIN), "its pages can read why"


def test_where_nobody_is_asked_every_page_may_call() -> None:
    client, _ = door("off")
    assert allowed(ask(client, {"Origin": "https://anywhere.example"})) == "*"


# Registration -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("base_urls", "setting", "expected"),
    [
        (["http://127.0.0.1:8080/fhir"], "", "off"),
        (["http://localhost/fhir", "http://[::1]:8/fhir"], "", "off"),
        (["https://fhir.hospital.example/fhir"], "", "required"),
        (["http://127.0.0.1:8080/fhir", "https://fhir.hospital.example/fhir"], "", "required"),
        (["nonsense"], "", "required"),
        (["https://fhir.hospital.example/fhir"], "off", "off"),
        (["http://127.0.0.1:8080/fhir"], "required", "required"),
    ],
)  # fmt: skip
def test_who_is_reached_from_elsewhere_asks(base_urls: list[str], setting: str, expected: str) -> None:
    assert mode(setting, base_urls) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"issuer": ""}, "issuer"),
        ({"issuer": " x"}, "issuer"),
        ({"keys": ()}, "keys"),
        ({"jwks_url": "http://ehr.example/jwks"}, "https"),
        ({"jwks_url": "ehr.example/jwks"}, "https"),
        ({"jwks_url": "file:///etc/passwd"}, "https"),
        ({"keys": ({**key().as_dict(private=True), "kid": "a"},)}, "private"),
        ({"keys": ({"kty": "oct", "k": "c2VjcmV0", "kid": "a"},)}, "secret"),
        ({"keys": (key().as_dict(private=False),)}, "kid"),
        ({"keys": ({"kty": "EC", "kid": "a"},)}, "signature"),
        ({"fhir_servers": ("http://ehr.example/fhir",)}, "https"),
        ({"fhir_servers": ("https://u:p@ehr.example/fhir",)}, "https"),
        ({"fhir_servers": ("https://ehr.example/fhir?x=1",)}, "base"),
        ({"own_store": ("https://ehr.example/../fhir",)}, "base"),
        ({"origins": ("*",)}, "origin"),
        ({"origins": ("null",)}, "origin"),
        ({"origins": ("https://ehr.example/page",)}, "origin"),
        ({"origins": ("http://ehr.example",)}, "https"),
    ],
)
def test_a_registration_that_cannot_work_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        checked(replace(NORTH, **change))


def test_a_registration_is_kept_in_one_form() -> None:
    found = checked(
        Client("a", "me", "http://localhost:1/jwks", (), (), ("https://EHR.example/fhir/",), (),
               ("https://EHR.example:443", "https://ehr.example:8443/"))
    )  # fmt: skip
    assert found.fhir_servers == ("https://EHR.example/fhir",)
    assert found.origins == ("https://ehr.example", "https://ehr.example:8443")


def test_clients_are_kept_and_followed_within_a_second(fresh_database_url: str) -> None:
    engine = Engine(fresh_database_url)
    clients = Clients(engine)
    now = datetime.now(UTC)
    here = ClientTrust("required", (ROOT,), clients.all, Once())
    client, _ = cds.client(services_=cds_echo.service(), trust=here)
    assert ask(client, bearer()).status_code == 401
    clients.add(NORTH, now)
    wait_for(lambda: ask(client, bearer()).status_code == 200, 2.0)
    clients.add(SOUTH, now)
    clients.add(Client(**{**vars_of(NORTH), "tenants": ("t",)}), now)
    assert [each.name for each in clients.all()] == ["north", "south"]
    assert clients.all()[0].tenants == ("t",)
    assert clients.all()[1] == SOUTH
    with pytest.raises(Conflict):
        clients.add(Client("other", ISSUER, keys=SOUTH.keys), now)
    clients.remove("north")
    wait_for(lambda: ask(client, bearer()).status_code == 401, 2.0)
    with pytest.raises(NotFound):
        clients.remove("north")
    engine.close()


def vars_of(client: Client) -> dict[str, Any]:
    from dataclasses import fields

    return {each.name: getattr(client, each.name) for each in fields(client)}


def test_the_command(fresh_database_url: str, tmp_path: Path, capsys: Any) -> None:
    keys = tmp_path / "jwks.json"
    keys.write_text(json.dumps(Signer().jwks()))

    def run(*arguments: str) -> tuple[int, Any]:
        code = main(["cds", "client", *arguments, "--json", "--database-url", fresh_database_url])
        return code, json.loads(capsys.readouterr().out)

    assert run("list") == (0, {"clients": []})
    flags = {
        "--issuer": ISSUER, "--keys": str(keys), "--tenant": "t", "--origin": ORIGIN,
        "--fhir-server": "https://ehr.example/fhir", "--own-store": "https://ehr.example/x",
    }  # fmt: skip
    code, found = run("add", "north", *(part for pair in flags.items() for part in pair))
    assert code == 0
    assert found["clients"][0] == {
        "name": "north", "issuer": ISSUER, "jwks_url": "", "keys": ["key-1"], "tenants": ["t"],
        "fhir_servers": ["https://ehr.example/fhir"], "own_store": ["https://ehr.example/x"],
        "origins": [ORIGIN],
    }  # fmt: skip
    one = tmp_path / "key.json"
    one.write_text(json.dumps(SOUTH_SIGNER.public()))
    assert len(run("add", "south", "--issuer", SOUTH.issuer, "--keys", str(one))[1]["clients"]) == 2
    assert len(run("remove", "south")[1]["clients"]) == 1
    for arguments, words in (
        (("remove", "south"), "no client"),
        (("add", "x", "--issuer", "y"), "key set"),
        (("add", "x", "--issuer", "y", "--keys", str(tmp_path / "none")), "cannot be read"),
        (("add", "x", "--issuer", ISSUER, "--keys", str(one)), "another client"),
        (("add", "x", "--issuer", "y", "--jwks-url", "http://a.example/j"), "https"),
    ):
        code, refusal = run(*arguments)
        assert code == 1
        assert words in refusal["error"]
    capsys.readouterr()
    assert main(["cds", "client", "list", "--database-url", fresh_database_url]) == 0
    assert "north" in capsys.readouterr().out


def test_feedback_names_its_client() -> None:
    client, records = door()
    card = ask(client, bearer()).json["cards"][0]["uuid"]
    entry = {"card": card, "outcome": "overridden", "outcomeTimestamp": "2026-03-02T15:05:00Z"}
    stranger = {**entry, "card": str(uuid4())}
    answer = client.post(
        f"{URL}/feedback", json={"feedback": [entry, stranger]}, headers=bearer(f"{URL}/feedback")
    )
    assert answer.status_code == 200
    assert [(str(kept.card), kept.client) for kept in records.feedback] == [(card, ISSUER)]
