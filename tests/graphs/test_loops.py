"""Runs that go in circles, and reads that wait or fall back: over agents, pauses, and another process taking over."""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, TypedDict

import httpx
import orjson
import psycopg
import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import StructuredTool, ToolException
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from typer.testing import CliRunner

from langgraph_control import Approvals, Control, Policy, Run, reads, writes
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.reconstruct import reconstruct
from langgraph_control.audit.trail.sentences import sentence
from langgraph_control.cli import app
from langgraph_control.contracts import WAIT
from langgraph_control.guards.loops import STEPS_MAX
from langgraph_control.guards.run_states import RunState
from langgraph_control.nodes.fallbacks import MARK
from tests.support.desk import GO, new_trigger, told
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls

TEXT = """\
version: 1
roles: {finance: [ana@acme.example]}
owner: finance
rules:
  - {tool: pay, when: {amount: {gt: 0, lte: 100}}, then: allow}
  - {tool: pay, when: {amount: {gt: 100, lte: 500}}, then: approve, by: finance}
  - {tool: pay, when: {amount: {gt: 500}}, then: deny}
"""


class Seen(TypedDict, total=False):
    """What a node of code has seen."""

    seen: list[str]


class Office:
    """An agent's process: two reads and a write whose bodies do what the test says. Another one can take over."""

    def __init__(self, database: Database, policy: str) -> None:
        self.database = database
        self.policy = Policy.parse(TEXT + policy, source="control.yaml")
        publish_policy(database.admin, self.policy)
        self.control = Control(self.policy, dsn=database.agent)
        self.looked: list[str] = []
        self.paid: list[str] = []
        self.body: Callable[[str], str] = lambda what: f"{what} is open"
        self.name = f"office {new_trigger()}"
        self.fallback: object = None

    def agent(self, *turns: Sequence[tuple[str, dict[str, Any]]], first: int = 0) -> Any:
        """Return a bound agent that makes these calls, one message a turn from this one on, then ends."""

        def looking(name: str) -> Any:
            def look(what: str) -> str:
                """Look."""
                self.looked.append(what)
                return self.body(what)

            contract = reads(system="crm", fallback=self.fallback)
            return contract(StructuredTool.from_function(look, name=name, handle_tool_error=True))

        @writes(key="order_id", impact="record", system="bank")
        def pay(order_id: str, amount: Decimal) -> str:
            """Pay."""
            self.paid.append(order_id)
            return f"paid {order_id}"

        script = [
            calls(*(call(tool, call_id=f"call_{turn}_{place}", **args) for place, (tool, args) in enumerate(asked)))
            for turn, asked in enumerate(turns, start=first)
        ]
        tools = self.control.govern([looking("look"), looking("peek"), pay])
        return self.control.bind(create_agent(ScriptedModel(script=(*script, "over")), tools), name=self.name)

    def run(self, *turns: Sequence[tuple[str, dict[str, Any]]], trigger: str | None = None) -> Run:
        """Run such an agent."""
        return self.control.run(self.agent(*turns), GO, trigger=trigger or new_trigger(), actor="bot")

    def story(self, run: Run) -> list[Entry]:
        """Return the run's entries."""
        with LedgerConnection(self.database.auditor) as auditor:
            return [Entry.of(entry) for entry in auditor.entries(run_id(run.id))]

    def events(self, run: Run) -> list[str]:
        """Return the kinds of the run's entries, without its own comings and goings."""
        return [
            event for entry in self.story(run) for event in entry.events if event.split(".")[0] in ("loop", "action")
        ]

    def messages(self, run: Run) -> list[Any]:
        """Return the tool messages of a run, parked ones included."""
        graph = self.control._ledger.runs().bound(self.name)
        assert graph is not None
        values = graph.get_state({"configurable": {"thread_id": run.thread}}).values
        return [message for message in values["messages"] if message.type == "tool"]


@pytest.fixture
def office(database: Database) -> Iterator[Callable[..., Office]]:
    """Makes offices that are closed at the end."""
    made: list[Office] = []

    def make(policy: str = "") -> Office:
        made.append(Office(database, policy))
        return made[-1]

    yield make
    for one in made:
        one.control.close()


LOOK = [("look", {"what": "o1"})]
PEEK = [("peek", {"what": "o1"})]
DENIED = [("pay", {"order_id": "o1", "amount": "900"})]
ALSO_DENIED = [("pay", {"order_id": "o2", "amount": "900"})]
PAID = [("pay", {"order_id": "o3", "amount": "5"})]
ALSO_PAID = [("pay", {"order_id": "o4", "amount": "5"})]
BIG = [("pay", {"order_id": "o1", "amount": "200"})]


def down(_: str) -> str:
    """Fail as a service that is not there."""
    raise httpx.ConnectError("crm is not there")


def age(database: Database, minutes: int) -> None:
    """Let the steps so far lie that far back."""
    with psycopg.connect(database.admin, autocommit=True) as admin:
        admin.execute("UPDATE control.step SET at = at - make_interval(mins => %s)", (minutes,))


def test_the_same_answer_is_pointed_out_once_and_then_stopped(office: Callable[..., Office]) -> None:
    """The third equal answer comes with a note; the fourth and fifth call are errors, and nothing is called."""
    desk = office()
    run = desk.run(*[LOOK] * 5)
    first, second, third, fourth, fifth = desk.messages(run)
    assert first.content == second.content == "o1 is open"
    assert third.content.startswith("o1 is open\n\n[look has had the same answer to the same call 3 times")
    assert (third.status, fourth.status, fifth.status) == ("success", "error", "error")
    assert fourth.content.startswith("look was not called: the same call has had the same answer 3 times")
    assert desk.looked == ["o1"] * 3
    assert run.state is RunState.DONE
    assert desk.events(run) == [*["action.succeeded"] * 3, "loop.noticed", "loop.stopped", "loop.stopped"]


def test_who_goes_on_all_the_same_is_parked(office: Callable[..., Office]) -> None:
    """Twice as often as the model was told, the run is for a person; resumed after a while it goes on."""
    desk = office()
    run = desk.run(*[LOOK] * 6)
    assert (run.state, run.reason) == (RunState.NEEDS_HUMAN, "looping")
    assert f"langgraph-control cancel {run.id}" in run.next_step
    assert desk.control.resume(run.id).state is RunState.NEEDS_HUMAN
    age(desk.database, 10)
    assert desk.control.resume(run.id).state is RunState.DONE
    assert desk.looked == ["o1"] * 4


def test_another_process_knows_it_too(office: Callable[..., Office]) -> None:
    """What was repeated before a restart counts after it: a worker that takes the run over stops the same call."""
    first, second = office(), office()
    second.name = first.name
    parked = first.run(LOOK, LOOK, LOOK, BIG)
    assert parked.state is RunState.NEEDS_APPROVAL
    first.control.close()
    with Approvals(first.database.approver("ana")) as approvals:
        approvals.reject(parked.approvals[0])
    second.agent(LOOK, first=4)
    run = second.control.resume(parked.id)
    assert run.state is RunState.DONE
    assert told(run)[-1].startswith("look was not called")
    assert second.looked == []


def test_a_write_in_between_begins_anew(office: Callable[..., Office]) -> None:
    """After the run has changed something, the same answer is news: here and in a process that takes over."""
    desk = office()
    run = desk.run(LOOK, LOOK, LOOK, PAID, LOOK, LOOK)
    assert desk.looked == ["o1"] * 5
    assert told(run)[-1] == "o1 is open"


def test_what_is_asked_at_one_time_is_no_repetition(office: Callable[..., Office]) -> None:
    """A model that asks the same seven times in one message has not been told yet: all are answered."""
    desk = office()
    run = desk.run(LOOK * 7, PEEK)
    assert told(run) == ["o1 is open"] * 8


def test_a_subagent_is_counted_by_itself(office: Callable[..., Office]) -> None:
    """Five subagents that look at the same record are all answered: none of them has been told before."""
    desk = office()
    look = desk.agent().nodes["tools"].bound.tools_by_name["look"]

    @reads()
    def ask(number: int) -> str:
        """Ask a subagent."""
        script = (calls(call("look", what="o1")), f"subagent {number} is done")
        child: Any = create_agent(ScriptedModel(script=script), [look])
        answered = child.invoke({"messages": [("user", f"look, {number}")]})
        return f"{answered['messages'][-2].content}, {answered['messages'][-1].content}"

    asked = [calls(call("ask", number=number, call_id=f"call_{number}")) for number in range(5)]
    desk.name = f"crew {new_trigger()}"
    crew = desk.control.bind(
        create_agent(ScriptedModel(script=(*asked, "over")), desk.control.govern([ask])), name=desk.name
    )
    run = desk.control.run(crew, GO, trigger=new_trigger(), actor="bot")
    assert told(run) == [f"o1 is open, subagent {number} is done" for number in range(5)]


def test_the_same_error_is_an_answer_too(office: Callable[..., Office]) -> None:
    """A read that fails alike counts like one that answers alike; its exception carries no note, the stop says it."""
    desk = office()

    def closed(_: str) -> str:
        raise ToolException("the archive is closed")

    desk.body = closed
    run = desk.run(*[LOOK] * 4)
    assert told(run)[:3] == ["the archive is closed"] * 3
    assert told(run)[3].startswith("look was not called")
    assert len(desk.looked) == 3


def test_polling_goes_on(office: Callable[..., Office]) -> None:
    """A call whose answer changes may be made as often as the run may make calls."""
    desk = office()
    desk.body = lambda what: f"{what}: {len(desk.looked)} %"
    run = desk.run(*[LOOK] * 9)
    assert told(run) == [f"o1: {done} %" for done in range(1, 10)]


def test_a_task_that_runs_again_repeats_nothing(office: Callable[..., Office]) -> None:
    """A read that runs again because a call beside it parked is the same call, however often that happens."""
    desk = office()
    agent = desk.agent()
    tools = agent.nodes["tools"].bound.tools_by_name.values()
    asked = calls(call("look", what="o1"), call("pay", order_id="o7", amount="200", call_id="call_pay"))
    graph = StateGraph(MessagesState).add_node("tools", ToolNode(list(tools))).add_edge(START, "tools").compile()
    desk.name = f"node {new_trigger()}"
    bound = desk.control.bind(graph, name=desk.name)
    given = {"messages": [AIMessage(content="", tool_calls=asked.tool_calls)]}
    run = desk.control.run(bound, given, trigger=new_trigger(), actor="bot")
    for _ in range(6):
        run = desk.control.resume(run.id)
    assert run.state is RunState.NEEDS_APPROVAL
    with Approvals(desk.database.approver("ana")) as approvals:
        approvals.approve(run.approvals[0])
    assert told(desk.control.resume(run.id)) == ["o1 is open", "paid o7"]
    assert len(desk.looked) == 8


def test_to_and_fro_between_refused_writes_is_told_once_then_parked(office: Callable[..., Office]) -> None:
    """A-B-A-B of writes that are refused alike is pointed out once; at the fourth round the run is for a person."""
    desk = office("caps: {same_answer: 30}\n")
    run = desk.run(*[DENIED, ALSO_DENIED] * 4)
    assert (run.state, run.reason) == (RunState.NEEDS_HUMAN, "looping")
    noted = [place for place, one in enumerate(desk.messages(run), start=1) if "to and fro" in str(one.content)]
    assert noted == [4]
    assert [event for event in desk.events(run) if event.startswith("loop")] == ["loop.noticed", "loop.parked"]
    assert desk.paid == []


def test_to_and_fro_between_a_read_and_a_refused_write(office: Callable[..., Office]) -> None:
    """Reads and refused writes count alike."""
    desk = office("caps: {same_answer: 30, bounces: 3}\n")
    run = desk.run(*[LOOK, DENIED] * 6)
    assert run.reason == "looping"
    noted = [place for place, one in enumerate(desk.messages(run), start=1) if "to and fro" in str(one.content)]
    assert noted == [6]


def test_the_same_refusal_again_and_again_is_for_a_person(office: Callable[..., Office]) -> None:
    """A write that is refused alike is told once, and parks the run at twice as many; the refusal itself stays."""
    desk = office()
    run = desk.run(*[DENIED] * 6)
    assert run.reason == "looping"
    messages = desk.messages(run)
    assert ["same refusal" in str(one.content) for one in messages] == [False, False, True, False, False]
    assert all("pay was not done" in str(one.content) for one in messages)


def test_a_write_that_is_asked_for_again_and_again_is_told_once_then_parked(office: Callable[..., Office]) -> None:
    """What is done is told as it is stored, with a note the third time; at the sixth the run is for a person."""
    desk = office()
    run = desk.run(*[PAID] * 14)
    assert (run.state, run.reason) == (RunState.NEEDS_HUMAN, "looping")
    messages = desk.messages(run)
    assert ["same answer" in str(one.content) for one in messages] == [False, False, True, False, False]
    assert all(str(one.content).endswith("paid o3") and one.status == "success" for one in messages)
    assert "It is done, and was not done again" in str(messages[2].content)
    assert [event for event in desk.events(run) if event.startswith("loop")] == ["loop.noticed", "loop.parked"]
    assert "pay: done already, and asked for the same again, and the model was told so" in [
        sentence(one)[0] for one in desk.story(run)
    ]
    assert desk.paid == ["o3"]
    age(desk.database, 10)
    desk.control.resume(run.id)
    assert desk.messages(run)[5].content == "paid o3"


def test_to_and_fro_between_writes_that_are_done_is_told_once_then_parked(office: Callable[..., Office]) -> None:
    """A-B-A-B of writes that were done before is pointed out once; at the fourth round the run is for a person."""
    desk = office("caps: {same_answer: 30}\n")
    run = desk.run(*[PAID, ALSO_PAID] * 7)
    assert (run.state, run.reason) == (RunState.NEEDS_HUMAN, "looping")
    noted = [place for place, one in enumerate(desk.messages(run), start=1) if "to and fro" in str(one.content)]
    assert noted == [5]  # the first of them came before the other one had changed something
    assert desk.paid == ["o3", "o4"]


def test_repeats_of_what_is_done_count_into_the_cap_of_tool_calls(office: Callable[..., Office]) -> None:
    """A model that asks for two writes in turn has no more calls than any other; nothing is done twice."""
    desk = office("caps: {tool_calls: 3}\n")
    run = desk.run(*[PAID, ALSO_PAID] * 7)
    assert (run.state, run.reason) == (RunState.NEEDS_HUMAN, "calls_used_up")
    assert (len(desk.messages(run)), desk.paid) == (3, ["o3", "o4"])


def test_another_process_knows_of_repeated_writes(office: Callable[..., Office]) -> None:
    """Repeats that were told before a restart count after it."""
    first, second = office(), office()
    second.name = first.name
    parked = first.run(PAID, PAID, PAID, PAID, BIG)
    assert parked.state is RunState.NEEDS_APPROVAL
    first.control.close()
    with Approvals(first.database.approver("ana")) as approvals:
        approvals.reject(parked.approvals[0])
    second.agent(PAID, PAID, PAID, first=5)
    run = second.control.resume(parked.id)
    assert (run.state, run.reason) == (RunState.NEEDS_HUMAN, "looping")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_write_whose_task_runs_again_repeats_nothing(office: Callable[..., Office], processes: int) -> None:
    """A write that is told again because a call beside it parked is one call, for the loop and for the cap."""
    desks = [office("caps: {tool_calls: 2, same_answer: 2}\n") for _ in range(processes)]
    name = f"node {new_trigger()}"
    asked = calls(
        call("pay", order_id="o3", amount="5", call_id="call_small"),
        call("pay", order_id="o7", amount="200", call_id="call_big"),
    )
    bound = []
    for desk in desks:
        tools = desk.agent().nodes["tools"].bound.tools_by_name.values()
        graph = StateGraph(MessagesState).add_node("tools", ToolNode(list(tools))).add_edge(START, "tools").compile()
        bound.append(desk.control.bind(graph, name=name))
    given = {"messages": [AIMessage(content="", tool_calls=asked.tool_calls)]}
    run = desks[0].control.run(bound[0], given, trigger=new_trigger(), actor="bot")
    for number in range(8):
        run = desks[number % processes].control.resume(run.id)
        assert run.state is RunState.NEEDS_APPROVAL
    with Approvals(desks[0].database.approver("ana")) as approvals:
        approvals.approve(run.approvals[0])
    assert told(desks[-1].control.resume(run.id)) == ["paid o3", "paid o7"]


def test_runs_of_one_intent_that_find_it_done_go_in_no_circles(office: Callable[..., Office]) -> None:
    """Each delivery's run is told what is stored: that is its first answer, however many runs came before."""
    desk = office()
    intent = new_trigger()
    for _ in range(7):
        run = desk.control.run(desk.agent(PAID), GO, trigger=new_trigger(), intent=intent, actor="bot")
        assert (run.state, told(run)) == (RunState.DONE, ["paid o3"])
    assert desk.paid == ["o3"]


def test_an_ordinary_write_keeps_no_step(office: Callable[..., Office]) -> None:
    """What is done for the first time costs nothing beside its claim and its settle."""
    desk = office()
    run = desk.run(PAID, ALSO_PAID, BIG)
    with psycopg.connect(desk.database.admin) as admin:
        kept = admin.execute("SELECT count(*) FROM control.step WHERE run_id = %s", (run_id(run.id),)).fetchone()
    assert kept == (0,)


def test_calls_that_code_makes_are_not_judged(office: Callable[..., Office]) -> None:
    """A loop in code is its author's: nobody is there to be told."""
    desk = office()
    look = desk.agent().nodes["tools"].bound.tools_by_name["look"]

    def node(state: Seen) -> Seen:
        return {"seen": [*state.get("seen", ()), *(look.invoke({"what": "o1"}) for _ in range(9))]}

    desk.name = f"code {new_trigger()}"
    bound = desk.control.bind(StateGraph(Seen).add_node(node).add_edge(START, "node").compile(), name=desk.name)
    desk.control.run(bound, {}, trigger=new_trigger(), actor="bot")
    assert desk.looked == ["o1"] * 9


def test_reads_count_into_the_cap_of_tool_calls(office: Callable[..., Office]) -> None:
    """A run that has made as many calls as it may, reads and writes together, stops before the next one is shown."""
    desk = office("caps: {tool_calls: 3}\n")
    run = desk.run(LOOK, PAID, PEEK, [("look", {"what": "o2"})])
    assert (run.state, run.reason) == (RunState.NEEDS_HUMAN, "calls_used_up")
    assert len(desk.messages(run)) == 3
    other = desk.run(LOOK, PEEK, [("look", {"what": "o2"})], PAID)
    assert (other.reason, desk.paid) == ("calls_used_up", ["o3"])


def test_what_a_run_remembers_goes_with_it(office: Callable[..., Office]) -> None:
    """Of a run that is over nothing is kept beside its record."""
    desk = office()
    desk.fallback = "nothing known"
    desk.body = down
    desk.run(LOOK, PEEK)
    with psycopg.connect(desk.database.admin) as admin:
        kept = admin.execute("SELECT (SELECT count(*) FROM control.step), (SELECT count(*) FROM control.failed_read)")
        assert kept.fetchone() == (0, 0)


def test_sql_keeps_as_many_steps_as_are_judged(database: Database) -> None:
    """How many steps the ledger keeps is how many the rules look at."""
    with psycopg.connect(database.admin) as admin:
        assert admin.execute("SELECT control.steps_max()").fetchone() == (STEPS_MAX,)


def test_a_fallback_reaches_the_approver_and_the_record(office: Callable[..., Office]) -> None:
    """A write after a fallback says on its card and in its entry what the model knows from no system."""
    desk = office()
    desk.fallback = {"tier": "unknown"}
    desk.body = down
    run = desk.run(LOOK, BIG)
    assert desk.messages(run)[0].additional_kwargs[MARK]["failure"] == "ConnectError"
    with Approvals(desk.database.approver("ana")) as approvals:
        card = orjson.loads(approvals.get(run.approvals[0]).card)
    (marked,) = card["why"]["fallbacks"]
    assert (marked["tool"], marked["system"]) == ("look", "crm")
    claim = next(entry for entry in desk.story(run) if "approval.requested" in entry.events)
    assert claim.body["fallbacks"] == [marked]
    steps = reconstruct(desk.story(run)).steps
    assert [step.what for step in steps if "look" in step.what] == [
        "look: reading failed; a fallback stood in for the answer"
    ]
    assert ("known from a fallback only", f"look (crm), {marked['at']}") in [
        detail for step in steps for detail in step.details
    ]


def test_the_mark_survives_another_process(office: Callable[..., Office]) -> None:
    """A worker that takes the run over marks its later writes with what fell back before."""
    first, second = office(), office()
    second.name = first.name
    first.fallback, first.body = {"tier": "unknown"}, down
    parked = first.run(LOOK, BIG)
    first.control.close()
    with Approvals(first.database.approver("ana")) as approvals:
        approvals.approve(parked.approvals[0])
    second.agent([("pay", {"order_id": "o2", "amount": "200"})], first=2)
    run = second.control.resume(parked.id)
    with Approvals(second.database.approver("ana")) as approvals:
        card = orjson.loads(approvals.get(run.approvals[0]).card)
    assert [one["tool"] for one in card["why"]["fallbacks"]] == ["look"]


def test_without_a_fallback_a_card_says_nothing_of_it(office: Callable[..., Office]) -> None:
    """Where every read was answered, card and entry have no word of fallbacks."""
    desk = office()
    run = desk.run(LOOK, BIG)
    with Approvals(desk.database.approver("ana")) as approvals:
        assert "fallbacks" not in orjson.loads(approvals.get(run.approvals[0]).card)["why"]
    assert all("fallbacks" not in entry.body for entry in desk.story(run))


def test_a_read_may_wait_for_its_system(office: Callable[..., Office]) -> None:
    """With WAIT a read that fails parks its run with a time; resumed elsewhere, it goes on with the answer."""
    first, second = office(), office()
    second.name = first.name
    first.fallback = second.fallback = WAIT
    first.body = down
    parked = first.run(LOOK)
    assert (parked.state, parked.reason) == (RunState.RETRYING, "retry_later")
    assert parked.wake_at is not None
    assert (parked.wake_at - parked.state_since).total_seconds() >= 4
    assert first.looked == ["o1"] * 3
    (waited,) = [entry for entry in first.story(parked) if entry.facts.get("kind") == "read"]
    assert (waited.events, waited.facts["waits"]) == (("action.failed",), True)
    first.control.close()
    second.agent(PAID, first=1)
    assert told(second.control.resume(parked.id)) == ["o1 is open", "paid o3"]


def test_waiting_has_an_end(office: Callable[..., Office]) -> None:
    """After as many attempts as the policy gives, over restarts, the failure is raised as without a fallback."""
    first, second = office("retries: {crm: {attempts: 3}}\n"), office("retries: {crm: {attempts: 3}}\n")
    second.name = first.name
    first.fallback = second.fallback = WAIT
    first.body = second.body = down
    parked = first.run(LOOK)
    assert first.control.resume(parked.id).state is RunState.RETRYING
    first.control.close()
    second.agent(first=1)
    with pytest.raises(httpx.ConnectError):
        second.control.resume(parked.id)
    assert (len(first.looked), len(second.looked)) == (6, 3)


def test_no_wait_reaches_over_the_deadline(office: Callable[..., Office]) -> None:
    """A run whose deadline would pass meanwhile does not wait: the failure is raised."""
    desk = office()
    desk.fallback, desk.body = WAIT, down
    with pytest.raises(httpx.ConnectError):
        desk.control.run(desk.agent(LOOK), GO, trigger=new_trigger(), actor="bot", deadline="4s")


def test_the_wait_is_over_after_the_time_to_give_up(office: Callable[..., Office]) -> None:
    """A read that first failed longer ago than the policy's `give_up_after` waits no more."""
    desk = office("retries: {crm: {give_up_after: 1h}}\n")
    desk.fallback, desk.body = WAIT, down
    parked = desk.run(LOOK)
    with psycopg.connect(desk.database.admin, autocommit=True) as admin:
        admin.execute("UPDATE control.failed_read SET since = since - interval '2 h'")
    with pytest.raises(httpx.ConnectError):
        desk.control.resume(parked.id)


def test_who_approves_is_shown_what_fell_back(office: Callable[..., Office]) -> None:
    """The command that approves prints which tool's read was answered by a fallback."""
    desk = office()
    desk.fallback, desk.body = "nothing known", down
    run = desk.run(LOOK, BIG)
    shown = CliRunner().invoke(app, ["approve", run.approvals[0], "--dsn", desk.database.approver("ana")])
    assert "by fallback" in shown.output
    assert "look (crm)" in shown.output
