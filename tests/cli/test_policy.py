"""``policy check``, ``test``, ``explain``, ``publish`` and ``show``."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.support.policies import REFUNDS
from tests.support.postgres import Database


@pytest.fixture
def file(tmp_path: Path) -> str:
    """The refunds policy as a file."""
    path = tmp_path / "policy.yaml"
    path.write_text(REFUNDS)
    return str(path)


def test_a_good_file(command: Command, file: str) -> None:
    """A correct file is summed up in a line."""
    assert command("policy", "check", file).stdout.startswith("policy.yaml: OK, 3 rules, 1 tests, sha256 ")


def test_each_problem_is_named(command: Command, tmp_path: Path) -> None:
    """Every problem has a line with file, line and key; the exit code is 1."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(REFUNDS.replace("then: allow", "then: maybe").replace("owner:", "ovner:"))
    checked = command("policy", "check", str(bad))
    assert checked.exit_code == 1
    assert "bad.yaml:3 ovner" in checked.stderr
    assert "bad.yaml:6 rules[0]" in checked.stderr
    assert "Traceback" not in checked.stderr


def test_a_file_that_is_not_there(command: Command, tmp_path: Path) -> None:
    """A file that cannot be read is named without its folder."""
    checked = command("policy", "check", str(tmp_path / "none.yaml"))
    assert checked.exit_code == 1
    assert "Code:  policy_unreadable" in checked.stderr
    assert str(tmp_path) not in checked.stderr


def test_inline_tests(command: Command, file: str) -> None:
    """The file's own tests are run and counted."""
    assert command("policy", "test", file).stdout == "1 of 1 tests passed.\n"


def test_a_failing_inline_test(command: Command, tmp_path: Path) -> None:
    """A test that comes out otherwise is shown with what was expected, what was decided, and why."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(REFUNDS.replace("amount: 100, record", "amount: 101, record"))
    tested = command("policy", "test", str(bad))
    assert tested.exit_code == 1
    assert "refund should be allow, is approve" in tested.stdout
    assert "0 of 1 tests passed." in tested.stdout


def test_explain(command: Command, file: str) -> None:
    """The decision, how each rule fits, and the nearest miss with the condition that failed."""
    call = ["--tool", "refund", "--args", '{"amount": 250.50}', "--record", '{"flagged": false}', "--impact", "money"]
    explained = command("policy", "explain", file, *call)
    assert explained.exit_code == 0
    assert explained.stdout.startswith("refund (money): approve\n")
    assert "rules[1] policy.yaml:7: approve, matched" in explained.stdout
    assert "amount lte 100: fails" in explained.stdout
    assert "Nearest miss: rules[" in explained.stdout


@pytest.mark.parametrize(
    ("stated", "lacks"),
    [
        ((), ("impact money: the call has record", "system billing: the call has none")),
        (("--system", "billng"), ("impact money: the call has record", "system billing: the call has billng")),
        (("--impact", "money"), ("system billing: the call has none",)),
    ],
)
def test_explain_says_what_a_rule_names_and_the_call_does_not_have(
    command: Command, tmp_path: Path, stated: tuple[str, ...], lacks: tuple[str, ...]
) -> None:
    """A misspelt or forgotten system is the commonest miss: it is named, and the rule is the nearest one."""
    path = tmp_path / "one.yaml"
    path.write_text(
        "version: 1\nroles: {finance: [ana@acme.example]}\nowner: finance\n"
        "approve: {within: 1h, on_expiry: deny, not_by: [requester]}\nrules:\n"
        "  - {tool: refund, system: billing, impact: money, when: {amount: {gt: 0, lte: 100}}, then: allow}\n"
    )
    said = command("policy", "explain", str(path), "--tool", "refund", "--args", '{"amount": 50}', *stated).stdout
    assert said.count("Assumed: impact record.") == ("--impact" not in stated)
    _, nearest = said.split("Nearest miss: rules[0] one.yaml:6\n")
    assert nearest.splitlines() == [f"  {one}" for one in lacks]


def test_the_nearest_rule_lacks_least_of_what_it_names_and_asks(command: Command, tmp_path: Path) -> None:
    """A rule about another system and impact is further away than one whose one condition fails."""
    path = tmp_path / "two.yaml"
    path.write_text(
        "version: 1\nroles: {finance: [ana@acme.example]}\nowner: finance\n"
        "approve: {within: 1h, on_expiry: deny, not_by: [requester]}\nrules:\n"
        "  - {tool: refund, system: billing, impact: money, when: {amount: {gt: 0, lte: 100}}, then: allow}\n"
        "  - {tool: refund, when: {amount: {gt: 0, lte: 40}}, then: allow}\n"
    )
    said = command("policy", "explain", str(path), "--tool", "refund", "--args", '{"amount": 50}').stdout
    assert "Nearest miss: rules[1] two.yaml:7\n  amount lte 40: fails\n" in said


def test_explain_says_which_signals_decided(command: Command, file: str) -> None:
    """What decided is named, with the risk, the waiting time, and who owns what is escalated."""
    refund = [
        "policy",
        "explain",
        file,
        "--tool",
        "refund",
        "--args",
        '{"amount": 50}',
        "--record",
        '{"flagged": false}',
    ]
    allowed = command(*refund, "--impact", "money", "--reversible").stdout
    assert "Decided by: rules\n" in allowed
    assert "Risk: radius medium; operation transfer, reversible true\n" in allowed
    unknown = command(*refund, "--signal", "run.prior=unknown").stdout
    assert unknown.startswith("refund (record): escalate\n")
    assert "Decided by: run state\nRisk: radius medium" in unknown
    assert "Owner: support\n" in unknown
    waiting = command(*refund, "--system", "bank", "--signal", "system.breaker=open", "--effect", "keyed").stdout
    assert waiting.startswith("refund (record): retry_later\n")
    assert "Decided by: system state\n" in waiting
    assert "Again in: 30 s\n" in waiting


MORE = """\
version: 1
mode: observe
roles: {support: [ana]}
risk: [{tool: tag, count: ids}]
rules:
  - {tool: tag, tenant: acme, actor: desk, operation: update, then: ask, question: Which ones?}
  - {tool: tag, tenant: acme, then: deny}
  - {tool: tag, when: {risk.count: {gte: 1, lte: 9}}, then: allow}
  - {tool: tag, when: {risk.count: {gte: 2, lte: 5}}, then: allow}
"""


def test_explain_of_a_policy_that_observes(command: Command, tmp_path: Path) -> None:
    """The first reason says what would have been decided; every rule that takes part is listed with its conditions."""
    path = tmp_path / "more.yaml"
    path.write_text(MORE)
    call = ["policy", "explain", str(path), "--tool", "tag", "--args", '{"ids": "many"}', "--tenant", "acme"]
    explained = command(*call, "--actor", "desk", "--operation", "update").stdout
    assumed = "Assumed: impact record. If the tool's contract says another one, give --impact.\n"
    observed = "  OBSERVE: the policy would say deny, and is not enforced\n"
    assert explained.startswith(f"tag (record): allow\n{assumed}{observed}")
    assert "Risk: radius unknown, at most large; operation update, reversible false\n" in explained
    assert "rules[0] more.yaml:6: ask, matched" in explained
    assert "rules[2] more.yaml:8: allow, stands back: a field is missing\n    risk.count gte 1: missing" in explained


OF_SIGNALS = """\
version: 1
rules:
  - {tool: deploy, when: {system.error_rate: {gte: 0, lt: 0.1}, run.tool_calls: {gte: 0, lte: 20}}, then: allow}
  - {tool: deploy, when: {run.seconds_left: {lt: 60}}, then: deny}
tests:
  - {call: deploy, system: ci, with: {system.error_rate: 0.01, run.seconds_left: 60}, expect: allow}
"""


def test_explain_takes_what_tests_of_the_file_take(command: Command, tmp_path: Path) -> None:
    """What is known of system and run is stated by the names that rules use, as a test's `with` does."""
    path = tmp_path / "signals.yaml"
    path.write_text(OF_SIGNALS)
    assert command("policy", "test", str(path)).stdout == "1 of 1 tests passed.\n"

    def explained(*stated: str) -> str:
        signals = [word for one in stated for word in ("--signal", one)]
        return command("policy", "explain", str(path), "--tool", "deploy", "--system", "ci", *signals).stdout

    assert explained("system.error_rate=0.01", "run.seconds_left=60").startswith("deploy (record): allow\n")
    often = explained("system.error_rate=0.3", "run.tool_calls=7", "run.seconds_left=1000")
    assert often.startswith("deploy (record): deny\n")
    assert "system.error_rate lt 0.1: fails" in often
    assert "run.tool_calls lte 20: holds" in often
    assert "rules[1] signals.yaml:4: deny, matched" in explained("run.seconds_left=59.5")
    limited = explained("system.rate_limited=true", "run.seconds_left=60")
    assert limited.startswith("deploy (record): retry_later\n")
    assert "Decided by: system state\n" in limited


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ("run.attempt=1", "run.attempts?"),
        ("run.attempts", "NAME=VALUE"),
        ("run.attempts=many", "a whole number from 0 to"),
        ("run.attempts=1.5", "a whole number from 0 to"),
        ("run.attempts=[1]", "a whole number from 0 to"),
        ("run.attempts='1'", "a whole number from 0 to"),
        ("run.attempts=", "a whole number from 0 to"),
        ("run.attempts={", "this is not YAML"),
        ("run.seconds_left=-1", "a number from 0 to"),
        ("run.seconds_left=.inf", "write a number"),
        ("run.prior=done", "one of: none"),
        ("system.calls=1", "this needs --system"),
        ("amount=5", "--args"),
        ("record.flagged=true", "--record"),
        ("risk.amount=5", "worked out"),
    ],
)
def test_explain_refuses_what_tests_of_the_file_refuse(command: Command, file: str, stated: str, said: str) -> None:
    """A name there is not, a value it cannot have, what is said elsewhere: usage errors that say what to write."""
    refused = command("policy", "explain", file, "--tool", "refund", "--signal", stated)
    assert refused.exit_code == 2
    assert said in " ".join(refused.stderr.replace("│", " ").split())
    assert "Traceback" not in refused.stderr


def test_a_signal_is_stated_once(command: Command, file: str) -> None:
    """Of two values for one signal neither is taken."""
    stated = ["--signal", "run.attempts=1", "--signal", "run.attempts=2"]
    refused = command("policy", "explain", file, "--tool", "refund", *stated)
    assert (refused.exit_code, "run.attempts is given twice" in refused.stderr) == (2, True)


def test_publishing_a_policy_that_observes_is_loud(command: Command, database: Database, tmp_path: Path) -> None:
    """Whoever publishes it is told in so many words that its rules will not be enforced."""
    path = tmp_path / "more.yaml"
    path.write_text(MORE)
    published = command("policy", "publish", str(path), "--dsn", database.admin).stdout
    assert "mode: observe - decisions of the rules are recorded, and the tools run" in published
    path.write_text(MORE.replace("mode: observe\n", ""))
    assert "observe" not in command("policy", "publish", str(path), "--dsn", database.admin).stdout


def test_rules_that_make_no_difference_are_pointed_out(command: Command, tmp_path: Path) -> None:
    """A dead rule is a warning with the rule that takes its place; with --strict it fails the check."""
    path = tmp_path / "more.yaml"
    path.write_text(MORE)
    checked = command("policy", "check", str(path))
    assert checked.exit_code == 0
    assert "mode: observe - decisions of the rules are recorded, and the tools run" in checked.stdout
    assert "warning: rules[0] more.yaml:6 makes no difference" in checked.stdout
    assert "rules[1] more.yaml:7 matches all that this one does and says deny" in checked.stdout
    assert "warning: rules[3] more.yaml:9 makes no difference" in checked.stdout
    assert command("policy", "check", str(path), "--strict").exit_code == 1


def test_strict_has_nothing_against_a_good_file(command: Command, file: str) -> None:
    """A file without dead rules passes the strict check."""
    assert command("policy", "check", file, "--strict").exit_code == 0


def test_decisions_prints_the_table(command: Command) -> None:
    """How signals and rules lead to a decision is a page that the command prints."""
    printed = command("policy", "decisions").stdout
    assert printed.startswith("# How a write is decided\n")
    assert printed.endswith("\n")


def test_explain_with_bad_json(command: Command, file: str) -> None:
    """Arguments that are no JSON object are a usage error that says where."""
    explained = command("policy", "explain", file, "--tool", "refund", "--args", "{amount: 1}")
    assert explained.exit_code == 2
    assert "--args is not JSON" in explained.stderr
    assert command("policy", "explain", file, "--tool", "refund", "--record", "[]").exit_code == 2


def test_publish(command: Command, file: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing goes through the admin's login and says what holds from now on."""
    monkeypatch.setenv("LANGGRAPH_CONTROL_ADMIN_DSN", database.admin)
    assert "2 roles, 3 members." in command("policy", "publish", file).stdout
    refused = command("policy", "publish", file, "--dsn", database.agent)
    assert "Code:  database_login_lacks_rights" in refused.stderr


def test_a_published_text_is_shown_by_its_hash(command: Command, file: str, database: Database) -> None:
    """Whole or by its first digits, exactly as it was published, on any login; another is not found."""
    text = Path(file).read_text("utf-8")
    hashed = hashlib.sha256(text.encode()).hexdigest()
    command("policy", "publish", file, "--dsn", database.admin)
    for digits in (hashed, hashed[:12]):
        for login in (database.auditor, database.agent, database.approver("ana")):
            shown = command("policy", "show", digits, "--dsn", login)
            assert shown.stdout == text
            assert f"sha256 {hashed}, published by" in shown.stderr
    as_json = json.loads(command("policy", "show", hashed, "--json", "--dsn", database.auditor).stdout)
    assert (as_json["hash"], as_json["body"]) == (hashed, text)
    missing = command("policy", "show", "0" * 64, "--dsn", database.auditor)
    assert (missing.exit_code, "policy_not_found" in missing.stderr) == (1, True)
    for wrong in (hashed[:11], hashed.upper(), "%" * 12, ""):
        assert command("policy", "show", wrong, "--dsn", database.auditor).exit_code == 2
