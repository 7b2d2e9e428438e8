"""``runs`` and ``resume`` as they are typed."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from langgraph_control import Control
from langgraph_control.audit.asking.requests import RunRelease
from langgraph_control.audit.asking.rows import Release, RunState
from langgraph_control.cli import worker
from langgraph_control.guards.run_reasons import REASONS
from tests.cli.conftest import Command
from tests.support.desk import POLICY, new_trigger, publish
from tests.support.postgres import Database
from tests.support.trails import OpenRun, TrailWriter
from tests.support.workshop import Workshop, build, order, read

RAISING = """\
import os
from langgraph.graph import START, StateGraph
from langgraph_control import Control
from tests.support.desk import POLICY
from tests.support.workshop import State

def act(state):
    raise KeyError("secret")

control = Control(POLICY, dsn=os.environ["LANGGRAPH_CONTROL_DSN"])
builder = StateGraph(State)
builder.add_node("act", act)
builder.add_edge(START, "act")
graph = control.bind(builder.compile(), name="workshop")
"""


def parked(
    trail: TrailWriter, trigger: str, state: RunState, *, reason: str, owner: str = "", step: str = ""
) -> OpenRun:
    """Leave a run where it stands, as a driver would."""
    run = trail.open(trigger)
    if state is RunState.NEEDS_APPROVAL:
        trail.claim(run, verb="approve")
    request = RunRelease(
        run_id=run.run_id,
        token=run.token,
        generation=run.generation,
        state=state,
        reason=reason,
        owner=owner,
        next_step=step,
        wake_ms=None,
        body=b"{}",
    )
    assert trail.agent.ask(request).answer is Release.RELEASED
    return run


@pytest.fixture
def three(trail: TrailWriter) -> dict[str, OpenRun]:
    """A run that needs an approval, one that needs a human, and one that is driven."""
    return {
        "asking": parked(
            trail, "ticket/1", RunState.NEEDS_APPROVAL, reason="needs_approval", step="langgraph-control inbox"
        ),
        "lost": parked(
            trail,
            "ticket/2",
            RunState.NEEDS_HUMAN,
            reason="needs_human",
            owner="fraud, support",
            step="langgraph-control resolve run_1",
        ),
        "driven": trail.open("ticket/3"),
    }


@pytest.mark.parametrize("login", ["agent", "admin", "auditor", "local_approver"])
def test_runs_say_who_acts_and_what_to_do(
    command: Command, trail: TrailWriter, three: dict[str, OpenRun], login: str
) -> None:
    """On every login: state, reason in plain words, owner, next step and tool, from the ledger alone."""
    shown = command("runs", "--dsn", getattr(trail.database, login))
    assert shown.exit_code == 0, shown.stderr
    asking = shown.stdout.split(f"run_{three['asking'].run_id.hex}: ")[1]
    assert asking.startswith("needs_approval\n")
    assert " ".join(REASONS["needs_approval"].says.split()) in " ".join(asking.split())
    for said in ("owner   finance", "next    langgraph-control inbox", "tools   refund", "ticket/1 · support"):
        assert said in asking
    assert f"langgraph-control show run_{three['driven'].run_id.hex}" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_runs_of_one_state_or_owner(command: Command, trail: TrailWriter, three: dict[str, OpenRun]) -> None:
    """Filtered by state, by one owner of several, or by both; where none fits, that is said."""

    def listed(*filters: str) -> list[str]:
        result = command("runs", "--json", *filters, "--dsn", trail.database.auditor)
        return [run["run_id"][4:] for run in json.loads(result.stdout)]

    name = {which: run.run_id.hex for which, run in three.items()}
    assert listed() == [name["driven"], name["lost"], name["asking"]]
    assert listed("--state", "needs_human") == [name["lost"]]
    assert listed("--owner", "support") == listed("--owner", "fraud") == [name["lost"]]
    assert listed("--owner", "workers") == listed("--state", "running") == [name["driven"]]
    assert listed("--owner", "finance", "--state", "needs_approval") == [name["asking"]]
    assert listed("--limit", "1") == [name["driven"]]
    assert command("runs", "--state", "done", "--dsn", trail.database.auditor).stdout == "No run stands there.\n"
    assert command("runs", "--state", "stuck", "--dsn", trail.database.auditor).exit_code == 2


def test_the_longest_wait_is_listed_first(command: Command, trail: TrailWriter) -> None:
    """Where a list of waits is cut, what stands there longest is what is left, and that there is more is said."""
    waits = [
        parked(trail, f"ticket/{at}", RunState.NEEDS_HUMAN, reason="needs_human", owner="fraud") for at in range(25)
    ]
    for filters in (["--state", "needs_human"], ["--owner", "fraud"]):
        result = command("runs", "--json", *filters, "--dsn", trail.database.auditor)
        assert [run["run_id"][4:] for run in json.loads(result.stdout)] == [run.run_id.hex for run in waits[:20]]
        assert result.stderr == "These are the longest 20; there are more: --limit\n"
    all_of_them = command("runs", "--state", "needs_human", "--limit", "25", "--dsn", trail.database.auditor)
    assert all_of_them.stderr == ""


def test_runs_as_json(command: Command, trail: TrailWriter, three: dict[str, OpenRun]) -> None:
    """What is printed is there as data."""
    (run,) = json.loads(command("runs", "--json", "--state", "needs_human", "--dsn", trail.database.auditor).stdout)
    assert run["run_id"] == f"run_{three['lost'].run_id.hex}"
    assert (run["owner"], run["next_step"]) == ("fraud, support", "langgraph-control resolve run_1")
    assert run["says"] == REASONS["needs_human"].says


def test_any_login_of_the_environment_reads(
    command: Command, trail: TrailWriter, three: dict[str, OpenRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has only an approver's or the admin's DSN lists runs with it."""
    for name, dsn in (("ADMIN", trail.database.admin), ("APPROVER", trail.database.approver("ana"))):
        monkeypatch.setenv(f"LANGGRAPH_CONTROL_{name}_DSN", dsn)
        assert f"run_{three['lost'].run_id.hex}" in command("runs").stdout
        monkeypatch.delenv(f"LANGGRAPH_CONTROL_{name}_DSN")


def test_show_names_owner_and_next_step(command: Command, trail: TrailWriter, three: dict[str, OpenRun]) -> None:
    """The header of a run says why it stands there, who acts and what to do."""
    shown = command("show", three["lost"].trigger, "--dsn", trail.database.auditor).stdout
    words = " ".join(shown.split())
    assert "owner fraud, support next langgraph-control show" in words
    assert f"then langgraph-control resolve run_{three['lost'].run_id.hex}" in words
    assert " ".join(REASONS["needs_human"].says.split()) in words


def test_resume_wakes_a_run(command: Command, trail: TrailWriter, three: dict[str, OpenRun]) -> None:
    """Without graphs the run is due at once, and it is said whether a worker with its graph is about."""
    woken = command("resume", "ticket/2", "--dsn", trail.database.approver("ana"))
    assert woken.exit_code == 0, woken.stderr
    assert f"run_{three['lost'].run_id.hex} is woken" in woken.stdout
    assert "no worker that has the graph 'support'" in " ".join(woken.stdout.split())
    assert "is being driven already" in command("resume", "ticket/3", "--dsn", trail.database.agent).stdout


def test_what_cannot_be_resumed(command: Command, trail: TrailWriter) -> None:
    """A run that is done, and one that is not there, are refused; the auditor's login wakes nothing."""
    run = trail.refund()
    agent = trail.database.agent
    assert "Code:  run_over" in command("resume", run.trigger, "--dsn", agent).stderr
    assert "Code:  run_unknown" in command("resume", "ticket/none", "--dsn", agent).stderr
    waiting = parked(trail, "ticket/9", RunState.WAITING, reason="question", owner="dora")
    refused = command("resume", waiting.trigger, "--dsn", trail.database.auditor)
    assert "Code:  database_login_lacks_rights" in refused.stderr


@pytest.fixture
def workshop(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """A folder with a graph, and a ledger with its policy."""
    monkeypatch.setattr(worker, "log_lines", lambda: None)
    publish(database)
    monkeypatch.setenv("LANGGRAPH_CONTROL_DSN", database.agent)
    return Workshop.at(tmp_path, database)


def test_resume_with_graphs_drives_the_run_here(command: Command, workshop: Workshop) -> None:
    """With the file that names its graph, a submitted run is driven to where it stands next, in this process."""
    graphs = str(workshop.folder / "langgraph.json")
    with workshop.control() as client:
        run = client.submit("workshop", order(1), trigger=new_trigger(), actor="bot")
        driven = command("resume", run.id, "--graphs", graphs)
        assert (driven.exit_code, driven.stdout.splitlines()[0]) == (0, f"{run.id}: done"), driven.stderr
        assert [one.what for one in read(workshop.effects)] == ["begun", "done"]


def test_resume_with_graphs_stops_where_people_are_needed(command: Command, workshop: Workshop) -> None:
    """Driving it here decides nothing: a write that needs a yes waits for it, and finance owns the wait."""
    graphs = str(workshop.folder / "langgraph.json")
    with workshop.control() as client:
        run = client.submit("workshop", order(2, amount="500"), trigger=new_trigger(), actor="bot")
        assert f"{run.id}: needs_approval" in command("resume", run.trigger, "--graphs", graphs).stdout
        assert client.get(run.id).owner == "finance"
    assert read(workshop.effects) == []


def test_resume_with_a_graph_that_raises(command: Command, workshop: Workshop) -> None:
    """What the graph raises is told by its class, with who acts and what to do; the exit code is 1."""
    workshop.put("workshop.py", RAISING)
    with workshop.control() as client:
        run = client.submit("workshop", order(1), trigger=new_trigger(), actor="bot")
        driven = command("resume", run.id, "--graphs", str(workshop.folder / "langgraph.json"))
        assert driven.exit_code == 1
        assert f"{run.id}: blocked\n  reason  the graph raised KeyError\n" in driven.stdout
        stands = client.get(run.id)
    assert (stands.owner, "secret" in driven.stdout + driven.stderr) == ("finance", False)
    assert stands.next_step == f"langgraph-control show {run.id}, then langgraph-control resume {run.id}"


def test_resume_with_graphs_that_lack_the_runs(command: Command, workshop: Workshop) -> None:
    """A file without the run's graph is told so, and the run stays as it is."""
    with workshop.control() as client:
        run = client.submit("another", order(1), trigger=new_trigger(), actor="bot")
        refused = command("resume", run.id, "--graphs", str(workshop.folder / "langgraph.json"))
        assert "Code:  graph_not_bound" in refused.stderr
        assert client.get(run.id).reason == "queued"


def test_a_deadline_is_shown_as_the_next_time(command: Command, database: Database, tmp_path: Path) -> None:
    """What waits for people is driven again at the run's deadline, and the list says when that is."""
    publish(database)
    until = datetime.now(UTC) + timedelta(hours=2)
    with Control(POLICY, dsn=database.agent) as control:
        graph = build(control, tmp_path / "effects")
        control.run(graph, order(1, amount="500"), trigger=new_trigger(), actor="bot", deadline=until)
    assert f"again   {until:%Y-%m-%d %H:%M:%S} UTC" in command("runs", "--dsn", database.auditor).stdout
