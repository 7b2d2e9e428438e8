"""What the model is told of a write that was not done: what happened, and what it can do now."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from langgraph_control.audit.asking.ledger import OTHER_SYSTEM, Claimed, Reason
from langgraph_control.guards.approvals import REJECTIONS
from langgraph_control.guards.decisions import Decision
from langgraph_control.nodes.call import GovernedCall

__all__ = ["refusal_text"]

_AGAIN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "wrong_amount": "Ask again only with another amount, if what you were asked to do allows for one.",
        "wrong_target": "Find out which record is meant before you ask again.",
        "wrong_time": "Do not ask again now; tell the user that it was not the time for it.",
        "needs_information": "Find out what is missing, or ask the user for it; then you may ask again with that.",
    }
)
"""What the model can do about it, by the reason a person gave."""

_OVER: Final = "was not done: its run may begin nothing any more. Nothing was changed; tell the user."

_TEXTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        Reason.REJECTED: "{tool} was rejected by a person and not done{because}.{comment} {again}",
        Reason.APPROVAL_EXPIRED: (
            "{tool} was not done: nobody approved it in time. Tell the user; do not ask for the same change again."
        ),
        Reason.TOO_MANY_REQUESTS: (
            "{tool} was not done: as many requests wait for people as may at once. Nothing was changed; do not ask "
            "again before some of them are decided."
        ),
        Reason.KEY_CONFLICT: (
            "{tool} was not done: the same change ({keys}) was already asked for {other} and "
            "may have happened. Do not work around this; tell the user that a person must look at it."
        ),
        Reason.DRY_RUN: "{tool} was not done: this is a dry run, and nothing was changed. {why}.",
        Reason.DEDUPLICATE: "{tool} was not done because there is nothing to do: {why}.",
        Reason.LIMIT_REACHED: (
            "{tool} was not done: a limit that the policy sets is reached.{when} "
            "Tell the user; do not ask for the same change again now."
        ),
        Reason.ABANDONED: (
            "{tool} was closed by a person who could not tell whether it happened.{closing} "
            "It will not be tried again; do not ask for the same change again."
        ),
        Reason.UNDONE: (
            "{tool} was taken back with the rest of what it belonged to. Do not ask for the same change again."
        ),
        Reason.DEADLINE_PASSED: f"{{tool}} {_OVER}",
        Reason.CALLS_USED_UP: f"{{tool}} {_OVER}",
        Reason.RETRY_TIME_USED_UP: f"{{tool}} {_OVER}",
        Reason.ATTEMPTS_USED_UP: (
            "{tool} was not done: it was tried as often as allowed. Nothing was changed; tell the user."
        ),
    }
)


def refusal_text(call: GovernedCall, claimed: Claimed, decision: Decision) -> str:
    """Return what the model is told.

    Args:
        call: the write.
        claimed: the claim's answer.
        decision: what the policy said.
    """
    return _TEXTS.get(claimed.reason, "{tool} was not done: {why}.").format(
        tool=call.tool,
        why="; ".join(decision.reasons).removesuffix("."),
        keys=", ".join(call.contract.key) or "the intent",
        other="in another system" if claimed.code == OTHER_SYSTEM else "with other arguments",
        because=f": {REJECTIONS[claimed.code]}" if claimed.code and claimed.code in REJECTIONS else "",
        again=_AGAIN.get(claimed.code or "", "Do not ask for the same change again."),
        comment=f" Comment: {claimed.comment}" if claimed.comment else "",
        closing=f" Comment: {claimed.error}" if claimed.error else "",
        when=f" There may be room in {claimed.wait_ms // 60_000 + 1} minutes." if claimed.wait_ms else "",
    )
