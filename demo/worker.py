"""An agent process of its own: ``python -m demo.worker --billing URL --trigger ticket/5 --text "Refund …"``.

The database is named by ``LANGGRAPH_CONTROL_DSN``. Nothing in here is made for being killed.
"""

import argparse
import sys
from typing import Final

from langchain_core.language_models import BaseChatModel

from demo.agent import POLICY, billing_client, support_agent
from demo.model import ScriptedSupport
from langgraph_control import Control

ACTOR: Final = "support-bot"


def main() -> None:
    """Deliver one ticket and say where its run stands."""
    parser = argparse.ArgumentParser(prog="python -m demo.worker", description="Deliver one ticket to the agent.")
    parser.add_argument("--billing", required=True, help="URL of the billing service")
    parser.add_argument("--trigger", required=True, help="the delivery; the same twice is the same run")
    parser.add_argument("--text", required=True, help="what the customer wrote")
    parser.add_argument("--model", help="a model by LangChain's name; by default the demo's script")
    options = parser.parse_args()
    with Control(POLICY) as control:
        agent = support_agent(control, billing_client(options.billing), chat_model(options.model))
        given = {"messages": [{"role": "user", "content": options.text}]}
        run = control.run(agent, given, trigger=options.trigger, actor=ACTOR)
    sys.stdout.write(f"{run}\n")


def chat_model(name: str | None) -> BaseChatModel:
    """Return a chat model.

    Args:
        name: as ``init_chat_model`` takes it, such as ``openai:gpt-5``; None for the demo's script.
    """
    if name is None:
        return ScriptedSupport()
    from langchain.chat_models import init_chat_model

    model: BaseChatModel = init_chat_model(name)
    return model


if __name__ == "__main__":
    main()
