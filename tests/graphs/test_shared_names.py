"""Two tools of one name in one graph: the key of an action has the name, so one would be given what the other did."""

import functools
import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.tools import BaseTool, StructuredTool, tool
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from langgraph_control import Control, reads, saga, writes
from langgraph_control.errors import ContractError, KeyConflict
from tests.support.desk import POLICY, Desk, How, new_trigger
from tests.support.scripted_model import ScriptedModel


class State(TypedDict):
    """A log that grows."""

    log: Annotated[list[Any], operator.add]


def jira(subject: str) -> str:
    """Create a ticket."""
    return f"jira-{subject}"


def zendesk(subject: str) -> str:
    """Create a ticket."""
    return f"zendesk-{subject}"


def named(function: Callable[..., Any], **contract: Any) -> BaseTool:
    """Return a function as the ungoverned tool `create_ticket`, under a contract."""
    made = StructuredTool.from_function(function, name="create_ticket", description="Create a ticket.")
    return writes(**{"key": "subject", "impact": "record", **contract})(made)


def of(system: str, *, send: Any = None) -> BaseTool:
    """Return a ticket tool as a factory makes it: one definition, whatever the system."""

    @tool
    @writes(key="subject", impact="record")
    def create_ticket(subject: str) -> str:
        """Create a ticket."""
        return f"{system}-{subject if send is None else send(subject)}"

    return create_ticket


def over(client: Any) -> BaseTool:
    """Return a ticket tool that has closed over a client."""

    @tool
    @writes(key="subject", impact="record")
    def create_ticket(subject: str) -> str:
        """Create a ticket."""
        return str(client.create(subject))

    return create_ticket


class Client:
    """Creates tickets."""

    def create(self, subject: str) -> str:
        """Create one."""
        return subject


class OtherClient(Client):
    """Creates them elsewhere."""


class Ticket(BaseTool):
    """A tool that is a class; its system is a field."""

    name: str = "create_ticket"
    description: str = "Create a ticket."
    system: str

    def _run(self, subject: str) -> str:
        return f"{self.system}-{subject}"


def field(system: str) -> BaseTool:
    """Return one of a class, under a contract."""
    return writes(key="subject", impact="record")(Ticket(system=system))


def part(system: str, subject: str) -> str:
    """Create a ticket."""
    return f"{system}-{subject}"


def partly(system: str) -> BaseTool:
    """Return a tool whose function has the system filled in."""
    made = StructuredTool(
        name="create_ticket",
        description="Create a ticket.",
        args_schema=named(jira).get_input_schema(),
        func=functools.partial(part, system),
    )
    return writes(key="subject", impact="record")(made)


PAIRS: dict[str, Callable[[], tuple[BaseTool, BaseTool]]] = {
    "other functions": lambda: (named(jira), named(zendesk)),
    "other lambdas": lambda: (named(lambda subject: f"a-{subject}"), named(lambda subject: f"b-{subject}")),
    "another system": lambda: (named(jira, system="jira"), named(jira, system="zendesk")),
    "another impact": lambda: (named(jira), named(jira, impact="message")),
    "another operation": lambda: (named(jira), named(jira, operation="send")),
    "another target": lambda: (named(jira), named(jira, target="subject")),
    "another key": lambda: (named(jira), named(jira, key=())),
    "another version": lambda: (named(jira), named(jira, version="2")),
    "another kind of effect": lambda: (named(jira), named(jira, sql=True)),
    "another find": lambda: (named(jira, find=lambda _: None), named(jira, find=lambda action: action.key)),
    "a factory's other system": lambda: (of("jira"), of("zendesk")),
    "a factory's other function": lambda: (of("x", send=jira), of("x", send=zendesk)),
    "another kind of client": lambda: (over(Client()), over(OtherClient())),
    "another field": lambda: (field("jira"), field("zendesk")),
    "another filled in argument": lambda: (partly("jira"), partly("zendesk")),
}

SAME: dict[str, Callable[[], tuple[BaseTool, BaseTool]]] = {
    "one function governed twice": lambda: (named(jira, system="jira"), named(jira, system="jira")),
    "a factory called twice": lambda: (of("jira"), of("jira")),
    "another client of the same kind": lambda: (over(Client()), over(Client())),
    "equal fields": lambda: (field("jira"), field("jira")),
    "equal filled in arguments": lambda: (partly("jira"), partly("jira")),
    "another patience": lambda: (named(jira), named(jira, timeout="5s")),
    "a hook made anew": lambda: (named(jira, find=finding()), named(jira, find=finding())),
}


def finding() -> Callable[[Any], Any]:
    """Return a hook, made anew."""
    return lambda _: None


def governed(control: Control, one: BaseTool, other: BaseTool) -> tuple[BaseTool, BaseTool]:
    """Return two tools, each governed in a call of its own."""
    return control.govern([one])[0], control.govern([other])[0]


def calling(*tools: BaseTool, how: How = "sync") -> Any:
    """Return a graph whose nodes call one tool each."""
    builder: Any = StateGraph(State)
    for place, given in enumerate(tools):

        def work(_: Any, given: BaseTool = given) -> dict[str, Any]:
            return {"log": [given.invoke({"subject": "printer"})]}

        async def awork(_: Any, given: BaseTool = given) -> dict[str, Any]:
            return {"log": [await given.ainvoke({"subject": "printer"})]}

        builder.add_node(f"n{place}", work if how == "sync" else awork)
        builder.add_edge(f"n{place - 1}" if place else START, f"n{place}")
    return builder.compile()


def subgraphs(one: BaseTool, other: BaseTool) -> Any:
    """Return a graph of two graphs."""
    builder: Any = StateGraph(State)
    builder.add_node("first", calling(one))
    builder.add_node("second", calling(other))
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    return builder.compile()


def tool_nodes(one: BaseTool, other: BaseTool) -> Any:
    """Return a graph of two tool nodes."""
    builder: Any = StateGraph(MessagesState)
    builder.add_node("first", ToolNode([one]))
    builder.add_node("second", ToolNode([other]))
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    return builder.compile()


def subagents(one: BaseTool, other: BaseTool) -> Any:
    """Return an agent whose tools are agents."""

    def delegate(name: str, given: BaseTool) -> BaseTool:
        agent: Any = create_agent(ScriptedModel(), [given])

        def ask(text: str) -> str:
            """Ask an agent."""
            return str(agent.invoke({"messages": [text]}))

        return reads()(StructuredTool.from_function(ask, name=name))

    tools = Control(POLICY).govern([delegate("support", one), delegate("office", other)])
    return create_agent(ScriptedModel(), tools)


def tasks(one: BaseTool, other: BaseTool) -> Any:
    """Return an entrypoint with two tasks."""

    @task
    def first() -> Any:
        return one.invoke({"subject": "printer"})

    @task
    def second() -> Any:
        return other.invoke({"subject": "printer"})

    @entrypoint()
    def flow(_: Any) -> list[Any]:
        return [first().result(), second().result()]

    return flow


def sagas(one: BaseTool, other: BaseTool) -> Any:
    """Return a graph of two sagas."""

    def step(_: Any) -> Any:
        return None

    builder: Any = StateGraph(State)
    builder.add_node("first", saga("first", [step], tools=[one]))
    builder.add_node("second", saga("second", [step], tools=[other]))
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    return builder.compile()


SHAPES: dict[str, Callable[[BaseTool, BaseTool], Any]] = {
    "nodes": calling,
    "async nodes": lambda one, other: calling(one, other, how="async"),
    "subgraphs": subgraphs,
    "tool nodes": tool_nodes,
    "subagents": subagents,
    "tasks": tasks,
    "sagas": sagas,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_two_writes_of_one_name_are_refused_wherever_they_are(shape: str) -> None:
    """Two different writes of one name, each governed by itself, are refused by name, with what to do."""
    control = Control(POLICY)
    one, other = governed(control, named(jira, system="jira"), named(zendesk, system="zendesk"))
    with pytest.raises(ContractError, match="'create_ticket'") as refused:
        control.bind(SHAPES[shape](one, other), name="tickets")
    assert refused.value.code == "contract_duplicate_tool"
    assert "Rename one of them" in refused.value.todo


@pytest.mark.parametrize("shape", SHAPES)
def test_one_definition_may_be_governed_twice(shape: str) -> None:
    """The same definition, made and governed anew for each part of a graph, is one tool."""
    control = Control(POLICY)
    one, other = governed(control, of("jira"), of("jira"))
    assert control.bind(SHAPES[shape](one, other), name="tickets")
    assert control.bind(SHAPES[shape](one, one), name="tickets")


@pytest.mark.parametrize("pair", PAIRS)
def test_what_makes_two_tools_of_one_name_different(pair: str) -> None:
    """Another function, or a contract that says something else of what is done, is another tool."""
    control = Control(POLICY)
    with pytest.raises(ContractError) as refused:
        control.bind(calling(*governed(control, *PAIRS[pair]())), name="tickets")
    assert refused.value.code == "contract_duplicate_tool"


@pytest.mark.parametrize("pair", SAME)
def test_what_makes_no_difference_between_two_tools(pair: str) -> None:
    """What was made anew of one definition is the same tool, whichever client or patience it has."""
    control = Control(POLICY)
    assert control.bind(calling(*governed(control, *SAME[pair]())), name="tickets")


def test_coroutines_are_told_apart_too() -> None:
    """Async functions of one name are two tools, as sync ones are."""

    def made(system: str) -> BaseTool:
        async def create(subject: str) -> str:
            return f"{system}-{subject}"

        found = StructuredTool.from_function(coroutine=create, name="create_ticket", description="Create a ticket.")
        return writes(key="subject", impact="record")(found)

    control = Control(POLICY)
    with pytest.raises(ContractError):
        control.bind(calling(*governed(control, made("jira"), made("zendesk")), how="async"), name="tickets")
    assert control.bind(calling(*governed(control, made("jira"), made("jira")), how="async"), name="tickets")


def test_reads_may_share_a_name() -> None:
    """No read is given what another one found, so their names may be the same."""

    def looking(system: str) -> BaseTool:
        def look(subject: str) -> str:
            return f"{system}-{subject}"

        return reads(system=system)(StructuredTool.from_function(look, name="look", description="Look."))

    control = Control(POLICY)
    assert control.bind(calling(*governed(control, looking("jira"), looking("zendesk"))), name="tickets")


def test_one_tool_in_two_places_does_its_change_once(desk: Desk, how: How) -> None:
    """What `bind` lets through under one name is one change, and both places get its result."""
    done: list[str] = []

    def made() -> BaseTool:
        @tool
        @writes(key="subject", impact="record", system="jira")
        def create_ticket(subject: str) -> str:
            """Create a ticket."""
            done.append(subject)
            return f"jira-{len(done)}"

        return create_ticket

    one, other = governed(desk.control, made(), made())
    graph = desk.control.bind(calling(one, other, how=how), name="tickets")
    run = desk.run(graph, how, trigger=new_trigger(), given={"log": []})
    assert (run.output["log"], done) == (["jira-1", "jira-1"], ["printer"])


def ticket(system: str | None, done: list[str], **contract: Any) -> BaseTool:
    """Return a ticket tool of a system, which notes what it does."""

    @tool
    @writes(key="subject", impact="record", system=system, **contract)
    def create_ticket(subject: str) -> str:
        """Create a ticket."""
        done.append(f"{system}:{subject}")
        return f"{system}-{len(done)}"

    return create_ticket


def create(desk: Desk, given: BaseTool, how: How, intent: str) -> Any:
    """Create the ticket in a graph of its own, on another delivery of the same intent."""
    graph = desk.control.bind(calling(desk.control.govern([given])[0], how=how), name=f"tickets {new_trigger()}")
    return desk.run(graph, how, trigger=new_trigger(), given={"log": []}, intent=intent)


def test_what_is_done_in_one_system_is_no_result_in_another(desk: Desk, how: How) -> None:
    """Graphs that are bound apart and share an intent: the second system's write is refused, and says why."""
    done: list[str] = []
    intent = new_trigger()
    assert create(desk, ticket("jira", done), how, intent).output["log"] == ["jira-1"]
    for _ in range(2):  # the refusal changes nothing of what is on record
        with pytest.raises(KeyConflict, match="in another system") as refused:
            create(desk, ticket("zendesk", done), how, intent)
        assert refused.value.code == "key_conflict"
    assert create(desk, ticket("jira", done), how, intent).output["log"] == ["jira-1"]
    assert done == ["jira:printer"]


def test_a_system_that_is_named_later_is_no_other_one(desk: Desk) -> None:
    """A release that says for the first time which system it is, or corrects the impact, gets what is stored."""
    done: list[str] = []
    intent = new_trigger()
    create(desk, ticket(None, done), "sync", intent)
    assert create(desk, ticket("jira", done), "sync", intent).output["log"] == ["None-1"]
    assert create(desk, ticket("jira", done, operation="send"), "sync", intent).output["log"] == ["None-1"]
    with pytest.raises(KeyConflict):
        create(desk, ticket("zendesk", done), "sync", intent)
    assert done == ["None:printer"]
