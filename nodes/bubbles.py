"""What leaves a governed call as control flow: retry and error layers pass it through, the model never sees it."""

from typing import Final

from langgraph.errors import GraphBubbleUp

from langgraph_control.errors import ContractError, ControlError, TrailUnavailable

__all__ = ["QUESTION_INSIDE", "RunTakenOver", "TrailLost", "question_inside"]

QUESTION_INSIDE: Final = "the tool asked a question, or waited, in the middle of the write"


def question_inside(tool: str) -> ContractError:
    """Return what a write failed of whose body asked or waited: answered, it would begin again, whatever it had done.

    Args:
        tool: the tool whose body called ``interrupt``.
    """
    return ContractError(
        f"Tool {tool} asked a question, or waited, in the middle of a write.",
        safe="Nobody was asked; what the tool had done before is found out by its contract.",
        todo="Ask before it: in a node, in a tool declared with @reads(), or by the policy (then: ask, then: approve).",
        code="question_inside_write",
    )


class RunTakenOver(GraphBubbleUp):
    """Another worker drives this run: this one stops without a word, and nothing more of it counts."""


class TrailLost(GraphBubbleUp, TrailUnavailable):
    """The ledger stopped answering in the middle of a call.

    A bubble-up because an attempt may be on record whose outcome is not: an ordinary error would be retried by some
    layer, or told to the model as "not done". It is a :class:`TrailUnavailable` for whoever started the run.
    """

    @classmethod
    def during(cls, tool: str, error: Exception) -> "TrailLost":
        """Return it for what the ledger's client raised.

        Args:
            tool: the tool that was being called.
            error: what was raised; its code is kept.
        """
        known = error if isinstance(error, ControlError) else None
        return cls(
            f"The ledger stopped answering during a call of {tool}. {known.what if known else error}",
            safe="What is on record is kept; what happened to an attempt under way is found out when the run goes on.",
            todo=known.todo if known else "Resume the run when the ledger answers again.",
            code=known.code if known else cls.code,
        )
