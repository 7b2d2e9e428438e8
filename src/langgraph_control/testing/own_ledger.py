"""A ledger that a test has to itself: a real Postgres in a folder of its own, and people who answer."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.audit.people.approvals import Approvals
from langgraph_control.audit.postgres.local_server import ADMIN, LocalServer
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.errors import ArgumentError
from langgraph_control.graphs.control import Control
from langgraph_control.graphs.run import Run
from langgraph_control.guards.checks import Check
from langgraph_control.guards.policy import Policy

__all__ = ["OwnLedger", "ledger"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLedger:
    """A ledger that goes with the block that made it.

    Args:
        control: governs tools and runs graphs on it.
        approver_dsn: the connection string of its approvers' login, which may speak for anybody.
        auditor_dsn: the connection string of its auditor's login.
    """

    control: Control
    approver_dsn: str = field(repr=False)
    auditor_dsn: str = field(repr=False)

    def approve(self, run: Run, *, by: str, comment: str | None = None) -> None:
        """Say yes to everything a run waits for, as one person. What it unlocks is done when the run is driven on.

        Args:
            run: the run.
            by: who says so, as the policy's roles name them.
            comment: where the policy asks for one.

        Raises:
            ArgumentError: it waits for nobody's yes (``nothing_to_approve``).
            ApprovalRefused: this person's word does not count; the error says why.
        """
        with Approvals(self.approver_dsn) as approvals:
            for name in _waited_for(run):
                approvals.approve(name, as_=by, comment=comment)

    def reject(self, run: Run, *, by: str, comment: str | None = None, code: str | None = None) -> None:
        """Say no to everything a run waits for, as one person.

        Args:
            run: the run.
            by: who says so.
            comment: what the model is told.
            code: why, as a word the model can act on: one of ``guards.approvals.REJECTIONS``.

        Raises:
            ArgumentError: it waits for nobody's word (``nothing_to_approve``), or there is no such code.
            ApprovalRefused: this person's word does not count; the error says why.
        """
        with Approvals(self.approver_dsn) as approvals:
            for name in _waited_for(run):
                approvals.reject(name, as_=by, comment=comment, code=code)

    def events(self, run: Run) -> tuple[str, ...]:
        """Return what is on record of a run, such as ``action.attempt_started``, in order.

        Args:
            run: the run.
        """
        with LedgerConnection(self.auditor_dsn) as auditor:
            entries = [Entry.of(row) for row in auditor.entries(run_id(run.id))]
        return tuple(event for entry in entries for event in entry.events)


@contextmanager
def ledger(
    policy: str | Path | Policy, *, checks: Sequence[Check] = (), folder: Path | None = None
) -> Iterator[OwnLedger]:
    """Yield a ledger of the test's own, on an embedded Postgres; a second or two to start.

    Args:
        policy: the policy file's path, or a policy that was read already; it is published.
        checks: functions that may make a decision stricter.
        folder: where its data lies, and stays; None for a temporary one that goes at the end.

    Raises:
        PolicyError: the file cannot be read, or is wrong; nothing was started.
        LocalServerError: no Postgres can be started; the text names the remedies.
    """
    read = Control(policy, checks=checks).policy  # before anything is started
    data = folder or Path(tempfile.mkdtemp(prefix="ledger-"))
    if folder is None:
        data.chmod(0o711)  # root's server runs as another user, who has to get in
    try:
        with LocalServer.start(data) as server:
            publish_policy(server.dsn(ADMIN), read)
            with Control(read, dsn=server.dsn("control_local_agent"), checks=checks) as control:
                yield OwnLedger(
                    control=control,
                    approver_dsn=server.dsn("control_local_approver"),
                    auditor_dsn=server.dsn("control_local_auditor"),
                )
    finally:
        if folder is None:
            shutil.rmtree(data, ignore_errors=True)


def _waited_for(run: Run) -> tuple[str, ...]:
    if not run.approvals:
        raise ArgumentError(
            f"The run waits for nobody's yes: it is {run}.",
            todo="Run it until it needs approval, or look at run.reason.",
            code="nothing_to_approve",
        )
    return run.approvals
