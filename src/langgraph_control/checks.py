"""What checks of one's own are made of: ``Control(policy, checks=[…])`` hears each before a write is claimed."""

from langgraph_control.guards.approvals import Requirement
from langgraph_control.guards.checks import Check, CheckAnswer, Lacking, Proposal, Question, Stricter
from langgraph_control.guards.decisions import Verb
from langgraph_control.guards.intent import Lack, Missing

__all__ = [
    "Check",
    "CheckAnswer",
    "Lack",
    "Lacking",
    "Missing",
    "Proposal",
    "Question",
    "Requirement",
    "Stricter",
    "Verb",
]
