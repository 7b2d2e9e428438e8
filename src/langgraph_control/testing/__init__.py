"""For tests of agents that are governed: a model that plays a script, and a ledger of the test's own.

::

    def test_a_large_refund_waits_for_finance():
        with ledger("control.yaml") as own:
            (refund_tool,) = own.control.govern([refund])
            model = ScriptedModel(script=(calls(call("refund", order_id="A-1", amount="900")), "done"))
            graph = own.control.bind(create_agent(model, [refund_tool]), name="support")
            run = own.control.run(graph, GIVEN, trigger="ticket/1", actor="support-bot")
            own.approve(run, by="ana@acme.example")
            assert str(own.control.run(graph, GIVEN, trigger="ticket/1", actor="support-bot")) == "done"
"""

from langgraph_control.testing.own_ledger import OwnLedger, ledger
from langgraph_control.testing.scripted_model import Answer, ScriptedModel, ScriptExhausted, call, calls

__all__ = ["Answer", "OwnLedger", "ScriptExhausted", "ScriptedModel", "call", "calls", "ledger"]
