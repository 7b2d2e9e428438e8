"""A desk for each test, on a ledger the tests of one module share: each has triggers, and so actions, of its own."""

from collections.abc import Iterator

import pytest

from tests.support.desk import Desk, How, new_trigger, publish
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


@pytest.fixture(params=["sync", "async"])
def how(request: pytest.FixtureRequest) -> How:
    """Both ways of driving a run."""
    way: How = request.param
    return way
