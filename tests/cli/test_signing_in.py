"""Commands by people whom a credential in the environment says: the same file as for every service, on one login."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.people.token_edits import add_token
from langgraph_control.audit.people.token_file import token_hash
from tests.cli.conftest import Command
from tests.support.openid_provider import AUDIENCE, openid_provider
from tests.support.trails import OpenRun, TrailWriter

ANA = "ana@acme.example"


@pytest.fixture
def service(trail: TrailWriter, command: Command, monkeypatch: pytest.MonkeyPatch) -> TrailWriter:
    """A ledger whose approver's login is a service's."""
    admin = trail.database.admin
    added = command("login", "add", "test_approver_cy", "--role", "approver", "--service", "--dsn", admin)
    said = " ".join(added.stdout.split())
    assert said == "test_approver_cy speaks for tenant default as approver, for whom its service signs in."
    monkeypatch.setenv("LANGGRAPH_CONTROL_APPROVER_DSN", trail.database.approver("cy"))
    return trail


@pytest.fixture
def signed_in(service: TrailWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Sign a person in by a token of a file."""
    auth, tokens = tmp_path / "auth.yaml", tmp_path / "tokens.jsonl"
    auth.write_text("tokens: tokens.jsonl\n", encoding="utf-8")
    monkeypatch.setenv("LANGGRAPH_CONTROL_AUTH", str(auth))

    def sign_in(person: str = ANA, **more: Any) -> str:
        token = add_token(tokens, person, **more)
        monkeypatch.setenv("LANGGRAPH_CONTROL_TOKEN", token)
        return token

    return sign_in


def waiting(trail: TrailWriter) -> tuple[OpenRun, str]:
    """Return a run that waits, and its request's name."""
    run = trail.open()
    _, claimed = trail.claim(run, verb="approve")
    assert claimed.approval_id is not None
    return run, f"apr_{claimed.approval_id.hex}"


def last(trail: TrailWriter, run: OpenRun) -> dict[str, Any]:
    """Return what the run's newest entry says."""
    with LedgerConnection(trail.database.auditor) as auditor:
        facts: dict[str, Any] = json.loads(list(auditor.entries(run.run_id))[-1].facts)
    return facts


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_a_vote_is_whose_token_it_is(
    service: TrailWriter, command: Command, signed_in: Callable[..., str], verb: str
) -> None:
    """The vote counts for the token's person, whose sign-in is on record; the token is printed and recorded nowhere."""
    token = signed_in()
    run, name = waiting(service)
    voted = command(verb, name, "--comment", "seen")
    assert (voted.exit_code, token in voted.output) == (0, False)
    said = last(service, run)
    assert (said["person"], said["identity"]["issuer"]) == (ANA, "file:tokens.jsonl")
    assert said["identity"]["credential"] == token_hash(token)


def test_a_vote_by_an_openid_token(
    service: TrailWriter, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a provider in the file the environment's token is one of the provider's."""
    with openid_provider() as provider:
        auth = tmp_path / "auth.yaml"
        auth.write_text(f"oidc: {{issuer: '{provider.issuer}', audience: {AUDIENCE}}}\n", encoding="utf-8")
        run, name = waiting(service)
        monkeypatch.setenv("LANGGRAPH_CONTROL_TOKEN", provider.token(acr="mfa"))
        assert command("approve", name, "--auth", str(auth)).exit_code == 0
        said = last(service, run)
        assert (said["person"], said["identity"]["acr"]) == (ANA, "mfa")
        monkeypatch.setenv("LANGGRAPH_CONTROL_TOKEN", provider.token(aud="other"))
        refused = command("approve", name, "--auth", str(auth))
        assert (refused.exit_code, "Code:  token_audience" in refused.stderr) == (1, True)


ACTS = {
    "cancel": ("cancel", "{run}", "--comment", "not wanted"),
    "freeze": ("freeze", "tenant", "--comment", "stop"),
    "unfreeze": ("unfreeze", "tenant", "--comment", "go on"),
    "approve": ("approve", "{request}"),
    "reject": ("reject", "{request}"),
    "answer": ("answer", "{run}", "qst_" + "0" * 32, "Fifty."),
    "resolve": ("resolve", "{run}", "--did-not", "--comment", "looked"),
}


@pytest.mark.parametrize("act", ACTS)
def test_every_word_needs_the_credential(
    service: TrailWriter,
    command: Command,
    signed_in: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    act: str,
) -> None:
    """Where a file says how people sign in nothing is done without a token, nor with one that is not accepted."""
    signed_in()
    run, name = waiting(service)
    before = last(service, run)
    words = [word.format(run=run.trigger, request=name) for word in ACTS[act]]
    monkeypatch.delenv("LANGGRAPH_CONTROL_TOKEN")
    assert "Code:  no_credential" in command(*words).stderr
    if act not in {"answer", "resolve"}:  # there is nothing to answer or settle: said before whose word it is
        monkeypatch.setenv("LANGGRAPH_CONTROL_TOKEN", "lgc_nonsense")
        assert "Code:  token_unknown" in command(*words).stderr
    assert last(service, run) == before
    assert command("freeze", "--list").stdout == ""


def test_operators_sign_in_alike(service: TrailWriter, command: Command, signed_in: Callable[..., str]) -> None:
    """Freezing, letting go on and cancelling are on record with the token's person."""
    signed_in()
    run, _ = waiting(service)
    assert command("freeze", "tenant", "--comment", "stop").exit_code == 0
    assert ANA in command("freeze", "--list").stdout
    assert command("unfreeze", "tenant", "--comment", "go on").exit_code == 0
    assert command("cancel", run.trigger, "--comment", "not wanted").exit_code == 0
    assert last(service, run)["identity"]["person"] == ANA


def test_nobody_names_another_beside_a_token(
    service: TrailWriter, command: Command, signed_in: Callable[..., str]
) -> None:
    """--as with somebody else's name is refused; one's own does no harm."""
    signed_in()
    _, name = waiting(service)
    assert "Code:  person_differs" in command("approve", name, "--as", "bo@acme.example").stderr
    assert command("approve", name, "--as", ANA).exit_code == 0


def test_a_token_that_nobody_looks_at_is_an_error(
    service: TrailWriter, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a token in the environment and no file the command does not go by the login instead."""
    monkeypatch.setenv("LANGGRAPH_CONTROL_TOKEN", "lgc_nonsense")
    refused = command("approve", waiting(service)[1], "--dsn", service.database.approver("ana"))
    assert (refused.exit_code, "Code:  no_authenticator" in refused.stderr) == (1, True)


def test_no_command_takes_a_token_as_an_argument(command: Command) -> None:
    """What stands on a command line can be seen by everybody on the machine: there is no such option."""
    for act in ACTS:
        told = command(act, "--help").stdout
        assert "LANGGRAPH_CONTROL_TOKEN" in told
        assert "--token" not in told
        assert "--credential" not in told


def test_a_login_of_one_person_takes_no_token(
    service: TrailWriter, command: Command, signed_in: Callable[..., str]
) -> None:
    """A recognised person counts on a service's login only; elsewhere the vote is refused and on record."""
    signed_in("bo@acme.example")
    run, name = waiting(service)
    refused = command("approve", name, "--dsn", service.database.approver("ana"))
    assert "Code:  not_yourself" in refused.stderr
    assert last(service, run)["reason"] == "not_yourself"


@pytest.mark.parametrize(
    "more",
    [
        ("--role", "agent", "--service"),
        ("--role", "admin", "--service"),
        ("--role", "approver", "--service", "--person", ANA),
        ("--role", "approver", "--service", "--group", "leads"),
    ],
    ids=" ".join,
)
def test_a_service_is_an_approvers_login_of_nobody(trail: TrailWriter, command: Command, more: tuple[str, ...]) -> None:
    """An agent, an admin or one person's login cannot be made to speak for others."""
    refused = command("login", "add", "test_approver_cy", *more, "--dsn", trail.database.admin)
    assert (refused.exit_code, "Code:  service_login" in refused.stderr) == (1, True)
    with psycopg.connect(trail.database.admin) as admin:
        admin.execute("SET ROLE control_owner")
        found = admin.execute("SELECT may_name_person FROM control.login WHERE login = 'test_approver_cy'").fetchone()
    assert found == (False,)


def test_help_says_what_a_service_login_can_do(command: Command) -> None:
    """Whoever adds one is told that it can approve as anybody."""
    told = " ".join(command("login", "add", "--help").stdout.split())
    assert "can approve as anybody" in told
