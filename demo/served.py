"""The support agent as ``langgraph-control worker`` finds it: ``demo/langgraph.json`` names the graph in here.

Its database is named by ``LANGGRAPH_CONTROL_DSN``, as for every worker; the billing service and the model by two
variables of the demo's own.
"""

import os
from typing import Final

from demo.agent import POLICY, billing_client, support_agent
from demo.serving import BILLING_VARIABLE, MODEL_VARIABLE
from demo.worker import chat_model
from langgraph_control import Control

__all__ = ["graph"]

control: Final = Control(POLICY)
graph: Final = support_agent(
    control, billing_client(os.environ[BILLING_VARIABLE]), chat_model(os.environ.get(MODEL_VARIABLE) or None)
)
