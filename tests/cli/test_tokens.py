"""``token add``, ``list`` and ``revoke``."""

import json
from pathlib import Path

import pytest

from langgraph_control.audit.people.identity import NotAuthenticated
from langgraph_control.audit.people.token_file import TokenFile, read_tokens
from tests.cli.conftest import Command


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Where the tokens go."""
    return str(tmp_path / "tokens.jsonl")


def test_a_token_is_printed_once(command: Command, file: str) -> None:
    """Standard output is the token and nothing else, and it signs the person in; the list does not show it."""
    added = command("token", "add", "ana@acme.example", "--group", "leads", "--label", "laptop", "--file", file)
    assert added.exit_code == 0
    made = added.stdout.strip()
    found = TokenFile(file).authenticate(made)
    assert (found.person, found.groups) == ("ana@acme.example", ("leads",))
    listed = command("token", "list", "--file", file).stdout
    assert made not in listed
    for said in (found.credential[:12], "ana@acme.example", "leads", "laptop", "1 tokens."):
        assert said in listed


def test_a_revoked_token_is_gone(command: Command, file: str) -> None:
    """Revoking takes the id that the list shows."""
    made = command("token", "add", "ana@acme.example", "--file", file).stdout.strip()
    tokens = TokenFile(file)
    (row,) = json.loads(command("token", "list", "--json", "--file", file).stdout)
    revoked = command("token", "revoke", row["id"], "--file", file)
    assert revoked.stdout == f"Revoked: {row['id']} of ana@acme.example.\n"
    with pytest.raises(NotAuthenticated):
        tokens.authenticate(made)
    assert command("token", "list", "--file", file).stdout == "No tokens: nobody can sign in.\n"
    assert "Code:  token_not_found" in command("token", "revoke", row["id"], "--file", file).stderr


@pytest.mark.parametrize("expires", ["90d", "2099-01-31", "2099-01-31T12:00:00+02:00"])
def test_a_token_can_have_an_end(command: Command, file: str, expires: str) -> None:
    """Its end is days from now, or a moment; without a zone in UTC."""
    command("token", "add", "ana@acme.example", "--expires", expires, "--file", file)
    (token,) = read_tokens(file)
    assert token.expires is not None
    assert (token.expires - token.created).days == 90 or token.expires.year == 2099
    assert "expires" in command("token", "list", "--file", file).stdout


@pytest.mark.parametrize("expires", ["soon", "0d", "2020-01-01", "-1d", ""])
def test_an_end_that_is_none_is_refused(command: Command, file: str, expires: str) -> None:
    """A moment that cannot be read, or is past, makes no token."""
    refused = command("token", "add", "ana@acme.example", f"--expires={expires}", "--file", file)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "Code:  token_value" in refused.stderr
    assert not Path(file).exists()


def test_a_missing_file_is_named(command: Command, file: str) -> None:
    """Listing what is not there says how to make it."""
    assert "Code:  tokens_unreadable" in command("token", "list", "--file", file).stderr
