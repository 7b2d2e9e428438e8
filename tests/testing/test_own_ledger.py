"""A user's own test, with a ledger of its own: what the page on testing shows."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from langchain.agents import create_agent

from langgraph_control import Run, writes
from langgraph_control.errors import ApprovalRefused, ArgumentError, PolicyError
from langgraph_control.testing import OwnLedger, ScriptedModel, ScriptExhausted, call, calls, ledger

POLICY = """\
version: 1
roles: {finance: [ana@acme.example], support: [bo@acme.example]}
owner: finance
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 100}}, then: allow}
  - {tool: refund, when: {amount: {gt: 100, lte: 5000}}, then: approve, by: finance}
"""
GIVEN = {"messages": [{"role": "user", "content": "Refund my order."}]}
DONE: list[str] = []


@writes(key="order_id", impact="money")
def refund(order_id: str, amount: Decimal) -> str:
    """Refund an order."""
    DONE.append(f"{order_id}:{amount}")
    return f"refunded {amount}"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnLedger]:
    """One ledger for this module."""
    policy = tmp_path_factory.mktemp("policy") / "control.yaml"
    policy.write_text(POLICY)
    with ledger(policy) as made:
        yield made


def refunding(own: OwnLedger, order: str, amount: str) -> Callable[[], Run]:
    """Return what runs a scripted agent that makes a refund; called again, it goes on with the same run."""
    (tool,) = own.control.govern([refund])
    script = (calls(call("refund", order_id=order, amount=amount)), "done")
    graph = own.control.bind(create_agent(ScriptedModel(script=script), [tool]), name=f"support {order}")
    return lambda: own.control.run(graph, GIVEN, trigger=f"ticket/{order}", actor="support-bot")


def test_what_is_allowed_is_done(own: OwnLedger) -> None:
    """A small refund goes through, and is on record."""
    run = refunding(own, "A-1", "50")()
    assert str(run) == "done"
    assert DONE == ["A-1:50"]
    assert "action.succeeded" in own.events(run)


def test_people_say_yes_or_no(own: OwnLedger) -> None:
    """A large refund waits for finance: nobody else's word counts, a yes has it done, a no does not."""
    again = refunding(own, "A-2", "900")
    with pytest.raises(ApprovalRefused):
        own.approve(again(), by="bo@acme.example")
    own.approve(again(), by="ana@acme.example")
    assert str(again()) == "done"
    refused = refunding(own, "A-3", "900")
    own.reject(refused(), by="ana@acme.example", comment="paid already", code="not_needed")
    run = refused()
    assert str(run) == "done"
    assert "paid already" in str(run.output["messages"])
    assert [one for one in DONE if one != "A-1:50"] == ["A-2:900"]


def test_a_word_that_nobody_waits_for(own: OwnLedger) -> None:
    """Approving what needs no approval is a mistake of the test, and said."""
    with pytest.raises(ArgumentError, match="waits for nobody") as refused:
        own.approve(refunding(own, "A-4", "5")(), by="ana@acme.example")
    assert refused.value.code == "nothing_to_approve"


def test_a_wrong_policy_starts_nothing(tmp_path: Path) -> None:
    """The file is read before a server is started."""
    (tmp_path / "control.yaml").write_text("version: 1\nrule: []\n")
    with pytest.raises(PolicyError), ledger(tmp_path / "control.yaml", folder=tmp_path / "data"):
        raise AssertionError("a ledger was made")
    assert not (tmp_path / "data").exists()


def test_a_script_that_is_over(own: OwnLedger) -> None:
    """A model that is asked more often than its script has answers raises."""
    del own
    with pytest.raises(ScriptExhausted):
        ScriptedModel(script=()).invoke("hello")
