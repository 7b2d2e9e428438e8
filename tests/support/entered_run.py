"""A run entered by hand, for tests of what runs inside one: its ledger, its config, its record."""

import asyncio
import functools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool

from langgraph_control.audit.asking.requests import (
    PublishPolicy,
    RunAcquire,
    RunActions,
    RunEntries,
    RunOpen,
    RunRelease,
    Vote,
)
from langgraph_control.audit.asking.rows import ActionRow, Release, RunState
from langgraph_control.audit.connecting.drives import RUN_KEY, drive_name
from langgraph_control.audit.connecting.store import Store
from langgraph_control.guards.policy import Policy
from langgraph_control.nodes.contexts import enter_run, leave_run
from langgraph_control.nodes.contracts import Contract, contract_of
from langgraph_control.nodes.run_context import RunContext
from langgraph_control.nodes.tools import govern_tool
from tests.support.postgres import Database

POLICY = """\
version: 1
roles: {finance: [ana@acme.example]}
owner: finance
approve: {within: 1h, on_expiry: deny, not_by: [requester]}
rules:
  - {tool: pay, when: {amount: {gt: 0, lte: 100}}, then: allow}
  - {tool: pay, when: {amount: {gt: 100, lte: 500}}, then: approve, by: finance}
otherwise:
  - {impact: record, then: allow}
  - {impact: message, then: approve, by: finance}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnteredRun:
    """A run that this process drives, and the thread its graphs run on."""

    database: Database
    store: Store
    context: RunContext
    config: RunnableConfig

    def govern(self, tool: BaseTool, contract: Contract | None = None) -> BaseTool:
        """Return the tool, governed by its own contract or a given one."""
        known = contract or contract_of(tool)
        assert known is not None
        return govern_tool(tool, known, store=lambda: self.store)

    def actions(self) -> list[tuple[str, str, int]]:
        """Return tool, state and attempts of the run's actions."""
        return [(row.tool, row.state, row.attempts) for row in self.rows()]

    def rows(self) -> tuple[ActionRow, ...]:
        """Return the run's actions."""
        return self.store.call(RunActions(run_id=self.context.run_id))

    def events(self) -> list[str]:
        """Return the kinds of all entries, in order."""
        return [event for facts, _ in self.entries() for event in facts["events"]]

    def entries(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return facts and body of the run's entries, in order."""
        rows = self.store.call(RunEntries(run_id=self.context.run_id, after=0, limit=1000))
        return [(orjson.loads(row.facts), orjson.loads(row.body)) for row in rows]

    def approve(self) -> None:
        """Say yes, as ana, to what the run waits for."""
        (approval_id,) = [row.approval_id for row in self.rows() if row.state == "needs_approval"]
        assert approval_id is not None
        approver = Store(self.database.approver("ana"))
        try:
            approver.call(Vote(approval_id=approval_id, decision="approve", comment=None, person=None, body=b"{}"))
        finally:
            approver.close()

    def be_taken_over(self) -> None:
        """Have the lease given up and taken by another worker, of which this one knows nothing."""
        mine = self.context
        released = RunRelease(
            run_id=mine.run_id,
            token=mine.token,
            generation=0,
            state=RunState.WAITING,
            reason="handed over",
            wake_ms=None,
            body=b"{}",
        )
        assert self.store.call(released).answer is Release.RELEASED
        taken = self.store.call(RunAcquire(run_id=mine.run_id, holder="another", lease_ms=60_000, body=b"{}"))
        assert taken.token != mine.token


@contextmanager
def entered_run(database: Database, *, policy: str = POLICY, lease_ms: int = 600_000) -> Iterator[EnteredRun]:
    """Publish the policy's roles, open a run and enter it."""
    read = Policy.parse(policy, source="control.yaml")
    _publish(database, read)
    store = Store(database.agent)
    try:
        session = store.session()
        run_id, thread = uuid.uuid4(), str(uuid.uuid4())
        opened = store.call(
            RunOpen(
                run_id=run_id,
                trigger=f"mail/{run_id}",
                intent=f"ticket/{run_id}",
                graph="support",
                thread=thread,
                own_thread=True,
                actor="agent@acme.example",
                on_behalf_of=None,
                deadline=None,
                input=b"{}",
                holder="test",
                lease_ms=lease_ms,
                body=b"{}",
            )
        )
        assert opened.token is not None
        context = RunContext(
            run_id=run_id,
            token=opened.token,
            tenant=session.tenant,
            secret=session.secret,
            trigger=f"mail/{run_id}",
            intent=f"ticket/{run_id}",
            graph="support",
            thread_id=thread,
            actor="agent@acme.example",
            on_behalf_of=None,
            deadline=None,
            policy=read,
            worker="test",
        )
        enter_run(context)
        config: RunnableConfig = {"configurable": {"thread_id": thread, RUN_KEY: drive_name(context.drive)}}
        yield EnteredRun(database=database, store=store, context=context, config=config)
        leave_run(context)
    finally:
        store.close()


def _publish(database: Database, policy: Policy) -> None:
    admin = Store(database.admin)
    try:
        admin.call(
            PublishPolicy(
                hash=policy.hash,
                text=policy.text,
                members=[
                    {"role": role, "member": member} for role, members in policy.roles.items() for member in members
                ],
                floors=[],
                body=b"{}",
            )
        )
    finally:
        admin.close()


def invoked(how: str, graph: Any, given: Any, config: RunnableConfig) -> Any:
    """Run a graph durably, sync or async."""
    if how == "sync":
        return graph.invoke(given, config, durability="sync")
    return asyncio.run(graph.ainvoke(given, config, durability="sync"))


def async_form(body: Callable[..., Any]) -> Callable[..., Any]:
    """Return the async form of a synchronous body, with the same signature."""

    @functools.wraps(body)
    async def async_body(*args: Any, **kwargs: Any) -> Any:
        return body(*args, **kwargs)

    return async_body
