"""The lifecycle as SQL enforces it is the lifecycle as ``guards/lifecycle.py`` states it."""

from itertools import product

import psycopg
import pytest

from langgraph_control.guards.lifecycle import Event, Kind, State, step
from tests.support.postgres import Database

EVERY = """
SELECT s, e, k, control.next_state(s, e, k)
FROM unnest(%(states)s::text[]) s, unnest(%(events)s::text[]) e, unnest(%(kinds)s::text[]) k
"""


def test_sql_and_python_have_one_table(shared_database: Database) -> None:
    """For every state, event and kind, `control.next_state` gives what `step` gives, also where that is nothing."""
    words = {"states": list(State), "events": list(Event), "kinds": list(Kind)}
    with psycopg.connect(shared_database.admin) as connection:
        in_sql = {(s, e, k): after for s, e, k, after in connection.execute(EVERY, words)}
    assert in_sql == {(s, e, k): step(s, e, k) for s, e, k in product(State, Event, Kind)}


@pytest.mark.parametrize("place", range(3))
def test_a_word_that_sql_does_not_know_is_no_step(shared_database: Database, place: int) -> None:
    """A misspelt state, event or kind leads nowhere."""
    words: list[str] = [State.READY, Event.START, Kind.KEYED]
    words[place] = "misspelt"
    with psycopg.connect(shared_database.admin) as connection:
        assert connection.execute("SELECT control.next_state(%s, %s, %s)", words).fetchone() == (None,)


def test_a_step_the_table_lacks_is_an_error(shared_database: Database) -> None:
    """The ledger's functions cannot take a step that is not there: their transaction fails as a whole."""
    with psycopg.connect(shared_database.admin) as connection:
        with pytest.raises(psycopg.Error) as refused:
            connection.execute("SELECT control.must_step('succeeded', 'start', 'keyed')")
        assert refused.value.sqlstate == "LC001"
