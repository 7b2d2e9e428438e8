"""``langgraph-control`` as a program, with leases short enough to see them end, or sweeps too rare to be seen."""

import functools
import os

from langgraph_control.audit.connecting.leases import RunLeases
from langgraph_control.cli import main
from langgraph_control.graphs import ledger, sweep

LEASE_MS = "CONTROL_TEST_LEASE_MS"
SWEEP_SECONDS = "CONTROL_TEST_SWEEP_SECONDS"

if __name__ == "__main__":
    if shorter := os.environ.get(LEASE_MS):
        setattr(ledger, "RunLeases", functools.partial(RunLeases, lease_ms=int(shorter)))  # noqa: B010 - a partial
    if longer := os.environ.get(SWEEP_SECONDS):
        setattr(sweep, "SWEEP_SECONDS", float(longer))  # noqa: B010 - a Final, for this process only
    main()
