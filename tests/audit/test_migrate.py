"""The schema and how it gets there."""

import psycopg

from tests.support.postgres import Database


def test_every_login_connects(database: Database) -> None:
    """Each test login reaches a migrated database under its own name."""
    for dsn in (database.agent, database.auditor, database.local_approver, database.second_tenant_agent):
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT session_user, current_database()").fetchone() == (
                connection.info.user,
                database.name,
            )
