"""Plain requests to the ledger for tests that care about how they travel, not about what they say."""

import os
from uuid import UUID, uuid4

from langgraph_control.audit.asking.ledger import Claim, Outcome, Settle
from langgraph_control.audit.asking.requests import RunAcquire, RunOpen, RunRelease
from langgraph_control.audit.asking.rows import RunAnswer, RunState

LEASE_MS = 600_000


def run_open(run_id: UUID | None = None, *, lease_ms: int = LEASE_MS, holder: str = "holder") -> RunOpen:
    """Return a request for a new run with everything named after its id."""
    run_id = run_id or uuid4()
    return RunOpen(
        run_id=run_id,
        trigger=f"trigger/{run_id}",
        intent=f"intent/{run_id}",
        graph="graph",
        thread=str(run_id),
        own_thread=True,
        actor="agent@acme.example",
        on_behalf_of=None,
        deadline=None,
        input=b"{}",
        holder=holder,
        lease_ms=lease_ms,
        body=b"{}",
    )


def run_release(held: RunAnswer, state: RunState, *, wake_ms: int | None = None) -> RunRelease:
    """Return a request that parks a run whose lease is held."""
    assert held.run_id is not None
    assert held.token is not None
    assert held.generation is not None
    return RunRelease(
        run_id=held.run_id,
        token=held.token,
        generation=held.generation,
        state=state,
        reason=state.value,
        wake_ms=wake_ms,
        body=b"{}",
    )


def run_acquire(run_id: UUID, *, lease_ms: int = LEASE_MS, holder: str = "holder") -> RunAcquire:
    """Return a request for the lease of a known run."""
    return RunAcquire(run_id=run_id, holder=holder, lease_ms=lease_ms, body=b"{}")


def claim(run_id: UUID, token: int, *, kind: str = "keyed") -> Claim:
    """Return a claim of a new action that the policy allows."""
    return Claim(
        run_id=run_id,
        token=token,
        attempt=uuid4(),
        key=os.urandom(32),
        args_hash=bytes(32),
        scope=bytes(32),
        digest=bytes(32),
        verb="allow",
        requirement=None,
        tool="refund",
        system=None,
        impact="money",
        kind=kind,
        fallback_kind="blind",
        lease_ms=LEASE_MS,
        keyed_ms=86_400_000,
        visible_ms=0,
        attempts_max=5,
        call_id="call_1",
        body=b"{}",
        payload=b"{}",
        card=None,
    )


def settle(claimed: Claim, *, outcome: Outcome = Outcome.SUCCEED, xid: str | None = None) -> Settle:
    """Return the settle that belongs to a claim."""
    return Settle(
        run_id=claimed.run_id, attempt=claimed.attempt, key=claimed.key, outcome=outcome, result=b'"done"', xid=xid
    )
