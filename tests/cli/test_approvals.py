"""``inbox``, ``approve`` and ``reject`` on approvers' own logins."""

import json
import re
from uuid import UUID

import orjson
import pytest

from langgraph_control.audit.asking.requests import FindTenantChain
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import approval_name
from langgraph_control.audit.trail.entries import Entry
from tests.cli.conftest import Command
from tests.support.trails import TrailWriter


@pytest.fixture
def request_name(trail: TrailWriter) -> str:
    """An open request, as the inbox names it."""
    _, claimed = trail.claim(trail.open(), verb="approve")
    assert isinstance(claimed.approval_id, UUID)
    return f"apr_{claimed.approval_id.hex}"


def test_the_inbox_shows_what_where_and_why(command: Command, trail: TrailWriter, request_name: str) -> None:
    """Each open request is shown with its arguments, target, change, reasons, requester and requirement."""
    shown = command("inbox", "--dsn", trail.database.approver("ana")).stdout
    for said in (
        request_name,
        "refund (money)",
        "invoice = 17",
        "billing, invoice 17",
        "status: paid -> refunded",
        "rules[0] policy.yaml:6 says approve",
        "support-agent for dora@acme.example",
        "1 of finance",
        "1 open.",
    ):
        assert said in shown


def test_the_models_own_words_stand_under_their_mark_alone(command: Command, trail: TrailWriter) -> None:
    """What a model wrote to explain itself is under ``model says``, and not among what the tool is called with."""
    said = {"reason": "APPROVED BY CFO already"}
    card = orjson.dumps({"what": {"arguments": {"amount": "900", **said}}, "why": {"model_says": said}})
    _, claimed = trail.claim(trail.open(), verb="approve", card=card)
    assert claimed.approval_id is not None
    name, dsn = approval_name(claimed.approval_id), trail.database.approver("ana")
    for shown in (command("inbox", "--dsn", dsn), command("card", name, "--dsn", dsn)):
        assert re.search(r"^ +with +amount = 900$", shown.stdout, re.MULTILINE)
        assert re.search(r"^ +model says +reason: APPROVED BY CFO already$", shown.stdout, re.MULTILINE)
        assert shown.stdout.count("APPROVED BY CFO") == 1


def test_the_inbox_as_json(command: Command, trail: TrailWriter, request_name: str) -> None:
    """The same as data."""
    (row,) = json.loads(command("inbox", "--json", "--dsn", trail.database.approver("ana")).stdout)
    assert (row["approval"], row["card"]["diff"]) == (request_name, {"status": ["paid", "refunded"]})


def test_the_inbox_is_filtered(command: Command, trail: TrailWriter, request_name: str) -> None:
    """By tool, by who asked, and to what one's own vote would count on: of the login, or of whom --as names."""

    def listed(*filters: str, login: str = trail.database.approver("ana")) -> list[str]:
        result = command("inbox", "--json", *filters, "--dsn", login)
        assert result.exit_code == 0, result.stderr
        return [row["approval"] for row in json.loads(result.stdout)]

    assert listed("--tool", "refund", "--actor", "support-agent") == [request_name]
    assert listed("--tool", "mail") == listed("--actor", "other") == []
    assert listed("--mine") == listed("--mine", "--tool", "refund") == [request_name]
    local = trail.database.local_approver
    assert listed("--mine", "--as", "dora@acme.example", login=local) == []  # the change is for her
    assert listed("--mine", "--as", "bo@acme.example", login=local) == [request_name]
    assert "Nothing like that waits" in command("inbox", "--tool", "mail", "--dsn", local).stdout
    nobody = command("inbox", "--mine", "--dsn", local)
    assert (nobody.exit_code, "nobody_in_particular" in nobody.stderr) == (1, True)


def test_the_inbox_lists_what_was_decided(command: Command, trail: TrailWriter, request_name: str) -> None:
    """By state, with when and why it was decided, as data, too; the open ones are the default."""
    ana = trail.database.approver("ana")
    command("reject", request_name, "--comment", "paid in May", "--dsn", ana)

    def listed(*filters: str) -> list[str]:
        result = command("inbox", "--json", *filters, "--dsn", ana)
        assert result.exit_code == 0, result.stderr
        return [row["approval"] for row in json.loads(result.stdout)]

    assert listed("--state", "denied") == listed("--state", "denied", "--tool", "refund") == [request_name]
    assert listed() == listed("--state", "open") == listed("--state", "denied", "--actor", "other") == []
    (row,) = json.loads(command("inbox", "--state", "denied", "--json", "--dsn", ana).stdout)
    assert (row["state"], row["comment"], row["closed_at"] > row["requested_at"]) == ("denied", "paid in May", True)
    shown = command("inbox", "--state", "denied", "--dsn", ana).stdout
    assert shown.startswith(f"{request_name}: denied\n")
    assert re.search(r"^ +closed +20\d\d-.* UTC\n +comment +paid in May$", shown, re.MULTILINE)
    assert shown.endswith("\n1 denied.\n")
    assert command("inbox", "--state", "used", "--dsn", ana).stdout == "No request is used.\n"
    assert command("inbox", "--state", "approved", "--dsn", ana).exit_code == 2


@pytest.mark.parametrize("state", ["denied", "granted"])
def test_ones_own_are_open_requests(command: Command, trail: TrailWriter, state: str) -> None:
    """No vote would count on what was decided: that is said, not an empty list."""
    refused = command("inbox", "--mine", "--state", state, "--dsn", trail.database.approver("ana"))
    assert (refused.exit_code, "Code:  mine_not_open" in refused.stderr) == (1, True)


def test_votes_as_json(command: Command, trail: TrailWriter, request_name: str) -> None:
    """What came of each, with what was voted on; a refused one among them, with its code."""
    approved = command("approve", request_name, f"apr_{'0' * 32}", "--json", "--dsn", trail.database.approver("ana"))
    assert approved.exit_code == 1
    counted, refused = json.loads(approved.stdout)
    assert (counted["approval"], counted["answer"], counted["votes"]) == (request_name, "granted", 1)
    assert counted["request"]["card"]["diff"] == {"status": ["paid", "refunded"]}
    assert refused == {"approval": f"apr_{'0' * 32}", "answer": "refused", "reason": "unknown_request"}
    with LedgerConnection(trail.database.auditor) as auditor:
        said = [Entry.of(row) for row in auditor.entries(auditor.ask(FindTenantChain()).run_id)][-1]
    assert (said.fact("decision"), said.fact("approval"), said.fact("reason")) == (
        "approve",
        str(UUID(int=0)),
        "unknown_request",
    )
    _, claimed = trail.claim(trail.open("ticket/2"), "other", verb="approve")
    other = f"apr_{(claimed.approval_id or UUID(int=0)).hex}"
    (rejected,) = json.loads(
        command("reject", other, "--json", "--code", "not_needed", "--dsn", trail.database.approver("bo")).stdout
    )
    assert (rejected["approval"], rejected["answer"]) == (other, "denied")


@pytest.mark.parametrize("form", [(), ("--json",)])
@pytest.mark.parametrize(
    ("word", "more"),
    [
        ("approve", ()),
        ("reject", ("--comment", "no")),
        ("break-glass", ("--comment", "now")),
        ("withdraw", ()),
        ("edit", ("amount=1",)),
        ("review", ()),
    ],
)
def test_a_word_on_no_request_is_on_record(
    command: Command, trail: TrailWriter, word: str, more: tuple[str, ...], form: tuple[str, ...]
) -> None:
    """Whoever tries names of requests is on record with them, whichever command they use."""
    said = command(word, f"apr_{'0' * 32}", *more, *form, "--dsn", trail.database.approver("ana"))
    assert said.exit_code == 1
    with LedgerConnection(trail.database.auditor) as auditor:
        entries = [Entry.of(row) for row in auditor.entries(auditor.ask(FindTenantChain()).run_id)]
    refused = [entry for entry in entries if "approval.refused" in entry.events]
    assert [(one.fact("person"), one.fact("reason")) for one in refused] == [("ana@acme.example", "unknown_request")]


def test_approving_shows_what_was_approved(command: Command, trail: TrailWriter, request_name: str) -> None:
    """The card is printed, then that it is granted; the request leaves the inbox."""
    ana = trail.database.approver("ana")
    approved = command("approve", request_name, "--comment", "paid twice", "--dsn", ana)
    assert approved.exit_code == 0
    assert "invoice = 17" in approved.stdout
    assert f"Approved: {request_name}. It unlocks exactly this write." in approved.stdout
    assert command("inbox", "--dsn", ana).stdout == "Nothing waits for approval.\n"


def test_rejecting(command: Command, trail: TrailWriter, request_name: str) -> None:
    """A rejection closes the request and says that it will not be done."""
    rejected = command("reject", request_name, "--comment", "no", "--dsn", trail.database.approver("bo"))
    assert rejected.exit_code == 0
    assert f"Rejected: {request_name}. It will not be done." in rejected.stdout


def test_a_refused_vote_does_not_stop_the_others(command: Command, trail: TrailWriter, request_name: str) -> None:
    """Of several requests each is voted on; any refusal makes the exit code 1."""
    voted = command("approve", "apr_nonsense", request_name, "--dsn", trail.database.approver("ana"))
    assert voted.exit_code == 1
    assert "approval_name_invalid" in voted.stderr
    assert f"Approved: {request_name}" in voted.stdout


def test_who_is_in_no_role_cannot_approve(command: Command, trail: TrailWriter, request_name: str) -> None:
    """The rule that refuses a vote is named, with what to do."""
    refused = command("approve", request_name, "--dsn", trail.database.approver("cy"))
    assert refused.exit_code == 1
    assert "Code:  unknown_person" in refused.stderr


def test_nobody_votes_as_somebody_else(command: Command, trail: TrailWriter, request_name: str) -> None:
    """--as is refused on an approver's own login."""
    refused = command("approve", request_name, "--as", "bo@acme.example", "--dsn", trail.database.approver("ana"))
    assert "Code:  not_yourself" in refused.stderr


def test_an_agents_login_cannot_vote(command: Command, trail: TrailWriter, request_name: str) -> None:
    """Postgres itself refuses the agent's login, and the error says which login is needed."""
    refused = command("approve", request_name, "--dsn", trail.database.agent)
    assert refused.exit_code == 1
    assert "Code:  database_login_lacks_rights" in refused.stderr


def test_the_approvers_own_variable_wins(
    command: Command, trail: TrailWriter, request_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LANGGRAPH_CONTROL_APPROVER_DSN names the approver's login beside the agent's."""
    monkeypatch.setenv("LANGGRAPH_CONTROL_DSN", trail.database.agent)
    monkeypatch.setenv("LANGGRAPH_CONTROL_APPROVER_DSN", trail.database.approver("ana"))
    assert command("approve", request_name).exit_code == 0
