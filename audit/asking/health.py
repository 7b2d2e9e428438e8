"""How calls to systems came out in this process, until it is worth a statement to tell the others, and what they told.

Failures and rate limits are told at once, and with them what went well meanwhile; successes alone every few seconds,
and not at all once they are older than the time over which their system's calls are counted.
What all processes know together is asked for at most once a second, however many calls want to know it.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, Final

from langgraph_control.audit.asking.signal_requests import SystemRow
from langgraph_control.guards.retry_rules import BreakerRules

__all__ = ["Health", "Report"]

TELL_SECONDS: Final = 5.0
KEEP_SECONDS: Final = 1.0
"""How long what the ledger said of systems is taken as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Tell the ledger how calls to a system came out. The answer is what it did to its breaker, or None.

    Args:
        system: the system of record.
        calls: how many.
        failed: how many of them failed.
        took_ms: how long they took, all together.
        rate_limited_ms: how long the system asked everybody to stay away; 0: it did not.
        probe: one of them finds out whether the system works again.
        rules: when its breaker opens.
    """

    statement: ClassVar[str] = "report"

    system: str
    calls: int
    failed: int
    took_ms: int
    rate_limited_ms: int
    probe: bool
    rules: BreakerRules

    def parameters(self) -> Mapping[str, Any]:
        """Return the statement's parameters by name."""
        return {
            "system": self.system,
            "calls": self.calls,
            "failed": self.failed,
            "took_ms": self.took_ms,
            "rate_limited_ms": self.rate_limited_ms,
            "probe": self.probe,
            "error_rate": Decimal(str(self.rules.error_rate)),
            "window_ms": int(self.rules.window_seconds * 1000),
            "calls_min": self.rules.minimum_calls,
            "open_ms": int(self.rules.open_seconds * 1000),
            "probes": self.rules.probes,
        }

    def read(self, rows: Sequence[Mapping[str, Any]]) -> str | None:
        """Return the answer as a value."""
        event: str | None = rows[0]["event"]
        return event


@dataclass(slots=True)
class _Tally:
    told: float
    went_well: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Tenth of a second → how many calls ended in it, and how many seconds they took: few, as they are told soon."""


@dataclass(slots=True)
class Health:
    """The tallies of one process, for any thread."""

    _tallies: dict[str, _Tally] = field(default_factory=dict)
    _heard: dict[int, tuple[float, Mapping[str, SystemRow]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def heard(self, window_ms: int) -> Mapping[str, SystemRow] | None:
        """Return what the ledger said a moment ago of every system it knows; None: it has to be asked.

        Args:
            window_ms: over which calls are counted.
        """
        at, rows = self._heard.get(window_ms, (float("-inf"), {}))
        return rows if time.monotonic() - at < KEEP_SECONDS else None

    def hear(self, window_ms: int, rows: Mapping[str, SystemRow]) -> None:
        """Keep what the ledger says of every system it knows.

        Args:
            window_ms: over which calls are counted.
            rows: system → how it is doing.
        """
        self._heard[window_ms] = (time.monotonic(), rows)

    def forget(self) -> None:
        """Have the ledger asked anew: something it was just told may have changed what it says."""
        self._heard.clear()

    def note(
        self,
        system: str,
        *,
        failed: bool,
        took_seconds: float,
        rate_limited_seconds: float,
        probe: bool,
        rules: BreakerRules,
    ) -> Report | None:
        """Count a call, and return the report that is due, if one is.

        Args:
            system: the system of record.
            failed: it did not do what it could be expected to.
            took_seconds: how long the call took.
            rate_limited_seconds: how long it asked everybody to stay away; 0: it did not.
            probe: others wait for what this call found out.
            rules: when its breaker opens.
        """
        now = time.monotonic()
        with self._lock:
            tally = self._tallies.setdefault(system, _Tally(now))
            due = failed or probe or rate_limited_seconds > 0 or now - tally.told >= TELL_SECONDS
            if not due:
                tenth = int(now * 10)
                calls, seconds = tally.went_well.get(tenth, (0, 0.0))
                tally.went_well[tenth] = (calls + 1, seconds + took_seconds)
                return None
            self._tallies[system] = _Tally(now)
        begins = (now - rules.window_seconds) * 10
        lately = [ended for tenth, ended in tally.went_well.items() if tenth >= begins]
        return Report(
            system=system,
            calls=1 + sum(calls for calls, _ in lately),
            failed=int(failed),
            took_ms=int((took_seconds + sum(seconds for _, seconds in lately)) * 1000),
            rate_limited_ms=int(rate_limited_seconds * 1000),
            probe=probe,
            rules=rules,
        )
