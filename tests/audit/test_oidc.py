"""Tokens of an OpenID provider: who is recognised, and every way in which a token is none for this service."""

import base64
import hashlib
import hmac
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import jwt.api_jws
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from langgraph_control.audit.people.fetching import CannotFetch, fetch_json, may_fetch
from langgraph_control.audit.people.identity import Identity, NotAuthenticated
from langgraph_control.audit.people.oidc import ALGORITHMS, OpenIDConnect
from langgraph_control.audit.people.provider_keys import ProviderKeys
from langgraph_control.errors import SignInError
from tests.support.openid_provider import AUDIENCE, Provider, new_key, openid_provider, public_jwk, public_pem

ANA = "ana@acme.example"


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    """A provider for all tests."""
    with openid_provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    """The provider, answering as it should."""
    running.asked.clear()
    running.instead.clear()
    running.slow_seconds = 0
    return running


@pytest.fixture
def signing(provider: Provider) -> OpenIDConnect:
    """An authenticator that knows nothing yet."""
    return OpenIDConnect(provider.issuer, AUDIENCE)


def refused(signing: OpenIDConnect, token: str) -> str:
    """Return the code with which a token is refused; the text holds nothing of it."""
    with pytest.raises(NotAuthenticated) as error:
        signing.authenticate(token)
    assert not any(part in str(error.value) for part in token.split(".") if len(part) > 8)
    return error.value.code


def outcome(signing: OpenIDConnect, token: str) -> str:
    """Return what came of a token; any other error is the test's failure."""
    try:
        signing.authenticate(token)
    except NotAuthenticated:
        return "refused"
    return "person"


def part(value: Any) -> str:
    """Return a token's part."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


# --- who is recognised ---


@pytest.mark.parametrize("kid", ["rsa", "ec", "ed"])
def test_a_token_tells_who_its_bearer_is(provider: Provider, signing: OpenIDConnect, kid: str) -> None:
    """Person, groups, issuer, subject, strength and the hash of the token's id, whatever kind of key signed it."""
    token = provider.token(kid=kid, groups=["leads", "cfo"], acr="mfa", jti="id-1", exp=4_000_000_000)
    found = signing.authenticate(token)
    assert found == Identity(
        person=ANA,
        issuer=provider.issuer,
        subject=f"id-{ANA}",
        groups=("leads", "cfo"),
        acr="mfa",
        credential=hashlib.sha256(b"id-1").hexdigest(),
        expires_at=datetime.fromtimestamp(4_000_000_000, UTC),
    )
    assert token not in found.canonical()


def test_without_an_id_the_token_is_found_by_its_hash(provider: Provider, signing: OpenIDConnect) -> None:
    """Where the provider gives tokens no id, the token's own hash is recorded."""
    token = provider.token()
    assert signing.authenticate(token).credential == hashlib.sha256(token.encode()).hexdigest()


def test_people_and_groups_come_from_the_claims_that_are_named(provider: Provider) -> None:
    """Other claims than email and groups can name them."""
    signing = OpenIDConnect(provider.issuer, AUDIENCE, person_claim="sub", groups_claim="https://acme.example/roles")
    claims: dict[str, Any] = {"email": None, "https://acme.example/roles": ["cfo"]}
    token = provider.token(**claims)
    assert (signing.authenticate(token).person, signing.authenticate(token).groups) == (f"id-{ANA}", ("cfo",))


GOOD: dict[str, dict[str, Any]] = {
    "audience in a list": {"aud": ["other", AUDIENCE]},
    "over within the leeway": {"exp": -20},
    "to come within the leeway": {"nbf": 20, "iat": 20},
    "a verified address": {"email_verified": True},
    "no groups": {"groups": None},
}


@pytest.mark.parametrize("what", GOOD)
def test_what_is_accepted(provider: Provider, signing: OpenIDConnect, what: str) -> None:
    """A clock may be a little off, an audience may be one of several."""
    assert signing.authenticate(provider.token(**at(GOOD[what]))).person == ANA


def at(claims: dict[str, Any]) -> dict[str, Any]:
    """Return claims with their times counted from now."""
    now = int(time.time())
    return {
        name: now + value if name in {"exp", "nbf", "iat"} and type(value) is int else value
        for name, value in claims.items()
    }


@pytest.mark.parametrize("kind", ["JWT", "at+jwt", "application/at+jwt", "AT+JWT"])
def test_access_tokens_say_that_they_are(provider: Provider, signing: OpenIDConnect, kind: str) -> None:
    """RFC 9068's type of access tokens is accepted."""
    assert signing.authenticate(provider.signed(provider.claims(), headers={"typ": kind})).person == ANA


# --- what is refused ---


WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "expired": ("token_expired", {"exp": -60}),
    "not yet valid": ("token_not_yet_valid", {"nbf": 120}),
    "issued in the future": ("token_not_yet_valid", {"iat": 120}),
    "no end": ("token_claim_missing", {"exp": None}),
    "no subject": ("token_claim_missing", {"sub": None}),
    "empty subject": ("token_claim_missing", {"sub": ""}),
    "no issuer": ("token_claim_missing", {"iss": None}),
    "no audience": ("token_claim_missing", {"aud": None}),
    "no person": ("token_claim_missing", {"email": None}),
    "empty person": ("token_claim_missing", {"email": ""}),
    "another issuer": ("token_issuer", {"iss": "https://evil.example"}),
    "issuer in a list": ("token_issuer", {"iss": ["https://evil.example"]}),
    "another audience": ("token_audience", {"aud": "other"}),
    "other audiences": ("token_audience", {"aud": ["other", "another"]}),
    "part of the audience": ("token_audience", {"aud": AUDIENCE[:-1]}),
    "audience that is no text": ("token_audience", {"aud": 7}),
    "unverified address": ("token_email_unverified", {"email_verified": False}),
    "unverified address as text": ("token_email_unverified", {"email_verified": "false"}),
    "an end that is no number": ("token_malformed", {"exp": "soon"}),
    "an end in no calendar": ("token_claim_invalid", {"exp": 10**18}),
    "a person that is no text": ("token_claim_invalid", {"email": ["ana@acme.example"]}),
    "hidden in a person": ("token_claim_invalid", {"email": "ana@acme.example\u200b"}),
    "nothing in a person": ("token_claim_invalid", {"email": "ana\x00@acme.example"}),
    "long person": ("token_claim_invalid", {"email": "a" * 257}),
    "a person named like a group": ("person_invalid", {"email": "group:finance"}),
    "groups as text": ("token_claim_invalid", {"groups": "finance"}),
    "groups of groups": ("token_claim_invalid", {"groups": [["finance"]]}),
    "nothing in a group": ("token_claim_invalid", {"groups": ["fin\x00ance"]}),
    "strength that is no text": ("token_claim_invalid", {"acr": 1}),
    "logout token": ("token_type", {"events": {}}),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_token_for_something_else_is_refused(provider: Provider, signing: OpenIDConnect, what: str) -> None:
    """Each reason has a code of its own, and the text holds neither token nor claims."""
    code, claims = WRONG[what]
    assert refused(signing, provider.token(**at(claims))) == code


def unsigned(provider: Provider) -> str:
    """Return a token that claims to need no signature."""
    return f"{part({'alg': 'none', 'typ': 'JWT', 'kid': 'rsa'})}.{part(provider.claims())}."


def confused(provider: Provider) -> str:
    """Return a token signed with the public key as if it were a shared secret."""
    said = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'rsa'})}.{part(provider.claims())}"
    return f"{said}.{part(hmac.digest(public_pem(provider.keys['rsa']), said.encode(), 'sha256'))}"


def with_own_key(provider: Provider) -> str:
    """Return a token that brings the key which it is signed with, and its address."""
    forger = new_key("rsa")
    headers = {"kid": "rsa", "jwk": public_jwk(forger), "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1"}
    return jwt.encode(provider.claims(), forger, algorithm="RS256", headers=headers)


def changed(provider: Provider) -> str:
    """Return a token whose person was changed after it was signed."""
    header, _claims, signature = provider.token().split(".")
    return f"{header}.{part(provider.claims('cfo@acme.example'))}.{signature}"


FORGED: dict[str, tuple[str, Callable[[Provider], str]]] = {
    "no signature": ("token_algorithm", unsigned),
    "no signature, spelled otherwise": (
        "token_algorithm",
        lambda provider: f"{part({'alg': 'nOnE', 'kid': 'rsa'})}.{part(provider.claims())}.",
    ),
    "public key as secret": ("token_algorithm", confused),
    "a key of its own": ("token_signature", with_own_key),
    "changed claims": ("token_signature", changed),
    "signature cut off": ("token_signature", lambda provider: provider.token().rpartition(".")[0] + "."),
    "unknown key": ("token_key_unknown", lambda provider: provider.signed(provider.claims(), headers={"kid": "other"})),
    "key of another kind": (
        "token_key_unknown",
        lambda provider: provider.signed(provider.claims(), headers={"kid": "ec"}),
    ),
    "key name that is no text": (
        "token_malformed",
        lambda provider: f"{part({'alg': 'RS256', 'kid': ['rsa']})}.{part(provider.claims())}.AAAA",
    ),
    "logout token": (
        "token_type",
        lambda provider: provider.signed(provider.claims(), headers={"typ": "logout+jwt"}),
    ),
    "critical extension": (
        "token_malformed",
        lambda provider: provider.signed(provider.claims(), headers={"crit": ["x"], "x": 1}),
    ),
    "oversized": ("token_oversized", lambda provider: provider.token(padding="x" * 20_000)),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_token_is_refused(provider: Provider, signing: OpenIDConnect, what: str) -> None:
    """What the provider did not sign for a person's sign-in counts for nothing."""
    code, make = FORGED[what]
    assert refused(signing, make(provider)) == code


def test_only_the_configured_address_is_asked(provider: Provider, signing: OpenIDConnect) -> None:
    """Addresses and keys in a token's header are not looked at."""
    refused(signing, with_own_key(provider))
    assert set(provider.asked) == {"/.well-known/openid-configuration", "/keys"}


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "a.b.c.d.e",
        "Bearer x",
        "é.é.é",
        "\ud800",
        f"{part(b'[]')}.e30.AA",
        f"{part(b'[' * 9000)}.e30.AA",
    ],
)
def test_what_is_no_token_is_refused(signing: OpenIDConnect, token: str) -> None:
    """Garbage has a code, and never an exception of a library."""
    assert refused(signing, token) in {"token_malformed", "token_algorithm"}


STRANGE: tuple[Any, ...] = ([], {}, 7, -1, 1.5, True, None, "", "x", [[]], [None], {"x": 1}, 10**400)


@pytest.mark.parametrize("name", ["alg", "typ", "kid"])
def test_a_header_of_any_form_is_refused_or_read(provider: Provider, signing: OpenIDConnect, name: str) -> None:
    """Whatever stands where a name should, the answer is a refusal; never a crash. Only a type may be missing."""
    for value in STRANGE:
        header = {"alg": "RS256", "typ": "JWT", "kid": "rsa"} | {name: value}
        said = f"{part(header)}.{part(provider.claims())}"
        signature = jwt.api_jws.get_algorithm_by_name("RS256").sign(said.encode(), provider.keys["rsa"])
        expected = "person" if (name, value) == ("typ", None) else "refused"
        assert outcome(signing, f"{said}.{part(signature)}") == expected


@pytest.mark.parametrize(
    "name", ["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "email", "email_verified", "groups", "acr", "events"]
)
def test_a_claim_of_any_form_is_refused_or_read(provider: Provider, signing: OpenIDConnect, name: str) -> None:
    """Whatever stands in a claim that is looked at, the answer is a person or a refusal; never a crash."""
    for value in STRANGE:
        assert outcome(signing, provider.signed(provider.claims() | {name: value})) in {"person", "refused"}


@pytest.mark.parametrize("claims", [b"[]", b"null", b"{", b"\xff", b'{"exp": 1e999}', b'{"a":' * 1500])
def test_signed_garbage_is_refused(provider: Provider, signing: OpenIDConnect, claims: bytes) -> None:
    """Not even the provider's signature makes a sign-in of what is none."""
    token = jwt.api_jws.encode(claims, provider.keys["rsa"], algorithm="RS256", headers={"kid": "rsa"})
    assert refused(signing, token) in {"token_malformed", "token_claim_missing"}


def test_a_weak_sign_in_is_refused_where_strength_is_asked_for(provider: Provider) -> None:
    """With acr_values a token has to say one of them."""
    signing = OpenIDConnect(provider.issuer, AUDIENCE, acr_values=["mfa", "phr"])
    assert signing.authenticate(provider.token(acr="phr")).acr == "phr"
    assert {refused(signing, provider.token(acr=acr)) for acr in ("pwd", None)} == {"token_acr"}


def test_an_algorithm_that_is_not_listed_is_refused(provider: Provider) -> None:
    """Fewer algorithms can be accepted than the provider has."""
    signing = OpenIDConnect(provider.issuer, AUDIENCE, algorithms=["ES256"])
    assert signing.authenticate(provider.token(kid="ec")).person == ANA
    assert refused(signing, provider.token(kid="rsa")) == "token_algorithm"


# --- the provider's keys ---


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


@pytest.fixture
def clock(provider: Provider, signing: OpenIDConnect) -> Clock:
    """The clock by which the authenticator's keys age."""
    made = Clock()
    signing._keys = ProviderKeys(provider.issuer, clock=made)
    return made


def test_keys_are_fetched_once(provider: Provider, signing: OpenIDConnect, clock: Clock) -> None:
    """Two requests for any number of tokens, also when many come at once."""
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: signing.authenticate(provider.token()).person, range(30))) == {ANA}
    assert provider.asked == ["/.well-known/openid-configuration", "/keys"]


def test_a_rotated_key_is_found(provider: Provider, signing: OpenIDConnect, clock: Clock) -> None:
    """A token with a new key has the keys fetched again, once; the old key then counts no more."""
    old = provider.token()
    signing.authenticate(old)
    before, provider.keys = provider.keys, {"rsa-2": new_key("rsa")}
    try:
        clock.now += 11
        for _ in range(3):
            assert signing.authenticate(provider.token(kid="rsa-2")).person == ANA
        assert len(provider.asked) == 4
        assert refused(signing, old) == "token_key_unknown"
    finally:
        provider.keys = before


def test_unknown_keys_do_not_have_the_provider_asked_without_end(
    provider: Provider, signing: OpenIDConnect, clock: Clock
) -> None:
    """A hundred forged tokens cost one fetch in ten seconds."""
    forged = [provider.signed(provider.claims(), headers={"kid": f"k{number}"}) for number in range(100)]
    assert {refused(signing, token) for token in forged} == {"token_key_unknown"}
    assert len(provider.asked) == 2
    clock.now += 10
    assert {refused(signing, token) for token in forged} == {"token_key_unknown"}
    assert len(provider.asked) == 4


def test_old_keys_are_fetched_again(provider: Provider, signing: OpenIDConnect, clock: Clock) -> None:
    """After an hour a key that the provider has withdrawn counts no more."""
    token = provider.token(kid="ec", exp=int(time.time()) + 9000)
    signing.authenticate(token)
    clock.now += 3599
    signing.authenticate(token)
    assert len(provider.asked) == 2
    ec_key = provider.keys.pop("ec")
    try:
        clock.now += 1
        assert refused(signing, token) == "token_key_unknown"
    finally:
        provider.keys["ec"] = ec_key


ODD: tuple[Any, ...] = (7, [], {})
ODD_KEYS = [{"kty": "RSA", name: value} for name in ("key_ops", "crv", "alg", "kid", "n", "use") for value in ODD]

BAD: dict[str, tuple[int, dict[str, str], bytes]] = {
    "an error": (500, {}, b""),
    "no JSON": (200, {}, b"<html>"),
    "no keys": (200, {}, b"{}"),
    "an empty set": (200, {}, b'{"keys": []}'),
    "keys of no use": (200, {}, b'{"keys": [1, {}, {"kty": "oct", "k": "AAAA"}, {"kty": "RSA", "n": "?", "e": "?"}]}'),
    "keys of strange forms": (
        200,
        {},
        json.dumps({"keys": ODD_KEYS}).encode(),
    ),
    "too many keys": (200, {}, json.dumps({"keys": [{}] * 101}).encode()),
    "too much": (200, {}, b" " * 300_000),
    "a redirect": (302, {"Location": "/moved"}, b""),
    "a permanent redirect": (308, {"Location": "/moved"}, b""),
    "nothing": (204, {}, b""),
}


@pytest.mark.parametrize("what", BAD)
def test_a_failed_fetch_keeps_the_keys_of_before(
    provider: Provider, signing: OpenIDConnect, clock: Clock, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """People stay signed in while the provider is ill; it is asked once in ten seconds and the log says why."""
    signing.authenticate(provider.token())
    provider.instead["/keys"] = BAD[what]
    clock.now += 3600
    with caplog.at_level(logging.WARNING):
        assert {signing.authenticate(provider.token()).person for _ in range(5)} == {ANA}
    assert len(caplog.records) == 1
    assert "the keys of before stay in use" in caplog.text
    assert "/moved" not in provider.asked
    provider.instead.clear()
    clock.now += 10
    signing.authenticate(provider.token())
    assert provider.asked[-2:] == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize("what", BAD)
def test_without_keys_nobody_is_recognised(provider: Provider, signing: OpenIDConnect, clock: Clock, what: str) -> None:
    """A provider that cannot be asked lets nobody in, and is asked again after ten seconds."""
    provider.instead["/keys"] = BAD[what]
    assert refused(signing, provider.token()) == "issuer_unavailable"
    provider.instead.clear()
    assert refused(signing, provider.token()) == "issuer_unavailable"
    clock.now += 10
    assert signing.authenticate(provider.token()).person == ANA


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example", "jwks_uri": "{issuer}/keys"},
        {"issuer": "{issuer}/", "jwks_uri": "{issuer}/keys"},
        {"issuer": "{issuer}"},
        {"issuer": "{issuer}", "jwks_uri": "http://acme.example/keys"},
        {"issuer": "{issuer}", "jwks_uri": "file:///keys"},
        {"issuer": "{issuer}", "jwks_uri": 7},
        [],
    ],
    ids=str,
)
def test_a_discovery_document_of_another_is_not_believed(
    provider: Provider, signing: OpenIDConnect, document: Any
) -> None:
    """It has to name exactly this issuer, and an address for keys that may be asked."""
    text = json.dumps(document).replace("{issuer}", provider.issuer)
    provider.instead["/.well-known/openid-configuration"] = (200, {}, text.encode())
    assert refused(signing, provider.token()) == "issuer_unavailable"
    assert "/keys" not in provider.asked


def test_keys_can_be_at_an_address_of_their_own(provider: Provider) -> None:
    """With jwks_url no discovery document is asked for."""
    signing = OpenIDConnect(provider.issuer, AUDIENCE, jwks_url=f"{provider.issuer}/moved")
    assert signing.authenticate(provider.token()).person == ANA
    assert provider.asked == ["/moved"]


def test_a_token_without_a_key_name_needs_one_fitting_key(provider: Provider, signing: OpenIDConnect) -> None:
    """Where the provider has one key of the kind the name may be missing; where it has two it may not."""
    token = jwt.encode(provider.claims(), provider.keys["ec"], algorithm="ES256")
    assert signing.authenticate(token).person == ANA
    provider.keys["ec-2"] = new_key("ec")
    try:
        assert refused(OpenIDConnect(provider.issuer, AUDIENCE), token) == "token_key_unknown"
    finally:
        del provider.keys["ec-2"]


WEAK: dict[str, Callable[[], tuple[Any, str, dict[str, Any]]]] = {
    "short": lambda: (rsa.generate_private_key(public_exponent=65537, key_size=1024), "RS256", {}),  # noqa: S505 - what is refused
    "for encryption": lambda: (new_key("rsa"), "RS256", {"use": "enc"}),
    "for another algorithm": lambda: (new_key("rsa"), "RS256", {"alg": "PS256"}),
    "for wrapping": lambda: (new_key("rsa"), "RS256", {"key_ops": ["wrapKey"]}),
    "of another curve": lambda: (ec.generate_private_key(ec.SECP384R1()), "ES384", {"crv": "P-256"}),
}


@pytest.mark.parametrize("what", WEAK)
@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
def test_keys_that_do_not_sign_are_left_out(provider: Provider, signing: OpenIDConnect, what: str) -> None:
    """Keys that are too short or meant for something else verify nothing; the others of the set do."""
    key, algorithm, more = WEAK[what]()
    listed = [public_jwk(key, kid="weak", **more), public_jwk(provider.keys["rsa"], kid="rsa")]
    provider.instead["/keys"] = (200, {}, json.dumps({"keys": listed}).encode())
    token = jwt.encode(provider.claims(), key, algorithm=algorithm, headers={"kid": "weak"})
    assert refused(signing, token) == "token_key_unknown"
    assert signing.authenticate(provider.token()).person == ANA


# --- what is fetched ---


def test_a_slow_answer_is_not_waited_for(provider: Provider) -> None:
    """The time is for the whole answer, not for each byte of it."""
    provider.slow_seconds = 0.2
    began = time.monotonic()
    with pytest.raises(CannotFetch, match="within"):
        fetch_json(f"{provider.issuer}/keys", seconds=0.5)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://acme.example/keys", True),
        ("https://acme.example:8443/a?b=c", True),
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000/", True),
        ("http://localhost/", True),
        ("http://acme.example/", False),
        ("http://127.0.0.1.acme.example/", False),
        ("http://localhost.acme.example/", False),
        ("http://0.0.0.0/", False),
        ("https://ana:secret@acme.example/", False),
        ("https:///keys", False),
        ("https://acme.example/#a", False),
        ("https://acme.example:port/", False),
        ("https://acme.example/\r\nX: y", False),
        ("https://acme.example/ a", False),
        ("file:///keys", False),
        ("ftp://acme.example/keys", False),
        ("", False),
    ],
)
def test_only_https_and_this_machine_are_asked(url: str, may: bool) -> None:  # noqa: FBT001 - a table's column
    """Plain http is for this machine alone; other schemes are for nobody."""
    assert may_fetch(url) is may
    if not may:
        with pytest.raises(CannotFetch):
            fetch_json(url)


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("issuer", {"issuer": "http://acme.example"}),
        ("issuer", {"issuer": ""}),
        ("audience", {"audience": ""}),
        ("person_claim", {"person_claim": ""}),
        ("groups_claim", {"groups_claim": ""}),
        ("algorithms", {"algorithms": []}),
        ("algorithms", {"algorithms": ["HS256"]}),
        ("algorithms", {"algorithms": ["RS256", "none"]}),
        ("leeway_seconds", {"leeway_seconds": -1}),
        ("leeway_seconds", {"leeway_seconds": 3600}),
        ("jwks_url", {"jwks_url": "http://acme.example/keys"}),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_used_is_named(key: str, given: dict[str, Any]) -> None:
    """What would let in too many, or nobody, is an error that names the key."""
    with pytest.raises(SignInError, match=key) as error:
        OpenIDConnect(**{"issuer": "https://id.acme.example", "audience": AUDIENCE, **given})
    assert error.value.code == "oidc_value"


def test_no_algorithm_has_a_shared_key() -> None:
    """None that is accepted verifies with what could also sign."""
    assert not {name for name in ALGORITHMS if name.startswith("HS") or name == "none"}


def test_the_missing_extra_is_named() -> None:
    """Without PyJWT the error says which extra to install, and the rest of the package works."""
    program = (
        "import sys; sys.modules['jwt'] = None\n"
        "from langgraph_control.audit.people.oidc import OpenIDConnect\n"
        "try: OpenIDConnect('https://id.acme.example', 'a')\n"
        "except Exception as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "langgraph-control[oidc]" in said
    assert "[oidc_not_installed]" in said
