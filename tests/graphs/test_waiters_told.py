"""Runs that wait for what another run settles are told by a notification of its own, not only by the next sweep."""

from uuid import uuid4

import psycopg
from langchain.agents import create_agent

from langgraph_control import writes
from tests.support.desk import Desk, How
from tests.support.scripted_model import ScriptedModel, call, calls

WAITING = "INSERT INTO control.waiter (tenant, key, run_id, note) SELECT tenant, key, %s, '' FROM control.action"


def test_a_settle_that_others_wait_for_is_notified(desk: Desk, how: How, trigger: str) -> None:
    """While the effect happens somebody comes to wait for it; when it is settled, listeners hear of it at once."""
    other = uuid4()

    @writes(key="order_id", impact="record")
    def ship(order_id: str) -> str:
        """Ship."""
        with psycopg.connect(desk.database.admin, autocommit=True) as admin:
            admin.execute(WAITING + " WHERE tool = 'ship' AND state = 'executing'", (other,))
            admin.execute("UPDATE control.action SET waited = true WHERE tool = 'ship' AND state = 'executing'")
        return f"shipped {order_id}"

    model = ScriptedModel(script=(calls(call("ship", order_id="o1", call_id="call_1")), "over"))
    graph = desk.control.bind(create_agent(model, desk.control.govern([ship])), name="shipping")
    with psycopg.connect(desk.database.admin, autocommit=True) as listener:
        listener.execute("LISTEN control_wake")
        desk.run(graph, how, trigger=trigger)
        heard = [notification.payload for notification in listener.notifies(timeout=5, stop_after=1)]
    assert heard == [str(other)]
