"""Key sets at an address: fetched once, renewed, never from where nobody allowed; bad servers are borne."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fhir_server.authorization.jwks import KeySets
from fhir_server.authorization.jwt_trust import Issuer, Trust, Untrusted
from tests.rooms.fhir_server.authorization.test_jwt_trust import refused, trust
from tests.support.clause import clause
from tests.support.jwt_signer import AUDIENCE, ISSUER, Signer
from tests.support.web_peer import Asked, Reply, WebPeer, json_reply, web_peer

SPEC = "CDS-Hooks-2.0/"


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
def server(signer: Signer) -> Iterator[WebPeer]:
    with web_peer(lambda _: json_reply(signer.jwks())) as peer:
        signer.jku = f"{peer.url}/jwks.json"
        yield peer


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def at(signer: Signer, clock: Clock | None = None, **options: Any) -> Trust:
    """Return a Trust in the keys at the signer's jku."""
    key_sets = KeySets(clock=clock or Clock(), **options)
    return trust(Issuer(ISSUER, jwks_url=signer.jku), key_sets=key_sets)


@clause(f"{SPEC}#trusting-cds-clients", "the key set is fetched from the registered address, and kept")
def test_keys_are_fetched_once(signer: Signer, server: WebPeer) -> None:
    believed = at(signer)
    for _ in range(5):
        assert believed.verify(signer.token(), AUDIENCE)
    assert believed.verify(signer.token(header={"jku": None}), AUDIENCE)
    assert [(each.method, each.path) for each in server.asked] == [("GET", "/jwks.json")]
    assert "authorization" not in server.asked[0].headers


@clause(f"{SPEC}#trusting-cds-clients", "an address of keys that is not registered is never asked")
def test_another_jku_is_never_asked(signer: Signer, server: WebPeer) -> None:
    with web_peer(lambda _: json_reply(signer.jwks())) as evil:
        believed = at(signer)
        for jku in (
            f"{evil.url}/jwks.json",
            f"{server.url}/other",
            f"{signer.jku}#x",
            f"{signer.jku}?x=1",
            "",
            7,
        ):
            header = signer.header() | {"jku": jku}
            assert refused(signer.signed(header, signer.payload(), "ES384"), by=believed) == "jku"
        assert refused(Signer(issuer=evil.url, jku=evil.url).token(), by=believed) == "issuer"
        assert (evil.asked, server.asked) == ([], [])


def test_a_rotated_key_is_fetched_and_an_old_one_goes(signer: Signer, server: WebPeer) -> None:
    clock = Clock()
    believed = at(signer, clock)
    assert believed.verify(signer.token(), AUDIENCE)
    old, signer.kid, signer.kind, signer.algorithm = signer.token(), "key-2", "P-521", "ES512"
    clock.now += 31
    assert believed.verify(signer.token(), AUDIENCE)
    assert refused(old, by=believed) == "kid"
    assert len(server.asked) == 2


def test_invented_kids_do_not_make_us_ask_on(signer: Signer, server: WebPeer) -> None:
    clock = Clock()
    believed = at(signer, clock)
    for number in range(50):
        assert refused(signer.token(header={"kid": f"invented-{number}"}), by=believed) == "kid"
    assert believed.verify(signer.token(), AUDIENCE)
    assert len(server.asked) == 1
    clock.now += 31
    assert refused(signer.token(header={"kid": "invented"}), by=believed) == "kid"
    assert len(server.asked) == 2


def test_a_set_is_renewed_and_outlives_a_short_outage(signer: Signer, server: WebPeer) -> None:
    clock = Clock()
    believed = at(signer, clock)
    assert believed.verify(signer.token(), AUDIENCE)
    clock.now += 601
    assert believed.verify(signer.token(), AUDIENCE)
    assert len(server.asked) == 2
    server.answer = lambda _: Reply(503)
    clock.now += 601
    assert believed.verify(signer.token(), AUDIENCE)
    assert len(server.asked) == 3
    clock.now += 3001
    assert refused(signer.token(), by=believed) == "jwks"


def test_failures_are_asked_about_less_and_less_often(signer: Signer, server: WebPeer) -> None:
    clock = Clock()
    believed = at(signer, clock)
    server.answer = lambda _: Reply(500)
    seconds = []
    for second in range(200):
        before = len(server.asked)
        assert refused(signer.token(), by=believed) == "jwks"
        if len(server.asked) > before:
            seconds.append(second)
        clock.now += 1
    assert seconds == [0, 2, 6, 14, 30, 62, 126]
    server.answer = lambda _: json_reply(signer.jwks())
    clock.now += 129
    assert believed.verify(signer.token(), AUDIENCE)


def drip(head: bytes) -> Iterator[bytes]:
    yield head
    while True:
        time.sleep(0.02)
        yield b"x"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (lambda: Reply(302, b"", {"Location": "http://127.0.0.1:1/"}), "redirect"),
        (lambda: Reply(301, b"", {"Location": "/jwks.json"}), "redirect"),
        (lambda: Reply(404), "404"),
        (lambda: Reply(500), "500"),
        (lambda: Reply(200, b"not JSON"), "JSON"),
        (lambda: Reply(200, b"[" * 100_000), "JSON"),
        (lambda: json_reply([]), "JWK Set"),
        (lambda: json_reply({"keys": {}}), "JWK Set"),
        (lambda: json_reply({"keys": ["x"]}), "JWK Set"),
        (lambda: json_reply({"keys": [{}] * 101}), "at most 100"),
        (lambda: Reply(200, b" " * 300_000), "too-large"),
        (lambda: Reply(200, b"{}", {"Content-Length": "999999999"}), "too-large"),
        (lambda: Reply(200, b"{}", {"Content-Encoding": "gzip"}), "encoded"),
        (lambda: Reply(raw=drip(b"HTTP/1.1 200 OK\r\nX: ")), "slow"),
        (lambda: Reply(raw=drip(b"HTTP/1.1 200 OK\r\n\r\n")), "slow"),
        (lambda: Reply(raw=iter([b"garbage\r\n\r\n"])), "broken"),
        (lambda: Reply(raw=iter([b""])), "broken"),
    ],
)  # fmt: skip
def test_a_key_server_may_misbehave_as_it_likes(
    signer: Signer, server: WebPeer, reply: Any, words: str
) -> None:
    server.answer = lambda _: reply()
    started = time.monotonic()
    with pytest.raises(Untrusted, match=words) as refusal:
        at(signer, timeout_s=0.4).verify(signer.token(), AUDIENCE)
    assert refusal.value.reason == "jwks"
    assert time.monotonic() - started < 2.0
    assert len(server.asked) == 1


def test_many_threads_ask_once(signer: Signer, server: WebPeer) -> None:
    def slowly(_: Asked) -> Reply:
        time.sleep(0.1)
        return json_reply(signer.jwks())

    server.answer = slowly
    believed = at(signer)
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda _: believed.verify(signer.token(), AUDIENCE), range(16)))
    assert len(server.asked) == 1


def test_a_key_that_was_handed_over_needs_no_server(signer: Signer, server: WebPeer) -> None:
    believed = trust(Issuer(ISSUER, jwks_url=signer.jku, keys=(signer.public(),)))
    assert believed.verify(signer.token(), AUDIENCE)
    assert server.asked == []
