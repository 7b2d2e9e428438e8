"""Every code block of the README runs as it stands there. What `make demo` prints is in tests/demo."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from typer.testing import CliRunner

from langgraph_control import Approvals, Control, Policy
from langgraph_control.audit.asking.ledger import Outcome
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.names import run_name
from langgraph_control.audit.postgres.server import PostgresServer
from langgraph_control.cli import app
from tests.docs.blocks import block, blocks
from tests.docs.transcript import README, ROOT, in_readme
from tests.support.desk import Desk
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls
from tests.support.trails import TrailWriter

NAME = re.compile(r"\b(apr|run)_[0-9a-f]{32}\b")
POLICY = Policy.parse(block("yaml", holding="version").text, source="control.yaml")
GIVEN = {"messages": [{"role": "user", "content": "Refund my order."}]}
DSNS = "LANGGRAPH_CONTROL_"


def test_every_block_is_run_by_a_test() -> None:
    """No block is of a kind, or beyond the number, that the tests below and tests/demo look at."""
    counts = {language: len(blocks(language)) for language in ("sh", "console", "python", "yaml", "sql", "text")}
    assert counts == {"sh": 6, "console": 1, "python": 2, "yaml": 1, "sql": 1, "text": 2}
    assert README.read_text("utf-8").count("\n```") == 2 * (sum(counts.values()) + 1)  # and the diagram


def test_the_quickstart_is_the_file_and_short() -> None:
    """The blocks are the files of examples/, word for word: at most 25 lines, and a policy of at most 6."""
    program, policy = block("python", holding="Control.local").text, block("yaml", holding="version").text
    assert program == (ROOT / "examples" / "quickstart.py").read_text("utf-8")
    assert policy == (ROOT / "examples" / "control.yaml").read_text("utf-8")
    assert len(program.splitlines()) <= 25
    assert len(policy.splitlines()) <= 6


@pytest.mark.timeout(180)
def test_the_quickstart_prints_what_the_readme_shows(server_folder: Path, tmp_path: Path) -> None:
    """Parked, approved by the printed command, and done by the same line, typed as the README has it."""
    work = tmp_path / "examples"
    work.mkdir()
    shutil.copy(ROOT / "examples" / "offline_model.py", work)
    (work / "quickstart.py").write_text(block("python", holding="Control.local").text, "utf-8")
    (work / "control.yaml").write_text(block("yaml", holding="version").text, "utf-8")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    names: dict[str, str] = {}
    for command, shown in _typed(block("console", holding="quickstart").commands):
        said = _run(_with_names(command, names), work, {f"{DSNS}DATA": str(server_folder)})
        names |= {match[1]: match[0] for match in NAME.finditer(said)}
        lines = NAME.sub(r"\1_…", said).splitlines()
        assert [line for line in shown if line != "…" and line not in lines] == []
        assert "…" in shown or lines == shown


def test_five_lines_add_the_gate_to_an_agent(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """With tools nobody declared, a model and an input, the block parks the run, and goes on once it is approved."""
    from langchain.agents import create_agent
    from langchain_core.tools import tool

    done: list[str] = []

    @tool
    def look_up_order(order_id: str) -> str:
        """Look an order up."""
        return f"order {order_id}"

    @tool
    def refund(order_id: str, amount: int) -> str:
        """Refund an order."""
        done.append(f"{order_id}: {amount}")
        return "refunded"

    publish_policy(database.admin, POLICY)
    monkeypatch.setenv(f"{DSNS}DSN", database.agent)
    monkeypatch.chdir(ROOT / "examples")
    code = block("python", holding="contracts=contracts").text
    assert len([line for line in code.splitlines() if line and "import" not in line]) == 5
    asks = calls(call("refund", order_id="A-1", amount=1200))
    for state in ("needs_approval", "done"):
        names: dict[str, Any] = {"create_agent": create_agent, "tools": [look_up_order, refund], "given": GIVEN}
        names["model"] = ScriptedModel(script=(asks, "done") if state == "needs_approval" else ("done",))
        exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - the block itself is under test
        with names["control"]:
            assert names["run"].state == state
        if names["run"].approvals:
            with Approvals(database.approver("ana")) as approvals:
                approvals.approve(names["run"].approvals[0])
    assert done == ["A-1: 1200"]


def test_a_database_is_set_up_as_written(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a new server, for an ordinary owner of a database, the SQL and the commands lead to a working agent."""
    with PostgresServer.start(server_folder) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as superuser:
            superuser.execute("CREATE ROLE owner LOGIN CREATEROLE")
            superuser.execute("CREATE DATABASE app OWNER owner")
        admin = make_conninfo(server.dsn(), dbname="app", user="owner")
        with psycopg.connect(admin) as owner:
            owner.execute(block("sql", holding="CREATE ROLE").text.encode())
        monkeypatch.setenv(f"{DSNS}ADMIN_DSN", admin)
        monkeypatch.chdir(ROOT / "examples")
        for command in block("sh", holding="migrate").commands:
            assert _cli(command)
        monkeypatch.setenv(f"{DSNS}DSN", make_conninfo(admin, user="support_agent"))
        assert "may act as  agent" in _cli("langgraph-control doctor")


def test_it_is_operated_as_written(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of both sides work on a run that waits for two people's words."""
    publish_policy(database.admin, POLICY)
    desk = Desk(database=database, control=Control(POLICY, dsn=database.agent))
    with desk.control:
        run = desk.run(desk.refunding(500, 600), trigger="ticket/4711")
    monkeypatch.setenv(f"{DSNS}APPROVER_DSN", database.approver("ana"))
    waiting = list(run.approvals)
    for command in block("sh", holding="inbox").commands:
        assert _cli(command.replace("apr_…", waiting[0]))
        if command.split()[1] in {"approve", "reject"}:
            waiting.pop(0)
    assert waiting == []
    monkeypatch.setenv(f"{DSNS}DSN", database.auditor)
    for command in block("sh", holding="verify").commands:
        assert _cli(_with_names(command, {"run": run.id}))


def test_what_else_approvers_can_do_is_done_as_written(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request is changed, the yes to another taken back, and somebody stands in."""
    publish_policy(database.admin, POLICY)
    desk = Desk(database=database, control=Control(POLICY, dsn=database.agent))
    with desk.control:
        run = desk.run(desk.refunding(500, 600), trigger="ticket/4711")
    monkeypatch.setenv(f"{DSNS}APPROVER_DSN", database.approver("ana"))
    desk.approve(run.approvals[1:])
    names = {"edit": run.approvals[0], "withdraw": run.approvals[1]}
    for command in block("sh", holding="withdraw").commands:
        assert _cli(command.replace("apr_…", names.get(command.split()[1], "")))


def test_what_only_people_can_do_is_done_as_written(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost payment is settled, another run woken and cancelled, and a system stopped and let go on."""
    publish_policy(database.admin, POLICY)
    desk = Desk(database=database, control=Control(POLICY, dsn=database.agent))
    with desk.control:
        run = desk.run(desk.refunding(500, 600), trigger="ticket/4711")
    monkeypatch.setenv(f"{DSNS}APPROVER_DSN", database.approver("ana"))
    with TrailWriter(database) as trail:
        lost = trail.open("ticket/4712")
        claim, _ = trail.claim(lost, kind="blind")
        trail.settle(lost, claim, Outcome.LOSE)
        names = {"resolve": run_name(lost.run_id), "resume": run.id, "cancel": run.id}
        for command in block("sh", holding="resolve").commands:
            assert _cli(_with_names(command, {"run": names.get(command.split()[1], "")}))
        _, again = trail.claim(lost, kind="blind")
    assert again.state == "succeeded"


def test_make_has_the_targets_named() -> None:
    """Each `make …` of the README is a target."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make (\w+)", README.read_text("utf-8"), re.MULTILINE))
    assert "demo" in named
    assert named <= targets


def test_the_excerpt_is_part_of_the_output() -> None:
    """The lines shown first are lines of what `make demo` prints, in one piece."""
    assert blocks("text")[0].text in in_readme()


def test_links_lead_somewhere() -> None:
    """Each relative link of the README is a file of the project."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README.read_text("utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


def _typed(lines: list[str]) -> list[tuple[str, list[str]]]:
    """A console block as commands, each with the lines shown below it."""
    typed: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("$ "):
            typed.append((line[2:], []))
        else:
            typed[-1][1].append(line)
    return typed


def _with_names(command: str, names: Mapping[str, str]) -> str:
    for kind, name in names.items():
        command = command.replace(f"{kind}_…", name)
    return command


def _run(command: str, folder: Path, variables: dict[str, str]) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(DSNS)} | variables
    ended = subprocess.run(
        shlex.split(command), cwd=folder, env=environment, check=False, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _cli(command: str) -> str:
    program, *arguments = shlex.split(command)
    assert program == "langgraph-control"
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 0, ended.output
    return ended.output
