"""A desk to attack: its own triggers on a ledger that the tests of one module share."""

from collections.abc import Iterator

import pytest

from tests.support.desk import Desk, new_trigger, publish
from tests.support.postgres import Database


@pytest.fixture(scope="module")
def desk_database(shared_database: Database) -> Database:
    """A ledger with the desk's policy."""
    publish(shared_database)
    return shared_database


@pytest.fixture
def desk(desk_database: Database) -> Iterator[Desk]:
    """A desk that is closed at the end."""
    made = Desk.on(desk_database)
    with made.control:
        yield made


@pytest.fixture
def trigger() -> str:
    """A delivery nobody has seen."""
    return new_trigger()
