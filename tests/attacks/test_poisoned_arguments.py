"""What the agent's login stored beside honest hashes: an honest process runs only what it asks for itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final
from uuid import uuid4

import orjson
import pytest
from langgraph.graph import START, MessagesState, StateGraph

from langgraph_control import ABSENT, Action, Run, current_action, writes
from langgraph_control.audit.asking.ledger import Answer, Claim, Outcome
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.audit.trail.verify import verify_run
from langgraph_control.guards.canonical import plain_bytes
from langgraph_control.nodes.call import GovernedCall, View
from langgraph_control.nodes.contracts import Contract
from langgraph_control.nodes.run_context import RunContext
from langgraph_control.nodes.what_runs import NOT_AS_KEPT
from tests.support.desk import POLICY, Desk
from tests.support.ledger_requests import claim, run_open, settle
from tests.support.scripted_model import call, calls

POISON: Final = Decimal(999999)

REQUIREMENT: Final[dict[str, Any]] = {
    "quorum": {"finance": 1},
    "not_by": ["requester"],
    "within_seconds": 3600,
    "execute_within_seconds": 3600,
    "on_expiry": "deny",
    "comment_required": False,
}


@dataclass(kw_only=True)
class Attack:
    """An honest process with one tool, and a forger who has the agent's login, the tenant's secret and the honest call.

    Args:
        desk: the honest process.
        trigger: the delivery it works on.
        amount: what it asks for.
        contract: of its tool.
    """

    desk: Desk
    trigger: str
    amount: int
    contract: Contract
    seen: list[Any] = field(default_factory=list)

    @property
    def args(self) -> dict[str, Any]:
        """What the honest process asks for."""
        return {"order_id": "o1", "amount": Decimal(self.amount), "note": "It arrived broken."}

    def honest(self) -> Run:
        """Run the honest process on its delivery."""

        @self.contract
        def refund(order_id: str, amount: Decimal, note: str) -> str:
            """Refund an order, and say why."""
            self.seen.append(current_action().precondition)
            self.desk.done.append(f"{order_id}:{amount}:{note}")
            return "refunded"

        (governed,) = self.desk.control.govern([refund])

        def pay(state: MessagesState) -> dict[str, Any]:
            asked = state["messages"][-1].tool_calls[0]  # type: ignore[union-attr]
            return {"messages": [governed.invoke({**asked, "type": "tool_call"})]}

        builder: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
        builder.add_node("pay", pay)
        builder.add_edge(START, "pay")
        graph = self.desk.control.bind(builder.compile(), name="pay")
        said = {**self.args, "amount": str(self.amount)}
        return self.desk.run(graph, trigger=self.trigger, given={"messages": [calls(call("refund", **said))]})

    def forge(
        self,
        agent: LedgerConnection,
        *,
        verb: Any = "allow",
        poison: Mapping[str, Any] | None = None,
        payload: bytes | None = None,
        before: Any = None,
        seen: Any = None,
        digest: bytes | None = None,
    ) -> Claim:
        """Claim the honest call in a run of the forger's own, with other arguments than it has.

        Args:
            agent: the agent's login.
            verb: what the forger says the policy says.
            poison: the arguments to be stored in place of the honest ones.
            payload: what to store in place of arguments and record.
            before: the record to be stored.
            seen: the record as it is.
            digest: what people are to approve; None: what fits the poison.
        """
        context = self._context()
        opened = agent.ask(replace(run_open(context.run_id), intent=self.trigger))
        assert opened.token is not None
        honest = GovernedCall(contract=self.contract, tool="refund", args=self.args, defaults={}, run=context)
        poisoned = replace(honest, args={**self.args, **(poison or {})})
        told = poisoned.payload(View(before=before)) if payload is None else payload
        asked = replace(
            claim(context.run_id, opened.token, kind=honest.kind.value),
            key=honest.key,
            args_hash=honest.args_hash,
            scope=honest.scope(View(before=seen)),
            digest=poisoned.digest(View(before=before)) if digest is None else digest,
            verb=verb,
            requirement=REQUIREMENT if verb == "approve" else None,
            fallback_kind=self.contract.fallback_kind.value,
            payload=told,
            card=plain_bytes({"what": {"tool": "refund", "arguments": {"order_id": "o1", "amount": "500"}}}),
        )
        answer = agent.ask(asked)
        assert answer.answer in {Answer.GO, Answer.PARK}
        return asked

    def _context(self) -> RunContext:
        session = self.desk.control._ledger.store().session()
        return RunContext(
            run_id=uuid4(),
            token=1,
            tenant=session.tenant,
            secret=session.secret,
            trigger="forged",
            intent=self.trigger,
            graph="pay",
            thread_id="forged",
            actor="support-bot",
            on_behalf_of=None,
            deadline=None,
            policy=POLICY,
            worker="forger",
        )

    def is_left_to_people(self, run: Run) -> bool:
        """Whether the run waits for a person, its record is whole and says why, and nothing was done."""
        with LedgerConnection(self.desk.database.auditor) as auditor:
            found = verify_run(auditor, run_id(run.id))
            bodies = [orjson.loads(row.body) for row in auditor.entries(run_id(run.id))]
        assert found is not None
        assert found.ok
        said = [body for body in bodies if body.get("why") == NOT_AS_KEPT]
        return run.state is RunState.NEEDS_HUMAN and len(said) == 1 and self.desk.done == []


@pytest.fixture
def agent(desk: Desk) -> Iterator[LedgerConnection]:
    """The agent's login, as agent code that was taken over uses it."""
    with LedgerConnection(desk.database.agent) as connection:
        yield connection


def attack(desk: Desk, trigger: str, amount: int, **contract: Any) -> Attack:
    """Return an attack on a refund of this amount: up to 100 is allowed, above it finance is asked."""
    made = writes(**{"key": "order_id", "impact": "money", "explain": "note", **contract})
    return Attack(desk=desk, trigger=trigger, amount=amount, contract=made)


DIGESTS: Final[Mapping[str, bytes | None]] = {"that of the poison": None, "any": b"\x07" * 32}


@pytest.mark.parametrize("digest", DIGESTS)
def test_what_a_card_did_not_show_does_not_run(desk: Desk, trigger: str, agent: LedgerConnection, digest: str) -> None:
    """People approve 500 on a forged card; 999999 stored under the same hashes is not paid, and is left to people."""
    on = attack(desk, trigger, 500)
    on.forge(agent, verb="approve", poison={"amount": POISON}, digest=DIGESTS[digest])
    run = on.honest()
    assert run.state is RunState.NEEDS_APPROVAL
    desk.approve(run.approvals)
    assert on.is_left_to_people(on.honest())


@pytest.mark.parametrize("digest", DIGESTS)
def test_what_a_lost_attempt_stored_does_not_run(
    desk: Desk, trigger: str, agent: LedgerConnection, digest: str
) -> None:
    """An attempt that was claimed as allowed and lost leaves other arguments behind: the repeat sends none of them."""
    on = attack(desk, trigger, 50, keyed_for="24h")
    lost = on.forge(agent, poison={"amount": POISON}, digest=DIGESTS[digest])
    agent.ask(settle(lost, outcome=Outcome.LOSE))
    assert on.is_left_to_people(on.honest())


def test_what_a_lost_attempt_stored_is_not_looked_for(desk: Desk, trigger: str, agent: LedgerConnection) -> None:
    """Reading back looks for nothing but what the call asked for: a poisoned attempt is left to people unread."""
    looked: list[Action] = []

    def find(action: Action) -> Any:
        looked.append(action)
        return ABSENT

    on = attack(desk, trigger, 50, find=find)
    lost = on.forge(agent, poison={"amount": POISON})
    agent.ask(settle(lost, outcome=Outcome.LOSE))
    assert on.is_left_to_people(on.honest())
    assert looked == []


@pytest.mark.parametrize("payload", [b"", b"{}", b"[1]", b'{"args": 7, "before": null}', b"\x00"])
@pytest.mark.parametrize("digest", [None, b"\x07" * 32], ids=["that of the call", "any"])
def test_what_is_no_payload_breaks_nothing(
    desk: Desk, trigger: str, agent: LedgerConnection, payload: bytes, digest: bytes | None
) -> None:
    """Bytes that hold no arguments: either the honest ones run, where the digest is theirs, or people are asked."""
    on = attack(desk, trigger, 50, keyed_for="24h")
    lost = on.forge(agent, payload=payload, digest=digest)
    agent.ask(settle(lost, outcome=Outcome.LOSE))
    run = on.honest()
    if digest is None:
        assert (run.state, desk.done) == (RunState.DONE, ["o1:50:It arrived broken."])
    else:
        assert on.is_left_to_people(run)


def test_a_record_that_nobody_read_is_no_precondition(desk: Desk, trigger: str, agent: LedgerConnection) -> None:
    """Under a grant nothing has been sent yet: a stored record that is not as it was read does not reach the tool."""
    record = {"total": 900, "version": 7}
    on = attack(desk, trigger, 500, read=lambda _: dict(record), watch="version")
    on.forge(agent, verb="approve", before={"total": 900, "version": 1}, seen=record)
    run = on.honest()
    desk.approve(run.approvals)
    assert on.is_left_to_people(on.honest())
    assert on.seen == []


def test_a_forger_who_stores_the_truth_changes_nothing(desk: Desk, trigger: str, agent: LedgerConnection) -> None:
    """Whoever claimed it: the arguments that the call has itself, under their own digest, run once."""
    on = attack(desk, trigger, 50, keyed_for="24h")
    lost = on.forge(agent)
    agent.ask(settle(lost, outcome=Outcome.LOSE))
    assert on.honest().state is RunState.DONE
    assert desk.done == ["o1:50:It arrived broken."]
