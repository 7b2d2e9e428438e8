"""What contracts are made of beyond :func:`~langgraph_control.reads` and :func:`~langgraph_control.writes`."""

from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.signals import Impact
from langgraph_control.nodes.contracts import (
    ABSENT,
    TIMEOUT_SECONDS,
    VISIBLE_WITHIN_SECONDS,
    WAIT,
    Action,
    Contract,
    Done,
    Hook,
    NotDone,
    Outcome,
    Unknown,
    contract_of,
    reads,
    writes,
)

__all__ = [
    "ABSENT",
    "TIMEOUT_SECONDS",
    "VISIBLE_WITHIN_SECONDS",
    "WAIT",
    "Action",
    "Contract",
    "Done",
    "Hook",
    "Impact",
    "Kind",
    "NotDone",
    "Outcome",
    "Unknown",
    "contract_of",
    "reads",
    "writes",
]
