"""`make demo` as it is run: what it prints, what it leaves, and that it fails when something is wrong."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from demo.__main__ import main, play
from demo.agent import POLICY
from demo.billing.client import Billing, Call
from demo.ground import ground
from demo.model import ScriptedSupport
from demo.story import SCENES
from langgraph_control import Policy
from langgraph_control.errors import DatabaseRefused
from tests.docs.transcript import ROOT, in_readme, without_what_varies
from tests.support.postgres import PASSWORD, Database
from tests.support.waiting import until

DEMO_POLICY = Policy.parse(POLICY.read_text("utf-8"), source=POLICY.name)


@pytest.mark.timeout(300)
def test_the_demo_holds_prints_what_the_readme_shows_and_leaves_nothing(server_folder: Path) -> None:
    """On a machine without a database it ends with 0, its output is the README's, and no file or process stays."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LANGGRAPH_CONTROL_")}
    command = [sys.executable, "-m", "demo"]
    environment["TMPDIR"] = str(server_folder)
    ended = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    assert without_what_varies(ended.stdout) == without_what_varies(in_readme())
    assert max(map(len, ended.stdout.splitlines())) <= 80
    until(lambda: not _processes_naming(server_folder))
    assert list(server_folder.iterdir()) == []


@pytest.mark.timeout(300)
def test_an_agent_that_sends_twice_is_found_out(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With every refund sent twice, billing's log shows duplicates, the claims about them fail, and the demo does."""
    send = Billing.send

    def send_twice(self: Billing, call: Call, **options: Any) -> Any:
        if (call.method, call.path) == ("POST", "/refunds"):
            send(self, call, **options)
        return send(self, call, **options)

    monkeypatch.setattr(Billing, "send", send_twice)
    assert play(SCENES[:1], dsn=database.admin, model=ScriptedSupport()) == 1
    said = capsys.readouterr().out
    assert "WRONG: billing refunded 40.00 EUR, once" in said
    assert "WRONG: every ticket led to what it should, and no more" in said
    assert "Everything held" not in said


@pytest.fixture
def approver(database: Database) -> Iterator[str]:
    """A login of the given server that belongs to nobody yet."""
    login = f"{database.name}_clerk"
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(login), sql.Literal(PASSWORD))
        )
        yield database.dsn(login)
        connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(login)))


def with_model(database: Database, model: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the demo with a model by its name, on a given server, where its provider's package is the stand-in."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LANGGRAPH_CONTROL_")}
    environment["PYTHONPATH"] = str(Path(__file__).parent / "providers")
    command = [sys.executable, "-m", "demo", "--dsn", database.admin, "--model", model, *options]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)


@pytest.mark.timeout(300)
def test_a_model_by_name_plays_the_support_agent(database: Database, approver: str) -> None:
    """On a given server and approver's login, with a provider's model in every process, each claim holds."""
    # One in this process, one approved from another, one in a process of its own, one in a worker.
    scenes = ("small_refund", "large_refund", "killed_process", "waiting_runs")
    chosen = [f"--scene={name}" for name in scenes]
    ended = with_model(database, "openai:scripted", "--approver-dsn", approver, *chosen)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    assert 'done: "That is all there is to say."' in ended.stdout
    assert "Everything held." in ended.stdout


@pytest.mark.timeout(300)
def test_a_model_that_fails_is_said_in_a_line(database: Database) -> None:
    """What the provider raises ends the demo with 2, its model's name and the first line of the error."""
    ended = with_model(database, "openai:no-key")
    assert ended.returncode == 2
    assert ended.stderr == "demo: openai:no-key failed with AuthenticationError: no API key was given\n"


@pytest.mark.timeout(300)
def test_a_model_that_does_nothing_is_found_out(database: Database) -> None:
    """A model that asks for no refund leaves claims that do not hold, a count of nothing, and no traceback."""
    ended = with_model(database, "openai:idle", "--scene=small_refund", "--scene=saga_undone")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "WRONG: every ticket led to what it should, and no more" in ended.stdout
    assert "ok       billing: 0 refunds and 4 notes, 0 duplicates" in ended.stdout


def test_the_demos_policy_passes_its_own_tests() -> None:
    """What the policy's inline tests expect is what it decides."""
    assert DEMO_POLICY.tests
    assert DEMO_POLICY.run_tests() == ()


def test_a_given_server_keeps_the_record_and_no_login(database: Database) -> None:
    """On a given server the demo's logins work while it runs and are gone afterwards; its tenant stays."""
    with ground(DEMO_POLICY, dsn=database.admin, approver_dsn=None) as prepared:
        for dsn in (prepared.agent, prepared.approver, prepared.auditor):
            with psycopg.connect(dsn) as connection:
                assert connection.execute("SELECT session_user LIKE %s", (f"{prepared.tenant}-%",)).fetchone() == (
                    True,
                )
    with psycopg.connect(database.admin) as connection:
        logins = connection.execute(
            "SELECT 1 FROM pg_roles WHERE rolname LIKE %s", (f"{prepared.tenant}-%",)
        ).fetchall()
        tenants = connection.execute("SELECT 1 FROM control.tenant WHERE tenant = %s", (prepared.tenant,)).fetchall()
    assert (len(logins), len(tenants)) == (0, 1)


def test_an_approvers_login_in_use_is_not_taken_over(database: Database) -> None:
    """A given approver's login that speaks for another tenant stays what it is, and the demo says so."""
    with (
        pytest.raises(DatabaseRefused, match="another tenant") as refused,
        ground(DEMO_POLICY, dsn=database.admin, approver_dsn=database.approver("ana")),
    ):
        pytest.fail("the login was taken over")
    assert refused.value.code == "login_taken"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--approver-dsn", "dbname=x"], "give both"),
        (["--dsn", "host=127.0.0.1 port=1 dbname=x"], "database_unreachable"),
        (["--model", "nobody:knows"], "nobody"),
    ],
    ids=["approver without server", "no server there", "unknown model"],
)
def test_what_cannot_be_played_is_said_in_a_line(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong options end with 2 and a line that names what is wrong, without a traceback."""
    monkeypatch.setattr(sys, "argv", ["demo", *arguments])
    try:
        code: object = main()
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert said in capsys.readouterr().err


def _processes_naming(folder: Path) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True)
    return [line for line in listed.stdout.splitlines() if str(folder) in line]
