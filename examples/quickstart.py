from decimal import Decimal

from langchain.agents import create_agent
from offline_model import model  # a script; any chat model goes here, such as "openai:gpt-5"

from langgraph_control import Control, reads, writes


@reads()
def look_up_order(order_id: str) -> str:
    """Look an order up."""
    return f"order {order_id}: 1200.00 EUR, paid"


@writes(key="order_id", impact="money")
def refund(order_id: str, amount: Decimal) -> str:
    """Refund an amount of an order."""
    return f"refunded {amount} EUR of order {order_id}"  # your payment provider goes here


with Control.local("control.yaml") as control:
    agent = control.bind(create_agent(model, control.govern([look_up_order, refund])), name="support")
    ticket = {"messages": [{"role": "user", "content": "Please refund order A-1: it never arrived."}]}
    print(control.run(agent, ticket, trigger="ticket/4711", actor="support-bot"))
