"""``langgraph-control`` as a program, with leases that are short enough for a test to see them end."""

import functools
import os

from langgraph_control.audit.leases import RunLeases
from langgraph_control.cli import main
from langgraph_control.graphs import ledger

if __name__ == "__main__":
    shorter = os.environ.get("CONTROL_TEST_LEASE_MS")
    if shorter:
        setattr(ledger, "RunLeases", functools.partial(RunLeases, lease_ms=int(shorter)))  # noqa: B010 - a class by a partial
    main()
