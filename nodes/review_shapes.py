"""A request in the shapes that LangChain's front ends know, so that they can show it; what comes back has no power.

Two shapes lie beside the card in the interrupt's value: the one of ``HumanInTheLoopMiddleware`` (``action_requests``,
``review_configs``) and the older one of Agent Inbox (``action_request``, ``config``).
"""

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["review_shapes"]

_DECISIONS: Final = ("approve", "edit", "reject")


def review_shapes(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return both shapes of a request.

    Args:
        card: the interrupt's value so far; its arguments are redacted already.
    """
    what = card["what"]
    name, arguments, description = what["tool"], dict(what["arguments"]), _description(card)
    return {
        "action_requests": [{"name": name, "args": arguments, "description": description}],
        "review_configs": [{"action_name": name, "allowed_decisions": list(_DECISIONS)}],
        "action_request": {"action": name, "args": arguments},
        "config": {"allow_accept": True, "allow_ignore": True, "allow_respond": False, "allow_edit": True},
        "description": description,
    }


def _description(card: Mapping[str, Any]) -> str:
    # Front ends render this as Markdown: nothing in it is written by a model or stands in a record.
    system = card["where"]["system"]
    place = f" in `{system}`" if system else ""
    return (
        f"`{card['what']['tool']}` ({card['what']['impact']}){place} waits for approval.\n\n"
        f"Request `{card['approval']}`, digest `{card['digest']}`, open until {card['expires_at']}.\n\n"
        "A decision counts when it comes from an authenticated person and names this digest, where this server takes "
        f"votes at all; otherwise: `langgraph-control approve {card['approval']}`."
    )
