"""Tokens in a file: who is recognised, what a file has to be, and what a change of it does."""

import json
import logging
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from langgraph_control.audit.people.identity import Identity, NotAuthenticated
from langgraph_control.audit.people.token_edits import add_token, revoke_token
from langgraph_control.audit.people.token_file import TokenFile, read_tokens, token_hash
from langgraph_control.errors import SignInError

ANA = "ana@acme.example"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a file of tokens would be."""
    return tmp_path / "tokens.jsonl"


def refused(tokens: TokenFile, credential: str) -> str:
    """Return the code with which a credential is refused, which the text never holds."""
    with pytest.raises(NotAuthenticated) as error:
        tokens.authenticate(credential)
    assert not credential or credential not in str(error.value)
    return error.value.code


def test_a_token_tells_who_presents_it(path: Path) -> None:
    """Person, groups, issuer and the token's hash are known; the token itself is nowhere in the file."""
    expires = datetime.now(UTC) + timedelta(days=1)
    token = add_token(path, ANA, groups=["leads", "cfo"], label="laptop", expires=expires)
    found = TokenFile(path).authenticate(token)
    assert found == Identity(
        person=ANA,
        issuer="file:tokens.jsonl",
        subject=ANA,
        groups=("cfo", "leads"),
        credential=token_hash(token),
        expires_at=expires,
    )
    assert token not in path.read_text(encoding="utf-8")
    assert token not in found.canonical()


def test_a_token_has_256_random_bits(path: Path) -> None:
    """No two are alike, each begins with what scanners know, and 43 characters of base64 follow."""
    made = {add_token(path, ANA) for _ in range(5)}
    assert len(made) == 5
    assert {(token[:4], len(token)) for token in made} == {("lgc_", 47)}


def test_the_file_is_this_users_alone(path: Path) -> None:
    """A file that is made, and one that is changed, has mode 0600, whatever the umask."""
    before = os.umask(0)
    try:
        add_token(path, ANA)
        add_token(path, "bo@acme.example")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("credential", ["", "lgc_", "lgc_" + "A" * 43, "ü", "\ud800", "x" * 256])
def test_what_is_in_no_line_is_refused(path: Path, credential: str) -> None:
    """Any text that is nobody's token has one code."""
    add_token(path, ANA)
    assert refused(TokenFile(path), credential) == "token_unknown"


def test_a_token_hash_is_no_token(path: Path) -> None:
    """Who reads the file cannot sign in with what stands there."""
    token = add_token(path, ANA)
    assert refused(TokenFile(path), token_hash(token)) == "token_unknown"


def test_an_oversized_credential_is_not_looked_up(path: Path) -> None:
    """A credential of more than 256 characters has a code of its own."""
    add_token(path, ANA)
    assert refused(TokenFile(path), "x" * 257) == "token_oversized"


def test_an_expired_token_is_refused(path: Path) -> None:
    """From its end on a token is not accepted, though its line is still there."""
    token = add_token(path, ANA, expires=datetime.now(UTC) + timedelta(days=1))
    line = json.loads(path.read_text(encoding="utf-8")) | {"expires": "2026-01-01T00:00:00Z"}
    path.write_text(json.dumps(line), encoding="utf-8")
    assert refused(TokenFile(path), token) == "token_expired"


def test_a_revoked_token_is_refused_at_once(path: Path) -> None:
    """The file is read again when it changed: the next request with a revoked token fails, the others' go on."""
    ana, bo = add_token(path, ANA), add_token(path, "bo@acme.example")
    tokens = TokenFile(path)
    assert tokens.authenticate(ana).person == ANA
    assert revoke_token(path, token_hash(ana)[:12]).person == ANA
    assert refused(tokens, ana) == "token_unknown"
    assert tokens.authenticate(bo).person == "bo@acme.example"
    revoke_token(path, token_hash(bo))
    assert refused(tokens, bo) == "token_unknown"


def test_a_new_token_is_known_at_once(path: Path) -> None:
    """A token that is added while the service runs signs in."""
    add_token(path, ANA)
    tokens = TokenFile(path)
    assert tokens.authenticate(add_token(path, "bo@acme.example")).person == "bo@acme.example"


@pytest.mark.parametrize("name", ["", "0", "g" * 12])
def test_a_token_is_revoked_by_name_only(path: Path, name: str) -> None:
    """An id that fits none, or several, revokes nothing."""
    while not path.exists() or sum(token.sha256.startswith("0") for token in read_tokens(path)) < 2:
        add_token(path, ANA)
    many = read_tokens(path)
    with pytest.raises(SignInError):
        revoke_token(path, name)
    assert read_tokens(path) == many


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666, 0o610])
def test_a_file_that_others_may_touch_is_refused(path: Path, mode: int) -> None:
    """Any right of group or others refuses the file, with the command that takes it away."""
    add_token(path, ANA)
    path.chmod(mode)
    with pytest.raises(SignInError, match="chmod 600") as error:
        TokenFile(path)
    assert error.value.code == "tokens_mode"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_file_is_refused(path: Path) -> None:
    """A file that belongs to somebody else could let anybody in."""
    add_token(path, ANA)
    os.chown(path, 12345, 12345)
    with pytest.raises(SignInError) as error:
        TokenFile(path)
    assert error.value.code == "tokens_owner"


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_what_is_no_file_is_refused(path: Path, kind: str) -> None:
    """A file that is missing or no file at all is refused by name, and nobody waits for a pipe."""
    if kind == "folder":
        path.mkdir(mode=0o700)
    if kind == "pipe":
        os.mkfifo(path, mode=0o600)
    with pytest.raises(SignInError, match=r"tokens\.jsonl"):
        TokenFile(path)


WRONG: dict[str, tuple[Any, str]] = {
    "no JSON": ("person: ana", "line 1 is no JSON"),
    "unknown key": ({"role": "admin"}, "line 1, role"),
    "no person": ({"person": None}, "line 1, person"),
    "empty person": ({"person": ""}, "line 1, person"),
    "hidden in a person": ({"person": "ana\u200b@acme.example"}, "line 1, person"),
    "blank before a person": ({"person": " ana"}, "line 1, person"),
    "groups as text": ({"groups": "leads"}, "line 1, groups"),
    "blank group": ({"groups": [""]}, r"line 1, groups\.0"),
    "upper-case hash": ({"sha256": "A" * 64}, "line 1, sha256"),
    "the token": ({"sha256": "lgc_secret"}, "line 1, sha256"),
    "a moment without zone": ({"expires": "2027-01-01T00:00:00"}, "line 1, expires"),
    "a number for a moment": ({"created": 1}, "line 1, created"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_line_that_is_wrong_is_named(path: Path, what: str) -> None:
    """The error names file, line and key, and shows nothing of the line."""
    change, said = WRONG[what]
    add_token(path, ANA)
    line = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(change if isinstance(change, str) else json.dumps(line | change), encoding="utf-8")
    with pytest.raises(SignInError, match=said) as error:
        TokenFile(path)
    assert error.value.code == "tokens_invalid"
    assert "lgc_secret" not in str(error.value)


def test_one_token_twice_is_refused(path: Path) -> None:
    """One token for two people would be a person too many."""
    add_token(path, ANA)
    line = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(f"{json.dumps(line)}\n\n{json.dumps(line | {'person': 'bo'})}\n", encoding="utf-8")
    with pytest.raises(SignInError, match="line 3, sha256"):
        TokenFile(path)


def test_a_file_that_is_too_large_is_refused(path: Path) -> None:
    """A megabyte is enough for a thousand people."""
    path.touch(mode=0o600)
    path.write_bytes(b"\n" * 1_048_577)
    with pytest.raises(SignInError, match="larger"):
        TokenFile(path)


@pytest.mark.parametrize("bad", ["nonsense", "mode", "gone"])
def test_a_bad_file_never_takes_a_good_ones_place(path: Path, caplog: pytest.LogCaptureFixture, bad: str) -> None:
    """While a changed file cannot be used, people of before stay signed in; it is said once; the right one counts."""
    token = add_token(path, ANA)
    tokens = TokenFile(path)
    good = path.read_bytes()
    match bad:
        case "nonsense":
            path.write_text("{}", encoding="utf-8")
        case "mode":
            path.write_bytes(good.replace(b"ana@", b"eve@") + b"\n")
            path.chmod(0o666)
        case _:
            path.unlink()
    with caplog.at_level(logging.WARNING):
        assert [tokens.authenticate(token).person for _ in range(3)] == [ANA] * 3
    assert len(caplog.records) == 1
    assert token not in caplog.text
    path.unlink(missing_ok=True)
    add_token(path, "bo@acme.example")
    assert refused(tokens, token) == "token_unknown"


def test_a_corrected_mode_counts_at_once(path: Path) -> None:
    """A changed file that was refused for its mode is read when the mode is set right."""
    add_token(path, ANA)
    tokens = TokenFile(path)
    bo = add_token(path, "bo@acme.example")
    path.chmod(0o644)
    assert refused(tokens, bo) == "token_unknown"
    path.chmod(0o600)
    assert tokens.authenticate(bo).person == "bo@acme.example"


def test_an_empty_file_lets_nobody_in(path: Path) -> None:
    """To lock everybody out at once, empty the file."""
    token = add_token(path, ANA)
    tokens = TokenFile(path)
    path.write_text("", encoding="utf-8")
    assert refused(tokens, token) == "token_unknown"


@pytest.mark.parametrize(
    "given",
    [
        {"person": ""},
        {"person": "a\nb"},
        {"person": "group:finance"},
        {"groups": ["a b"]},
        {"expires": datetime(2020, 1, 1, tzinfo=UTC)},
        {"expires": datetime(2099, 1, 1)},  # noqa: DTZ001 - a moment without a zone is what is refused
    ],
    ids=str,
)
def test_a_token_of_nothing_is_not_made(path: Path, given: dict[str, Any]) -> None:
    """What could not stand in the file is refused before anything is written."""
    with pytest.raises(SignInError) as error:
        add_token(path, **{"person": ANA, **given})
    assert error.value.code == "token_value"
    assert not path.exists()


def test_two_changes_at_once_lose_nothing(path: Path) -> None:
    """Twenty tokens made from eight threads are all in the file, and each signs in."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: add_token(path, f"p{number}"), range(20)))
    tokens = TokenFile(path)
    assert [tokens.authenticate(token).person for token in made] == [f"p{number}" for number in range(20)]


def test_a_link_stays_a_link(path: Path) -> None:
    """A change through a link changes the file behind it."""
    add_token(path, ANA)
    link = path.with_name("link")
    link.symlink_to(path)
    add_token(link, "bo@acme.example")
    assert link.is_symlink()
    assert len(read_tokens(path)) == 2


def test_a_folder_that_is_missing_is_named(path: Path) -> None:
    """Where no file can be made the error says so."""
    with pytest.raises(SignInError) as error:
        add_token(path / "none" / "tokens", ANA)
    assert error.value.code == "tokens_unwritable"
