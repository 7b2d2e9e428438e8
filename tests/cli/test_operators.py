"""``resolve``, ``cancel``, ``freeze`` and ``unfreeze`` as they are typed."""

import pytest

from langgraph_control.audit.asking.ledger import Outcome
from langgraph_control.nodes.results import encode
from tests.cli.conftest import Command
from tests.support.trails import OpenRun, TrailWriter


@pytest.fixture
def lost(trail: TrailWriter) -> OpenRun:
    """A run of which one transfer's outcome is for a person to say."""
    run = trail.open()
    claim, _ = trail.claim(run, kind="blind", tool="transfer")
    trail.settle(run, claim, Outcome.LOSE)
    return run


def test_resolving(command: Command, trail: TrailWriter, lost: OpenRun) -> None:
    """What a person says is printed, stored, and told by show, with who said it and how they know."""
    said = command(
        *("resolve", "ticket/4711", "--happened", "--result", "sent", "--comment", "seen on the statement"),
        *("--dsn", trail.database.approver("ana")),
    )
    assert said.exit_code == 0, said.stderr
    assert "transfer: succeeded." in said.stdout
    _, again = trail.claim(lost, kind="blind", tool="transfer")
    assert again.result == encode("sent")
    shown = command("show", "ticket/4711", "--dsn", trail.database.auditor).stdout
    for words in ("transfer: a person says that it happened", "ana@acme.example", "seen on the statement"):
        assert words in shown


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ([], "verdict_missing"),
        (["--happened", "--did-not"], "verdict_missing"),
        (["--did-not", "--result", "sent"], "result_without_effect"),
        (["--happened", "--tool", "mail"], "action_unfit"),
        (["--happened", "--comment", " "], "comment_missing"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    command: Command, trail: TrailWriter, lost: OpenRun, flags: list[str], code: str
) -> None:
    """Each misuse has a code and a remedy, and changes nothing."""
    comment = [] if "--comment" in flags else ["--comment", "seen"]
    said = command("resolve", lost.trigger, *flags, *comment, "--dsn", trail.database.approver("ana"))
    assert said.exit_code == 1
    assert f"Code:  {code}" in said.stderr
    _, again = trail.claim(lost, kind="blind", tool="transfer")
    assert again.state == "needs_human"


def test_two_open_actions_have_to_be_told_apart(command: Command, trail: TrailWriter, lost: OpenRun) -> None:
    """Where several fit, they are listed, and a part of the key says which is meant."""
    claim, _ = trail.claim(lost, "another", kind="blind", tool="transfer")
    trail.settle(lost, claim, Outcome.LOSE)
    ana = trail.database.approver("ana")
    said = command("resolve", lost.trigger, "--give-up", "--comment", "unknown", "--dsn", ana)
    digits = claim.key.hex()[:12]
    assert "Code:  action_ambiguous" in said.stderr
    assert digits in said.stderr
    said = command("resolve", lost.trigger, "--give-up", "--comment", "unknown", "--key", digits, "--dsn", ana)
    assert said.exit_code == 0, said.stderr


def test_cancelling(command: Command, trail: TrailWriter) -> None:
    """A run that waits for a person's yes is ended, and its request withdrawn."""
    run = trail.open()
    trail.claim(run, verb="approve")
    ana = trail.database.approver("ana")
    assert command("cancel", run.trigger, "--comment", "called off", "--dsn", ana).exit_code == 0
    assert command("inbox", "--dsn", ana).stdout == "Nothing waits for approval.\n"
    assert "the run was cancelled by a person" in command("show", run.trigger, "--dsn", trail.database.auditor).stdout
    again = command("cancel", run.trigger, "--comment", "called off", "--dsn", ana)
    assert "Code:  finished" in again.stderr
    assert command("verify", run.trigger, "--dsn", trail.database.auditor).exit_code == 0


def test_stopping_and_going_on(command: Command, trail: TrailWriter) -> None:
    """A freeze is listed with who set it and why, until it is lifted."""
    bo = trail.database.approver("bo")
    run = trail.open()
    trail.claim(run, "first")
    stopped = command("freeze", "tool", "refund", "--comment", "wrong amounts", "--dsn", bo)
    assert "Stopped: writes of tool refund." in stopped.stdout
    assert "under way: refund" in stopped.stdout
    _, claimed = trail.claim(run, "second")
    assert (claimed.answer, claimed.reason) == ("park", "frozen")
    listed = command("freeze", "--list", "--dsn", bo).stdout
    for words in ("tool refund", "bo@acme.example", "wrong amounts"):
        assert words in listed
    assert "runs woken: 1" in command("unfreeze", "tool", "refund", "--comment", "fixed", "--dsn", bo).stdout
    _, claimed = trail.claim(run, "second")
    assert claimed.answer == "go"


@pytest.mark.parametrize(
    ("scope", "name", "stops"),
    [
        ("tool", ("refund", "refnd"), "writes of tool {}"),
        ("agent", ("support-agent", "suport-agent"), "writes of runs whose actor is {}"),
        ("system", ("billing", "biling"), "writes of tools whose contract says system={}"),
    ],
)
def test_a_name_that_was_never_seen_is_said(
    command: Command, trail: TrailWriter, scope: str, name: tuple[str, str], stops: str
) -> None:
    """A freeze says what it stops, and warns where nothing of that name ever wrote; it holds all the same."""
    seen, misspelt = name
    bo = trail.database.approver("bo")
    trail.claim(trail.open(), "first", system="billing")
    known = command("freeze", scope, seen, "--comment", "why", "--dsn", bo)
    assert f"Stopped: {stops.format(seen)}." in known.stdout
    assert known.stderr == ""
    unknown = command("freeze", scope, misspelt, "--comment", "why", "--dsn", bo)
    assert f"Stopped: {stops.format(misspelt)}." in unknown.stdout
    assert f"Warning: No {scope} {misspelt} was ever seen" in unknown.stderr
    assert f"Is {seen} meant?" in unknown.stderr
    assert stops.format(misspelt) in command("freeze", "--list", "--dsn", bo).stdout


def test_all_is_the_whole_tenant(command: Command, trail: TrailWriter) -> None:
    """What somebody in a hurry writes does what it says; a word that is no scope is told which there are."""
    bo = trail.database.approver("bo")
    run = trail.open()
    assert "Stopped: all writes of this tenant." in command("freeze", "all", "--comment", "why", "--dsn", bo).stdout
    _, claimed = trail.claim(run, "first")
    assert (claimed.answer, claimed.reason) == ("park", "frozen")
    assert "runs woken: 1" in command("unfreeze", "all", "--comment", "fixed", "--dsn", bo).stdout
    wrong = command("freeze", "everything", "--comment", "why", "--dsn", bo)
    assert wrong.exit_code == 2
    assert "all (or tenant)" in wrong.stderr


@pytest.mark.parametrize("arguments", [("freeze", "tenant", "acme"), ("freeze", "tool"), ("unfreeze", "system")])
def test_scope_and_name_have_to_fit(command: Command, trail: TrailWriter, arguments: tuple[str, ...]) -> None:
    """A tenant has no name, everything else needs one."""
    said = command(*arguments, "--comment", "why", "--dsn", trail.database.approver("bo"))
    assert "Code:  freeze_name" in said.stderr
