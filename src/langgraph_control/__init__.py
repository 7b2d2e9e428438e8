"""The control layer for LangGraph agents: a write happens once, with permission, on record.

The twelve names below are the whole front door; what contracts are made of is in :mod:`langgraph_control.contracts`,
every exception in :mod:`langgraph_control.errors`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langgraph_control.audit.people.approvals import Approvals
    from langgraph_control.errors import ControlError
    from langgraph_control.graphs.control import Control
    from langgraph_control.graphs.run import Run
    from langgraph_control.graphs.saga import saga
    from langgraph_control.guards.policy import Policy
    from langgraph_control.nodes.contexts import current_action
    from langgraph_control.nodes.contracts import ABSENT, Action, Call, reads, writes

__all__ = [
    "ABSENT",
    "Action",
    "Approvals",
    "Call",
    "Control",
    "ControlError",
    "Policy",
    "Run",
    "current_action",
    "reads",
    "saga",
    "writes",
]

# Imported when first asked for: LangGraph takes over a second to import, and whoever only needs the errors, the policy
# or the approver's side should not wait for it.
_HOMES = {
    "ABSENT": "nodes.contracts",
    "Action": "nodes.contracts",
    "Approvals": "audit.people.approvals",
    "Call": "nodes.contracts",
    "Control": "graphs.control",
    "ControlError": "errors",
    "Policy": "guards.policy",
    "Run": "graphs.run",
    "current_action": "nodes.contexts",
    "reads": "nodes.contracts",
    "saga": "graphs.saga",
    "writes": "nodes.contracts",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
