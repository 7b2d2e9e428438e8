"""LangChain's ToolException: a tool's failure in prose, among them every ``isError`` result of an MCP server's tool."""

from datetime import datetime

from langgraph_control.guards.classifiers.recognising import classes_of
from langgraph_control.guards.failures import Evidence, Fault, Sent


def evidence(error: BaseException, _now: datetime) -> Evidence | None:
    """Say what a tool's own failure tells; None for any other exception.

    The same kind of result says "no such order", "order is locked" and "the connection broke after the refund".

    Args:
        error: what was raised.
    """
    if "ToolException" not in classes_of(error, "langchain_core"):
        return None
    from_a_server = bool(classes_of(error, "langchain_mcp_adapters"))
    return Evidence(
        fault=Fault.PERMANENT,
        sent=Sent.YES if from_a_server else Sent.MAYBE,
        reason="the tool reported a failure in prose, which does not tell what it did before",
    )
