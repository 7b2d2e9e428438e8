"""Policies of a hundred rules, and a call to decide about."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.routing import route
from langgraph_control.guards.signals import Context, Impact, Signals

__all__ = ["RULES", "deciding", "many_tools", "one_tool"]

RULES: Final = 100
_HEAD: Final = "version: 1\nroles: {finance: [ana, bo]}\nrules:\n"
_OF_A_TOOL: Final = (
    "when: {amount: {gt: 0, lte: 100}, record.flagged: {is: false}}, then: allow",
    "when: {amount: {gt: 100, lte: 5000}}, then: approve, by: finance",
    "when: {amount: {gt: 5000, lte: 50000}}, then: approve, by: {finance: 2}",
    "when: {country: {in: [XX, YY]}}, then: deny",
)


def many_tools() -> Policy:
    """Return rules for many tools, a few for each: what most files look like."""
    tools = range(RULES // len(_OF_A_TOOL))
    return _policy(f"tool: tool_{tool}, {rest}" for tool in tools for rest in _OF_A_TOOL)


def one_tool() -> Policy:
    """Return rules that are all about the tool called, and of which the last one matches: what takes longest."""
    steps = ((100 * step, "approve, by: finance" if step % 2 else "approve, by: {finance: 2}") for step in range(RULES))
    return _policy(
        f"tool: tool_0, when: {{amount: {{gt: {low}, lte: {low + 100}}}, country: {{eq: DE}}}}, then: {then}"
        for low, then in steps
    )


def deciding(policy: Policy, *, amount: str) -> Callable[[], None]:
    """Return one decision about a call, as the gate asks for it.

    Args:
        policy: the rules.
        amount: of the call.
    """
    signals = Signals(
        tool="tool_0",
        impact=Impact.MONEY,
        kind=Kind.KEYED,
        system="billing",
        arguments={"amount": Decimal(amount), "country": "DE", "order_id": "4711", "reason": "arrived broken"},
        record={"flagged": False, "status": "open"},
        actor="desk",
        on_behalf_of="ana",
        tenant="acme",
        now=datetime.now(UTC),
        context=Context(),
    )

    def decide() -> None:
        route(signals, policy)

    return decide


def _policy(rules: Iterable[str]) -> Policy:
    return Policy.parse(_HEAD + "".join(f"  - {{{rule}}}\n" for rule in rules), source="bench.yaml")
