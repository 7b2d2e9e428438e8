"""Where a run's trace is looked at: an address of the observability backend, with the trace's id in it."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from langgraph_control.audit.telemetry.span_ids import trace_id
from langgraph_control.errors import ConsoleRefused
from langgraph_control.nodes.contract_checks import template_fields
from langgraph_control.nodes.links import is_link

__all__ = ["TraceLink"]

SLOT: Final = "trace"


@dataclass(frozen=True, slots=True)
class TraceLink:
    """An address with a slot for a trace.

    Args:
        template: such as ``https://jaeger.acme.example/trace/{trace}``; the slot gets 32 hexadecimal digits.

    Raises:
        ConsoleRefused: it is no web address with that one slot in its path or query (``console_traces``).
    """

    template: str

    def __post_init__(self) -> None:
        if not is_link(self.template) or set(template_fields(self.template)) != {SLOT}:
            raise ConsoleRefused(
                "The address of traces is a web address with {trace} in its path or query, and no other braces.",
                todo="Write it so: --traces 'https://jaeger.acme.example/trace/{trace}'; other braces as %7B, %7D.",
                code="console_traces",
            )

    def of(self, run_id: UUID) -> str:
        """Return where a run's trace is.

        Args:
            run_id: the run.
        """
        return self.template.format(trace=f"{trace_id(run_id):032x}")
