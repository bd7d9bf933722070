"""Tokens: what is believed, what is not and by which code, and one use over all workers."""

from __future__ import annotations

import hmac
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from fhir_server.authorization.jwks import KeySets
from fhir_server.authorization.jwt_trust import ALGORITHMS, Issuer, Trust, Untrusted
from fhir_server.authorization.used_tokens import StoredTokens
from fhir_server.database.engine import Engine
from fhir_server.outcome import Unavailable
from tests.support.clause import clause
from tests.support.jwt_signer import AUDIENCE, ISSUER, Signer, encoded, key

SPEC = "CDS-Hooks-2.0/"
KINDS = {"EC": {"P-256": "P-256", "P-384": "P-384", "P-521": "P-521"}, "RSA": {"": "RSA-2048"},
         "OKP": {"Ed25519": "Ed25519"}}  # fmt: skip


class Once:
    """Used tokens in memory."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], datetime] = {}

    def first(self, issuer: str, token_id: str, until: datetime) -> bool:
        return self.seen.setdefault((issuer, token_id), until) is until


def trust(*issuers: Issuer, used: Any = None, **options: Any) -> Trust:
    """Return a Trust in the given issuers; without one, in a signer whose key was handed over."""
    known = issuers or (Issuer(ISSUER, keys=(Signer().public(),)),)
    key_sets = options.pop("key_sets", None) or KeySets()
    return Trust({each.name: each for each in known}.get, used or Once(), key_sets, **options)


def refused(token: str, audience: Any = AUDIENCE, by: Trust | None = None) -> str:
    """Return the code by which a token is refused."""
    with pytest.raises(Untrusted) as refusal:
        (by or trust()).verify(token, audience)
    assert refusal.value.status == 401
    assert not token or token not in str(refusal.value)
    return refusal.value.reason


# What is believed --------------------------------------------------------------------------------
@clause(f"{SPEC}#trusting-cds-clients", "a signed token of a registered client; aud is a string or an array")
@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["https://other.example", AUDIENCE]])
def test_a_good_token(audience: Any) -> None:
    claims = trust().verify(Signer(claims={"tenant": "north", "sub": "me", "x": 1}).token(audience), AUDIENCE)
    assert (claims.issuer, claims.tenant, claims.subject, claims.more) == (ISSUER, "north", "me", {"x": 1})
    assert claims.expires_at - claims.issued_at == timedelta(seconds=300)


def test_an_installation_may_be_known_by_several_addresses() -> None:
    addresses = ("http://127.0.0.1:8080/cds-services/one", AUDIENCE)
    assert trust().verify(Signer().token(), addresses).audience == (AUDIENCE,)


@clause(f"{SPEC}#jwt-signing-algorithm", "ES384 and RS384, and the other asymmetric ones")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_asymmetric_algorithm(algorithm: str) -> None:
    kind, curve = ALGORITHMS[algorithm]
    signer = Signer(kind=KINDS[kind][curve], algorithm=algorithm)
    for more in ({}, {"use": "sig", "alg": algorithm, "key_ops": ["verify"], "x5t": "x"}):
        believed = trust(Issuer(ISSUER, keys=(signer.public(**more),)))
        assert believed.verify(signer.token(), AUDIENCE).issuer == ISSUER


def test_members_of_the_header_that_nobody_knows_are_passed_over() -> None:
    token = Signer().token(header={"x-ours": {"a": 1}, "cty": "JSON"})
    assert trust().verify(token, AUDIENCE).issuer == ISSUER


def test_typ_may_be_missing_or_small() -> None:
    for typ in (None, "jwt", "JWT"):
        assert trust().verify(Signer().token(header={"typ": typ}), AUDIENCE)


# What is not -------------------------------------------------------------------------------------
def none_token(alg: str = "none", signature: str = "") -> str:
    header = encoded(json.dumps({"alg": alg, "typ": "JWT", "kid": "key-1"}).encode())
    return f"{header}.{encoded(json.dumps(Signer().payload()).encode())}.{signature}"


def shared_secret_token(secret: bytes, alg: str = "HS256") -> str:
    header = json.dumps({"alg": alg, "typ": "JWT", "kid": "key-1"}).encode()
    text = f"{encoded(header)}.{encoded(json.dumps(Signer().payload()).encode())}"
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), f'sha{alg[2:]}'))}"


def confused_token() -> str:
    """Return what attacks libraries that take a public key for a secret (CVE-2015-9235)."""
    return shared_secret_token(key("P-384").as_pem(private=False))


def foreign_signature() -> str:
    """Return a token whose signature is that of another one."""
    whole, other = Signer().token().split("."), Signer().token().split(".")
    return ".".join((*whole[:2], other[2]))


def embedded_key() -> str:
    """Return a token that brings the key it is signed with."""
    attacker = Signer(kind="P-521", algorithm="ES512", kid="mine")
    return attacker.token(header={"jwk": attacker.public(), "kid": "mine"})


def raw(payload: Any = None, by: str = "ES384", **header: Any) -> str:
    """Return a token with such members in its header, None being a value, signed as ES384."""
    made = {"alg": "ES384", "typ": "JWT", "kid": "key-1", **header}
    made = {name: value for name, value in made.items() if value is not ...}
    return Signer().signed(made, Signer().payload() if payload is None else payload, by)


def cut(signature: bytes) -> str:
    """Return a token with another signature."""
    return f"{Signer().token().rpartition('.')[0]}.{encoded(signature)}"


def other_payload() -> str:
    """Return a token whose payload was changed after it was signed."""
    header, _, signature = Signer().token().split(".")
    return f"{header}.{encoded(json.dumps(Signer().payload()).encode())}.{signature}"


NOW = int(time.time())
HOSTILE: dict[str, tuple[Any, str]] = {
    "empty": ("", "form"),
    "no dots": ("abc", "form"),
    "two parts": ("a.b", "form"),
    "five parts": ("a.b.c.d.e", "form"),
    "not base64url": ("a+/=.b.c", "form"),
    "header is no JSON": (f"{encoded(b'{')}.{encoded(b'{}')}.x", "form"),
    "header is a list": (f"{encoded(b'[]')}.{encoded(b'{}')}.x", "form"),
    "header is deep": (f"{encoded(b'[' * 9000)}.{encoded(b'{}')}.x", "form"),
    "payload is a text": (lambda: raw(b'"x"'), "form"),
    "not ASCII": ("ä.b.c", "form"),
    "far too long": ("a" * 20_000 + ".b.c", "form"),
    "alg none": (none_token(), "algorithm"),
    "alg None": (none_token("None"), "algorithm"),
    "alg NONE, with a signature": (none_token("NONE", "AAAA"), "algorithm"),
    "alg empty": (none_token(""), "algorithm"),
    "alg HS256 with the public key": (confused_token, "algorithm"),
    "alg HS512": (lambda: shared_secret_token(b"x" * 64, "HS512"), "algorithm"),
    "alg ES256K": (lambda: Signer(kind="secp256k1", algorithm="ES256K").token(), "algorithm"),
    "alg missing": (lambda: raw(alg=...), "algorithm"),
    "alg a list": (lambda: raw(alg=["ES384"]), "algorithm"),
    "alg lies about the key": (lambda: raw(alg="RS384"), "key"),
    "alg lies about the curve": (lambda: raw(alg="ES256"), "key"),
    "typ of another kind": (lambda: Signer().token(header={"typ": "JWE"}), "form"),
    "crit": (lambda: raw(crit=["x"], x=1), "form"),
    "b64": (lambda: raw(b64=False), "form"),
    "kid missing": (lambda: Signer().token(header={"kid": None}), "form"),
    "kid a number": (lambda: raw(kid=7), "form"),
    "kid unknown": (lambda: Signer(kid="other").token(), "kid"),
    "kid a path": (lambda: Signer(kid="../../etc/passwd").token(), "kid"),
    "key inside the token": (embedded_key, "kid"),
    "key inside, kid of ours": (lambda: Signer(kind="P-521", algorithm="ES512").token(
        header={"jwk": Signer(kind="P-521").public()}), "key"),
    "x5u": (lambda: Signer(kid="x").token(header={"x5u": "http://127.0.0.1:1/x.pem"}), "kid"),
    "jku not registered": (lambda: Signer(jku="http://127.0.0.1:1/jwks").token(), "jku"),
    "jku null": (lambda: raw(jku=None), "jku"),
    "signature of another token": (foreign_signature, "signature"),
    "signature empty": (lambda: cut(b""), "signature"),
    "signature all zero": (lambda: cut(bytes(96)), "signature"),
    "signature far too long": (lambda: cut(bytes(5000)), "signature"),
    "payload changed": (other_payload, "signature"),
    "iss missing": (lambda: Signer().token(iss=None), "form"),
    "iss of nobody": (lambda: Signer(issuer="https://evil.example").token(), "issuer"),
    "iss with a slash more": (lambda: Signer(issuer=f"{ISSUER}/").token(), "issuer"),
    "iss in capitals": (lambda: Signer(issuer=ISSUER.upper()).token(), "issuer"),
    "iss a list": (lambda: Signer().token(iss=[ISSUER]), "form"),
    "aud missing": (lambda: Signer().token(None), "audience"),
    "aud empty": (lambda: Signer().token([]), "audience"),
    "aud with a number in it": (lambda: Signer().token([AUDIENCE, 7]), "audience"),
    "aud of the whole server": (lambda: Signer().token("https://cds.example"), "audience"),
    "aud of discovery": (lambda: Signer().token("https://cds.example/cds-services"), "audience"),
    "aud with a slash more": (lambda: Signer().token(f"{AUDIENCE}/"), "audience"),
    "aud by http": (lambda: Signer().token(AUDIENCE.replace("https", "http")), "audience"),
    "aud in a text": (lambda: Signer().token(f"{AUDIENCE} {AUDIENCE}"), "audience"),
    "exp missing": (lambda: Signer().token(exp=None), "form"),
    "exp a text": (lambda: Signer().token(exp=str(NOW + 300)), "form"),
    "exp true": (lambda: Signer().token(exp=True), "form"),
    "exp never": (lambda: Signer().token(exp=1e300), "form"),
    "exp negative": (lambda: Signer().token(exp=-1), "form"),
    "exp long past": (lambda: Signer().token(iat=NOW - 900, exp=NOW - 600), "expired"),
    "exp before iat": (lambda: Signer().token(iat=NOW, exp=NOW - 5), "expired"),
    "exp in a year": (lambda: Signer().token(exp=NOW + 31_536_000), "too-long"),
    "iat missing": (lambda: Signer().token(iat=None), "form"),
    "iat tomorrow": (lambda: Signer().token(iat=NOW + 86_400, exp=NOW + 86_700), "early"),
    "nbf tomorrow": (lambda: Signer().token(nbf=NOW + 86_400), "early"),
    "nbf a text": (lambda: Signer().token(nbf="now"), "form"),
    "jti missing": (lambda: Signer().token(jti=None), "form"),
    "jti empty": (lambda: Signer().token(jti=""), "form"),
    "jti a number": (lambda: Signer().token(jti=7), "form"),
    "jti far too long": (lambda: Signer().token(jti="x" * 256), "form"),
    "jti with a zero byte": (lambda: Signer().token(jti="a\0b"), "form"),
    "tenant a list": (lambda: Signer().token(tenant=["a"]), "form"),
}  # fmt: skip


@clause(f"{SPEC}#jwt-signing-algorithm", "unsigned tokens and shared secrets are never taken")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_token_is_refused_and_leaves_no_trace(name: str) -> None:
    made, reason = HOSTILE[name]
    used = Once()
    assert refused(made() if callable(made) else made, by=trust(used=used)) == reason
    assert used.seen == {}, "only a token that is believed is noted"


@pytest.mark.parametrize(
    ("key_", "reason"),
    [
        ({**Signer().public(), "use": "enc"}, "key"),
        ({**Signer().public(), "key_ops": ["sign"]}, "key"),
        ({**Signer().public(), "alg": "ES256"}, "key"),
        ({**key("P-384").as_dict(private=True), "kid": "key-1"}, "key"),
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "key-1"}, "key"),
        ({**Signer().public(), "x": "AAAA"}, "key"),
        ({"kty": "EC", "kid": "key-1", "crv": "P-384"}, "key"),
        ({**Signer(kind="P-256").public()}, "key"),
    ],
)
def test_a_key_that_is_unfit_verifies_nothing(key_: dict[str, Any], reason: str) -> None:
    assert refused(Signer().token(), by=trust(Issuer(ISSUER, keys=(key_,)))) == reason


def test_a_short_rsa_key_is_unfit() -> None:
    signer = Signer(kind="RSA-1024", algorithm="RS384")
    assert refused(signer.token(), by=trust(Issuer(ISSUER, keys=(signer.public(),)))) == "key"


def test_one_issuer_cannot_speak_for_another() -> None:
    north = Signer(issuer="https://north.example")
    south = Signer(issuer="https://south.example", kind="P-521", algorithm="ES512")
    both = trust(*(Issuer(each.issuer, keys=(each.public(),)) for each in (north, south)))
    assert both.verify(south.token(), AUDIENCE).issuer == south.issuer
    assert refused(Signer(issuer=south.issuer).token(), by=both) == "key"


def test_two_keys_of_one_kid_are_both_tried() -> None:
    old, new = Signer(kind="P-384"), Signer(kind="RSA-2048", algorithm="RS384")
    believed = trust(Issuer(ISSUER, keys=(old.public(), new.public())))
    assert believed.verify(new.token(), AUDIENCE)
    assert believed.verify(old.token(), AUDIENCE)


def test_tenants_that_are_registered_are_the_only_ones() -> None:
    believed = trust(Issuer(ISSUER, keys=(Signer().public(),), tenants=frozenset({"north"})))
    assert believed.verify(Signer().token(tenant="north"), AUDIENCE).tenant == "north"
    assert refused(Signer().token(tenant="south"), by=believed) == "tenant"
    assert refused(Signer().token(), by=believed) == "tenant"


@pytest.mark.parametrize(
    ("ahead", "reason"),
    [(-361, "expired"), (-359, None), (0, None), (59, None), (61, "early")],
)
def test_clocks_may_differ_by_a_minute(ahead: int, reason: str | None) -> None:
    now = 1_800_000_000
    believed = trust(clock=lambda: float(now))
    token = Signer().token(iat=now + ahead, exp=now + ahead + 300)
    if reason:
        assert refused(token, by=believed) == reason
    else:
        assert believed.verify(token, AUDIENCE)


# Once over all workers ----------------------------------------------------------------------------
@clause(f"{SPEC}#trusting-cds-clients", "a token is good for one request, whichever worker gets it")
def test_of_many_at_the_same_time_one_is_first(database_url: str) -> None:
    engines = [Engine(database_url, size=8) for _ in range(4)]
    workers = [trust(used=StoredTokens(engine)) for engine in engines]
    try:
        for _ in range(3):
            token = Signer().token()

            def one(number: int, token: str = token) -> str:
                try:
                    return workers[number % 4].verify(token, AUDIENCE).issuer
                except Untrusted as error:
                    return error.reason

            with ThreadPoolExecutor(32) as pool:
                answers = sorted(pool.map(one, range(32)))
            assert answers == [ISSUER] + ["replayed"] * 31
    finally:
        for engine in engines:
            engine.close()


def test_a_jti_is_the_issuers_own(engine: Engine) -> None:
    used = StoredTokens(engine)
    until = datetime.now(UTC) + timedelta(minutes=5)
    assert [used.first(issuer, "7", until) for issuer in ("https://a", "https://b", "https://a")] == [
        True, True, False,
    ]  # fmt: skip


def test_tokens_that_have_expired_are_forgotten(fresh_database_url: str) -> None:
    engine = Engine(fresh_database_url)
    now = datetime(2026, 3, 2, 15, tzinfo=UTC)
    used = StoredTokens(engine, lambda: now, sweep_s=0.0)
    assert used.first("a", "old", now - timedelta(seconds=1))
    assert used.first("a", "new", now + timedelta(minutes=5))
    with engine.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*), bool_and(octet_length(digest) = 32) FROM jwt_used")
        assert cursor.fetchone() == (1, True)
    assert not used.first("a", "new", now + timedelta(minutes=5))
    engine.close()


def test_without_a_database_nothing_can_be_said() -> None:
    gone = StoredTokens(Engine("dbname=none host=/nowhere", wait_s=0.1))
    with pytest.raises((Unavailable, psycopg2.Error)) as refusal:
        trust(used=gone).verify(Signer().token(), AUDIENCE)
    assert refusal.type is Unavailable
