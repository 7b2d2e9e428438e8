"""The pages of docs/ say what is there: tests and mutants exist, tables are the code's, code runs, links resolve."""

import ast
import contextlib
import io
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from typer.testing import CliRunner

import langgraph_control
from langgraph_control import Control, errors
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.requests import FindRun
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.audit.people.approvals import REFUSALS
from langgraph_control.audit.people.oidc import OpenIDConnect
from langgraph_control.audit.people.sign_in import authenticator_from
from langgraph_control.audit.people.token_edits import add_token
from langgraph_control.audit.postgres.logins import add_login
from langgraph_control.audit.postgres.server import PostgresServer
from langgraph_control.audit.seals.checkpoints import SignedCheckpoint
from langgraph_control.audit.seals.rotation import create_key
from langgraph_control.cli import app
from langgraph_control.errors import ControlError
from langgraph_control.graphs.notices.settings import read_settings
from langgraph_control.guards.lifecycle import STEPS, Event, Kind, State
from langgraph_control.guards.notices import Notice, NoticeEvent, as_json
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.run_reasons import REASONS, Acts
from langgraph_control.guards.run_states import RunState
from tests.simulation.judge import Judge
from tests.simulation.mutants import MUTANTS
from tests.support.desk import POLICY, Desk, new_trigger, publish
from tests.support.postgres import Database
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
GUARANTEES = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
PROMISED, NOT_PROMISED = GUARANTEES.split("\n## What is not promised\n")

TEST_NAME = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
FENCED = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)(?P<page>[^)#]*)(?:#(?P<part>[^)]*))?\)")


def text_of(page: str) -> str:
    """Return a page of docs/."""
    return (ROOT / "docs" / page).read_text("utf-8")


# --- guarantees.md ---


@cache
def functions(path: str) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the functions of a file by name."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("path", "name"), sorted(set(TEST_NAME.findall(GUARANTEES))))
def test_every_proof_exists(path: str, name: str) -> None:
    """A test that a promise names is there under that name, and is not expected to fail."""
    function = functions(path)[name]
    assert "xfail" not in " ".join(ast.unparse(decorator) for decorator in function.decorator_list)


def test_every_mutant_named_exists() -> None:
    """The deliberate mistakes that stand for a proof are ones the simulation plays, and all it plays are named."""
    cells = re.findall(r"mutants?: ([^|\n]+?) *(?:\||$)", PROMISED, re.MULTILINE)
    named = {one.strip() for cell in cells for one in cell.split(" · ")}
    assert named == {mutant.name for mutant in MUTANTS}


def test_every_judgement_named_exists() -> None:
    """The invariants that are named are methods of the simulation's judge."""
    named = re.findall(r"judge(?:'s)? `(\w+)`", GUARANTEES)
    assert named
    assert [name for name in named if not hasattr(Judge, name)] == []


def test_every_promise_has_a_proof() -> None:
    """No row of a table of promises stands without a test, an invariant or a mutant."""
    rows = [line for line in PROMISED.splitlines() if line.startswith("| ") and not line.endswith("| Proof |")]
    assert [row for row in rows if "`tests/" not in row] == []


# --- design.md ---


def lifecycle_table() -> str:
    """Return the lifecycle as a table of Markdown: what can happen in each state, and where it leads."""
    lines = ["| State | Event → next state |", "|---|---|"]
    for state in State:
        parts = []
        for event in Event:
            kinds_of: dict[State, list[Kind]] = defaultdict(list)
            for kind in Kind:
                if (after := STEPS.get((state, event, kind))) is not None:
                    kinds_of[after].append(kind)
            nexts = [
                after if len(kinds) == len(Kind) else f"{after} ({', '.join(kinds)})"
                for after, kinds in kinds_of.items()
            ]
            if nexts:
                parts.append(f"`{event}` → {', '.join(nexts)}")
        lines.append(f"| `{state}` | {'; '.join(parts)} |")
    return "\n".join(lines)


def test_the_lifecycle_table_is_the_codes() -> None:
    """The table in design.md is made of guards/lifecycle.py, word for word."""
    marked = re.search(
        r"<!-- the lifecycle table: .*? -->\n(.*?)\n<!-- end of the lifecycle table -->",
        text_of("design.md"),
        re.DOTALL,
    )
    assert marked is not None
    assert marked[1] == lifecycle_table()


def test_the_drawn_lifecycle_has_no_step_of_its_own() -> None:
    """Each arrow of the drawing is a step of the table, for the kinds it names or for some."""
    drawn = re.findall(r"^ +(\w+) --> (\w+): (\w+)(?: \(([\w, ]+)\))?$", text_of("design.md"), re.MULTILINE)
    actions = [arrow for arrow in drawn if arrow[0] in set(State) and arrow[2] in set(Event)]
    assert len(actions) > len(State)
    for before, after, event, named in actions:
        kinds = [kind for kind in Kind if kind in named.split(", ")] or list(Kind)
        assert after in {STEPS.get((State(before), Event(event), kind)) for kind in kinds}


def test_a_stranger_can_recompute_the_chain(desk: Desk) -> None:
    """The code in design.md alone, over the rows of a run, gives the hashes that the ledger stored."""
    run = desk.run(desk.refunding(50, 500), trigger=new_trigger())
    names: dict[str, Any] = {}
    exec(compile(blocks("design.md", "python")[0].text, "design.md", "exec"), names)  # noqa: S102 - under test
    with LedgerConnection(desk.database.auditor) as auditor:
        rows = list(auditor.entries(run_id(run.id)))
    assert len(rows) > 3
    assert list(names["chain"](run_id(run.id), rows)) == [row.hash for row in rows]


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    """A desk on a database of its own."""
    publish(database)
    desk = Desk.on(database)
    with desk.control:
        yield desk


# --- links ---


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    """Each relative link leads to a file of the project, and to a heading that is there."""
    for link in LINK.finditer(FENCED.sub("", page.read_text("utf-8"))):
        target = (page.parent / link["page"]).resolve() if link["page"] else page
        assert target.exists(), link[0]
        if link["part"]:
            assert link["part"] in anchors(target), link[0]


def anchors(page: Path) -> set[str]:
    """Return what headings of a page are linked by."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- code ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block."""

    language: str
    text: str


def blocks(page: str, language: str | None = None) -> list[Block]:
    """Return a page's fenced blocks in their order, of one language or of all."""
    found = (Block(language=each["language"], text=each["text"]) for each in FENCED.finditer(text_of(page)))
    return [block for block in found if language in (None, block.language)]


@pytest.mark.parametrize("name", ["contracts.md", "frontends.md", "sagas.md"])
def test_pages_run_as_written(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The blocks of a page, in order and in one program, print what stands below them."""
    page = blocks(name)
    (policy,) = (block.text for block in page if block.language == "yaml")
    (tmp_path / "control.yaml").write_text(policy, "utf-8")
    publish_policy(database.admin, Policy.parse(policy, source="control.yaml"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANGGRAPH_CONTROL_DSN", database.agent)
    names: dict[str, Any] = {"__name__": "contracts"}
    printed = ""
    for block in page:
        match block.language:
            case "sql":
                with psycopg.connect(database.admin) as admin:
                    admin.execute(block.text.encode())
            case "python":
                assert printed == "", "what a block prints stands below it"
                printed = _printed_by(block.text, names)
            case "text":
                assert block.text == printed
                printed = ""
                _approve_what_waits(database)
    assert printed == ""


def test_the_page_on_approvals_runs_as_written(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its blocks, in order and in one program, hold what they assert."""
    (policy,) = (block.text for block in blocks("approvals.md", "yaml"))
    (tmp_path / "control.yaml").write_text(policy, "utf-8")
    publish_policy(database.admin, Policy.parse(policy, source="control.yaml"))
    add_login(database.admin, "test_approver_ola", role="approver", person="ola@acme.example", create=True)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {
        "__name__": "approvals",
        "AGENT_DSN": database.agent,
        "ANA_DSN": database.approver("ana"),
        "OLA_DSN": database.approver("ola"),
    }
    for block in blocks("approvals.md", "python"):
        _printed_by(block.text, names)
    for name in ("control", "ana", "ola"):
        names[name].close()


def _printed_by(code: str, names: dict[str, Any]) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "contracts.md", "exec"), names)  # noqa: S102 - the block itself is under test
    return said.getvalue()


def _approve_what_waits(database: Database) -> None:
    with langgraph_control.Approvals(database.approver("ana")) as approvals:
        for request in approvals.inbox():
            approvals.approve(request.approval_id)


# --- identity.md ---


def test_people_sign_in_as_written(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's commands make a login and a token, its files are read, and its program votes by that token."""
    for block in blocks("identity.md", "yaml"):
        (tmp_path / block.text.partition("\n")[0].removeprefix("# ")).write_text(block.text, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANGGRAPH_CONTROL_ADMIN_DSN", database.admin)
    monkeypatch.setenv("LANGGRAPH_CONTROL_APPROVER_DSN", database.local_approver)
    service, tokens, _variables = (block.text.splitlines() for block in blocks("identity.md", "sh"))
    with psycopg.connect(database.admin, autocommit=True) as admin:
        if admin.execute("SELECT FROM pg_roles WHERE rolname = 'console'").fetchone() is None:
            admin.execute("CREATE ROLE console LOGIN")
    for command in (*service, *tokens):
        program, *arguments = shlex.split(command)
        assert program == "langgraph-control"
        assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    token = add_token(tmp_path / "tokens.jsonl", "bo@acme.example")
    assert isinstance(authenticator_from(tmp_path / "oidc.yaml"), OpenIDConnect)
    publish(database)
    with Control(POLICY, dsn=database.agent) as control:
        desk = Desk(database=database, control=control)
        (name,) = desk.run(desk.refunding(500), trigger="ticket/1").approvals
    voting, own = blocks("identity.md", "python")
    (printed,) = blocks("identity.md", "text")
    names: dict[str, Any] = {"__name__": "identity"}
    assert _printed_by(voting.text, names) == ""
    with names["approvals"]:
        assert names["approve"](name, token) == "granted, 1 yes"
    assert _printed_by(own.text, names) == printed.text


def test_the_codes_of_refused_credentials_are_documented() -> None:
    """The page of signing in has each code that a credential is refused with."""
    section = text_of("identity.md").split("## Why a credential is not accepted")[1].split("\n## ")[0]
    listed = {
        code for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for code in re.findall(r"`(\w+)`", row)
    }
    assert listed == {code for code, kind in raised() if kind == "NotAuthenticated"} - {"not_authenticated"}


# --- scaling.md ---


@pytest.mark.timeout(180)
def test_a_worker_drives_as_written(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's files and its command make a worker; what its last program submits, the worker does."""
    (agent, submit), (names,), (policy,) = (blocks("scaling.md", language) for language in ("python", "json", "yaml"))
    for name, block in (("agent.py", agent), ("langgraph.json", names), ("control.yaml", policy)):
        (tmp_path / name).write_text(block.text, "utf-8")
    publish_policy(database.admin, Policy.parse(policy.text, source="control.yaml"))
    (command,) = (block.text for block in blocks("scaling.md", "sh") if "--graphs" in block.text)
    program, *arguments = shlex.split(command)
    assert program == "langgraph-control"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANGGRAPH_CONTROL_DSN", database.agent)
    started = [sys.executable, "-c", "from langgraph_control.cli import main; main()", *arguments]
    with subprocess.Popen(started, stderr=subprocess.DEVNULL) as worker:
        submitted: dict[str, Any] = {"__name__": "submit"}
        assert _printed_by(submit.text, submitted) == "waiting - langgraph-control worker\n"
        with LedgerConnection(database.auditor) as auditor:
            until(lambda: state_of(auditor, submitted["run"].id) is RunState.DONE, seconds=60)
        worker.terminate()
    assert worker.returncode == 0


def state_of(auditor: LedgerConnection, name: str) -> RunState:
    """Return where a run stands."""
    row = auditor.ask(FindRun(run_id=run_id(name)))
    assert row is not None
    return row.state


def test_the_options_of_a_worker_are_documented() -> None:
    """Each option of the command is in the table, and no other."""
    section = text_of("operations.md").split("\n## Workers\n")[1].split("\n## ")[0]
    offered = set(re.findall(r"--[a-z][a-z-]+", _cli("langgraph-control worker --help"))) - {"--help"}
    assert set(re.findall(r"--[a-z][a-z-]+", section)) == offered


# --- testing.md ---


def test_the_page_on_testing_runs_as_written(tmp_path: Path) -> None:
    """A user's test, in a process and a folder of its own, as the page has it."""
    (program,) = blocks("testing.md", "python")
    (tmp_path / "agent_test.py").write_text(program.text, "utf-8")
    arguments = [sys.executable, str(tmp_path / "agent_test.py")]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- notifications.md ---


def test_the_file_of_sinks_is_read(tmp_path: Path) -> None:
    """The page's file is one that is read, with secrets as the page's own line makes them."""
    (file,) = blocks("notifications.md", "yaml")
    (program,) = blocks("notifications.md", "python")
    (tmp_path / "notify.yaml").write_text(file.text, "utf-8")
    secret = _printed_by(program.text, {}).strip()
    environment = {"OPS_HOOK_SECRET": secret, "SMTP_PASSWORD": "secret", "SLACK_ADDRESS": "slack://a/b/c"}
    settings = read_settings(tmp_path / "notify.yaml", environment=environment)
    assert [sink.name for sink in settings.sinks] == ["ops", "finance", "slack"]


def test_the_body_of_a_webhook_is_as_written() -> None:
    """The page shows a body as it is made."""
    (body,) = blocks("notifications.md", "json")
    shown = orjson.loads(body.text)
    data = shown["data"]
    notice = Notice(
        id="msg_1",
        event=NoticeEvent.REQUESTED,
        outcome=None,
        at=datetime.fromisoformat(shown["timestamp"]),
        on_behalf_of=None,
        **{**data, "expires_at": datetime.fromisoformat(data["expires_at"])},
    )
    assert orjson.loads(as_json(notice)) == shown


# --- sealing.md ---


def test_a_sealer_of_ones_own_runs(database: Database, tmp_path: Path) -> None:
    """The page's program seals with a key of a file and a pin of one's own."""
    key = create_key(database.admin, tmp_path / "seal.key")
    (program,) = blocks("sealing.md", "python")
    names = {
        "dsn": database.auditor,
        "key_file": str(tmp_path / "seal.key"),
        "pin_file": str(tmp_path / "pins"),
    }
    printed = _printed_by(program.text, names)
    note, _, said = printed.rpartition("\n\n")
    assert said == "1 heads of chains sealed\n"
    assert SignedCheckpoint.parse(f"{note}\n").signed_by([key]) == (key,)


def test_the_checkpoint_shown_is_one() -> None:
    """The page's checkpoint is a signed note to the letter, and so is the one that a webhook is shown to carry."""
    (shown,) = blocks("sealing.md", "text")
    (body,) = blocks("notifications.md", "json")
    assert SignedCheckpoint.parse(shown.text).checkpoint.size == 3
    assert orjson.loads(body.text)["data"]["checkpoint"] == shown.text


def test_the_options_of_seal_are_listed() -> None:
    """The page has each option of its own that the command has."""
    section = text_of("sealing.md").split("\n## Running it\n")[1].split("\n## ")[0]
    offered = set(re.findall(r"--[a-z]+", CliRunner().invoke(app, ["seal", "--help"]).stdout))
    assert offered - {"--help", "--dsn", "--local"} <= set(re.findall(r"`(--[a-z]+)", section))


# --- operations.md ---

SOURCES = tuple(
    path
    for room in ("graphs", "nodes", "guards", "audit", "src/langgraph_control")
    for path in sorted((ROOT / room).rglob("*.py"))
)

ERROR_ROW = re.compile(r"^\| (?P<codes>`[^|]+) \| (?P<kind>\w+) \|", re.MULTILINE)
POLICY_CODE = re.compile(r"\"(policy_[a-z_]+)\"")
NAMED_ARGUMENTS = ("trigger", "intent", "actor", "on_behalf_of", "thread", "graph")


def error_classes() -> dict[str, type[ControlError]]:
    """Return the classes of errors.py by name."""
    return {name: getattr(errors, name) for name in errors.__all__}


def documented() -> dict[str, str]:
    """Return code → class as operations.md has them."""
    section = text_of("operations.md").split("\n## Errors\n")[1]
    return {code: row["kind"] for row in ERROR_ROW.finditer(section) for code in re.findall(r"`(\w+)`", row["codes"])}


def raised() -> set[tuple[str, str]]:
    """Return (code, class) of each error that is made somewhere, with the class's own code where it has no other."""
    found: set[tuple[str, str]] = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            # What bind finds is raised as one GraphRefused.
            name = {"Finding": "GraphRefused"}.get(node.func.id, node.func.id)
            if name not in error_classes():
                continue
            code = next((one.value for one in node.keywords if one.arg == "code"), None)
            if code is None:
                found.add((error_classes()[name].code, name))
            elif isinstance(code, ast.Constant):
                found.add((str(code.value), name))
            elif isinstance(code, ast.JoinedStr):  # graphs/order.py: f"{field_name}_missing"
                found |= {(f"{argument}{ast.literal_eval(code.values[-1])}", name) for argument in NAMED_ARGUMENTS}
    return found


def test_every_error_is_documented_under_its_class() -> None:
    """The table of errors has each code that is raised, under the class it is raised as."""
    elsewhere = set(re.findall(r"`(\w+)`", text_of("operations.md").split("\n## Errors\n")[1]))
    listed = documented()
    for code, kind in raised():
        if (code.startswith("policy_") and code not in listed) or code in REFUSALS:
            assert code in elsewhere
        else:
            assert (code, listed.get(code)) == (code, kind)


def test_every_documented_error_exists() -> None:
    """The table has no code that nothing raises, but the classes' own."""
    own = {(kind.code, name) for name, kind in error_classes().items()}
    assert set(documented().items()) <= raised() | own


def test_every_class_has_its_row() -> None:
    """Each class of errors.py is in the table with its own code."""
    assert {kind.code for kind in error_classes().values()} <= set(documented())


def test_every_problem_of_a_policy_file_is_documented() -> None:
    """The codes that the policy's reader gives are the ones of the second table."""
    given = {
        code
        for path in SOURCES
        if path.name.startswith("policy_") and path.parent.name == "guards"
        for code in POLICY_CODE.findall(path.read_text("utf-8"))
    }
    section = text_of("operations.md").split("Problems of a policy file")[1].split("A vote that does not count")[0]
    assert set(re.findall(r"`(policy_\w+)`", section)) == given | {"policy_money_unbounded"}


def test_every_refused_vote_is_documented() -> None:
    """The codes of refused votes are the ones of the third table."""
    section = text_of("operations.md").split("A vote that does not count")[1]
    assert set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == set(REFUSALS)


def test_it_is_set_up_as_written(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a new server, for an ordinary owner of a database, SQL and commands lead to logins that can do their work."""
    with PostgresServer.start(server_folder) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as superuser:
            superuser.execute("CREATE ROLE owner LOGIN CREATEROLE")
            superuser.execute("CREATE DATABASE app OWNER owner")
        admin = make_conninfo(server.dsn(), dbname="app", user="owner")
        with psycopg.connect(admin) as owner:
            owner.execute(_block("sql", holding="CREATE ROLE").encode())
        monkeypatch.setenv("LANGGRAPH_CONTROL_ADMIN_DSN", admin)
        monkeypatch.chdir(ROOT / "demo")
        for command in _block("sh", holding="migrate").splitlines():
            _cli(command)
        for login, role in (("support_agent", "agent"), ("ana", "approver"), ("audit_reader", "auditor")):
            monkeypatch.setenv("LANGGRAPH_CONTROL_DSN", make_conninfo(admin, user=login))
            assert f"may act as  {role}" in _cli("langgraph-control doctor")


def test_a_run_is_looked_at_as_written(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the auditor's login the commands print, check and export a run, and the statement gives its head."""
    desk.run(desk.refunding(50), trigger="ticket/4711")
    monkeypatch.setenv("LANGGRAPH_CONTROL_DSN", desk.database.auditor)
    for command in _block("sh", holding="verify").splitlines():
        assert _cli(command)
    with psycopg.connect(desk.database.auditor) as auditor:
        ((_, entries, head),) = auditor.execute(_block("sql", holding="runs_v1").encode()).fetchall()
    assert entries > 0
    assert len(head) == 64


def test_a_run_is_erased_as_written(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the admin's login the page's commands erase, hold and drop."""
    publish(database)
    desk = Desk.on(database)
    with desk.control:
        for trigger in ("ticket/4711", "ticket/4712"):
            desk.run(desk.refunding(50), trigger=trigger)
    monkeypatch.setenv("LANGGRAPH_CONTROL_ADMIN_DSN", database.admin)
    for block in blocks("privacy.md", "sh"):
        for command in block.text.splitlines():
            assert _cli(command)


def _block(language: str, *, holding: str) -> str:
    (found,) = (block.text for block in blocks("operations.md", language) if holding in block.text)
    return found


def _cli(command: str) -> str:
    program, *arguments = shlex.split(command)
    assert program == "langgraph-control"
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 0, ended.output
    return ended.output


def test_every_state_of_a_run_has_advice() -> None:
    """The table of states has each state once, in the order of the code."""
    section = text_of("operations.md").split("\n## Where a run stands, and what to do\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == list(RunState)


ACTS = {
    Acts.ASKED: "the roles asked",
    Acts.OWNER: "the owner",
    Acts.REQUESTER: "who asked for the run",
    Acts.WORKERS: "workers",
}


def test_every_reason_of_a_run_is_explained() -> None:
    """The table of reasons is made of guards/run_reasons.py, word for word."""
    wanted = [
        f"| `{meant.state}` | `{word}{'…' if word.endswith(' ') else ''}` | {ACTS[meant.acts]} | {meant.says} |"
        for word, meant in REASONS.items()
    ]
    section = text_of("operations.md").split("<!-- the reasons of a run: ")[1].split("<!-- end of the reasons -->")[0]
    found = [line for line in section.splitlines() if line.startswith("| `")]
    assert sorted(found) == sorted(wanted)
