"""An exporter in a process of its own that dies of ``kill -9`` at a step: ``python -m tests.loss.exporter``.

A step is each statement to the ledger and each request to the sink, before it and after it.
"""

import argparse
import os
import signal
from collections.abc import Callable
from typing import Any

from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.telemetry.sinks.following import Following, Stepped
from langgraph_control.audit.telemetry.sinks.otlp import OtlpSink


class Dying:
    """Counts steps, and ends the process at one of them."""

    def __init__(self, at: int) -> None:
        self._left = at

    def step(self) -> None:
        """Take a step."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function with a step before and one after it."""

        def stepping(*args: Any, **named: Any) -> Any:
            self.step()
            answer = function(*args, **named)
            self.step()
            return answer

        return stepping


def main() -> None:
    """Send what the sink lacks, and die at the step that was named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--die-at", type=int, default=0)
    chosen = parser.parse_args()
    store = Store(chosen.dsn)
    sink = OtlpSink("place", chosen.url, batch_spans=chosen.batch)
    dying = Dying(chosen.die_at)
    store.call = dying.around(store.call)  # type: ignore[method-assign]
    sink.send = dying.around(sink.send)  # type: ignore[method-assign]
    following = Following(store, sink, lease_seconds=0.2)
    while following.step() is not Stepped.IDLE:
        pass
    following.leave()
    sink.close()
    store.close()


if __name__ == "__main__":
    main()
