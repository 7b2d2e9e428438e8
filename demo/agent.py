"""The support agent: two tools, what they do to the world, and the graph that uses them."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import httpx
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel

from demo.billing import client as ask
from demo.billing.client import Billing
from langgraph_control import ABSENT, Action, Control, current_action, reads, writes

POLICY: Final = Path(__file__).with_name("control.yaml")

TIMEOUT: Final = httpx.Timeout(4.0)

CRM: Final = "http://127.0.0.1:9"
"""Where nothing listens: the customer system is down for the whole demo."""

PROMPT: Final = (
    "You are a support agent. Look the order up; where the customer says to be a regular customer, look up the "
    "customer's history, too. Then refund exactly the amount the customer asks for, in one call. "
    "If a refund is refused, say so; do not try another amount."
)


def billing_client(url: str) -> Billing:
    """Return the agent's client of the billing service.

    Args:
        url: where the service is.
    """
    return Billing(url, timeout=TIMEOUT)


def support_agent(control: Control, billing: Billing, model: BaseChatModel) -> Any:
    """Return the bound agent.

    Args:
        control: the control layer of this process.
        billing: where orders are.
        model: any chat model that calls tools.
    """
    tools = control.govern(tools_of(billing))
    return control.bind(create_agent(model, tools, system_prompt=PROMPT), name="support")


def tools_of(billing: Billing) -> list[Callable[..., Any]]:
    """Return the agent's tools with their contracts.

    Args:
        billing: where orders are.
    """

    def order_now(action: Action) -> dict[str, Any]:
        order: dict[str, Any] = billing.send(ask.order(action.args["order_id"]))
        return order

    def order_afterwards(action: Action) -> dict[str, str]:
        return {"refunded": str(Decimal(action.before["refunded"]) + action.args["amount"])}

    def refund_made(action: Action) -> object:
        made = billing.send(ask.refunds(action_key=action.key))["refunds"]
        return receipt(made[0]) if made else ABSENT

    @reads(system="billing", target="order_id")
    def look_up_order(order_id: str) -> dict[str, Any]:
        """Look an order up: what was paid, what was refunded, whether it is flagged."""
        order: dict[str, Any] = billing.send(ask.order(order_id))
        return order

    @reads(system="crm", fallback={"orders": "unknown"})
    def customer_history(order_id: str) -> dict[str, Any]:
        """Look up how much the customer of an order has bought so far."""
        history: dict[str, Any] = httpx.get(f"{CRM}/history/{order_id}", timeout=TIMEOUT).raise_for_status().json()
        return history

    @writes(
        key="order_id",  # two calls for one order, under one request, are the same refund
        impact="money",
        system="billing",
        target="order/{order_id}",
        explain="reason",  # the model's words, new each time: shown to people, never part of the key
        read=order_now,  # the record as it is: rules see it, an approval depends on it
        expect=order_afterwards,  # with it, an approver sees what will change
        watch=("status", "flagged", "refunded"),
        find=refund_made,  # finds out what became of a refund whose answer was lost
        visible_within="1s",
        timeout="5s",
    )
    def refund(order_id: str, amount: Decimal, reason: str) -> str:
        """Refund an amount of an order, saying why."""
        return receipt(billing.send(ask.refund(order_id, str(amount), reason), headers=current_action().headers))

    return [look_up_order, customer_history, refund]


def receipt(made: dict[str, Any]) -> str:
    """Return what the model is told of a refund.

    Args:
        made: the refund as billing shows it.
    """
    return f"refunded {made['amount']} of order {made['target']} ({made['id']})"
