"""What a governed call knows of its run. The fencing token stays out of graph state and checkpoints."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from langgraph_control.audit.connecting.drives import DriveId
from langgraph_control.guards.checks import NamedCheck
from langgraph_control.guards.policy import Policy
from langgraph_control.nodes.run_memory import RunMemory

__all__ = ["RunContext"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """One run, as the worker that drives it now sees it.

    Args:
        run_id: the run.
        token: the fencing token of this worker's lease.
        tenant: whose data.
        secret: the tenant's secret, for keys and digests.
        trigger: the delivery that started it.
        intent: the business request.
        graph: the bound graph's name.
        thread_id: its LangGraph thread.
        actor: the identity the agent runs under.
        on_behalf_of: the person it acts for.
        deadline: when the whole run must be over.
        policy: the rules that decide.
        worker: the process that drives it, for the record.
        version: of the agent, as its graph was bound; None where nobody said.
        environment: where it runs, as the policy's rules may ask; None where nobody said.
        memory: what the run did lately, as far as that changed nothing.
        checks: what is heard after the policy.
    """

    run_id: UUID
    token: int
    tenant: str
    secret: bytes
    trigger: str
    intent: str
    graph: str
    thread_id: str
    actor: str
    on_behalf_of: str | None
    deadline: datetime | None
    policy: Policy
    worker: str
    version: str | None = None
    environment: str | None = None
    memory: RunMemory = field(default_factory=RunMemory, compare=False)
    checks: tuple[NamedCheck, ...] = ()

    @property
    def drive(self) -> DriveId:
        """What tells this drive from any other of the same run."""
        return self.run_id, self.token

    def __repr__(self) -> str:
        # The secret names actions: it must not reach a log by way of a repr.
        return f"RunContext(run_id={self.run_id}, intent={self.intent!r}, token={self.token})"
