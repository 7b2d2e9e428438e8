"""LangGraph's own server, started for real on loopback, with its SDK as the client."""

import importlib.util
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import orjson
import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.errors import AuthenticationError, PermissionDeniedError

from langgraph_control import Approvals, Control, Run
from langgraph_control.audit.asking.requests import RunEntries
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from tests.support.desk import POLICY
from tests.support.dev_server import DevServer, dev_server
from tests.support.postgres import Database

pytestmark = [
    pytest.mark.xdist_group("langgraph-server"),
    pytest.mark.skipif(
        importlib.util.find_spec("langgraph_api") is None,
        reason="langgraph-cli[inmem], LangGraph's development server, is not installed: make frontends",
    ),
]


@pytest.fixture(scope="module")
def server(desk_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """One server for all of this module's tests."""
    with dev_server(tmp_path_factory.mktemp("server"), desk_database) as running:
        yield running


@pytest.fixture
def order() -> str:
    """An order, and so a request, of the test's own."""
    return f"o{secrets.token_hex(4)}"


class Front:
    """A front end of the server: its clients, one of its threads, and what the ledger says of it."""

    def __init__(self, server: DevServer, database: Database) -> None:
        self.server, self.database = server, database
        self.clients = ExitStack()
        self.thread = str(self.client("cy").threads.create()["thread_id"])

    def client(self, person: str | None = None, **headers: str) -> Any:
        """Return a client of one person, or of nobody."""
        given = {} if person is None else {"Authorization": f"Bearer token-{person}"}
        return self.clients.enter_context(get_sync_client(url=self.server.url, headers={**given, **headers}))

    def ask(self, order: str, amount: int, **more: Any) -> Any:
        """Send a message that asks for a refund, as Cy, and wait for what comes of it."""
        message = {"role": "user", "content": f"{order} {amount}"}
        told = {"config": {"configurable": {"trigger": order}}, **more}
        return self.client("cy").runs.wait(self.thread, "support", input={"messages": [message]}, **told)

    def resume(self, value: Any, client: Any, **more: Any) -> Any:
        """Resume the thread."""
        return client.runs.wait(self.thread, "support", command={"resume": value, **more})

    def card(self) -> dict[str, Any]:
        """The thread's only interrupt, as an inbox lists it."""
        waiting = self.client("ana").threads.search(status="interrupted", limit=100)
        (thread,) = [one for one in waiting if one["thread_id"] == self.thread]
        ((pending,),) = thread["interrupts"].values()
        value: dict[str, Any] = pending["value"]
        return value

    def run(self, order: str) -> Run:
        """Where the ledger has the run."""
        with Control(POLICY, dsn=self.database.agent) as control:
            return control.get(trigger=order)

    def facts(self, order: str) -> list[dict[str, Any]]:
        """What the ledger says of votes and of resumes that tried to be one."""
        with LedgerConnection(self.database.agent) as ledger:
            entries = ledger.ask(RunEntries(run_id=run_id(self.run(order).id), after=0, limit=1000))
        facts = [orjson.loads(entry.facts) for entry in entries]
        told = {"resume.ignored", "approval.voted", "approval.refused"}
        return [fact for fact in facts if told & set(fact["events"])]

    def done(self, order: str) -> list[str]:
        """What the tool did for an order."""
        return [line for line in self.server.effects() if line.startswith(f"{order}:")]


@pytest.fixture
def front(server: DevServer, desk_database: Database) -> Iterator[Front]:
    """A front end with a thread of its own."""
    made = Front(server, desk_database)
    with made.clients:
        yield made


def test_list_show_decide_and_go_on(front: Front, order: str) -> None:
    """A person lists what waits, sees the card, decides under her own name, and the very refund is made, once."""
    front.ask(order, 500)
    card = front.card()
    assert card["action_requests"][0]["args"] == {"order_id": order, "amount": "500", "iban": "(redacted)"}
    assert card["review_configs"] == [{"action_name": "refund", "allowed_decisions": ["approve", "edit", "reject"]}]
    assert card["who"] == {"actor": "support-bot", "on_behalf_of": "cy@acme.example"}
    assert front.done(order) == []
    decision = {"decisions": [{"type": "approve", "digest": card["digest"]}]}
    ended = front.resume(decision, front.client("ana"))
    assert front.done(order) == [f"{order}:500"]
    assert ended["messages"][-1]["content"] == "done: refunded 500"
    assert front.client("ana").threads.get(front.thread)["status"] == "idle"
    assert front.run(order).state is RunState.DONE
    (vote,) = front.facts(order)
    assert (vote["person"], vote["identity"]["issuer"]) == ("ana@acme.example", "langgraph-server")


def test_an_edit_asks_anew_and_its_yes_runs_the_changed_write(front: Front, order: str) -> None:
    """An approver's edit makes a request for exactly that; another's yes to it does that, and nothing else."""
    front.ask(order, 500)
    card = front.card()
    edited = {"name": "refund", "args": {**card["action_requests"][0]["args"], "amount": "300"}}
    change = {"type": "edit", "digest": card["digest"], "edited_action": edited}
    front.resume({"decisions": [change]}, front.client("ana"))
    after = front.card()
    assert front.done(order) == []
    assert after["digest"] != card["digest"]
    assert after["action_requests"][0]["args"]["amount"] == "300"
    front.resume({"decisions": [{"type": "approve", "digest": card["digest"]}]}, front.client("bo"))
    assert front.done(order) == []
    front.resume({"decisions": [{"type": "approve", "digest": after["digest"]}]}, front.client("bo"))
    assert front.done(order) == [f"{order}:300"]


def test_forged_resumes_do_nothing_and_are_on_record(front: Front, order: str) -> None:
    """Without an identity, as Studio's placeholder, without or with another digest, without the role: 0 effects."""
    front.ask(order, 500)
    digest = front.card()["digest"]
    good, bare = {"decision": "approve", "digest": digest}, {"decisions": [{"type": "approve"}]}
    front.resume(good, front.client())
    front.resume(good, front.client(**{"x-auth-scheme": "langsmith"}))
    front.resume([*bare["decisions"], {**good, "digest": "0" * 64}], front.client("ana"))
    front.resume({**good, "person": "ana@acme.example", "role": "finance"}, front.client("cy"))
    reasons = [fact["reason"] for fact in front.facts(order)]
    assert reasons[:4] == ["not_authenticated", "not_authenticated", "digest_missing", "other_digest"]
    assert reasons[4:] == ["unknown_person"]
    assert front.done(order) == []
    assert front.run(order).state is RunState.NEEDS_APPROVAL
    assert front.card()["digest"] == digest


def test_no_client_says_who_its_user_is(front: Front, order: str) -> None:
    """A config that names a user is refused, or overwritten by older servers; an unknown token is refused."""
    front.ask(order, 500)
    good = {"resume": {"decision": "approve", "digest": front.card()["digest"]}}
    user = {"langgraph_auth_user": {"identity": "ana@acme.example"}, "langgraph_auth_user_id": "ana@acme.example"}
    with suppress(httpx.HTTPStatusError):
        front.client().runs.wait(front.thread, "support", command=good, config={"configurable": user})
    assert {fact["reason"] for fact in front.facts(order)} <= {"not_authenticated"}
    assert front.run(order).state is RunState.NEEDS_APPROVAL
    with pytest.raises((AuthenticationError, PermissionDeniedError)):
        front.client("eve").threads.get(front.thread)
    assert front.done(order) == []


def test_a_change_of_state_under_the_request_needs_another_yes(front: Front, order: str) -> None:
    """A resume with an update is refused; an update before it makes the amount another digest, which nobody allowed."""
    front.ask(order, 500)
    card = front.card()
    state = front.client("cy").threads.get_state(front.thread)
    (asked,) = [message for message in state["values"]["messages"] if message["type"] == "ai"]
    (tool_call,) = asked["tool_calls"]
    raised = {"messages": [{**asked, "tool_calls": [{**tool_call, "args": {**tool_call["args"], "amount": "5000"}}]}]}
    good = {"decision": "approve", "digest": card["digest"]}
    with pytest.raises(Exception, match="resume_with_changes"):
        front.resume(good, front.client("ana"), update=raised)
    assert [fact["reason"] for fact in front.facts(order)] == ["state_changed"]
    front.client("cy").threads.update_state(front.thread, raised)
    front.client("cy").runs.wait(front.thread, "support", input=None)
    front.resume(good, front.client("ana"))
    assert front.done(order) == []
    assert front.card()["digest"] != card["digest"]


def test_a_vote_in_the_console_lets_the_thread_go_on(front: Front, order: str) -> None:
    """Decided by an approver's own login, the thread goes on when it is run without input."""
    front.ask(order, 500)
    with Approvals(front.database.approver("ana")) as approvals:
        approvals.approve(front.card()["approval"])
    front.client("cy").runs.wait(front.thread, "support", input=None)
    assert front.done(order) == [f"{order}:500"]


def test_another_message_does_not_push_a_waiting_request_aside(front: Front, order: str) -> None:
    """Double texting while people are asked: the new message fails and says why, and the request waits on."""
    front.ask(order, 500)
    digest = front.card()["digest"]
    for strategy in ("interrupt", "rollback"):
        failed = front.ask(f"{order}x", 50, multitask_strategy=strategy, raise_error=False)
        assert "The thread is busy" in str(failed)
    front.resume({"decision": "approve", "digest": digest}, front.client("ana"))
    assert front.done(order) == [f"{order}:500"]
    assert front.done(f"{order}x") == []


def test_streaming_shows_what_the_graph_streams(front: Front, order: str) -> None:
    """Messages, updates and events of a governed run reach the client as those of any graph do."""
    message = {"role": "user", "content": f"{order} 50"}
    streamed = front.client("cy").runs.stream(
        front.thread, "support", input={"messages": [message]}, stream_mode=["messages-tuple", "updates", "events"]
    )
    kinds = {part.event for part in streamed}
    assert {"messages", "updates", "events"} <= kinds
    assert "error" not in kinds
    assert front.done(order) == [f"{order}:50"]
