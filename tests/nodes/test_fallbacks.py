"""Reads that fail and fall back: what stands in for the answer is marked for the model, for code, and on record."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as some
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

from langgraph_control.errors import ContractError
from langgraph_control.nodes.contracts import WAIT, reads, writes
from langgraph_control.nodes.fallbacks import MARK, StoodIn, stand_in
from tests.compat.building import around
from tests.support.entered_run import EnteredRun, async_form, invoked
from tests.support.scripted_model import call, calls

HOWS = ["sync", "async"]
LOOK = {"messages": [calls(call("look", order="o1"))]}


@pytest.fixture(autouse=True)
def _nothing_is_known_of_the_system(run: EnteredRun) -> None:
    """Each test's failures are its own: those of the tests before have opened no breaker."""
    with psycopg.connect(run.database.admin) as admin:
        admin.execute("DELETE FROM control.brake")
        admin.execute("DELETE FROM control.health")


def looking(run: EnteredRun, body: Callable[[str], Any], fallback: object, **fields: Any) -> Any:
    """Return a graph whose only node is a ToolNode with a governed read that has a fallback."""

    def look(order: str) -> Any:
        """Look."""
        return body(order)

    made = StructuredTool.from_function(func=look, coroutine=async_form(look), **fields)
    contract = reads(system="crm", target="order/{order}", fallback=fallback)
    return around(InMemorySaver(), ToolNode([run.govern(made, contract)]))


def down(_: str) -> Any:
    """Fail as a service that is not there."""
    raise httpx.ConnectError("db7.internal")


def broken(_: str) -> Any:
    """Fail for good at once."""
    raise KeyError("tier")


@pytest.mark.parametrize("how", HOWS)
def test_a_stand_in_is_marked_for_the_model_and_on_record(how: str, run: EnteredRun) -> None:
    """After its tries a read gives its fallback: the message says so, and the entry with the failure's class."""
    result = invoked(how, looking(run, down, {"tier": "unknown"}), LOOK, run.config)
    message = result["messages"][-1]
    assert message.status == "success"
    assert message.content.startswith("[crm could not be asked (ConnectError). What follows is a fallback")
    assert json.loads(message.content.splitlines()[1]) == {"tier": "unknown"}
    assert message.additional_kwargs[MARK] == {"tool": "look", "system": "crm", "failure": "ConnectError"}
    facts, body = run.entries()[-1]
    assert (facts["events"], facts["fallback"]) == (["action.failed"], True)
    assert (body["error"], body["fault"], body["tries"]) == ("ConnectError", "transient", 3)
    assert "unknown" not in str(body)
    assert "db7.internal" not in str(body)


@pytest.mark.parametrize("how", HOWS)
def test_what_no_try_can_help_falls_back_at_once(how: str, run: EnteredRun) -> None:
    """Any failure of the read has the fallback, also one for good."""
    result = invoked(how, looking(run, broken, "no tier is known"), LOOK, run.config)
    assert result["messages"][-1].content.endswith("\nno tier is known")
    assert run.entries()[-1][1]["tries"] == 1


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("of_hook", HOWS)
def test_a_hook_gives_the_stand_in(of_hook: str, how: str, run: EnteredRun) -> None:
    """A hook, sync or async, gets the action and gives what stands in."""

    def cached(action: Any) -> Mapping[str, Any]:
        return {"order": action.args["order"], "from": action.tool, "keyed": len(action.key)}

    hook = cached if of_hook == "sync" else async_form(cached)
    message = invoked(how, looking(run, down, hook), LOOK, run.config)["messages"][-1]
    assert json.loads(message.content.splitlines()[1]) == {"order": "o1", "from": "look", "keyed": 64}


def raising(_: Any) -> Any:
    """A hook that fails itself."""
    raise ValueError("no cache")


@pytest.mark.parametrize("hook", [lambda _: None, raising, lambda _: {"a": object()}])
def test_a_hook_that_gives_nothing_leaves_the_failure(hook: Any, run: EnteredRun) -> None:
    """None, an error, or something that no model can read: the read's own exception goes on."""
    with pytest.raises(httpx.ConnectError):
        invoked("sync", looking(run, down, hook), LOOK, run.config)
    assert "fallback" not in run.entries()[-1][0]
    assert run.context.memory.fallbacks == ()


def test_an_answer_is_no_fallback(run: EnteredRun) -> None:
    """A read that is answered, be it at the second try, is delivered as it is."""
    answers: list[Any] = [httpx.ConnectError("no"), "gold"]

    def body(_: str) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    message = invoked("sync", looking(run, body, "silver"), LOOK, run.config)["messages"][-1]
    assert (message.content, message.additional_kwargs) == ("gold", {})


def test_with_an_artifact_the_stand_in_is_still_a_message(run: EnteredRun) -> None:
    """A tool that promises content and artifact delivers its fallback, too."""
    graph = looking(run, down, {"tier": "unknown"}, response_format="content_and_artifact")
    assert MARK in invoked("sync", graph, LOOK, run.config)["messages"][-1].additional_kwargs


@pytest.mark.parametrize(
    ("fallback", "expected"), [({"tier": "unknown"}, {"tier": "unknown"}), ("none", {"value": "none"})]
)
def test_code_gets_a_mapping_with_the_mark(fallback: Any, expected: dict[str, Any], run: EnteredRun) -> None:
    """Where no model asked, a mapping carries its mark beside its fields, and anything else stands under `value`."""

    @reads(fallback=fallback)
    def look(order: str) -> Any:
        """Look."""
        return down(order)

    tool = run.govern(StructuredTool.from_function(look))
    seen: list[Any] = []
    invoked("sync", around(InMemorySaver(), lambda _: seen.append(tool.invoke({"order": "o1"}))), {}, run.config)
    mark = {"tool": "look", "system": None, "failure": "ConnectError"}
    assert seen == [{**expected, MARK: mark}]


def test_what_asked_somebody_does_not_wait(run: EnteredRun) -> None:
    """A body that used an answer is not run again after a wait: its failure is raised as it is."""

    def body(_: str) -> Any:
        interrupt("which one?")
        return down("")

    graph = looking(run, body, WAIT)
    invoked("sync", graph, LOOK, run.config)
    (pending,) = graph.get_state(run.config).interrupts
    with pytest.raises(httpx.ConnectError):
        invoked("sync", graph, Command(resume={pending.id: "the first"}), run.config)


def test_what_no_try_can_help_does_not_wait(run: EnteredRun) -> None:
    """Waiting is for systems that may come back: a failure for good is raised at once."""
    with pytest.raises(KeyError):
        invoked("sync", looking(run, broken, WAIT), LOOK, run.config)
    assert run.events()[-1] == "action.failed"


@pytest.mark.parametrize("fallback", [object(), {1, 2}, b"raw", {"at": object}])
def test_what_cannot_stand_in_is_refused(fallback: object) -> None:
    """A fallback that no model can read is an error when it is declared, with what to write instead."""
    with pytest.raises(ContractError) as refused:
        reads(fallback=fallback)
    assert refused.value.code == "contract_fallback"


def test_a_hook_takes_the_action() -> None:
    """A fallback of the wrong signature is refused like any other hook."""
    with pytest.raises(ContractError, match="The hook fallback must take exactly one"):
        reads(fallback=lambda: "nothing")


def test_a_write_has_no_fallback() -> None:
    """Nothing can stand in for an effect: the error says so, and where to look instead."""
    with pytest.raises(ContractError, match="nothing can stand in for an effect") as refused:
        writes(key="order_id", impact="money", fallback="done")
    assert refused.value.code == "contract_write_option"
    assert "retries" in str(refused.value)


json_values = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**53), 2**53) | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=json_values.filter(lambda value: value is not None))
def test_plain_values_stand_in_as_they_are(value: Any) -> None:
    """What is JSON already is shown unchanged, and the model's text always says that it is a fallback."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    assert stand_in(value) == value
    told = StoodIn(value=value, tool="look", system=None, failure="E").for_model()
    assert told.startswith("[look could not be asked (E). What follows is a fallback")


@given(value=some.dictionaries(some.text(), some.integers(), max_size=3) | some.integers() | some.text())
def test_code_can_always_tell(value: Any) -> None:
    """Whatever stands in, code finds the mark under one name, also where the value has that name itself."""
    marked = StoodIn(value=value, tool="look", system="crm", failure="E").for_code()
    assert marked[MARK] == {"tool": "look", "system": "crm", "failure": "E"}
