"""The count at the end: what billing itself logged, beside what the ledger holds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from demo.billing.client import BillingProcess
from demo.desk import Desk
from demo.telling import Teller, say
from demo.tickets import Outcome, Scene, Ticket
from langgraph_control import Run
from langgraph_control.audit.asking.requests import RunActions
from langgraph_control.audit.asking.rows import ActionRow
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.audit.trail.verify import verify_run

__all__ = ["count"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One ticket's refund, as both sides have it.

    Args:
        ticket: the ticket.
        wanted: what it must have led to.
        requests: how often billing was asked to refund its order.
        effects: how often billing did.
        action: the ledger's row; None where the agent did not ask for exactly one refund, as a model may do.
        same_key: whether both sides name it by the same key.
        attempts: how many attempts are on record.
        entries: how many entries its run has.
        whole: whether the run's chain is whole.
    """

    ticket: Ticket
    wanted: Outcome
    requests: int
    effects: int
    action: ActionRow | None
    same_key: bool
    attempts: int
    entries: int
    whole: bool

    @property
    def right(self) -> bool:
        """Whether both sides have what the story asked for, and nothing more."""
        asked = self.requests == self.attempts == self.wanted.requests
        refunded = self.effects == int(self.succeeded) == self.wanted.refunds
        return self.action is not None and asked and refunded and self.same_key

    @property
    def succeeded(self) -> bool:
        """Whether the ledger has it as done."""
        return self.action is not None and self.action.state == "succeeded"

    def __str__(self) -> str:
        ticket, state = self.ticket, self.action.state if self.action is not None else "none"
        return (
            f"   {ticket.trigger:<9} {ticket.order:<7} {ticket.amount:>8} {self.requests:>9} {self.effects:>8}"
            f" {self.attempts:>9}  {state:<10} {self.entries:>7}"
        )


def count(desk: Desk, teller: Teller, scenes: Sequence[Scene], runs: Mapping[Ticket, Run]) -> None:
    """Print billing's log beside the ledger, and check every figure.

    Args:
        desk: where the story was played.
        teller: told what does not add up.
        scenes: what was played.
        runs: where each ticket's run stands.
    """
    teller.scene(
        "The count", "On the left what the billing service itself logged, on the right what the ledger recorded."
    )
    with LedgerConnection(desk.ground.auditor) as ledger:
        wanted = [pair for scene in scenes for pair in scene.outcomes.items()]
        lines = [_line(desk.billing, ledger, ticket, outcome, runs[ticket]) for ticket, outcome in wanted]
    say("                              ------ billing ---  ---------- ledger -----------")
    say("   ticket    order        EUR  requests  refunds  attempts  state      entries")
    for line in lines:
        say(str(line))
    log = desk.billing.log()
    requests, attempts = sum(line.requests for line in lines), sum(line.attempts for line in lines)
    kinds = Counter(effect["kind"] for effect in desk.billing.log_page("effects"))
    refunds, others = kinds["refund"], log["effects"] - kinds["refund"]
    say(f"   {'in all':<26} {requests:>9} {refunds:>8} {attempts:>9}")
    say()
    done = sum(line.succeeded for line in lines)
    teller.claim(
        f"billing: {refunds} refunds and {others} notes, {log['duplicates']} duplicates",
        holds=log["duplicates"] == 0 and others == kinds["note"] == sum(scene.notes for scene in scenes),
    )
    teller.claim(
        f"ledger: {done} refunds recorded as done, under the same keys",
        holds=done == refunds == sum(line.wanted.refunds for line in lines) and log["unattributed"] == 0,
    )
    teller.claim("every ticket led to what it should, and no more", holds=all(line.right for line in lines))
    teller.claim(f"the records of all {len(lines)} runs are whole", holds=all(line.whole for line in lines))


def _line(billing: BillingProcess, ledger: LedgerConnection, ticket: Ticket, wanted: Outcome, run: Run) -> Line:
    actions = ledger.ask(RunActions(run_id=run_id(run.id)))
    action = actions[0] if len(actions) == 1 else None
    begun = sum(
        "action.attempt_started" in orjson.loads(entry.facts)["events"] for entry in ledger.entries(run_id(run.id))
    )
    asked = Counter(request["target"] for request in billing.log_page("requests") if request["method"] == "POST")
    effects = [effect for effect in billing.log_page("effects") if effect["target"] == ticket.order]
    found = verify_run(ledger, run_id(run.id))
    return Line(
        ticket=ticket,
        wanted=wanted,
        requests=asked[ticket.order],
        effects=len(effects),
        action=action,
        same_key=action is not None and {effect["action_key"] for effect in effects} <= {action.key.hex()},
        attempts=begun,
        entries=found.entries if found else 0,
        whole=found is not None and found.ok,
    )
