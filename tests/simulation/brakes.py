"""What holds attempts back, told a second time: rate limits, a breaker and a budget, as the reports and claims went.

Each claim and each report is looked at in the order in which it was committed, so that equal moments leave no doubt.
"""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from langgraph_control.audit.asking.health import Report
from langgraph_control.audit.asking.ledger import Answer, Claim, Settle, Verdict
from langgraph_control.guards.canonical import from_canonical
from tests.simulation.violation import Violation

__all__ = ["BUDGET", "BUDGETED", "Brakes"]

BUDGETED = "forgetful"
BUDGET = 900
ERROR_RATE, WINDOW_SECONDS, CALLS_MIN, OPEN_SECONDS, PROBES = 0.6, 60.0, 3, 10.0, 2
BUCKETS = 10
INSTANT = 1e-5


@dataclass
class Brakes:
    """The one system of record of a seed, and the one budget.

    Args:
        limited_until: until when the system asked everybody to stay away.
        shut_until: until when the open breaker lets nothing through; None while it is closed.
        turn_taken: a probe has gone through since it opened last.
        probes_left: how many probes must still succeed before it closes.
        calls: bucket of time → how many calls were reported, and how many of them had failed.
        held: action → what it holds of the budget, until it is known not to have been done.
        begun: the attempts that were seen.
    """

    limited_until: float = -1.0
    shut_until: float | None = None
    turn_taken: bool = False
    probes_left: int = 0
    calls: dict[int, tuple[int, int]] = field(default_factory=dict)
    held: dict[bytes, int] = field(default_factory=dict)
    begun: set[UUID] = field(default_factory=set)

    def reported(self, report: Report, event: str | None, now: float) -> None:
        """A call's end was told: the breaker does what the count says, and nothing else."""
        if report.rate_limited_ms:
            self.limited_until = max(self.limited_until, now + report.rate_limited_ms / 1000)
        bucket = int(now * BUCKETS // WINDOW_SECONDS)
        calls, failed = self.calls.get(bucket, (0, 0))
        self.calls[bucket] = (calls + report.calls, failed + report.failed)
        expected = None
        if self.shut_until is None:
            if report.failed and self._too_many(bucket):
                expected = "breaker.opened"
                self._shut(now)
        elif report.failed:
            self._shut(now)
        elif not report.probe or (now < self.shut_until - INSTANT and not self.turn_taken):
            pass  # it may have begun before the breaker opened
        elif self.probes_left > 1:
            self.shut_until, self.probes_left = now, self.probes_left - 1
        else:
            expected = "breaker.closed"
            self.shut_until = None
            self.calls.clear()
        if event != expected:
            raise Violation(f"the ledger says {event} of the breaker, and what was reported says {expected}")

    def _too_many(self, bucket: int) -> bool:
        lately = [counted for at, counted in self.calls.items() if at > bucket - BUCKETS]
        calls, failed = sum(counted[0] for counted in lately), sum(counted[1] for counted in lately)
        return bool(calls >= CALLS_MIN and failed >= ERROR_RATE * calls)

    def _shut(self, now: float) -> None:
        self.shut_until, self.turn_taken, self.probes_left = now + OPEN_SECONDS, False, PROBES

    def claimed(self, claim: Claim, answer: Any, now: float) -> None:
        """An attempt may begin: nothing holds the system's calls back, and the budget has room."""
        if answer.answer is not Answer.GO or claim.attempt in self.begun:
            return
        self.begun.add(claim.attempt)
        if now < self.limited_until - INSTANT:
            raise Violation(
                f"{claim.tool}: an attempt began {self.limited_until - now:.3f} s before the rate limit's end"
            )
        if self.shut_until is not None:
            if now < self.shut_until - INSTANT:
                raise Violation(f"{claim.tool}: an attempt began while the breaker was open")
            # It is the probe; the next one waits for what it finds out.
            self.shut_until, self.turn_taken = now + OPEN_SECONDS, True
        if claim.tool == BUDGETED:
            assert claim.payload is not None
            self.held[claim.key] = int(from_canonical(claim.payload)["args"]["amount"])
            if sum(self.held.values()) > BUDGET:
                raise Violation(f"an attempt began beyond the budget: {sorted(self.held.values())}")

    def settled(self, settle: Settle, answer: Any) -> None:
        """What is known not to have been done holds nothing; what nobody knows of goes on holding."""
        if answer.answer is Verdict.SETTLED and answer.state in ("ready", "failed"):
            self.held.pop(settle.key, None)

    def resolved(self, key: bytes) -> None:
        """A person said that it did not happen."""
        self.held.pop(key, None)
