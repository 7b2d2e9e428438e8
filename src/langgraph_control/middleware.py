"""Middleware for LangChain's ``create_agent``; the only part of this package that needs LangChain itself.

::

    agent = create_agent(model, middleware=[ControlMiddleware(control, tools=[refund])])
"""

from importlib.util import find_spec

from langgraph_control.errors import MiddlewareUnavailable

if find_spec("langchain") is None:
    raise MiddlewareUnavailable(
        "langgraph_control.middleware needs LangChain, which is not installed.",
        safe="Everything else works without it.",
        todo="pip install 'langchain>=1.4', or build a graph of your own with control.govern([...]).",
    )

from langgraph_control.graphs.agent_middleware import ControlMiddleware

__all__ = ["ControlMiddleware"]
