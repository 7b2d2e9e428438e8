"""The file that says how people sign in."""

import os
from pathlib import Path

import pytest

from langgraph_control.audit.people.identity import NotAuthenticated
from langgraph_control.audit.people.oidc import OpenIDConnect
from langgraph_control.audit.people.sign_in import authenticator_from
from langgraph_control.audit.people.token_edits import add_token
from langgraph_control.errors import SignInError
from tests.support.openid_provider import AUDIENCE, openid_provider


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file would be."""
    return tmp_path / "auth.yaml"


def refused(path: Path, text: str | bytes) -> SignInError:
    """Write the file and return the error that it makes."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SignInError) as error:
        authenticator_from(path)
    return error.value


def test_a_file_of_tokens(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path counts from the file's own folder, wherever the program runs."""
    token = add_token(path.parent / "tokens.jsonl", "ana@acme.example")
    path.write_text("tokens: tokens.jsonl\n", encoding="utf-8")
    monkeypatch.chdir("/")
    assert authenticator_from(path).authenticate(token).person == "ana@acme.example"


def test_an_openid_provider(path: Path) -> None:
    """All that an authenticator of a provider takes can be said, and is heeded."""
    with openid_provider() as provider:
        path.write_text(
            f"""\
oidc:
  issuer: {provider.issuer}
  audience: {AUDIENCE}
  person_claim: sub
  groups_claim: roles
  algorithms: [ES256]
  leeway_seconds: 2.5
  jwks_url: {provider.issuer}/moved
  acr_values: [mfa]
""",
            encoding="utf-8",
        )
        signing = authenticator_from(path)
        assert isinstance(signing, OpenIDConnect)
        found = signing.authenticate(provider.token(kid="ec", acr="mfa", roles=["cfo"]))
        assert (found.person, found.groups, found.acr) == ("id-ana@acme.example", ("cfo",), "mfa")
        for token in (provider.token(kid="ec"), provider.token(kid="rsa", acr="mfa")):
            with pytest.raises(NotAuthenticated):
                signing.authenticate(token)
        assert provider.asked == ["/moved"]


WRONG: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "auth.yaml:1"),
    "a list": ("- tokens", "auth.yaml:1"),
    "neither": ("{}", "exactly one"),
    "both": ("tokens: a\noidc: {issuer: 'https://a.example', audience: a}", "exactly one"),
    "unknown": ("tokens: a\nmode: open", "auth.yaml:2: mode"),
    "unknown inside": (
        "oidc:\n  issuer: https://a.example\n  audience: a\n  verify: false",
        "auth.yaml:4: oidc.verify",
    ),
    "twice": ("tokens: a\ntokens: b", "auth.yaml:2: tokens"),
    "no audience": ("oidc:\n  issuer: https://a.example", "oidc.audience"),
    "number for text": ("oidc:\n  issuer: https://a.example\n  audience: 7", "auth.yaml:3: oidc.audience"),
    "text for list": (
        "oidc:\n  issuer: https://a.example\n  audience: a\n  algorithms: RS256",
        "auth.yaml:4: oidc.algorithms",
    ),
    "shared key": (
        "oidc:\n  issuer: https://a.example\n  audience: a\n  algorithms: [HS256]",
        "auth.yaml:4: oidc.algorithms",
    ),
    "plain http": ("oidc:\n  issuer: http://a.example\n  audience: a", "auth.yaml:2: oidc.issuer"),
    "leeway": ("oidc:\n  issuer: https://a.example\n  audience: a\n  leeway_seconds: 1d", "oidc.leeway_seconds"),
    "long leeway": ("oidc:\n  issuer: https://a.example\n  audience: a\n  leeway_seconds: 301", "oidc.leeway_seconds"),
    "no YAML": ("tokens: [", "this is not YAML"),
    "no UTF-8": (b"tokens: \xff", "not UTF-8"),
    "large": ("#" * 65_537, "more than 65536 bytes"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named(path: Path, what: str) -> None:
    """The error names file, line and key, under one code."""
    text, said = WRONG[what]
    error = refused(path, text)
    assert said in str(error)
    assert error.code == "auth_file_invalid"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(path: Path, mode: int) -> None:
    """Whoever may write it could vouch for anybody."""
    add_token(path.parent / "tokens.jsonl", "ana@acme.example")
    path.write_text("tokens: tokens.jsonl", encoding="utf-8")
    path.chmod(mode)
    with pytest.raises(SignInError) as error:
        authenticator_from(path)
    assert error.value.code == "auth_file_mode"
    path.chmod(0o644)
    authenticator_from(path)


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_what_is_no_file_is_refused(path: Path, kind: str) -> None:
    """A file that is not there is refused by name, and so is a file of tokens that is not."""
    if kind == "folder":
        path.mkdir()
    with pytest.raises(SignInError) as error:
        authenticator_from(path)
    assert error.value.code == "auth_file_unreadable"
    other = path.with_name("other.yaml")
    assert refused(other, "tokens: none.jsonl").code == "tokens_unreadable"
    assert os.sep in str(refused(other, "tokens: none.jsonl"))
