"""MCP's Python SDK: errors of the protocol itself. What a tool reports in its result is in ``langchain.py``."""

from datetime import datetime
from typing import Any, Final

from langgraph_control.guards.classifiers.recognising import classes_of
from langgraph_control.guards.failures import Evidence, Fault, Sent

PACKAGES: Final = frozenset({"mcp"})

_NAMES: Final = frozenset({"McpError", "MCPError"})  # SDK 1 and 2

# By JSON-RPC and by MCP the request was not dispatched: parse error, invalid request, unknown method, invalid params,
# and "an elicitation must be completed first".
_REFUSALS: Final = frozenset({-32700, -32600, -32601, -32602, -32042})
_BAD_REQUEST: Final = 400

MADE_BY_CLIENTS: Final = frozenset({408, -32000, -32001})
"""Codes a client gives by itself: for its time-out, a closed connection, and the time-out of other SDKs."""

_TRANSIENT: Final = MADE_BY_CLIENTS | {-32603}  # the server's internal error


def evidence(error: BaseException, _now: datetime) -> Evidence | None:
    """Say what an error of the MCP protocol tells; None for any other.

    Args:
        error: what was raised.
    """
    if not _NAMES.intersection(classes_of(error, *PACKAGES)):
        return None
    code: Any = getattr(getattr(error, "error", None), "code", None)
    if code in _REFUSALS:
        return Evidence(
            fault=Fault.PERMANENT,
            sent=Sent.YES,
            undone=True,
            status=_BAD_REQUEST,
            codes=(code,),
            reason=f"JSON-RPC {code}: refused before anything was done",
        )
    return Evidence(
        fault=Fault.TRANSIENT if code in _TRANSIENT else Fault.PERMANENT,
        codes=(code,) if isinstance(code, int) and code not in MADE_BY_CLIENTS else (),
        reason="an MCP error that does not tell whether the tool was run",
    )
