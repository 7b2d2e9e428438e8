"""What LangGraph's development server loads in tests: an agent that is governed, and who its users are."""

import os
from decimal import Decimal
from pathlib import Path

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage
from langgraph_sdk import Auth

from langgraph_control import Control, Policy, writes
from langgraph_control.server import serve
from tests.support.desk import POLICY_TEXT
from tests.support.scripted_model import ScriptedModel, call, calls

TOKENS = {f"token-{name}": f"{name}@acme.example" for name in ("ana", "bo", "cy")}  # cy has no role
DONE = Path(os.environ["FRONT_END_DONE"])

auth = Auth()


@auth.authenticate
async def authenticate(authorization: str | None) -> Auth.types.MinimalUserDict:
    """Return who presents a bearer token; a request without one is a guest's."""
    if authorization is None:
        return {"identity": "guest", "is_authenticated": False}
    person = TOKENS.get(authorization.removeprefix("Bearer "))
    if person is None:
        raise Auth.exceptions.HTTPException(status_code=401, detail="unknown token")
    return {"identity": person}


@writes(key="order_id", impact="money", redact=("iban",))
def refund(order_id: str, amount: Decimal, iban: str) -> str:
    """Refund an order."""
    with DONE.open("a") as done:
        done.write(f"{order_id}:{amount}\n")
    return f"refunded {amount}"


def _answer(messages: list[BaseMessage]) -> AIMessage | str:
    """Ask for the refund that the user's last message names, then end."""
    last = messages[-1]
    if last.type == "tool":
        return f"done: {last.content}"
    order, amount = str(last.content).split()
    return calls(call("refund", order_id=order, amount=amount, iban="DE00-1", call_id=f"call_{order}"))


control = Control(Policy.parse(POLICY_TEXT, source="control.yaml"))
agent = serve(
    control,
    create_agent(ScriptedModel(script=[_answer] * 1000), control.govern([refund])),
    name="support",
    actor="support-bot",
    approver_dsn=os.environ["FRONT_END_APPROVER_DSN"],
)
