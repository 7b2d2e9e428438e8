"""A run to be in, for what runs inside LangGraph."""

from collections.abc import Iterator

import pytest

from tests.support.entered_run import EnteredRun, entered_run
from tests.support.postgres import Database


@pytest.fixture
def run(shared_database: Database) -> Iterator[EnteredRun]:
    """A run of its own that this process drives."""
    with entered_run(shared_database) as entered:
        yield entered
