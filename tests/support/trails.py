"""Real trails for tests of what reads them: written by claims, settles and votes, without an agent."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

import orjson
import psycopg

from langgraph_control.audit.asking.ledger import Claim, Claimed, Outcome, Settle, Settled
from langgraph_control.audit.asking.observing import Observe, Observed, Seen
from langgraph_control.audit.asking.requests import PublishPolicy, RunAcquire, RunOpen, RunRelease, Vote
from langgraph_control.audit.asking.rows import Release, Released, RunState, Voted
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.guards.approvals import REQUESTER, Requirement
from langgraph_control.guards.canonical import canonical_bytes, observed_bytes
from tests.support.postgres import PEOPLE, Database

FINANCE = Requirement(
    quorum={"finance": 1},
    not_by=frozenset({REQUESTER}),
    within_seconds=7 * 86400,
    execute_within_seconds=3600,
    on_expiry="deny",
    comment_required=False,
)
FOR_FINANCE_ALONE = orjson.dumps(
    {
        "what": {"arguments": {"iban": "(redacted)", "order_id": "17"}},
        "where": {"system": "bank"},
        "diff": {"iban": ["(redacted)", "(redacted)"]},
        "by_role": {
            "salt": "00" * 32,
            "parts": [{"role": "finance", "arguments": {"iban": "DE77-9"}, "diff": {"iban": ["DE77-1", "DE77-9"]}}],
        },
    }
)
"""A card that hides an account from all but finance."""
POLICY_TEXT = "version: 1"
POLICY = hashlib.sha256(POLICY_TEXT.encode()).hexdigest()


def bytes_of(text: str) -> bytes:
    """Return 32 bytes that stand for a text."""
    return hashlib.sha256(text.encode()).digest()


def json_bytes(**facts: Any) -> bytes:
    """Return a body's bytes."""
    return orjson.dumps(
        {name: value for name, value in facts.items() if value is not None}, option=orjson.OPT_SORT_KEYS
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """A run that this writer drives."""

    run_id: UUID
    token: int
    generation: int
    trigger: str

    def body(self, **facts: Any) -> bytes:
        """Return a body as the gate writes it."""
        return json_bytes(
            who={"actor": "support-agent", "on_behalf_of": "dora@acme.example"},
            intent=self.trigger,
            where={"worker": "w1", "thread_id": str(self.run_id), "graph": "support"},
            **{"at": "2026-03-02T09:00:00+00:00", "policy": POLICY, **facts},
        )


@dataclass(slots=True)
class TrailWriter:
    """Drives runs through the ledger's functions."""

    database: Database
    agent: LedgerConnection = field(init=False)
    _passed: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        self.agent = LedgerConnection(self.database.agent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.agent.close()

    @property
    def passed(self) -> timedelta:
        """How far the ledger's clock is ahead of the server's."""
        return self._passed

    def pass_time(self, **length: float) -> None:
        """Let the ledger's clock go on by a ``timedelta``; only the database's owner can do that."""
        with psycopg.connect(self.database.admin) as admin:  # another writer may have let some pass
            row = admin.execute("SELECT control.clock() - pg_catalog.clock_timestamp()").fetchone()
        assert row is not None
        self._passed = max(self._passed, row[0]) + timedelta(**length)
        seconds = self._passed.total_seconds()
        tamper(
            self.database,
            "CREATE OR REPLACE FUNCTION control.clock() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS"
            f" 'SELECT pg_catalog.clock_timestamp() + make_interval(secs => {seconds})'",
        )

    def publish(self, *, members: Mapping[str, str] | None = None) -> None:
        """Publish who is in which role; by default ana and bo are finance."""
        people = members or {PEOPLE["ana"]: "finance", PEOPLE["bo"]: "finance"}
        with LedgerConnection(self.database.admin) as admin:
            admin.ask(
                PublishPolicy(
                    hash=POLICY,
                    text=POLICY_TEXT,
                    members=[{"role": role, "member": member} for member, role in people.items()],
                    floors=[],
                    body=json_bytes(policy=POLICY),
                )
            )

    def open(self, trigger: str = "ticket/4711", *, intent: str | None = None) -> OpenRun:
        """Start a run; by default each has an intent of its own."""
        run = OpenRun(run_id=uuid4(), token=0, generation=0, trigger=trigger)
        answer = self.agent.ask(
            RunOpen(
                run_id=run.run_id,
                trigger=trigger,
                intent=intent or trigger,
                graph="support",
                thread=str(run.run_id),
                own_thread=True,
                actor="support-agent",
                on_behalf_of="dora@acme.example",
                deadline=None,
                input=b"{}",
                holder="w1",
                lease_ms=60_000,
                body=run.body(why={"trigger": trigger, "intent": intent or trigger}),
            )
        )
        return replace(run, token=answer.token or 0, generation=answer.generation or 0)

    def resume(self, run: OpenRun, *, holder: str = "w2") -> OpenRun:
        """Take the lease again."""
        answer = self.agent.ask(RunAcquire(run_id=run.run_id, holder=holder, lease_ms=60_000, body=run.body()))
        return replace(run, token=answer.token or 0, generation=answer.generation or 0)

    def claim(
        self, run: OpenRun, name: str = "refund", *, verb: str = "allow", **changes: Any
    ) -> tuple[Claim, Claimed]:
        """Claim one effect; ``name`` stands for tool and arguments."""
        requirement = FINANCE.canonical() if verb == "approve" else None
        request = Claim(
            run_id=run.run_id,
            token=run.token,
            attempt=uuid4(),
            key=bytes_of(f"{run.trigger}/{name}"),
            args_hash=bytes_of(name),
            scope=bytes_of(f"scope {name}"),
            digest=bytes_of(f"digest {name}"),
            verb=verb,
            requirement=requirement,
            tool="refund",
            system=None,
            impact="money",
            kind="verified",
            fallback_kind="verified",
            lease_ms=30_000,
            keyed_ms=0,
            visible_ms=0,
            attempts_max=5,
            call_id="call_1",
            body=run.body(
                tool="refund",
                system="billing",
                impact="money",
                contract="1",
                call_id="call_1",
                verb=verb,
                reasons=[f"rules[0] policy.yaml:6 says {verb}"],
                rules=["rules[0] policy.yaml:6"],
                signals={"risk.radius": "large"},
                target="invoice 17",
                trigger=run.trigger,
            ),
            payload=canonical_bytes(
                {
                    "args": {"invoice": 17, "note": name},
                    "before": {"status": "paid"},
                    "after": {"status": "refunded"},
                }
            ),
            card=observed_bytes(
                {
                    "what": {"tool": "refund", "impact": "money", "arguments": {"invoice": 17, "note": name}},
                    "where": {"system": "billing", "target": "invoice 17"},
                    "why": {
                        "intent": run.trigger,
                        "reasons": ["rules[0] policy.yaml:6 says approve"],
                        "signals": {"risk.radius": "large"},
                        "model_says": {},
                    },
                    "who": {"actor": "support-agent", "on_behalf_of": "dora@acme.example"},
                    "diff": {"status": ["paid", "refunded"]},
                }
            )
            if verb == "approve"
            else None,
        )
        request = replace(request, **changes)
        return request, self.agent.ask(request)

    def settle(self, run: OpenRun, claim: Claim, outcome: Outcome = Outcome.SUCCEED, **changes: Any) -> Settled:
        """Settle an attempt."""
        request = Settle(
            run_id=run.run_id,
            attempt=claim.attempt,
            key=claim.key,
            outcome=outcome,
            result=b'"done"' if outcome in (Outcome.SUCCEED, Outcome.FOUND) else None,
            call_id="call_1",
            body=run.body(tool="refund", outcome=outcome.value),
        )
        return self.agent.ask(replace(request, **changes))

    def observe(self, run: OpenRun, tool: str = "find_invoice", *, succeeded: bool = True) -> Observed:
        """Record a read."""
        return self.agent.ask(
            Observe(
                run_id=run.run_id,
                token=run.token,
                tool=tool,
                system=None,
                outcome=Seen.SUCCEEDED if succeeded else Seen.FAILED,
                loop=None,
                origin=os.urandom(32),
                scope=None,
                turn=None,
                call=None,
                result=None,
                at=None,
                calls_max=10_000,
                attempts_max=5,
                give_up_ms=86_400_000,
                retry_ms_max=86_400_000,
                wait_ms=0,
                body=run.body(tool=tool),
                payload=canonical_bytes({"args": {"id": 17}}),
            )
        )

    def vote(
        self, approval_id: UUID, *, decision: Any = "approve", by: str = "ana", comment: str | None = None
    ) -> Voted:
        """Vote on an approver's login."""
        with LedgerConnection(self.database.approver(by)) as approver:
            return approver.ask(
                Vote(
                    approval_id=approval_id,
                    decision=decision,
                    comment=comment,
                    person=None,
                    body=json_bytes(comment=comment),
                )
            )

    def release(
        self, run: OpenRun, state: RunState = RunState.DONE, reason: str = "", *, wake_ms: int | None = None
    ) -> Released:
        """Give up the lease, whatever has happened since it was taken."""
        request = RunRelease(
            run_id=run.run_id,
            token=run.token,
            generation=run.generation,
            state=state,
            reason=reason,
            wake_ms=wake_ms,
            body=run.body(),
        )
        released = self.agent.ask(request)
        if released.answer is Release.AGAIN:
            released = self.agent.ask(replace(request, generation=released.generation))
        assert released.answer is Release.RELEASED
        return released

    def refund(self, trigger: str = "ticket/4711") -> OpenRun:
        """Carry a run through: a read, one approved refund by ana, done. Nine entries."""
        run = self.open(trigger)
        self.observe(run)
        _, claimed = self.claim(run, verb="approve")
        self.release(run, RunState.NEEDS_APPROVAL, "needs_approval")
        self.pass_time(days=3, hours=2)
        assert claimed.approval_id is not None
        self.vote(claimed.approval_id, comment="the invoice was paid twice")
        run = self.resume(run)
        request, _ = self.claim(run, verb="approve")
        self.settle(run, request, events=("effect.verified",))
        self.release(run)
        return run


def tamper(database: Database, statement: str, *values: object) -> None:
    """Change the record as only a superuser can."""
    with psycopg.connect(database.admin, autocommit=True) as connection:
        changed = connection.execute(statement.encode(), values)
        assert changed.rowcount != 0, "the tampering changed nothing"
