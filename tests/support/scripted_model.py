"""The package's own scripted model, under the name that tests have for it."""

from langgraph_control.testing import Answer, ScriptedModel, ScriptExhausted, call, calls

__all__ = ["Answer", "ScriptExhausted", "ScriptedModel", "call", "calls"]
